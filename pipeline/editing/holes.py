"""Filling the hole an object leaves from the stuff around it."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.editing.boxes import Box
from pipeline.scene import LabelMap

MARGIN = 24
"""Least width, in pixels, of the surroundings looked at on each side of a hole."""
RUN_FRACTION = 1 / 64
"""Stuff narrower than this part of the picture's width (a pole, say) is not spread sideways."""

Mask = npt.NDArray[np.bool_]


def fill_hole(label: LabelMap, box: Box, hole: Mask, *, surface: Mask) -> LabelMap | None:
    """What would be behind a hole in a label map; None where the map has nothing to fill it with.

    Street scenes are layered: a row of ground, wall or sky goes on behind an object. So each
    pixel takes the nearest surface left or right in its own row, skipping objects, void and
    narrow things such as poles; else the nearest one above or below; else the nearest of all.
    A majority vote among neighbours then evens out the seams inside the hole.

    Args:
        label: Class ids [H, W]; not modified.
        box: Top, left, bottom, right of the hole in pixels; bottom and right are exclusive.
        hole: The pixels to fill, bool [h, w], as large as the box.
        surface: Which classes may fill, bool [num_classes].

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
    _fill_rows(window, missing, usable, run=run)
    _fill_rows(window.T, missing.T, usable.T, run=1)
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
    _vote(window, inner, hole, size=2 * (run // 4) + 3)
    filled: LabelMap = window[inner]
    return filled


def _fill_rows(window: LabelMap, missing: Mask, usable: Mask, *, run: int) -> None:
    """Fill in place from the nearest runs of at least `run` equal usable pixels in each row."""
    rows = np.flatnonzero(missing.any(axis=1))
    if not len(rows):
        return
    values, holes, sources = window[rows], missing[rows], usable[rows]
    left = _last_source(values, sources, run)
    right = values.shape[1] - 1 - _last_source(values[:, ::-1], sources[:, ::-1], run)[:, ::-1]
    columns = np.arange(values.shape[1], dtype=np.int32)
    has_left, has_right = left >= 0, right < values.shape[1]
    take_left = has_left & (~has_right | (columns - left <= right - columns))
    chosen = np.where(take_left, left, right)
    ready = holes & (has_left | has_right)
    line, column = np.nonzero(ready)
    values[line, column] = values[line, chosen[line, column]]
    window[rows] = values
    missing[rows] = holes & ~ready
    usable[rows] = sources | ready


def _last_source(values: LabelMap, usable: Mask, run: int) -> npt.NDArray[np.int32]:
    """The column of the last usable run's end at or before each pixel; -1 where there is none."""
    columns = np.arange(values.shape[1], dtype=np.int32)
    ends = usable
    if run > 1:
        starts = np.ones(values.shape, np.bool_)
        starts[:, 1:] = (values[:, 1:] != values[:, :-1]) | (usable[:, 1:] != usable[:, :-1])
        length = columns - np.maximum.accumulate(np.where(starts, columns, np.int32(0)), axis=1) + 1
        ends = usable & (length >= run)
    return np.maximum.accumulate(np.where(ends, columns, np.int32(-1)), axis=1)


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
