"""How a generator is trained: plain settings, without torch."""

from pathlib import Path
from typing import Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from hdmodel.architecture import PHOTO_CHANNELS, DiscriminatorConfig, GeneratorConfig
from hdmodel.settings import Settings, read_yaml

SAMPLE_WORLD = "sample-world"


class TrainingData(Settings):
    """Which scenes to train on; opened by the command line, not by this package."""

    format: str = SAMPLE_WORLD
    """`sample-world` draws scenes on the fly; otherwise the format of the dataset."""
    root: str | None = None
    """Folder of the dataset; not read for the sample world."""
    split: str = "train"
    taxonomy: str = "cityscapes"
    size: tuple[PositiveInt, PositiveInt] = (256, 512)
    """Height and width in pixels that scenes have before they are cropped."""
    scenes: PositiveInt = 1000
    """How many different scenes the sample world draws; not read for datasets."""


class OptimiserConfig(Settings):
    """Adam, for generator and discriminator alike (paper, section 4)."""

    learning_rate: PositiveFloat = Field(default=2e-4, allow_inf_nan=False)
    beta1: float = Field(default=0.5, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)


class TrainConfig(Settings):
    """A training run."""

    dataset: TrainingData = TrainingData()
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    feature_matching: NonNegativeFloat = Field(default=10.0, allow_inf_nan=False)
    """Weight of the feature matching loss: the paper's lambda."""
    steps: PositiveInt
    """Updates of the weights."""
    decay_from: NonNegativeInt
    """The step from which the learning rate falls linearly, to 0 at the last step."""
    batch: PositiveInt = 1
    crop: tuple[PositiveInt, PositiveInt]
    """Height and width in pixels of the random crops."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    autocast: bool = True
    """Whether to compute in bfloat16; weights stay float32."""
    half_on_disk: bool = False
    """Whether the final checkpoint holds float16 weights."""
    log_every: PositiveInt = 100
    """Steps between rows of metrics.csv and sheets of pictures."""
    save_every: PositiveInt = 500
    """Steps between checkpoints that training can go on from."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.decay_from > self.steps:
            raise ValueError(f"decay_from is {self.decay_from}, expected at most {self.steps}")
        for name, crop, size in zip(("height", "width"), self.crop, self.dataset.size, strict=True):
            if crop > size:
                raise ValueError(f"crop has {name} {crop}, expected at most {size} as the dataset")
        # Each scale halves the one before, rounding up; one pixel alone cannot be normalised.
        scales = self.discriminator.scales
        least = 2 ** (scales - 1) + 1
        if min(self.crop) < least:
            raise ValueError(
                f"crop is {self.crop[0]}x{self.crop[1]} pixels, expected at least {least} per side "
                f"with discriminator.scales {scales}"
            )
        if self.generator.out_channels != PHOTO_CHANNELS:
            raise ValueError(
                f"generator.out_channels is {self.generator.out_channels}, "
                f"expected {PHOTO_CHANNELS} as the photos"
            )
        if self.generator.feature_channels:
            raise ValueError("generator.feature_channels must be 0: no encoder is trained here")
        return self

    def learning_rate_factor(self, step: int) -> float:
        """The share of the learning rate at a step, counted from 0."""
        if step < self.decay_from:
            return 1.0
        return (self.steps - step) / (self.steps - self.decay_from + 1)


def read_train_config(path: Path) -> TrainConfig:
    """Read a model's YAML file.

    Raises:
        ConfigError: The file is missing or malformed.
    """
    return TrainConfig.parse(read_yaml(path), origin=str(path))
