"""Levels of a picture, each half as large as the one below, with classes that never mix."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.exemplars.field import CLASS_STEP, NOWHERE, REACH, Canvas, Pixels

Classes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

ONE_PHOTO = 1 << 24
"""Rows to the next photo where there is none: more than any picture has."""
UNKNOWN = np.float32(-1000)
"""Colour of what nothing is known of: as far as can be from every other."""


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """A picture of one size."""

    colours: Pixels
    """Red, green, blue, 0..255, whole numbers, float32 [H, W, 3]."""
    classes: Classes
    """Class of each pixel, 0..C-1, int32 [H, W]; `NOWHERE` outside the picture."""
    known: Mask
    """The pixels whose colour is known, bool [H, W]."""
    wanted: Mask
    """The pixels to fill, bool [H, W]; none of them is known, and not all that are unknown."""
    copied: Mask
    """The pixels that may be copied, bool [H, W]; all of them are known."""
    slopes: Pixels
    """What a candidate of each class costs per pixel of distance, float32 [C]."""
    period: int = ONE_PHOTO
    """Rows from one photo to the next, of photos that lie below each other."""


def numbered(ids: npt.NDArray[np.int64], *, slope: float) -> tuple[Classes, Pixels]:
    """Class ids as numbers without gaps, as a level has them, and the same slope for each.

    Args:
        ids: Class ids, -1 outside the picture [H, W].
        slope: What a candidate costs per pixel of distance, a whole number.

    Returns:
        int32 [H, W] and float32 [C].
    """
    present = np.unique(ids[ids >= 0])
    table = np.full(int(present[-1]) + 2, NOWHERE, np.int32)
    table[present] = np.arange(len(present))
    return table[ids], np.full(len(present), slope, np.float32)


def coarser(level: Level) -> Level:
    """Half the size: the most frequent class of four pixels, and the mean of its known colours.

    Of classes that are equally frequent it takes that of the first pixel.

    Args:
        level: The finer level.
    """
    classes = _quarters(level.classes, outside=NOWHERE)
    votes = (classes[:, None] == classes).sum(axis=1) * (classes >= 0)
    chosen = np.take_along_axis(classes, votes.argmax(axis=0)[None], axis=0)[0]
    alike = classes == chosen
    seen = alike & _quarters(level.known)
    count = seen.sum(axis=0)
    total = (_quarters(level.colours) * seen[..., None]).sum(axis=0)
    known = count > 0
    return Level(
        colours=np.rint(total / np.maximum(count, 1).astype(np.float32)[..., None]),
        classes=chosen,
        known=known,
        wanted=(alike & _quarters(level.wanted)).any(axis=0) & ~known,
        copied=(alike & _quarters(level.copied)).any(axis=0),
        slopes=2 * level.slopes,
        period=-(-level.period // 2),
    )


def _quarters(plane: npt.NDArray[Any], *, outside: int = 0) -> npt.NDArray[Any]:
    """The four pixels of each square of 2x2, [4, ceil(H / 2), ceil(W / 2), ...]."""
    height, width = plane.shape[:2]
    odd = [(0, height % 2), (0, width % 2)] + [(0, 0)] * (plane.ndim - 2)
    even = np.pad(plane, odd, constant_values=outside)
    return np.stack([even[row::2, column::2] for row in (0, 1) for column in (0, 1)])


def canvas_of(level: Level) -> Canvas:
    """What is searched and filled of one level, with a border around it.

    Args:
        level: The picture.
    """
    height, width = level.classes.shape
    across = width + 2 * REACH
    classes = np.pad(level.classes, REACH, constant_values=NOWHERE).ravel()
    choices = np.where(np.pad(level.copied, REACH).ravel(), classes, NOWHERE).astype(np.int32)
    pixels = np.empty((height, width, 4), np.float32)
    pixels[..., :3] = np.where(level.known[..., None], level.colours, UNKNOWN)
    pixels[..., 3] = np.where(level.known, level.classes * CLASS_STEP, UNKNOWN)
    source = np.pad(pixels, ((REACH, REACH), (REACH, REACH), (0, 0)), mode="edge").reshape(-1, 4)
    source[classes == NOWHERE, 3] = UNKNOWN
    target = source.copy()
    # Past the frame the target goes on as it ends: every candidate is asked for the same there.
    pixels[..., 3] = level.classes * CLASS_STEP
    target[:, 3] = np.pad(pixels[..., 3], REACH, mode="edge").ravel()
    usable = np.flatnonzero(choices >= 0).astype(np.int32)
    members = usable[np.argsort(choices[usable], kind="stable")]
    counts = np.bincount(choices[members], minlength=int(classes.max()) + 1)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    hole = np.flatnonzero(np.pad(level.wanted, REACH).ravel()).astype(np.int32)
    hole = hole[counts[classes[hole]] > 0]
    return Canvas(
        source, target, classes, choices, members, starts, hole, level.slopes, across, level.period
    )
