"""Filling the hole an object leaves from the stuff around it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.editing.boxes import Box
from pipeline.editing.layers import THIN, Border, Profile, match, paint
from pipeline.scene import LabelMap

MARGIN = 24
"""Least width, in pixels, of the surroundings looked at on each side of a hole."""
RUN_FRACTION = 1 / 64
"""Stuff narrower than this part of the picture's width (a pole, say) is not spread sideways."""
HANG = 0.5
"""What is above a hole comes down in it by this part of the distance to the surfaces at its sides,
less a part of the hole's width."""
SIDES_FIRST = 0.15
"""That part."""

Mask = npt.NDArray[np.bool_]


def fill_hole(
    label: LabelMap, box: Box, hole: Mask, *, surface: Mask, ground: Mask
) -> LabelMap | None:
    """What would be behind a hole in a label map; None where the map has nothing to fill it with.

    Street scenes are layered: ground, wall and sky go on behind an object. So the surfaces left
    and right of the hole, row by row and past objects, void and narrow things such as poles, are
    matched to layers that reach straight across; what stands comes down from above where it is
    nearer. Where a row has no surface at either side, the nearest one above or below fills, else
    the nearest of all. A majority vote among neighbours then evens out the seams inside the hole.

    Args:
        label: Class ids [H, W]; not modified.
        box: Top, left, bottom, right of the hole in pixels; bottom and right are exclusive.
        hole: The pixels to fill, bool [h, w], as large as the box.
        surface: Which classes may fill, bool [num_classes].
        ground: Which of them lie flat, bool [num_classes].

    Returns:
        Class ids [h, w] of the box; those outside the hole are the map's own.
    """
    top, left, bottom, right = box
    run = max(3, round(label.shape[1] * RUN_FRACTION))
    margin = max(MARGIN, 2 * run)
    down, across = max(margin, bottom - top), max(margin, right - left)
    first_row, first_column = max(top - down, 0), max(left - across, 0)
    window = label[first_row : bottom + down, first_column : right + across].copy()
    inner = (
        slice(top - first_row, bottom - first_row),
        slice(left - first_column, right - first_column),
    )
    missing = np.zeros(window.shape, np.bool_)
    missing[inner] = hole
    usable = surface[window] & ~missing
    _fill_layers(window, missing, usable, inner, ground=ground, run=run)
    _fill_columns(window, missing, usable)
    if missing.any():
        everywhere = surface[label]
        everywhere[top:bottom, left:right] &= ~hole
        if not everywhere.any():
            return None
        rows, columns = ndimage.distance_transform_edt(
            ~everywhere, return_distances=False, return_indices=True
        )
        left_over = np.nonzero(missing)
        at = (left_over[0] + first_row, left_over[1] + first_column)
        window[left_over] = label[rows[at], columns[at]]
    _vote(window, inner, hole, size=2 * (run // 8) + 3)
    filled: LabelMap = window[inner]
    return filled


def _fill_layers(
    window: LabelMap,
    missing: Mask,
    usable: Mask,
    inner: tuple[slice, slice],
    *,
    ground: Mask,
    run: int,
) -> None:
    """Fill in place with the layers that reach from the left to the right of the hole.

    Rows without a run of at least `run` equal usable pixels at either side stay missing.

    Args:
        window: Class ids [H, W].
        missing: The pixels to fill [H, W].
        usable: Which pixels are surfaces that may fill [H, W].
        inner: The rows and columns of the hole.
        ground: Which classes lie flat [num_classes].
        run: In pixels.
    """
    rows, columns = inner
    around = (rows.stop - rows.start) // 4 + MARGIN // 2
    span = slice(max(rows.start - around, 0), rows.stop + around)
    values, holes = window[span], missing[span, columns]
    sides = _Sides.of(values, usable[span], holes, columns.start, run=run)
    sided = sides.known & holes.any(axis=1)
    if not sided.any():
        return
    above = _above(values[:, columns], usable[span, columns], holes)
    borders = [
        replace(border, reach=None) if border.class_id in above else border
        for border in match(*sides.profiles, ground=ground, width=holes.shape[1])
    ]
    filled = paint(
        borders,
        holes.shape,
        left=sides.left,
        right=sides.right,
        split=_split(borders, above),
        dtype=window.dtype,
    )
    nearest = int(sides.left[sided].max()), int(sides.right[sided].min())
    _hang(filled, holes, above, sides=nearest, ground=ground)
    _see_through(filled, values, holes, sides, columns.start)
    ready = holes & sided[:, None]
    values[:, columns][ready] = filled[ready]
    missing[span, columns] &= ~ready
    usable[span, columns] |= ready


@dataclass(frozen=True, slots=True, eq=False)
class _Sides:
    """The surfaces left and right of a hole, in its rows and in those around it.

    Columns are counted from the leftmost of the hole, so those at the left are below 0.
    """

    before: npt.NDArray[np.int32]
    """The column of the last surface at or before each pixel of the hole's box [h, w]."""
    after: npt.NDArray[np.int32]
    """The column of the next one at or after it [h, w]."""
    left: npt.NDArray[np.int32]
    """The column of the surface left of the whole hole [h]."""
    right: npt.NDArray[np.int32]
    """The column of that right of it [h]."""
    known: Mask
    """Which rows have a surface at either side [h]."""
    profiles: tuple[Profile, Profile]
    """What is there: at the left, at the right."""

    @classmethod
    def of(
        cls, values: LabelMap, usable: Mask, holes: Mask, first_column: int, *, run: int
    ) -> "_Sides":
        """Look at both sides; rows above and below the hole do so from where the next row of it is.

        Args:
            values: Class ids [h, W].
            usable: Which pixels are surfaces that may fill [h, W].
            holes: The hole in its box [h, w].
            first_column: The box's leftmost column.
            run: Narrower surfaces do not count, in pixels.
        """
        height, width = values.shape
        columns = slice(first_column, first_column + holes.shape[1])
        before, after = (found[:, columns] for found in _sources(values, usable, run))
        rows = np.flatnonzero(holes.any(axis=1))
        nearest = rows[np.searchsorted(rows[1:], np.arange(height))]
        lines = np.arange(height)
        left = before[lines, holes.argmax(axis=1)[nearest]]
        right = after[lines, holes.shape[1] - 1 - holes[:, ::-1].argmax(axis=1)[nearest]]
        has_left, has_right = left >= 0, right < width
        left, right = np.maximum(left, 0), np.minimum(right, width - 1)
        one, other = values[lines, left], values[lines, right]
        known = has_left | has_right
        doubtful, thin = ~(has_left & has_right), THIN * holes.shape[1]
        at_left, at_right = (
            Profile.of(_completed(side, known), least=max(2, run // 4)).without_slivers(
                doubtful, least=thin
            )
            for side in (np.where(has_left, one, other), np.where(has_right, other, one))
        )
        return cls(
            before - first_column,
            after - first_column,
            left - first_column,
            right - first_column,
            known,
            (at_left, at_right),
        )


def _completed(side: LabelMap, known: Mask) -> LabelMap:
    """A column of class ids with what the nearest known row shows where it is not known [h]."""
    rows = np.flatnonzero(known)
    if not len(rows):
        return side
    middles = (rows[1:] + rows[:-1]) / 2
    completed: LabelMap = side[rows[np.searchsorted(middles, np.arange(len(side)))]]
    return completed


def _above(values: LabelMap, usable: Mask, holes: Mask) -> npt.NDArray[np.int32]:
    """The class right above the hole in each column; -1 where none is or it may not fill [w]."""
    columns = np.arange(holes.shape[1])
    before = holes.argmax(axis=0) - 1
    there = (before >= 0) & usable[before, columns]
    return np.where(there, values[before, columns].astype(np.int32), np.int32(-1))


def _split(borders: Sequence[Border], above: npt.NDArray[np.int32]) -> int:
    """The column at which what stands at one side alone ends: where it ends above the hole too."""
    lone = {side: [b.class_id for b in borders if b.side == side] for side in (-1, 1)}
    votes = np.isin(above, lone[-1]).astype(int) - np.isin(above, lone[1])
    gains = np.concatenate([[0], np.cumsum(votes)])
    best = np.flatnonzero(gains == gains.max())
    return int(best[np.abs(best - len(above) // 2).argmin()])


def _hang(
    filled: LabelMap,
    holes: Mask,
    above: npt.NDArray[np.int32],
    *,
    sides: tuple[int, int],
    ground: Mask,
) -> None:
    """Let what stands or hangs above the hole come down in place where the sides are farther.

    Args:
        filled: Class ids [h, w].
        holes: The hole [h, w].
        above: The class right above it; -1 for none [w].
        sides: The columns of the nearest surfaces at its left and right.
        ground: Which classes lie flat, bool [num_classes].
    """
    columns = np.arange(len(above))
    nearer = np.minimum(columns - sides[0], sides[1] - columns)
    depth = np.where((above >= 0) & ~ground[above], HANG * nearer - SIDES_FIRST * len(above), 0)
    reach = holes.argmax(axis=0) + np.maximum(depth, 0)
    if not (depth > 0).any():
        return
    down = holes & ~ground[filled] & (np.arange(len(holes))[:, None] < reach)
    filled[down] = np.broadcast_to(above, filled.shape)[down]


def _see_through(
    filled: LabelMap, values: LabelMap, holes: Mask, sides: _Sides, first_column: int
) -> None:
    """Between a part of the hole and what is seen through it, take the nearer side in place."""
    before, after = sides.before, sides.after
    through = holes & ((before > sides.left[:, None]) | (after < sides.right[:, None]))
    line, column = np.nonzero(through)
    one, other = before[line, column], after[line, column]
    there = (one + first_column >= 0) & (other + first_column < values.shape[1])
    line, column, one, other = (found[there] for found in (line, column, one, other))
    chosen = np.where(column - one <= other - column, one, other)
    filled[line, column] = values[line, chosen + first_column]


def _fill_columns(window: LabelMap, missing: Mask, usable: Mask) -> None:
    """Fill in place from the nearest usable pixel above or below in each column."""
    columns = np.flatnonzero(missing.any(axis=0))
    if not len(columns):
        return
    values, holes, sources = window[:, columns].T, missing[:, columns].T, usable[:, columns].T
    above, below = _sources(values, sources, 1)
    rows = np.arange(values.shape[1], dtype=np.int32)
    has_above, has_below = above >= 0, below < values.shape[1]
    take_above = has_above & (~has_below | (rows - above <= below - rows))
    chosen = np.where(take_above, above, below)
    ready = holes & (has_above | has_below)
    column, row = np.nonzero(ready)
    filled = values[column, chosen[column, row]]
    window[row, columns[column]] = filled
    missing[row, columns[column]] = False


def _sources(
    values: LabelMap, usable: Mask, run: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The columns of the last and of the next pixel of a usable run, from each pixel on [H, W].

    Args:
        values: Class ids [H, W].
        usable: Which pixels count [H, W].
        run: Only runs of at least so many equal pixels count.

    Returns:
        The column at or before each pixel, -1 where there is none; that at or after it, else W.
    """
    height, width = values.shape
    columns = np.arange(width, dtype=np.int32)
    counts = usable
    if run > 1:
        starts = np.ones(values.shape, np.bool_)
        starts[:, 1:] = (values[:, 1:] != values[:, :-1]) | (usable[:, 1:] != usable[:, :-1])
        places = np.flatnonzero(starts)
        lengths = np.diff(places, append=height * width)
        counts = usable & np.repeat(lengths >= run, lengths).reshape(height, width)
    before = np.maximum.accumulate(np.where(counts, columns, np.int32(-1)), axis=1)
    after = np.where(counts, columns, np.int32(width))[:, ::-1]
    return before, np.minimum.accumulate(after, axis=1)[:, ::-1]


def _vote(window: LabelMap, inner: tuple[slice, slice], hole: Mask, *, size: int) -> None:
    """Give each hole pixel the filling class that is most frequent in a square around it."""
    classes = np.unique(window[inner][hole])
    if len(classes) == 1:
        return
    down, across = inner
    first_row, first_column = max(down.start - size, 0), max(across.start - size, 0)
    values = window[first_row : down.stop + size, first_column : across.stop + size]
    within = (
        slice(down.start - first_row, down.stop - first_row),
        slice(across.start - first_column, across.stop - first_column),
    )
    shares = np.stack(
        [
            ndimage.uniform_filter((values == c).astype(np.float32), size=size)[within]
            for c in classes
        ]
    )
    values[within][hole] = classes[shares.argmax(axis=0)[hole]]
