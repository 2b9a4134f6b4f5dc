"""Coarse shapes of a sample's objects, kept up with its edits, and what they hide of each other."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pipeline.editing.program import Duplicate, Flip, Operation, Paste, Replace
from pipeline.indexing.record import GRID, SILHOUETTE, SceneRecord, grid_cells, unpacked_silhouettes
from pipeline.roles import ClassRoles

Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.integer]
Values = npt.NDArray[np.float64]

CENTRES = tuple((np.arange(cells) + 0.5) / cells for cells in SILHOUETTE)
"""Where the cells of a silhouette lie, as parts of its box: rows and columns."""
ALWAYS = np.iinfo(np.int32).max
"""Lowest row of what stands before everything."""
UNKNOWN = np.full(SILHOUETTE[0] * SILHOUETTE[1] // 8, 255, np.uint8)
"""The packed silhouette of a donor of which none is known: it counts as filling its box."""


class Shapes:
    """The silhouettes of the objects of one sample, in the order in which they came to be.

    Args:
        record: The scene before the edits.
        donors: The packed silhouettes of what may be pasted, by scene and instance id.
        roles: Of the classes.
    """

    def __init__(
        self,
        record: SceneRecord,
        donors: Mapping[tuple[str, int], npt.NDArray[np.uint8]],
        roles: ClassRoles,
    ) -> None:
        self._record, self._donors, self._roles = record, donors, roles
        self._cells = _filled(unpacked_silhouettes(record.silhouettes))
        self._lowest: Integers | None = None
        """How far down void and poles reach, once it was asked for."""
        self._forget()

    def _forget(self) -> None:
        """Forget what is known of hidden parts."""
        self._layout: Integers = np.zeros((0, 6), np.int64)
        """Boxes, `present` and `fresh` of which the following is known [n, 6]."""
        self._covered: Flags = np.zeros((0, *SILHOUETTE), np.bool_)
        """The cells of each object's box that something covers [n, *SILHOUETTE]."""
        self._part: Values = np.zeros(0)
        """How much of each object that is [n]."""

    def follow(self, operation: Operation) -> None:
        """Note what an edit does to the shapes."""
        match operation:
            case Flip():
                for instance in (operation.instance, *operation.along):
                    index = self._index(instance)
                    self._cells[index] = self._cells[index, :, ::-1]
                self._forget()
            case Duplicate():
                for instance in (operation.instance, *operation.along):
                    self._add(self._cells[self._index(instance)], flip=operation.flip)
            case Paste() | Replace():
                for instance in (operation.donor_instance, *operation.donor_along):
                    packed = self._donors.get((operation.donor, instance), UNKNOWN)
                    cells = _filled(unpacked_silhouettes(packed[None]))[0]
                    self._add(cells, flip=operation.flip)
            case _:
                pass

    def hidden(self, boxes: Integers, present: Flags, fresh: Flags) -> Values:
        """The part of each object that is hidden because an edit placed it, or what is nearer [n].

        The centres of its silhouette's cells are looked up in the silhouettes of what is nearer,
        and of objects that were placed also among void and poles of the coarse map.

        Args:
            boxes: Top, left, bottom, right in pixels [n, 4].
            present: Which objects are there [n].
            fresh: Which of them an edit put where they are [n].
        """
        layout = np.column_stack([boxes, present, fresh])
        known = len(self._layout)
        if not np.array_equal(layout[:known], self._layout):
            self._forget()
            known = 0
        more = len(layout) - known
        self._covered = np.concatenate([self._covered, np.zeros((more, *SILHOUETTE), np.bool_)])
        self._part = np.concatenate([self._part, np.zeros(more)])
        self._layout = layout
        self._cover(*_pairs(boxes, present, fresh), np.flatnonzero(fresh & present), known)
        return self._part.copy()

    def _cover(self, behind: Integers, nearer: Integers, placed: Integers, known: int) -> None:
        """Note what hides objects, as far as that is new.

        Args:
            behind: Objects that others may hide [m].
            nearer: Those others [m].
            placed: Objects that void or poles may hide as well.
            known: How many objects were there when this was done last.
        """
        boxes, new = self._layout[:, :4], np.maximum(behind, nearer) >= known
        behind, nearer, placed = behind[new], nearer[new], placed[placed >= known]
        if len(placed):
            self._covered[placed] |= self._before(boxes[placed])
        if len(behind):
            points = _points(boxes[behind])
            hiding = _lookup(self._cells[nearer], boxes[nearer], *points)
            np.logical_or.at(self._covered, behind, hiding)
        for index in {*behind.tolist(), *placed.tolist()}:
            own = self._cells[index]
            hidden = np.count_nonzero(own & self._covered[index])
            self._part[index] = hidden / np.count_nonzero(own)

    def _index(self, instance: int) -> int:
        return int(np.searchsorted(self._record.ids, instance))

    def _add(self, cells: Flags, *, flip: bool) -> None:
        self._cells = np.concatenate([self._cells, (cells[:, ::-1] if flip else cells)[None]])

    def _before(self, boxes: Integers) -> Flags:
        """The cells of boxes in which void lies, or a pole that reaches below [m, *SILHOUETTE]."""
        if self._lowest is None:
            self._lowest = _lowest_rows(self._record, self._roles)
        down, across = _points(boxes)
        rows, columns = grid_cells(
            down.astype(np.int64), across.astype(np.int64), self._record.size
        )
        lowest = self._lowest[rows[:, :, None], columns[:, None, :]]
        before: Flags = lowest > boxes[:, 2, None, None]
        return before


def _points(boxes: Integers) -> tuple[Values, Values]:
    """The centres of the cells of boxes [m, 4]: their rows and columns, in pixels [m, cells]."""
    low, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    down, across = (low[:, k, None] + size[:, k, None] * CENTRES[k] for k in range(2))
    return down, across


def _filled(cells: Flags) -> Flags:
    """Silhouettes [n, *SILHOUETTE]; those too thin to fill half of any cell count as boxes."""
    return cells | ~cells.any(axis=(1, 2), keepdims=True)


def _pairs(boxes: Integers, present: Flags, fresh: Flags) -> tuple[Integers, Integers]:
    """Objects, and nearer ones that may hide them, where an edit placed one of the two.

    The one that reaches farther down is nearer; of two that reach as far, the later one.
    """
    top, left, bottom, right = boxes.T
    before = bottom[None] > bottom[:, None]
    before |= np.triu(bottom[None] == bottom[:, None], 1)
    before &= (top[None] < bottom[:, None]) & (left[None] < right[:, None])
    before &= left[:, None] < right[None]
    before &= present[:, None] & present & (fresh[:, None] | fresh)
    behind, nearer = np.nonzero(before)
    return behind, nearer


def _lookup(cells: Flags, boxes: Integers, rows: Values, columns: Values) -> Flags:
    """Which points of some grids silhouettes cover [m, r, c].

    Args:
        cells: A silhouette for each grid [m, *SILHOUETTE].
        boxes: Their boxes [m, 4].
        rows: Of the points, in pixels [m, r].
        columns: The same [m, c].
    """
    down, down_inside = _cells_at(rows, boxes[:, 0], boxes[:, 2], SILHOUETTE[0])
    across, across_inside = _cells_at(columns, boxes[:, 1], boxes[:, 3], SILHOUETTE[1])
    which = np.arange(len(cells))[:, None, None]
    covered: Flags = cells[which, down[:, :, None], across[:, None, :]]
    covered &= down_inside[:, :, None] & across_inside[:, None, :]
    return covered


def _cells_at(at: Values, first: Integers, end: Integers, count: int) -> tuple[Integers, Flags]:
    """In which of the equal cells of some lengths points lie, and whether in any [m, p].

    Args:
        at: The points [m, p].
        first: Where the lengths begin [m].
        end: Where they end [m].
        count: Cells of each.
    """
    cells = np.floor((at - first[:, None]) * (count / (end - first))[:, None]).astype(np.int64)
    inside = np.minimum(np.maximum(cells, 0), count - 1)
    return inside, inside == cells


def _lowest_rows(record: SceneRecord, roles: ClassRoles) -> Integers:
    """How far down the void and the poles in each cell reach, in pixels [GRID]; -1 elsewhere.

    A pole reaches as far as its cells go straight down, and so does clutter.
    """
    upright = (roles.upright | roles.clutter)[record.grid]
    ends = np.where(upright, GRID[0], np.arange(GRID[0])[:, None])
    ends = np.minimum.accumulate(ends[::-1])[::-1]
    lowest = np.where(upright, ends * record.size[0] // GRID[0], -1)
    lowest[(roles.frozen & ~roles.clutter)[record.grid]] = ALWAYS
    return lowest
