"""Filling the hole an object leaves from the stuff around it."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.scene import LabelMap

MARGIN = 24
"""Least width, in pixels, of the surroundings looked at on each side of a hole."""
RUN_FRACTION = 1 / 64
"""Stuff narrower than this part of the picture's width (a pole, say) is not spread sideways."""

Mask = npt.NDArray[np.bool_]


def fill_hole(label: LabelMap, hole: Mask, *, surface: Mask) -> LabelMap | None:
    """Fill a hole in a label map, or return None where the map has nothing to fill it with.

    Street scenes are layered: a row of ground, wall or sky goes on behind an object. So each
    pixel takes the nearest surface left or right in its own row, skipping objects, void and
    narrow things such as poles; else the nearest one above or below; else the nearest of all.
    A majority vote among neighbours then evens out the seams inside the hole.

    Args:
        label: Class ids [H, W].
        hole: The pixels to fill, bool [H, W].
        surface: Which classes may fill, bool [num_classes].
    """
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    if not len(rows):
        return label
    height, width = label.shape
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    run = max(3, round(width * RUN_FRACTION))
    margin = max(MARGIN, 2 * run)
    down, across = max(margin, bottom - top), max(margin, right - left)
    around = (
        slice(max(top - down, 0), min(bottom + down, height)),
        slice(max(left - across, 0), min(right + across, width)),
    )
    filled = label.copy()
    window, missing = filled[around], hole[around].copy()
    usable = surface[window] & ~missing
    _fill_rows(window, missing, usable, run=run)
    _fill_rows(window.T, missing.T, usable.T, run=1)
    if missing.any():
        everywhere = surface[label] & ~hole
        if not everywhere.any():
            return None
        nearest = ndimage.distance_transform_edt(
            ~everywhere, return_distances=False, return_indices=True
        )
        window[missing] = label[tuple(nearest)][around][missing]
    _vote(window, hole[around], size=2 * (run // 4) + 3)
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


def _vote(window: LabelMap, hole: Mask, *, size: int) -> None:
    """Give each hole pixel the filling class that is most frequent in a square around it."""
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    inner = (
        slice(max(rows[0] - size, 0), rows[-1] + 1 + size),
        slice(max(columns[0] - size, 0), columns[-1] + 1 + size),
    )
    values, mask = window[inner], hole[inner]
    classes = np.unique(values[mask])
    if len(classes) == 1:
        return
    shares = np.stack(
        [ndimage.uniform_filter((values == c).astype(np.float32), size=size) for c in classes]
    )
    values[mask] = classes[shares.argmax(axis=0)[mask]]
