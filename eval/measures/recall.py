"""Instance recall: which objects can be read in a photo.

Shape legend: K evaluated classes, H x W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.confusion import VOID
from pipeline.output.manifest import PIXEL_SOURCES
from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap

READABLE = 0.5
"""Share of an object's pixels that must be predicted as its class."""
SMALL, LARGE = 32**2, 96**2
"""Pixels up to which an object is small, and from which it is large, as in COCO."""
SIZES = ("small", "medium", "large")


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """How one object was read."""

    id: int
    """Its id in the instance map."""
    evaluated: int
    """Its evaluated class."""
    area: int
    """Its pixels at the size of scoring."""
    correct: int
    """Those of them that are predicted as its class."""
    origin: str
    """`source`, `moved`, `pasted` and so on as in the manifest, or `real`."""
    pixels: str = ""
    """Of composites: where most of its pixels come from; see `PIXEL_SOURCES`."""

    @property
    def readable(self) -> bool:
        """Whether it counts as found."""
        return self.correct >= READABLE * self.area

    @property
    def size(self) -> str:
        """One of `SIZES`."""
        return SIZES[int(self.area > SMALL) + int(self.area >= LARGE)]


def score_objects(
    target: npt.NDArray[np.uint8],
    instance: InstanceMap,
    prediction: npt.NDArray[np.uint8],
    *,
    origins: Mapping[int, str],
    default_origin: str,
    pixel_source: npt.NDArray[np.uint8] | None = None,
) -> list[ObjectScore]:
    """Score all single objects of evaluated classes in an image.

    Args:
        target: Evaluated classes or `VOID`, uint8 [H, W].
        instance: Instance ids in Cityscapes' encoding [H, W].
        prediction: Evaluated classes or `VOID`, uint8 [H, W].
        origins: Where objects come from, by id.
        default_origin: Where all others come from.
        pixel_source: Of composites: where pixels come from, uint8 [H, W].
    """
    single = (instance >= INSTANCES_PER_CLASS) & (target != VOID)
    ids, first, inverse, areas = np.unique(
        instance[single], return_index=True, return_inverse=True, return_counts=True
    )
    classes = target[single]
    right = np.bincount(inverse[classes == prediction[single]], minlength=len(ids))
    pixels = [""] * len(ids)
    if pixel_source is not None:
        kinds = len(PIXEL_SOURCES)
        cells = np.bincount(inverse * kinds + pixel_source[single], minlength=kinds * len(ids))
        pixels = [PIXEL_SOURCES[k] for k in cells.reshape(-1, kinds).argmax(axis=1)]
    return [
        ObjectScore(
            id=int(ids[k]),
            evaluated=int(classes[first[k]]),
            area=int(areas[k]),
            correct=int(right[k]),
            origin=origins.get(int(ids[k]), default_origin),
            pixels=pixels[k],
        )
        for k in range(len(ids))
    ]


@dataclass(frozen=True, slots=True)
class Recall:
    """How many of some objects can be read."""

    objects: int
    readable: int

    @property
    def value(self) -> float:
        """Share of the objects that can be read, 0..1; NaN if there are none."""
        return self.readable / self.objects if self.objects else float("nan")


def recall_by(
    keys: Sequence[str], readable: npt.NDArray[np.bool_], groups: Sequence[str] | None = None
) -> dict[str, Recall]:
    """Recall of groups of objects.

    Args:
        keys: The group of each object.
        readable: Whether each is readable, bool [objects].
        groups: Names of groups in the order wanted; those that occur, sorted, if not given.
    """
    names, inverse = np.unique(np.array(keys, np.str_), return_inverse=True)
    totals = np.bincount(inverse, minlength=len(names))
    found = np.bincount(inverse[readable], minlength=len(names))
    made = {
        str(name): Recall(int(total), int(good))
        for name, total, good in zip(names, totals, found, strict=True)
    }
    return made if groups is None else {name: made[name] for name in groups if name in made}
