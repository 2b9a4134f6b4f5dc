"""Sky lines: bringing the line between two classes to other rows.

A line is followed column by column; rows are counted from the top.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.editing.contours import CROWN, joined
from pipeline.editing.cutout import Mask
from pipeline.editing.roofs import HOUSE
from pipeline.editing.roughness import crowns, roughness

Columns = npt.NDArray[np.float64]

SLOPE = 1.2
"""Rows by which a shift of a sky line grows from one column to the next, at most."""
STEEPEST = 2.0
"""The same with the detail of crowns."""


@dataclass(frozen=True, slots=True, eq=False)
class SkyLine:
    """A line between two classes, column by column."""

    rows: npt.NDArray[np.intp]
    """The first row of the lower class; the picture's height where there is no line [W]."""
    before: npt.NDArray[np.intp]
    """The last row above that shows neither class; -1 for none [W]."""
    after: npt.NDArray[np.intp]
    """The first such row below; the picture's height for none [W]."""
    there: Mask
    """Where there is a line [W]."""

    @classmethod
    def of(
        cls, label: npt.NDArray[np.integer], upper: int, lower: int, *, through: Mask
    ) -> "SkyLine":
        """Follow a line.

        Args:
            label: Class ids [H, W].
            upper: The class above the line.
            lower: The class below it.
            through: What is narrow and may hide it, such as poles and specks of void [H, W].
        """
        height, width = label.shape
        seen = _looked_past(label, through, most=max(3, width // 64))
        is_upper, is_lower = seen == upper, seen == lower
        meets = is_upper[:-1] & is_lower[1:]
        there = meets.any(axis=0)
        line = np.where(there, meets.argmax(axis=0) + 1, height)
        rows, ends = np.arange(height)[:, None], ~(is_upper | is_lower)
        before = np.where(ends & (rows < line), rows, -1).max(axis=0)
        after = np.where(ends & (rows >= line), rows, height).min(axis=0)
        return cls(line, before, after, there)

    def reached(self, shift: Columns) -> Columns:
        """Shifts as far as nothing else is in the way, in rows [W]."""
        limited = np.clip(shift, self.before + 1 - self.rows, self.after - self.rows)
        found: Columns = np.where(self.there, limited, 0)
        return found


def crown_line(width: int, rng: np.random.Generator, *, unit: float) -> Columns:
    """The fine detail of a line of trees: rows by which it is higher or lower [W].

    Args:
        width: Of the line, in pixels.
        rng: Where the randomness comes from.
        unit: The picture's height in pixels.
    """
    size = CROWN * unit
    bumps = crowns((max(round(size), 1), width), rng, width=size).max(axis=0)
    line = size / 6 * roughness((1, width), rng, coarse=size)[0] - size / 2 * bumps
    centred: Columns = line - line.mean()
    return centred


def faded(shift: Columns, *, slope: float) -> Columns:
    """Shifts that grow no faster than by a slope from where they are smallest [W]."""
    columns = slope * np.arange(len(shift))
    size = np.abs(shift)
    from_left = np.minimum.accumulate(size - columns) + columns
    from_right = np.minimum.accumulate((size + columns)[::-1])[::-1] - columns
    limited: Columns = np.sign(shift) * np.minimum(from_left, from_right)
    return limited


def stepped(shift: Columns, wanted: Columns, rng: np.random.Generator, *, unit: float) -> Columns:
    """Shifts of roof lines: where they fall short of what is wanted, whole houses move alike.

    Args:
        shift: Faded shifts [W].
        wanted: Shifts as they were asked for [W].
        rng: Where the randomness comes from.
        unit: The picture's height in pixels.
    """
    shift, start = shift.copy(), 0
    short = np.abs(shift - wanted) > 0.5
    while start < len(shift):
        end = start + max(round(rng.uniform(HOUSE[0], 2 * HOUSE[0]) * unit), 1)
        house = shift[start:end]
        if short[start:end].any():
            house[:] = house[np.abs(house).argmin()]
        start = end
    return shift


def cut_off(was: Mask, now: Mask, open_before: Mask, open_now: Mask) -> Mask:
    """What a change cuts off: parts that were connected with what is open, and no longer are.

    Args:
        was: The pixels of a class before the change [H, W].
        now: Those after it [H, W].
        open_before: What is open before the change [H, W].
        open_now: What is open after it [H, W].
    """
    return joined(was & now, was & open_before) & ~joined(now, now & open_now)


def _looked_past(
    label: npt.NDArray[np.integer], through: Mask, *, most: int
) -> npt.NDArray[np.integer]:
    """A label map without what is narrow: its pixels get the class of the nearest one in their row.

    Args:
        label: Class ids [H, W].
        through: The pixels in question [H, W].
        most: As far as this the nearest one counts, in pixels.
    """
    width = label.shape[1]
    columns = np.arange(width, dtype=np.int32)
    left = np.maximum.accumulate(np.where(through, -width, columns), axis=1)
    right = np.minimum.accumulate(np.where(through, 2 * width, columns)[:, ::-1], axis=1)[:, ::-1]
    nearest = np.where(columns - left <= right - columns, left, right)
    nearest = np.where(np.abs(nearest - columns) <= most, nearest, columns)
    return np.take_along_axis(label, nearest, axis=1)
