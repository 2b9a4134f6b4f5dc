"""Spacing: how boxes of objects cover each other, and how far apart they are."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

SIMILAR_DEPTH = 0.15
"""Objects are neighbours if their contact rows differ by less than this part of the way from the
horizon."""

BEHIND = 0.6
"""A box is behind another one, and not beside it, if they share this part of the narrower one's
columns."""

BLOCK = 256
"""Boxes that are compared with all others at a time."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Boxes = npt.NDArray[np.integer] | npt.NDArray[np.float64]


def hidden_shares(boxes: Boxes, others: Boxes) -> Floats:
    """The share of each box [m, 4] that the boxes of nearer objects [n, 4] cover, at most 1."""
    return _in_blocks(lambda part: _hidden_shares(part, others), boxes)


def _hidden_shares(boxes: Boxes, others: Boxes) -> Floats:
    nearer = others[None, :, 2] > boxes[:, None, 2]
    covered: Floats = np.where(nearer, overlaps(boxes, others), 0).sum(axis=1) / box_areas(boxes)
    return np.minimum(covered, 1)


def nearest_gaps(boxes: Boxes, others: Boxes, *, horizon: float) -> Floats:
    """Columns from each box [m, 4] to the nearest other [n, 4] of similar depth, in own widths.

    Negative where they overlap, NaN where there is none. A box that is in both is not its own
    neighbour.
    """
    return _in_blocks(lambda part: _nearest_gaps(part, others, horizon=horizon), boxes)


def _nearest_gaps(boxes: Boxes, others: Boxes, *, horizon: float) -> Floats:
    depths, other_depths = (np.maximum(b[:, 2] - horizon, 1e-9) for b in (boxes, others))
    similar = np.abs(other_depths - depths[:, None]) < SIMILAR_DEPTH * depths[:, None]
    similar &= (boxes[:, None] != others[None]).any(axis=2)
    between = np.maximum(
        others[None, :, 1] - boxes[:, None, 3], boxes[:, None, 1] - others[None, :, 3]
    )
    nearest = np.where(similar, between, np.inf).min(axis=1, initial=np.inf)
    gaps: Floats = nearest / (boxes[:, 3] - boxes[:, 1])
    return np.where(np.isfinite(gaps), gaps, np.nan)


def overlaps(boxes: Boxes, others: Boxes) -> Floats:
    """Area that each box [m, 4] shares with each other one [n, 4], as [m, n]."""
    top, left, bottom, right = (side[:, None] for side in boxes.T)
    tall = np.minimum(bottom, others[:, 2]) - np.maximum(top, others[:, 0])
    wide = np.minimum(right, others[:, 3]) - np.maximum(left, others[:, 1])
    shared: Floats = np.maximum(tall, 0) * np.maximum(wide, 0)
    return shared


def box_areas(boxes: Boxes) -> Floats:
    """The area of each box [n, 4]."""
    areas: Floats = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def rooms_behind(nearer: Boxes, others: Boxes, *, horizon: float, width: int) -> Floats:
    """How far boxes [n, 4] are behind nearer ones [m, 4] that they share most columns with.

    As k in: distance = nearer distance x (1 + k x a / width), where a is how far the nearer one's
    lower edge is below the horizon. What a length on the road takes is the same k everywhere.
    Infinite for boxes that are not nearer, or beside each other [m, n].
    """
    shared = np.minimum(nearer[:, None, 3], others[:, 3]) - np.maximum(
        nearer[:, None, 1], others[:, 1]
    )
    narrower = np.minimum((nearer[:, 3] - nearer[:, 1])[:, None], others[:, 3] - others[:, 1])
    above = np.maximum(nearer[:, None, 2] - horizon, 1e-9)
    ratio = above / np.maximum(others[:, 2] - horizon, 1e-9)
    before = (ratio > 1) & (shared >= BEHIND * narrower)
    rooms: Floats = np.where(before, (ratio - 1) * width / above, np.inf)
    return rooms


def united(boxes: Boxes, others: Boxes) -> Boxes:
    """The box around each box [n, 4] and the other one beside it [n, 4]."""
    low = np.minimum(boxes[:, :2], others[:, :2])
    return np.concatenate([low, np.maximum(boxes[:, 2:], others[:, 2:])], axis=1)


def moved_with(box: Integers, before: Integers, after: Integers, *, flip: bool) -> Integers:
    """Where a box [4] comes to lie when one around it [4] becomes another one [4].

    Args:
        box: Top, left, bottom, right in pixels.
        before: The one around it, before.
        after: The same, then.
        flip: Whether it is mirrored.
    """
    offset = (box - before[[0, 1, 0, 1]]).astype(np.float64)
    if flip:
        wide = before[3] - before[1]
        offset[[1, 3]] = wide - offset[[3, 1]]
    scales = (after[2:] - after[:2]) / (before[2:] - before[:2])
    moved: Integers = np.rint(offset * scales[[0, 1, 0, 1]]).astype(np.int64)
    return moved + after[[0, 1, 0, 1]]


def _in_blocks(measure: Callable[[Boxes], Floats], boxes: Boxes) -> Floats:
    """What a measure says of boxes [m, 4], some at a time: memory grows with one side only."""
    if len(boxes) <= BLOCK:
        return measure(boxes)
    return np.concatenate(
        [measure(boxes[start : start + BLOCK]) for start in range(0, len(boxes), BLOCK)]
    )
