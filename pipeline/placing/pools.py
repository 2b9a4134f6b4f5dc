"""Pools: the donors of a class that serve one use, by height."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.donors.bank import DonorIndex
from pipeline.indexing.record import BOTTOM, LEFT, RIGHT

NEIGHBOURS = 12
"""A donor is chosen from so many seen a little nearer, and so many seen a little farther."""
VIEW = 4.0
"""What it costs to show a donor in another place of the picture than it was seen in: so many times
the distance, in widths of the picture. One use more than that of others costs 1."""
RESIZING = 1.0
"""What it costs to scale it, times the ln of the scale."""
FAR = 100.0
"""What it costs to scale it beyond the limits, or to use one that is barred."""
PREFERRED = 0.5
"""What it saves to use one that is used less than most."""

Use = Literal["whole", "left", "right", "bottom"]
"""What donors are for:

- `whole`: anywhere;
- `left`, `right`: flush with that border of the picture, which cuts them;
- `bottom`: above the lower border, or what reaches it, which cuts them.

What something nearer hides in part is not used: it would have to be hidden so again.
"""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Donors of one class and use, sorted by how near they were seen."""

    donors: Integers
    """Positions in the donor index [n]."""
    usual: Floats
    """Ln heights in pixels of others of the class where they were seen [n]."""
    centres: Floats
    """Where in their picture they were seen, as a fraction of its width [n]."""
    flips: Flags
    """Which of them must be mirrored to serve [n]."""

    @property
    def _seen(self) -> Floats:
        """Where they are seen once they are mirrored [n]."""
        return np.where(self.flips, 1 - self.centres, self.centres)

    def choose(
        self,
        wanted: Floats,
        columns: Floats,
        uses: Integers,
        barred: Flags,
        rng: np.random.Generator,
        *,
        scale: tuple[float, float],
        view: float,
    ) -> Integers:
        """Positions in the pool of donors that suit some places [m].

        Of those seen about as near, one that was seen about there, and is little used.

        Args:
            wanted: Ln heights in pixels that objects of the class have there [m].
            columns: Where they are to be seen, as fractions of the picture's width [m].
            uses: How often each donor of the index was used.
            barred: Which of them are not to be used, unless there is no other, bool.
            rng: Decides among equals.
            scale: Smallest and largest size over that of the donor.
            view: The cost of another place in the picture; 0 where that does not matter.
        """
        count = min(2 * NEIGHBOURS, len(self.donors))
        first = np.searchsorted(self.usual, wanted) - NEIGHBOURS
        first = np.clip(first, 0, len(self.donors) - count)
        near = first[:, None] + np.arange(count)
        scales = wanted[:, None] - self.usual[near]
        seen = self._seen[near]
        used = uses[self.donors[near]]
        cost = RESIZING * np.abs(scales) + view * np.abs(columns[:, None] - seen)
        cost += np.where((scales < np.log(scale[0])) | (scales > np.log(scale[1])), FAR, 0.0)
        cost += _use_cost(used, barred[self.donors[near]]) + rng.random(near.shape)
        chosen: Integers = np.take_along_axis(near, cost.argmin(axis=1)[:, None], axis=1)[:, 0]
        return chosen


def _use_cost(used: Integers, barred: Flags) -> Floats:
    """What it costs to use some donors once more, judged by the upper median of each row [m, k].

    What is used less than that is preferred, but not by much: it may be that it fits nowhere, and
    would be tried forever.

    Args:
        used: How often each was used.
        barred: Those that are not to be used; they do not count.
    """
    count = (~barred).sum(axis=1, keepdims=True)
    ranked = np.sort(np.where(barred, np.iinfo(np.int64).max, used), axis=1)
    usual = np.take_along_axis(ranked, np.minimum(count // 2, np.maximum(count - 1, 0)), axis=1)
    cost: Floats = np.maximum(used - usual.astype(np.float64), -PREFERRED)
    return np.where(barred, FAR, cost)


class DonorPools:
    """All pools of a donor index, made when asked for.

    Args:
        donors: The donors.
        eligible: Which of them may be used [n]; by default those that are whole, or cut alone.
        sided: Classes that are never mirrored but with their scene [num_classes]; none by default.
        usual: Ln heights in pixels of others of their class where they were seen [n]; their own by
            default.
    """

    def __init__(
        self,
        donors: DonorIndex,
        *,
        eligible: Flags | None = None,
        sided: Flags | None = None,
        usual: Floats | None = None,
    ) -> None:
        self._donors = donors
        self._usable = donors.whole | (donors.cut_sides > 0) if eligible is None else eligible
        self._sided = sided
        self._usual = np.log(donors.heights) if usual is None else usual
        self._pools: dict[tuple[int, Use, bool], Pool | None] = {}

    def sided(self, class_id: int) -> bool:
        """Whether a class is mirrored only with its scene."""
        return self._sided is not None and bool(self._sided[class_id])

    def get(self, class_id: int, use: Use, *, turned: bool = False) -> Pool | None:
        """The pool of a class for a use; None if it has no donors for it.

        Args:
            class_id: A thing class.
            use: What for.
            turned: Whether the scene is mirrored.
        """
        key = (class_id, use, turned)
        if key not in self._pools:
            self._pools[key] = self._collect(class_id, use, turned=turned)
        return self._pools[key]

    def _collect(self, class_id: int, use: Use, *, turned: bool) -> Pool | None:
        donors = self._donors
        cut = donors.cut_sides
        usable = self._usable & (donors.classes == class_id)
        seen = usable & (donors.hidden_sides == 0)
        direct = {
            "whole": usable & (cut == 0),
            "left": seen & (cut == LEFT),
            "right": seen & (cut == RIGHT),
            "bottom": seen & (cut == BOTTOM),
        }
        opposite: dict[Use, Use] = {"left": "right", "right": "left"}
        mirrored = direct[opposite.get(use, use)]
        if self.sided(class_id):
            members, flips = (mirrored, mirrored) if turned else (direct[use], ~direct[use])
        elif use in opposite:
            members, flips = direct[use] | mirrored, mirrored
        else:
            members, flips = direct[use], np.zeros_like(mirrored)
        rows = np.flatnonzero(members)
        if not len(rows):
            return None
        usual = self._usual[rows]
        order = np.argsort(usual, kind="stable")
        rows = rows[order]
        centres = donors.boxes[rows][:, [1, 3]].mean(axis=1) / donors.size[1]
        return Pool(rows, usual[order], centres, flips[rows])
