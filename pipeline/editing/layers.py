"""Layers: what lies above what beside a hole, and how it goes on from one side to the other.

A profile is the sequence of classes that a column of a street scene shows, from top to bottom:
sky, building, pavement, road. The profiles left and right of a hole are matched layer by layer, and
the border between two layers runs straight from where it ends at the left to where it ends at the
right.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.scene import LabelMap

Mask = npt.NDArray[np.bool_]

THIN = 0.2
"""What one side alone shows is left out if it has fewer rows than this part of the hole's width."""
THIN_GROUND = 0.05
"""The same for ground between other layers."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The layers at one side of a hole, from top to bottom."""

    classes: tuple[int, ...]
    """Class ids [n]."""
    tops: tuple[int, ...]
    """The first row of each, and the row after the last one [n + 1]."""

    @classmethod
    def of(cls, values: npt.NDArray[np.integer], *, least: int) -> "Profile":
        """The layers of a column of class ids [h]; those of fewer than `least` rows are merged."""
        starts = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist()]
        ends = [*starts[1:], len(values)]
        classes: list[int] = []
        tops: list[int] = []
        for start, end in zip(starts, ends, strict=True):
            value = int(values[start])
            if end - start >= least and (not classes or classes[-1] != value):
                classes.append(value)
                tops.append(start)
        if not classes:
            classes, tops = [int(values[0])], [0]
        tops[0] = 0
        return cls(tuple(classes), (*tops, len(values)))

    def without_slivers(self, doubtful: Mask, *, least: float) -> "Profile":
        """The profile without thin layers inside another one that may be of something else.

        Args:
            doubtful: The rows that were not seen at this side and at the other [h].
            least: Layers of as many rows stay.
        """
        layers = list(zip(self.classes, self.tops, self.tops[1:], strict=False))
        kept = [
            (class_id, start)
            for at, (class_id, start, end) in enumerate(layers)
            if not 0 < at < len(layers) - 1
            or layers[at - 1][0] != layers[at + 1][0]
            or end - start >= least
            or not doubtful[start:end].any()
        ]
        if len(kept) == len(layers):
            return self
        values = np.repeat(
            [class_id for class_id, _ in kept],
            np.diff([start for _, start in kept], append=self.tops[-1]),
        )
        return Profile.of(values, least=1)


@dataclass(frozen=True, slots=True)
class Border:
    """Where a layer begins, row by column: a line from left to right."""

    class_id: int
    left: int
    """Its row at the left side of the hole."""
    right: int
    """Its row at the right side."""
    side: int = 0
    """-1: the layer ends upright and lies at the left alone; 1: at the right alone; 0: it reaches
    across."""
    reach: int | None = None
    """How far from its side such a layer reaches at most; to the other layer that ends there if
    none."""


def match(left: Profile, right: Profile, *, ground: Mask, width: int) -> list[Border]:
    """The layers of a hole, from top to bottom: each is painted over the ones before.

    A layer that both sides show reaches across. One of ground that one side alone shows narrows
    to nothing at the other; anything else that one side alone shows ends upright.

    Args:
        left: The profile at the left.
        right: That at the right.
        ground: Which classes lie flat, bool [num_classes].
        width: Of the hole, in pixels; thin layers that one side alone shows are left out.
    """
    borders: list[Border] = []
    at = (0, 0)
    for pair in (*_pairs(left, right), (len(left.classes), len(right.classes))):
        lone = range(at[0], pair[0]), range(at[1], pair[1])
        end_right, end_left = _ground_row(right, lone[1], ground), left.tops[pair[0]]
        found = [
            *_lone(left, lone[0], end_right, side=-1, alone=not lone[1], ground=ground),
            *_lone(right, lone[1], end_left, side=1, alone=not lone[0], ground=ground),
        ]
        ends = pair[0] == len(left.classes)
        class_id = -1 if ends else left.classes[pair[0]]
        within = bool(borders) and borders[-1].class_id == class_id
        thick = [
            border
            for rows, border in found
            if rows >= width * (THIN_GROUND if ground[border.class_id] and not within else THIN)
        ]
        borders.extend(sorted(thick, key=lambda border: bool(ground[border.class_id])))
        if not ends:
            borders.append(Border(class_id, left.tops[pair[0]], right.tops[pair[1]]))
        at = (pair[0] + 1, pair[1] + 1)
    return borders or [Border(left.classes[0], 0, 0)]


def _ground_row(profile: Profile, layers: range, ground: Mask) -> int:
    """The row at which the first of some layers that lies flat begins; else where they end."""
    flat = (layer for layer in layers if ground[profile.classes[layer]])
    return profile.tops[next(flat, layers.stop)]


def _lone(
    profile: Profile, layers: range, end: int, *, side: int, alone: bool, ground: Mask
) -> Iterator[tuple[int, Border]]:
    """The rows and the borders of layers that one side alone shows.

    Args:
        profile: Of that side.
        layers: Which of them.
        end: The row at the other side at which those that lie flat end.
        side: -1 for the left, 1 for the right.
        alone: Whether the other side shows nothing between the same neighbours.
        ground: Which classes lie flat, bool [num_classes].
    """
    for layer in layers:
        class_id, top = profile.classes[layer], profile.tops[layer]
        rows = profile.tops[layer + 1] - top
        if ground[class_id]:
            yield rows, Border(class_id, *((top, end) if side < 0 else (end, top)))
        else:
            yield rows, Border(class_id, top, top, side, rows // 2 if alone else None)


def _pairs(left: Profile, right: Profile) -> list[tuple[int, int]]:
    """The layers that are the same on both sides, in order: those that overlap most."""
    rows, columns = len(left.classes), len(right.classes)
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    gains = [[_gain(left, right, i, j) for j in range(columns)] for i in range(rows)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], gains[i][j] + best[i + 1][j + 1])
    found, i, j = [], 0, 0
    while i < rows and j < columns:
        if gains[i][j] and best[i][j] == gains[i][j] + best[i + 1][j + 1]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return found


def _gain(left: Profile, right: Profile, i: int, j: int) -> float:
    """How well two layers match: 0 for different classes, more the more rows they share."""
    if left.classes[i] != right.classes[j]:
        return 0.0
    tops = left.tops[i], right.tops[j]
    ends = left.tops[i + 1], right.tops[j + 1]
    return 1.0 + max(min(ends) - max(tops), 0)


def paint(
    borders: Sequence[Border],
    shape: tuple[int, int],
    *,
    left: npt.NDArray[np.integer],
    right: npt.NDArray[np.integer],
    split: int,
    dtype: npt.DTypeLike,
) -> LabelMap:
    """The box of a hole, filled with layers.

    Args:
        borders: Of the layers, from top to bottom.
        shape: Height and width of the box.
        left: The column at which each row shows the profile at the left, from the box's left
            edge on, so below 0 [H].
        right: The same at the right [H].
        split: The column at which what one side alone shows ends upright, if it reaches so far.
        dtype: Of the class ids.

    Returns:
        Class ids [H, W].
    """
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])
    filled = np.full(shape, borders[0].class_id, dtype)
    for border in borders:
        start = left[min(border.left, shape[0] - 1)]
        end = right[min(border.right, shape[0] - 1)]
        share = np.clip((columns - start) / max(int(end - start), 1), 0, 1)
        line = np.rint(border.left + share * (border.right - border.left)).astype(np.intp)
        reach = shape[1] if border.reach is None else border.reach
        if border.side < 0:
            line[min(split, max(int(start), 0) + reach) :] = shape[0]
        elif border.side > 0:
            line[: max(split, min(int(end), shape[1]) - reach)] = shape[0]
        filled[rows >= line] = border.class_id
    return filled
