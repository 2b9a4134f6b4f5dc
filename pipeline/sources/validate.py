"""Validation: everything that is wrong with a dataset, found without spending compute."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from pipeline.scene import INSTANCES_PER_CLASS
from pipeline.sources import Problem, SceneRef, Source
from pipeline.taxonomy import Taxonomy

log = logging.getLogger("hdsynth.validate")

MAX_THREADS = 8


@dataclass(frozen=True, slots=True, eq=False)
class SceneCheck:
    """What one scene holds, and what is wrong with it."""

    name: str
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    size: tuple[int, int] | None = None
    """Height and width in pixels; None if the scene could not be read."""
    has_photo: bool = False
    pixels: Counter[int] = field(default_factory=Counter)
    """Pixels of each class present."""
    objects: Counter[int] = field(default_factory=Counter)
    """Single objects of each class present."""


@dataclass(frozen=True, slots=True)
class ClassCount:
    """How often a class occurs in a dataset."""

    class_id: int
    name: str
    pixels: int
    scenes: int
    objects: int


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a validation."""

    taxonomy: str
    scenes: int
    """Scenes checked."""
    errors: tuple[Problem, ...]
    warnings: tuple[str, ...]
    classes: tuple[ClassCount, ...]
    """The classes that occur, by id."""
    absent: tuple[str, ...]
    """Names of the classes that do not occur."""
    void_share: float
    """Share of the pixels whose class is void."""
    sizes: tuple[tuple[int, int, int], ...]
    """Height, width and number of scenes of that size, most frequent first."""
    photos: int
    """Scenes with a photo."""
    orphans: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return not self.errors

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON-compatible data."""
        pixels = sum(c.pixels for c in self.classes)
        return {
            "ok": self.ok,
            "taxonomy": self.taxonomy,
            "scenes": self.scenes,
            "photos": self.photos,
            "void_share": self.void_share,
            "sizes": [
                {"height": height, "width": width, "scenes": count}
                for height, width, count in self.sizes
            ],
            "classes": [
                {
                    "id": c.class_id,
                    "name": c.name,
                    "pixels": c.pixels,
                    "share": c.pixels / pixels,
                    "scenes": c.scenes,
                    "objects": c.objects,
                }
                for c in self.classes
            ],
            "absent": list(self.absent),
            "orphans": list(self.orphans),
            "errors": [
                {
                    "file": e.file,
                    "kind": e.kind,
                    "message": e.message,
                    "values": [{"value": value, "pixels": count} for value, count in e.values],
                }
                for e in self.errors
            ],
            "warnings": list(self.warnings),
        }


def inspect_scene(source: Source, scene: str | SceneRef, *, photo: bool = True) -> SceneCheck:
    """Check one scene and count what it holds.

    Args:
        source: The dataset.
        scene: The scene's name or ref.
        photo: Whether to read the photo too, where there is one.

    Raises:
        DatasetError: There is no such scene.
    """
    reading = source.inspect(scene, photo=photo)
    name = scene if isinstance(scene, str) else scene.name
    if reading.scene is None:
        return SceneCheck(name, reading.errors, reading.warnings)
    found = reading.scene
    pixels = np.bincount(found.label.ravel())
    things = found.instance[found.instance >= INSTANCES_PER_CLASS]
    objects = Counter((np.unique(things) // INSTANCES_PER_CLASS).tolist())
    return SceneCheck(
        name=name,
        warnings=reading.warnings,
        size=found.size,
        has_photo=found.photo is not None,
        pixels=Counter(
            {class_id: int(pixels[class_id]) for class_id in pixels.nonzero()[0].tolist()}
        ),
        objects=objects,
    )


def validate(
    source: Source,
    *,
    photos: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Check a dataset: every file is read once, by several threads.

    Args:
        source: The dataset.
        photos: Whether photos are checked too.
        progress: Called with the number of scenes checked so far.
    """
    checks: dict[int, SceneCheck] = {}
    pending: dict[Future[SceneCheck], int] = {}
    todo = enumerate(source.scenes)
    threads = min(MAX_THREADS, 2 * (os.cpu_count() or 1))
    with ThreadPoolExecutor(max_workers=threads) as pool:
        while True:
            # Only a few at a time are handed in, so that an interrupt ends the reading.
            for position, scene in islice(todo, 2 * threads - len(pending)):
                pending[pool.submit(inspect_scene, source, scene, photo=photos)] = position
            if not pending:
                break
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                checks[pending.pop(future)] = future.result()
            if progress:
                progress(len(checks))
    return summarise(
        [checks[position] for position in sorted(checks)],
        taxonomy=source.taxonomy,
        orphans=source.orphans,
        photos_checked=photos,
    )


def summarise(
    checks: Sequence[SceneCheck],
    *,
    taxonomy: Taxonomy,
    orphans: Sequence[str] = (),
    photos_checked: bool = True,
) -> Report:
    """Add up the checks of scenes to a report.

    Args:
        checks: One per scene.
        taxonomy: The scenes' taxonomy.
        orphans: Files that belong to no scene.
        photos_checked: Whether a missing photo means that there is none.
    """
    pixels: Counter[int] = Counter()
    objects: Counter[int] = Counter()
    occurs: Counter[int] = Counter()
    for check in checks:
        pixels.update(check.pixels)
        objects.update(check.objects)
        occurs.update(check.pixels.keys())
    classes = tuple(
        ClassCount(c.id, c.name, pixels[c.id], occurs[c.id], objects[c.id])
        for c in taxonomy.classes
        if occurs[c.id]
    )
    void = sum(pixels[c.id] for c in taxonomy.classes if c.void)
    sizes = Counter(check.size for check in checks if check.size is not None)
    photos = sum(check.has_photo for check in checks)
    readable = sizes.total()
    warnings = [str(warning) for check in checks for warning in check.warnings]
    if len(sizes) > 1:
        warnings.append(
            f"scenes have {len(sizes)} different sizes; fit decides how they come to one"
        )
    if not objects and any(taxonomy.classes[class_id].is_thing for class_id in occurs):
        warnings.append(
            "no single objects: all things are crowd, so none can be edited; "
            "instances: components tells them apart by connected areas"
        )
    if photos_checked and 0 < photos < readable:
        warnings.append(f"{readable - photos} of {readable} scenes have no photo")
    if orphans:
        files = "1 file belongs" if len(orphans) == 1 else f"{len(orphans)} files belong"
        warnings.append(f"{files} to no label map, such as {orphans[0]}")
    return Report(
        taxonomy=taxonomy.name,
        scenes=len(checks),
        errors=tuple(error for check in checks for error in check.errors),
        warnings=tuple(warnings),
        classes=classes,
        absent=tuple(c.name for c in taxonomy.classes if not occurs[c.id]),
        void_share=void / max(1, pixels.total()),
        sizes=tuple((height, width, count) for (height, width), count in sizes.most_common()),
        photos=photos,
        orphans=tuple(orphans),
    )
