"""What a scorer is and how it is trained: plain settings, without torch."""

import re
from math import cos, pi
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

import configs
from hdmodel.errors import CheckpointError, ConfigError
from hdmodel.settings import Settings, read_yaml
from hdmodel.training.config import Size, TrainingSet, as_text
from pipeline.taxonomy import Taxonomy

SCORER_FILE = "scorer.yaml"
WEIGHTS_FILE = "scorer.safetensors"
STATE_FILE = "training.safetensors"
"""What a training needs to go on; deleted when it is done."""
BUNDLED = "sample-world-scorer"
ENCODER = "tu-tf_efficientnet_lite0"

_SETS_ITSELF = ("arch", "encoder_name", "encoder_weights", "in_channels", "classes")

Share = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Normalisation(Settings):
    """What a network expects of photos, scaled to 0..1: (photo - mean) / std per RGB channel."""

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """The default is that of EfficientNet-Lite."""
    std: tuple[Share, Share, Share] = (0.5, 0.5, 0.5)


class NetworkConfig(Settings):
    """A network of segmentation-models-pytorch."""

    architecture: str = "pspnet"
    """Its name there, in small letters: pspnet, unet, fpn, deeplabv3plus, segformer and others."""
    encoder: str = ENCODER
    """Its encoder's name there; `tu-` and the name of any network of timm."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the network's class, such as encoder_depth."""

    @property
    def encoder_name(self) -> str:
        """The encoder's network, whoever has it and whatever its weights learnt."""
        return re.sub(r"^(tu|timm)-", "", self.encoder).partition(".")[0]

    @field_validator("options")
    @classmethod
    def _check_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name in _SETS_ITSELF:
            if name in options:
                raise ValueError(f"{name} is set by hdsynth, expected other arguments")
        return options


class ScorerConfig(Settings):
    """What `scorer.yaml` holds."""

    format: Literal["hdsynth-scorer"] = "hdsynth-scorer"
    version: Literal[1] = 1
    network: NetworkConfig
    taxonomy: Taxonomy
    """The scorer predicts its train ids."""
    size: Size
    """Height and width in pixels of the scenes it was trained on."""
    normalisation: Normalisation = Normalisation()
    scores: dict[str, Any] = Field(default_factory=dict)
    """On the held-out scenes: plain data, for people."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Where the weights come from: plain data, for people."""
    sha256: str
    """The digest of the weights file."""

    @property
    def seen(self) -> frozenset[str]:
        """Names of the dataset's scenes that it learnt from, as far as they are known."""
        return frozenset(self.training.get("scene_names", ()))

    @property
    def pretrained(self) -> frozenset[str] | None:
        """The network, trained by others, whose weights it may have begun with; None: unknown."""
        config = self.training.get("config")
        if not isinstance(config, dict) or "initial" not in config:
            return None
        none = config["initial"] == "none"
        return frozenset() if none else frozenset({self.network.encoder_name})

    @property
    def num_classes(self) -> int:
        """How many classes the network tells apart: the train ids from 0 to the largest."""
        return train_classes(self.taxonomy)


class ScorerTraining(Settings):
    """How a scorer is trained."""

    dataset: TrainingSet
    network: NetworkConfig = NetworkConfig()
    normalisation: Normalisation = Normalisation()
    initial: Annotated[str, BeforeValidator(as_text)] = "imagenet"
    """Where training starts: `imagenet` (the encoder of the extra hdsynth[scorer]), `none`
    (random), a scorer's folder, or a file of weights (.safetensors, .pth) of the network or of its
    encoder."""
    steps: PositiveInt | None = None
    """Updates; either this or `epochs` is given."""
    epochs: PositiveInt | None = None
    """Passes over the training set."""
    batch: PositiveInt = 8
    """Samples per update."""
    crop: Size | None = None
    """Height and width of random crops, in pixels; whole scenes if not given."""
    mirror: bool = True
    """Whether half of the samples are mirrored left to right."""
    learning_rate: PositiveFloat = Field(default=1e-3, allow_inf_nan=False)
    encoder_learning_rate: PositiveFloat | None = Field(default=None, allow_inf_nan=False)
    """Of the encoder; that of the rest if not given."""
    weight_decay: NonNegativeFloat = Field(default=1e-2, allow_inf_nan=False)
    schedule: Literal["poly", "cosine"] = "poly"
    """How the learning rate falls to 0; `poly` is (1 - done)^0.9, as PSPNet was trained."""
    warmup_steps: NonNegativeInt = 0
    """Updates over which the learning rate rises first."""
    class_balance: Literal["none", "log"] = "none"
    """`log` weights classes by 1 / ln(1.02 + share of the pixels), as ENet: rare ones count more.
    """
    seed: int = Field(default=0, ge=0, lt=2**63)
    autocast: bool = True
    """Whether to compute in bfloat16; weights stay float32."""
    loaders: NonNegativeInt = 1
    """Processes that read and crop samples ahead of the computation; 0 reads between updates."""
    half_on_disk: bool = False
    """Whether the finished scorer holds float16 weights."""
    validation: PositiveInt = 64
    """Scenes not trained on that are scored in the end: of `dataset`'s validation split where it
    names one, else the last ones of its training set."""
    log_every: PositiveInt = 50
    """Updates between rows of metrics.csv."""
    save_every: PositiveInt = 200
    """Updates between saves that training can go on from."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        for side, available in zip(self.crop or (1, 1), self.dataset.size, strict=True):
            if side > available:
                raise ValueError(
                    f"crop is {self.crop}, expected at most dataset.size, {self.dataset.size}"
                )
        return self

    def length(self, scenes: int) -> int:
        """The number of updates.

        Args:
            scenes: The number of scenes to train on.
        """
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, self.epochs * scenes // self.batch)

    def learning_rate_factor(self, step: int, steps: int) -> float:
        """The share of the learning rate at an update of `steps`, counted from 0."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        done = step / steps
        fallen = (1 - done) ** 0.9 if self.schedule == "poly" else (1 + cos(pi * done)) / 2
        return float(warm * fallen)


def train_classes(taxonomy: Taxonomy) -> int:
    """How many classes a network for a taxonomy tells apart.

    Raises:
        ConfigError: No class has a train id.
    """
    known = taxonomy.train_ids[taxonomy.train_ids != 255]
    if not len(known):
        raise ConfigError(
            f"taxonomy {taxonomy.name!r}: every train_id is 255 (ignored), expected some that are "
            "not"
        )
    return int(known.max()) + 1


def bundled_scorer() -> Path:
    """The scorer that comes with hdsynth: Cityscapes classes, trained on the sample world."""
    return configs.folder("checkpoints") / BUNDLED


def read_scorer_config(folder: Path) -> ScorerConfig:
    """Read what a scorer's folder says of it; needs no torch.

    Raises:
        CheckpointError: The folder or its `scorer.yaml` is missing, malformed, or something else.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such scorer folder")
    file = folder / SCORER_FILE
    if not file.is_file():
        hint = ""
        if (folder / STATE_FILE).is_file():
            hint = "; its training is not finished, the same hdsynth train-scorer goes on"
        elif (folder / "generator.safetensors").is_file():
            hint = "; it holds a generator"
        raise CheckpointError(f"{folder}: not a scorer, {SCORER_FILE} is missing{hint}")
    try:
        return ScorerConfig.parse(read_yaml(file), origin=str(file))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
