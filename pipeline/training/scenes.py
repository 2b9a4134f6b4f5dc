"""The scenes a generator is trained on: of the sample world, or of a dataset."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from hdmodel.training.config import Size
from pipeline.errors import DatasetError
from pipeline.fit import FitMode, fit
from pipeline.scene import Scene
from pipeline.sources import SceneRef, Source, open_source
from pipeline.sources.photos import scenes_with_photos
from pipeline.taxonomy import Taxonomy
from pipeline.training.job import TrainingDataset, TrainingScenesConfig, WorldScenesConfig

if TYPE_CHECKING:
    from hdmodel.training.batches import Sample, Samples


class FittedScenes:
    """Scenes with photos by number, brought to one size.

    Args:
        count: How many there are.
        read: Gives the scene of a number.
        size: Height and width in pixels.
        taxonomy: Of the scenes.
        fit_mode: See `pipeline.fit`.
        keep: Whether scenes stay in memory once they were read.
    """

    def __init__(
        self,
        count: int,
        read: Callable[[int], Scene],
        *,
        size: Size,
        taxonomy: Taxonomy,
        fit_mode: FitMode = "resize",
        keep: bool = False,
    ) -> None:
        self._count = count
        self._read = read
        self._size = size
        self._taxonomy = taxonomy
        self._fit_mode = fit_mode
        self._get = lru_cache(maxsize=None)(self._fitted) if keep else self._fitted

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> "Sample":
        return self._get(index)

    def _fitted(self, index: int) -> "Sample":
        scene = fit(self._read(index), self._size, self._fit_mode, self._taxonomy)
        if scene.photo is None:
            raise DatasetError(f"{scene.name}: has no photo")
        return scene.label, scene.instance, scene.photo


class WorldScenes:
    """The training and validation city of the sample world.

    Args:
        config: How many scenes, and their size.
        validation: How many scenes of the validation city.
    """

    def __init__(self, config: WorldScenesConfig, *, validation: int) -> None:
        self._config = config
        self._validation = validation
        self.taxonomy = Taxonomy.load(config.taxonomy)
        self.training_names: tuple[str, ...] = ()
        """Drawn scenes have no names outside the training."""

    def training(self, size: Size) -> "Samples":
        """Scenes to train on, drawn when first asked for and then kept."""
        return self._scenes(0, self._config.scenes, size)

    def validation(self, size: Size) -> "Samples":
        """Scenes of the other city."""
        from pipeline.sample_world.scene import VAL_START

        return self._scenes(VAL_START, self._validation, size)

    def _scenes(self, first: int, count: int, size: Size) -> "Samples":
        from pipeline.sample_world import draw_scene

        config = self._config
        height, width = config.size

        def draw(index: int) -> Scene:
            drawn = draw_scene(config.world_seed, first + index, height=height, width=width)
            return Scene(drawn.name, drawn.label, drawn.instance, drawn.photo)

        return FittedScenes(count, draw, size=size, taxonomy=self.taxonomy, keep=True)


class DatasetScenes:
    """The scenes of a dataset that have a photo.

    Args:
        config: The dataset.
        validation: How many scenes to measure on.

    Raises:
        DatasetError: The dataset cannot be used, or has no photos.
    """

    def __init__(self, config: TrainingDataset, *, validation: int) -> None:
        self._config = config
        self._source = open_source(config)
        self.taxonomy = self._source.taxonomy
        refs = _photos_of(self._source, config)
        if config.validation_split is None:
            kept = min(validation, len(refs) - 1)
            self._training, self._held_out = refs[: len(refs) - kept], refs[len(refs) - kept :]
            self._held_out_source = self._source
        else:
            whole = {"split": config.validation_split, "only": (), "without": (), "half": None}
            other = config.model_copy(update=whole)
            self._held_out_source = open_source(other)
            found = _photos_of(self._held_out_source, other, purpose="measure")
            step = max(1, len(found) // max(validation, 1))
            self._training, self._held_out = refs, found[::step][:validation]
        self.training_names = tuple(ref.name for ref in self._training)
        """Of the scenes to train on."""

    def training(self, size: Size) -> "Samples":
        """Scenes to train on, read when they are asked for."""
        return self._scenes(self._source, self._training, size)

    def validation(self, size: Size) -> "Samples":
        """Scenes of the validation split, evenly spread, or the last ones of the training split."""
        return self._scenes(self._held_out_source, self._held_out, size)

    def _scenes(self, source: Source, refs: Sequence[SceneRef], size: Size) -> "Samples":
        return FittedScenes(
            len(refs),
            lambda index: source.read(refs[index]),
            size=size,
            taxonomy=self.taxonomy,
            fit_mode=self._config.fit,
        )


def _photos_of(
    source: Source, config: TrainingDataset, *, purpose: str = "train"
) -> list[SceneRef]:
    split = f" in split {config.split!r}" if config.split else ""
    hint = "" if purpose == "train" else " (dataset.validation_split; null keeps some of the split)"
    missing = DatasetError(f"the dataset has no photos{split}, expected some to {purpose} on{hint}")
    return scenes_with_photos(source, otherwise=missing, where=f"{config.root}{split}")


def open_training_scenes(
    dataset: TrainingScenesConfig, *, validation: int
) -> WorldScenes | DatasetScenes:
    """Open the scenes that a training asks for, of a generator or a scorer.

    Args:
        dataset: Which scenes.
        validation: How many to measure on.

    Raises:
        DatasetError: The dataset cannot be used.
        ConfigError: Keys do not go together.
        TaxonomyError: There is no such taxonomy, or the data have another one.
    """
    if isinstance(dataset, WorldScenesConfig):
        return WorldScenes(dataset, validation=validation)
    return DatasetScenes(dataset, validation=validation)
