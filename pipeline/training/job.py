"""A training as a file describes it: the networks and stages, and which scenes to train on."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, PositiveInt, Tag, field_validator

import configs
from hdmodel.settings import read_yaml
from hdmodel.training.config import TrainConfig, TrainingSet
from pipeline.errors import TaxonomyError
from pipeline.fit import FitMode
from pipeline.sources import FORMATS, DatasetConfig
from pipeline.sources.config import check_format
from pipeline.sources.layouts import LAYOUTS

SAMPLE_WORLD = "sample-world"
WORLD_KEYS = ("scenes", "world_seed")
"""Keys of `dataset` that only the sample world has."""


class WorldScenesConfig(TrainingSet):
    """Scenes of the sample world, drawn while they are trained on; `size` is theirs."""

    format: Literal["sample-world"]
    scenes: PositiveInt = 1000
    """How many different ones."""
    world_seed: int = 0
    """Another seed draws other scenes."""

    @property
    def taxonomy(self) -> str:
        """The sample world has the classes of Cityscapes."""
        return "cityscapes"


class TrainingDataset(DatasetConfig, TrainingSet):
    """A dataset with photos, given as for `hdsynth render`."""

    fit: FitMode = "resize"
    """How scenes are brought to `size`, and to that of each stage."""
    validation_split: str | None = None
    """The split to measure on, all of it; without one the last scenes of `split` are kept from
    training."""

    @field_validator("format")
    @classmethod
    def _check_format(cls, value: str) -> str:
        return check_format(value, (*FORMATS, SAMPLE_WORLD))


def _kind(data: Any) -> str:  # noqa: ANN401 - whatever the file holds
    value = data.get("format") if isinstance(data, dict) else getattr(data, "format", None)
    return "world" if value == SAMPLE_WORLD else "files"


TrainingScenesConfig = Annotated[
    Annotated[WorldScenesConfig, Tag("world")] | Annotated[TrainingDataset, Tag("files")],
    Discriminator(_kind),
]


class TrainJob(TrainConfig):
    """A training run on scenes that hdsynth can read or draw."""

    dataset: TrainingScenesConfig

    @property
    def taxonomy(self) -> str:
        """The name or file of the classes, for what is done before the dataset is there."""
        if self.dataset.taxonomy is not None:
            return self.dataset.taxonomy
        layout = LAYOUTS.get(self.dataset.format)
        if layout is None or layout.taxonomy is None:
            raise TaxonomyError(
                f"dataset.taxonomy is missing, which the format {self.dataset.format!r} needs"
            )
        return layout.taxonomy


def read_train_job(path: Path) -> TrainJob:
    """Read a model's YAML file.

    Raises:
        ConfigError: The file is missing or malformed.
    """
    return TrainJob.parse(read_yaml(path), origin=str(path))


def is_training(name_or_path: str | Path) -> bool:
    """Whether a name or file is that of a training rather than of a render job."""
    if configs.find("jobs", name_or_path).is_file() and not Path(name_or_path).is_file():
        return False
    file = configs.find("models", name_or_path)
    return file.is_file() and "stages" in read_yaml(file)
