"""A planned scene: what is assumed about a scene while edits of it are planned, without pixels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.donors.completeness import WHOLE
from pipeline.indexing.record import GRID, SceneRecord, grid_cells
from pipeline.placing.locations import ground_behind, margins_of
from pipeline.placing.perspective import View
from pipeline.placing.spacing import moved_with
from pipeline.roles import class_roles
from pipeline.scene import INSTANCES_PER_CLASS
from pipeline.taxonomy import Taxonomy

FEET = (0.15, 0.5, 0.85)
"""Where along its lower edge an object's support is checked, as fractions of its width."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


class PlannedScene:
    """The objects of one scene as they will stand after the edits planned so far.

    Objects are addressed by their position in the columns: first those of the record, then those
    that were added. Those that are gone stay, with `present` false.

    Args:
        record: The scene, mirrored if the program mirrors it.
        taxonomy: Its taxonomy.
        view: Where its horizon lies.
        mirrored: Whether the record is mirrored, so that priors must be, too.
    """

    def __init__(
        self, record: SceneRecord, taxonomy: Taxonomy, view: View, *, mirrored: bool = False
    ) -> None:
        roles = class_roles(taxonomy)
        self.record = record
        self.size = record.size
        self.view = view
        self.mirrored = mirrored
        self.boxes: Integers = record.boxes.astype(np.int64)
        """Top, left, bottom, right in pixels [n, 4]; bottom and right are exclusive."""
        self.class_ids: Integers = record.classes.astype(np.int64)
        self.ids: Integers = record.ids.astype(np.int64)
        """Instance ids; those of added objects are what the program will give them [n]."""
        self.present: Flags = np.ones(len(record.ids), np.bool_)
        whole = ~record.truncated & (record.obscured <= 1 - WHOLE) & (record.pieces == 1)
        self.partners: Integers = _positions(record)
        """The object with which each is one, by position; -1 if none is [n]."""
        leaders = np.isin(taxonomy.class_names, list(taxonomy.together))
        self.follows: Flags = (self.partners >= 0) & ~leaders[self.class_ids]
        """Which go where another goes, as a bicycle with its rider [n]."""
        self.whole: Flags = whole & ((self.partners < 0) | whole[self.partners])
        """Whether all of the object's shape, and of what is one with it, is known [n]."""
        self.ground = ground_behind(record.grid, taxonomy.is_thing)
        """Class ids on the coarse grid, with stuff behind the things [GRID]."""
        self.margins = margins_of(self.ground, view.horizon, record.size)
        """How far each cell is from the edge of its ground, as a position in `MARGINS` [GRID]."""
        self.used: set[int] = set()
        """Donors (positions in the donor index) that were pasted already."""
        self.densities: dict[int, Floats] = {}
        """For each class that was asked for, the running sum of its places' odds."""
        frozen = (roles.frozen & ~roles.clutter)[record.grid]
        self._frozen = frozen
        crowd = taxonomy.is_thing[record.grid] & ~self._covered()
        self._blocked = _summed(frozen | crowd)
        self._cluttered = _summed(roles.clutter[record.grid])

    def add(self, box: tuple[int, int, int, int] | Integers, class_id: int) -> int:
        """Enter a new object and return its position."""
        used = set(self.ids[self.class_ids == class_id].tolist())
        first = class_id * INSTANCES_PER_CLASS
        new = next(i for i in range(first, first + len(used) + 1) if i not in used)
        self.boxes = np.concatenate([self.boxes, np.array(box, np.int64)[None]])
        self.class_ids = np.append(self.class_ids, class_id)
        self.ids = np.append(self.ids, new)
        self.present = np.append(self.present, True)
        self.whole = np.append(self.whole, True)
        self.partners = np.append(self.partners, -1)
        self.follows = np.append(self.follows, False)
        return len(self.ids) - 1

    def members(self, index: int) -> list[int]:
        """The positions of an object and of what is one with it."""
        partner = int(self.partners[index])
        return [index] if partner < 0 else [index, partner]

    def along(self, index: int) -> tuple[int, ...]:
        """The ids of what is one with an object."""
        return tuple(int(self.ids[member]) for member in self.members(index)[1:])

    def joint_box(self, index: int) -> Integers:
        """The box around an object and what is one with it [4]."""
        boxes = self.boxes[self.members(index)]
        box: Integers = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
        return box

    def remove(self, index: int) -> None:
        """Take an object out, with what is one with it."""
        self.present[self.members(index)] = False

    def move(self, index: int, box: Integers) -> None:
        """Give an object, with what is one with it, another box [4]."""
        before = self.joint_box(index)
        for member in self.members(index):
            self.boxes[member] = moved_with(self.boxes[member], before, box, flip=False)

    def others(self, index: int | None = None) -> Integers:
        """The boxes of the objects that are there, without one of them [m, 4]."""
        boxes: Integers = self.boxes[self.there(() if index is None else (index,))]
        return boxes

    def there(self, without: Sequence[int] = ()) -> Flags:
        """Which objects are there and not among some, given by position [n]."""
        chosen = self.present.copy()
        chosen[list(without)] = False
        return chosen

    def inside(self, boxes: Integers) -> Flags:
        """Which boxes [m, 4] lie in the picture with all their pixels."""
        height, width = self.size
        top, left, bottom, right = boxes.T
        within: Flags = (top >= 0) & (left >= 0) & (bottom <= height) & (right <= width)
        return within

    def feet(self, boxes: Integers) -> Integers:
        """The classes right below three points of each box's lower edge [m, 3]."""
        _, left, bottom, right = boxes.T
        columns = left[:, None] + ((right - left)[:, None] * np.array(FEET)).astype(np.int64)
        rows, columns = self._cells(bottom[:, None], columns)
        below: Integers = self.ground[rows, columns]
        return below

    def cut_below(self, boxes: Integers) -> Flags:
        """Which boxes [m, 4] end at void that stays on top, or at the picture's lower border."""
        _, left, bottom, right = boxes.T
        columns = left[:, None] + ((right - left)[:, None] * np.array(FEET)).astype(np.int64)
        rows, columns = self._cells(bottom[:, None] + self.size[0] // (2 * GRID[0]), columns)
        ended: Flags = self._frozen[rows, columns].all(axis=1) | (bottom >= self.size[0])
        return ended

    def blocked_share(self, boxes: Integers) -> Floats:
        """The share of each box [m, 4] that void of the picture's frame or a crowd covers."""
        return self._share(self._blocked, boxes)

    def cluttered_share(self, boxes: Integers) -> Floats:
        """The share of each box [m, 4] in which clutter lies."""
        return self._share(self._cluttered, boxes)

    def _share(self, table: Integers, boxes: Integers) -> Floats:
        """The share of each box [m, 4] that some cells of the coarse grid cover.

        Args:
            table: Their summed-area table.
            boxes: Top, left, bottom, right in pixels.
        """
        top, left = self._cells(boxes[:, 0], boxes[:, 1])
        bottom, right = self._cells(boxes[:, 2] - 1, boxes[:, 3] - 1)
        bottom, right = bottom + 1, right + 1
        count = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
        share: Floats = count / ((bottom - top) * (right - left))
        return share

    def _cells(self, rows: Integers, columns: Integers) -> tuple[Integers, Integers]:
        height, width = self.size
        return grid_cells(rows.clip(0, height - 1), columns.clip(0, width - 1), self.size)

    def _covered(self) -> Flags:
        covered = np.zeros(GRID, np.bool_)
        top, left = self._cells(self.boxes[:, 0], self.boxes[:, 1])
        bottom, right = self._cells(self.boxes[:, 2] - 1, self.boxes[:, 3] - 1)
        for first, start, last, end in zip(top, left, bottom, right, strict=True):
            covered[first : last + 1, start : end + 1] = True
        return covered


def _positions(record: SceneRecord) -> Integers:
    """The object with which each one of a scene is one, by position; -1 if none is [n]."""
    if not len(record.ids):
        return np.zeros(0, np.int64)
    found = np.searchsorted(record.ids, record.partners).clip(0, len(record.ids) - 1)
    there = (record.partners > 0) & (record.ids[found] == record.partners)
    positions: Integers = np.where(there, found, -1)
    return positions


def _summed(cells: Flags) -> Integers:
    """Summed-area table, with a row and a column of zeros before it."""
    table = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1), np.int64)
    table[1:, 1:] = cells.cumsum(axis=0).cumsum(axis=1)
    return table
