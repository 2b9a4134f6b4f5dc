"""How a generator is trained: plain settings, without torch."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from hdmodel.architecture import (
    PHOTO_CHANNELS,
    DiscriminatorConfig,
    EncoderConfig,
    GeneratorConfig,
    PixelDiscriminatorConfig,
)
from hdmodel.settings import Settings
from hdmodel.training.augmentation_config import AugmentationConfig
from hdmodel.training.perceptual_config import PerceptualConfig

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Size = tuple[PositiveInt, PositiveInt]


def as_text(value: Any) -> Any:  # noqa: ANN401 - checked by pydantic afterwards
    """A path as the text that YAML has for it; anything else as it is."""
    return str(value) if isinstance(value, Path) else value


class TrainingSet(Settings):
    """What every training set is told; which scenes it has is its own affair."""

    size: Size
    """Height and width in pixels that scenes have at the last stage, before they are cropped."""


class OptimiserConfig(Settings):
    """Adam, for generator and discriminator alike (paper, section 4)."""

    learning_rate: PositiveFloat = Field(default=2e-4, allow_inf_nan=False)
    beta1: float = Field(default=0.5, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    discriminator_factor: PositiveFloat = Field(default=1.0, allow_inf_nan=False)
    """Times this the learning rate is the discriminators'."""


class LossConfig(Settings):
    """What the generator minimises: a weighted sum (paper, equations 2 to 5)."""

    adversarial: Literal["lsgan", "bce", "none"] = "lsgan"
    """Squared distance, cross-entropy (as pix2pix), or no discriminator at all."""
    feature_matching: Weight = 10.0
    """Weight of the distance of the discriminator's features; the paper's lambda."""
    perceptual: Weight = 0.0
    """Weight of the distance of the features of a VGG; 10 in the paper. Needs its weights."""
    l1: Weight = 0.0
    """Weight of the mean absolute difference of pixels in [-1, 1]; 100 in pix2pix."""
    pixel: Weight = 0.0
    """Weight of what a discriminator on frozen ImageNet features says of each pixel: its class, or
    fake. It may stand beside the adversarial loss or, with `none` there, in its place."""


class StageConfig(Settings):
    """One stage of the way from coarse to fine (paper, section 3.2)."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    enhancers: NonNegativeInt | None = None
    """How many of the generator's enhancers take part; each one left out halves the resolution.
    All of them if not given; 0 trains G1 alone."""
    frozen: bool = False
    """Whether only the last of these enhancers, and the last layer, learn."""
    steps: PositiveInt | None = None
    """Updates; either this or `epochs` is given."""
    epochs: PositiveInt | None = None
    """Passes over the training set."""
    decay_steps: NonNegativeInt | None = None
    """Updates at the end over which the learning rate falls linearly to 0; with `steps`."""
    decay_epochs: NonNegativeInt | None = None
    """The same as passes; with `epochs`."""
    batch: PositiveInt = 1
    """Samples per update, over all processes."""
    accumulate: PositiveInt = 1
    """Passes per update and process, over each of which a part of its samples is computed."""
    crop: Size | None = None
    """Height and width of random crops, in pixels of the stage's resolution; none if not given."""
    mirror: bool = True
    """Whether half of the samples are mirrored left to right."""
    warp: float = Field(default=0.0, ge=0, le=8)
    """Photo and maps are bent by smooth random displacements of about this many pixels; more than 8
    would fold them."""
    learning_rate: PositiveFloat | None = Field(default=None, allow_inf_nan=False)
    """Instead of the optimiser's."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        unit, other = ("steps", "epochs") if self.epochs is None else ("epochs", "steps")
        if getattr(self, f"decay_{other}") is not None:
            raise ValueError(f"decay_{other} does not go with {unit}, expected decay_{unit}")
        length, decay = getattr(self, unit), getattr(self, f"decay_{unit}") or 0
        if decay > length:
            raise ValueError(f"decay_{unit} is {decay}, expected at most {unit}, {length}")
        if self.batch % self.accumulate:
            raise ValueError(
                f"accumulate is {self.accumulate}, expected a divisor of batch, {self.batch}"
            )
        return self


class TrainConfig(Settings):
    """A training run."""

    dataset: TrainingSet
    generator: GeneratorConfig = GeneratorConfig()
    encoder: EncoderConfig | None = None
    """The feature encoder, trained jointly; its channels are the generator's feature channels."""
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    pixel_discriminator: PixelDiscriminatorConfig = PixelDiscriminatorConfig()
    """Only read where `losses.pixel` is not 0."""
    augmentation: AugmentationConfig = AugmentationConfig()
    losses: LossConfig = LossConfig()
    vgg: PerceptualConfig = PerceptualConfig()
    """The network of the perceptual loss; only read where `losses.perceptual` is not 0."""
    optimiser: OptimiserConfig = OptimiserConfig()
    stages: tuple[StageConfig, ...] = Field(min_length=1)
    average: float = Field(default=0.0, ge=0, lt=1)
    """Decay per update of the running mean of the weights, which renders in their place; 0 renders
    with the weights themselves, as the paper does."""
    initial: Annotated[str, BeforeValidator(as_text)] | None = None
    """A checkpoint whose generator and encoder the first stage begins with, instead of random ones;
    it must be of the same networks and classes. Discriminators begin anew."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    autocast: bool = True
    """Whether to compute in bfloat16; weights stay float32."""
    compile: bool = False
    """Whether torch.compile makes the networks faster, after some minutes; needs a C++ compiler."""
    recompute: bool = False
    """Whether activations are computed again in the backward pass instead of being kept."""
    loaders: NonNegativeInt = 1
    """Processes that read and crop samples ahead of the computation; 0 reads between updates."""
    half_on_disk: bool = False
    """Whether the final checkpoint holds float16 weights."""
    validation: NonNegativeInt = 8
    """Scenes not trained on, which decide what checkpoint is the best: of `dataset`'s validation
    split where it names one, else the last ones of its training set."""
    log_every: PositiveInt = 100
    """Updates between rows of metrics.csv."""
    picture_every: PositiveInt = 500
    """Updates between sheets of pictures."""
    save_every: PositiveInt = 500
    """Updates between checkpoints that training can go on from; each is measured on the validation
    scenes."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_stages(self.stages, self.generator)
        for number, stage in enumerate(self.stages):
            key, size = f"stages.{number}", self.stage_size(stage)
            crop = stage.crop or size
            for name, side, available in zip(("height", "width"), crop, size, strict=True):
                if side > available:
                    raise ValueError(
                        f"{key}.crop has {name} {side}, expected at most {available} as the scenes "
                        "of the stage"
                    )
            self._check_sides(f"{key}.crop" if stage.crop else "dataset.size", crop)
        if self.generator.out_channels != PHOTO_CHANNELS:
            raise ValueError(
                f"generator.out_channels is {self.generator.out_channels}, "
                f"expected {PHOTO_CHANNELS} as the photos"
            )
        if self.encoder is not None and self.encoder.in_channels != PHOTO_CHANNELS:
            raise ValueError(
                f"encoder.in_channels is {self.encoder.in_channels}, "
                f"expected {PHOTO_CHANNELS} as the photos"
            )
        features = 0 if self.encoder is None else self.encoder.out_channels
        if self.generator.feature_channels != features:
            hint = "" if self.encoder else " without an encoder"
            raise ValueError(
                f"generator.feature_channels is {self.generator.feature_channels}, "
                f"expected {features} as encoder.out_channels{hint}"
            )
        judged = self.losses.adversarial != "none" or self.losses.pixel
        if self.augmentation.is_on and not judged:
            raise ValueError(
                "augmentation changes what discriminators see, and there are none: expected 0, or "
                "losses.adversarial or losses.pixel"
            )
        if self.losses.adversarial == "none":
            if self.losses.feature_matching:
                raise ValueError("losses.feature_matching needs a discriminator, expected 0")
            if not (self.losses.perceptual or self.losses.l1 or self.losses.pixel):
                raise ValueError("losses: all weights are 0, expected something to minimise")
        return self

    def _check_sides(self, key: str, sides: Size) -> None:
        if self.losses.perceptual and min(sides) < self.vgg.smallest_side:
            raise ValueError(
                f"{key} is {sides[0]}x{sides[1]} pixels, expected at least "
                f"{self.vgg.smallest_side} per side with vgg.layers"
            )
        if self.losses.adversarial == "none":
            return
        # Each scale halves the one before, rounding up; one pixel alone cannot be normalised.
        scales = self.discriminator.scales
        least = 2 ** (scales - 1) + 1
        if min(sides) < least:
            raise ValueError(
                f"{key} is {sides[0]}x{sides[1]} pixels, expected at least {least} per side "
                f"with discriminator.scales {scales}"
            )

    def stage_generator(self, stage: StageConfig) -> GeneratorConfig:
        """Find the part of the generator that a stage trains."""
        full, taking_part = self.generator, _enhancers(stage, self.generator)
        if taking_part == full.levels:
            return full
        return full.model_copy(
            update={
                "architecture": "local" if taking_part else "global",
                "base_channels": full.base_channels << (full.levels - taking_part),
                "enhancers": max(taking_part, 1),
            }
        )

    def stage_size(self, stage: StageConfig) -> Size:
        """Compute height and width of whole scenes at a stage."""
        halvings = self.generator.levels - _enhancers(stage, self.generator)
        height, width = (max(1, side >> halvings) for side in self.dataset.size)
        return height, width


def _enhancers(stage: StageConfig, generator: GeneratorConfig) -> int:
    return generator.levels if stage.enhancers is None else stage.enhancers


def _check_stages(stages: tuple[StageConfig, ...], generator: GeneratorConfig) -> None:
    if len({stage.name for stage in stages}) < len(stages):
        raise ValueError("stages: expected names that are all different")
    before = 0
    for number, stage in enumerate(stages):
        taking_part = _enhancers(stage, generator)
        if taking_part > generator.levels:
            raise ValueError(
                f"stages.{number}.enhancers is {taking_part}, expected at most "
                f"{generator.levels} as the generator has"
            )
        if taking_part < before:
            raise ValueError(
                f"stages.{number}.enhancers is {taking_part}, expected at least {before} as in "
                "the stage before"
            )
        if stage.frozen and (taking_part == 0 or number == 0):
            raise ValueError(
                f"stages.{number}.frozen: nothing was trained that could stay as it is, expected "
                "an enhancer and a stage before"
            )
        if stage.frozen and taking_part > before + 1:
            raise ValueError(
                f"stages.{number}.frozen: {taking_part - before} enhancers are new, expected one: "
                "only the last one would learn"
            )
        before = taking_part
    if before < generator.levels:
        raise ValueError(
            f"stages: the last one trains {before} enhancers, expected all "
            f"{generator.levels} of the generator"
        )
