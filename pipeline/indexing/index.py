"""Indexing: the records of all scenes of a dataset, without a job."""

from pipeline.fit import FitMode, fit
from pipeline.indexing.record import SceneRecord, index_scene
from pipeline.sources import Source
from pipeline.threads import map_in_threads


def index_source(
    source: Source, *, size: tuple[int, int], mode: FitMode, limit: int | None = None
) -> list[SceneRecord]:
    """Measure the layout of a dataset's scenes.

    Args:
        source: Scenes; photos are not read.
        size: Height and width to which they are fitted.
        mode: How they are fitted.
        limit: Use at most so many scenes, spread evenly; all if none is given.

    Raises:
        DatasetError: A file cannot be used.
    """
    names = [ref.name for ref in source.scenes]
    if limit is not None and limit < len(names):
        names = [names[position * len(names) // limit] for position in range(limit)]

    def index(name: str) -> SceneRecord:
        scene = fit(source.read(name, photo=False), size, mode, taxonomy=source.taxonomy)
        return index_scene(scene, source.taxonomy)

    return list(map_in_threads(index, names, title="reading scenes"))
