"""Indexing: the records of the scenes of a job, which are checked with it, or of a dataset."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

from pipeline.errors import DatasetError
from pipeline.fit import FitMode, fit
from pipeline.indexing.record import SceneRecord, index_scene
from pipeline.scene import Scene
from pipeline.sources import Source
from pipeline.threads import map_in_threads

log = logging.getLogger("hdsynth.render")

MESSAGES_SHOWN = 5

T = TypeVar("T")


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


def index_scenes(
    source: Source, names: Sequence[str], *, size: tuple[int, int], mode: FitMode
) -> list[SceneRecord]:
    """Read and check scenes, and note what is where in them.

    Args:
        source: The dataset; photos are not read.
        names: The scenes of it.
        size: Height and width to which they are fitted.
        mode: How they are fitted.

    Raises:
        DatasetError: Files are unreadable or do not fit; the message names the first few.
    """

    def index(scene: Scene) -> SceneRecord:
        return index_scene(scene, source.taxonomy)

    records = list(measure_scenes(source, names, index, size=size, mode=mode))
    warn_without_objects(records)
    return records


def measure_scenes(
    source: Source,
    names: Sequence[str],
    measure: Callable[[Scene], T],
    *,
    size: tuple[int, int],
    mode: FitMode,
) -> Iterator[T]:
    """Read, check and fit scenes, and yield what is measured on them, in their order.

    What the user may not have meant is logged: nothing is left out or changed silently.

    Args:
        source: The dataset; photos are not read.
        names: The scenes of it.
        measure: Called with each fitted scene, in several threads.
        size: Height and width to which they are fitted.
        mode: How they are fitted.

    Raises:
        DatasetError: Files are unreadable or do not fit; raised after the last scene was read, the
            message names the first few.
    """
    warnings: list[str] = []
    sizes: set[tuple[int, int]] = set()

    def read(name: str) -> tuple[T] | str:
        try:
            reading = source.inspect(name, photo=False)
            warnings.extend(str(warning) for warning in reading.warnings)
            scene = reading.unwrap()
            sizes.add(scene.size)
            fitted = fit(scene, size, mode, taxonomy=source.taxonomy)
        except DatasetError as error:
            return str(error)
        return (measure(fitted),)

    errors: list[str] = []
    for result in map_in_threads(read, names, title="checking scenes"):
        if isinstance(result, str):
            errors.append(result)
        else:
            yield result[0]
    if errors:
        raise DatasetError(_first(errors))
    if warnings:
        log.warning("%s", _first(sorted(warnings)))
    if orphans := source.orphans:
        log.warning("%d files belong to no label map, such as %s", len(orphans), orphans[0])
    if sizes != {size}:
        _say_how_fitted(sizes, size, mode)


def _say_how_fitted(sizes: Collection[tuple[int, int]], size: tuple[int, int], mode: str) -> None:
    shown = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:MESSAGES_SHOWN])
    height, width = size
    stretched = mode == "resize" and any(h * width != w * height for h, w in sizes)
    log.info(
        "scenes of %s are brought to %dx%d by %s%s",
        shown,
        height,
        width,
        mode,
        ", which changes their aspect ratio (see --fit)" if stretched else "",
    )


def warn_without_objects(records: Sequence[SceneRecord]) -> None:
    """Log a warning if most edits have nothing to work on."""
    if not any(len(record.ids) for record in records):
        log.warning(
            "no scene has single objects, so none can be dropped, moved or pasted "
            "(--instances components finds them where there are no instance maps)"
        )


def _first(messages: Sequence[str]) -> str:
    more = len(messages) - MESSAGES_SHOWN
    shown = "\n  ".join(messages[:MESSAGES_SHOWN])
    return shown + (f"\n  and {more} more files" if more > 0 else "")
