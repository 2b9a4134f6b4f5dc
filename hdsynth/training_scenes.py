"""The scenes a generator is trained on: of the sample world, or of a dataset."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from hdmodel.errors import ConfigError
from hdmodel.train_config import SAMPLE_WORLD, TrainingData
from pipeline.errors import DatasetError
from pipeline.fit import fit
from pipeline.sources.config import DatasetConfig
from pipeline.sources.layouts import LAYOUTS
from pipeline.sources.opening import open_source
from pipeline.sources.source import Source
from pipeline.taxonomy import Taxonomy

if TYPE_CHECKING:
    from hdmodel.batches import Sample, Samples

WORLD_TAXONOMY = "cityscapes"


class WorldScenes:
    """Scenes of the sample world's training city, drawn when first asked for and then kept.

    Args:
        count: How many scenes.
        size: Their height and width in pixels.
        seed: Of the world.
    """

    def __init__(self, count: int, *, size: tuple[int, int], seed: int) -> None:
        self._count = count
        self._size = size
        self._seed = seed
        self._drawn = lru_cache(maxsize=None)(self._draw)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> "Sample":
        return self._drawn(index)

    def _draw(self, index: int) -> "Sample":
        from pipeline.sample_world import draw_scene

        height, width = self._size
        scene = draw_scene(self._seed, index, height=height, width=width)
        return scene.label, scene.instance, scene.photo


class DatasetScenes:
    """The scenes of a dataset that have a photo, brought to one size.

    Args:
        source: The dataset.
        size: Height and width in pixels.

    Raises:
        DatasetError: No scene has a photo.
    """

    def __init__(self, source: Source, *, size: tuple[int, int]) -> None:
        self._source = source
        self._size = size
        self._refs = [ref for ref in source.scenes if ref.photo is not None]
        if not self._refs:
            raise DatasetError("the dataset has no photos, expected some to train on")

    def __len__(self) -> int:
        return len(self._refs)

    def __getitem__(self, index: int) -> "Sample":
        scene = fit(
            self._source.read(self._refs[index]), self._size, "resize", self._source.taxonomy
        )
        if scene.photo is None:
            raise DatasetError(f"{scene.name}: has no photo")
        return scene.label, scene.instance, scene.photo


def open_training_scenes(data: TrainingData, *, seed: int) -> "tuple[Samples, Taxonomy]":
    """The training set that a configuration asks for, and its taxonomy.

    Args:
        data: The `dataset` part of a training configuration.
        seed: Of the sample world; not read for datasets.

    Raises:
        ConfigError: A key is missing or does not go with the format.
        DatasetError: The dataset cannot be used.
        TaxonomyError: There is no such taxonomy.
    """
    if data.format == SAMPLE_WORLD:
        if data.taxonomy != WORLD_TAXONOMY:
            raise ConfigError(
                f"dataset.taxonomy is {data.taxonomy!r}, expected {WORLD_TAXONOMY!r}: "
                "the sample world has no other classes"
            )
        if data.root is not None:
            raise ConfigError(
                f"dataset.root is {data.root!r}, but dataset.format is {SAMPLE_WORLD!r}, which "
                "reads no folder; for your own dataset add --set dataset.format=cityscapes, say"
            )
        world = WorldScenes(data.scenes, size=data.size, seed=seed)
        return world, Taxonomy.load(data.taxonomy)
    if data.root is None:
        raise ConfigError(
            f"dataset.root is missing: where does the {data.format} dataset lie? "
            "(--dataset DIR or --set dataset.root=DIR)"
        )
    layout = LAYOUTS.get(data.format)
    if layout is not None and layout.taxonomy not in (None, data.taxonomy):
        raise ConfigError(
            f"dataset.taxonomy is {data.taxonomy!r}, but the files of format {data.format!r} hold "
            f"classes of {layout.taxonomy!r}; add --set dataset.taxonomy={layout.taxonomy}"
        )
    keys: Mapping[str, str] = {
        "root": data.root,
        "format": data.format,
        "split": data.split,
        "taxonomy": data.taxonomy,
    }
    source = open_source(DatasetConfig.parse(keys, origin="dataset"))
    return DatasetScenes(source, size=data.size), source.taxonomy
