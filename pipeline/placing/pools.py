"""Pools: the donors of a class that serve one use, by height."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.donors.bank import DonorIndex
from pipeline.indexing.record import BOTTOM, LEFT, RIGHT

NEIGHBOURS = 6
"""A donor is drawn from so many on each side of the wanted height."""

Use = Literal["whole", "left", "right", "bottom", "hidden"]
"""What donors are for:

- `whole`: anywhere;
- `left`, `right`: flush with that border of the picture, which cuts them;
- `bottom`: above the lower border, or what reaches it, which cuts them;
- `hidden`: behind something nearer that hides their right side.
"""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Donors of one class and use, sorted by height."""

    donors: Integers
    """Positions in the donor index [n]."""
    log_heights: Floats
    """Natural logarithms of their heights in pixels [n]."""
    flips: Flags
    """Which of them must be mirrored to serve [n]."""

    def near(self, wanted: Floats, rng: np.random.Generator) -> Integers:
        """Positions in the pool of donors about as tall as wanted, at random among the nearest.

        Args:
            wanted: Ln heights in pixels [m].
            rng: Decides among them.
        """
        places = np.searchsorted(self.log_heights, wanted)
        places += rng.integers(-NEIGHBOURS, NEIGHBOURS, len(wanted))
        last = len(self.donors) - 1
        return np.minimum(np.maximum(places, 0), last)


class DonorPools:
    """All pools of a donor index, made when asked for.

    Args:
        donors: The donors.
        eligible: Which of them may be used [n]; all by default.
    """

    def __init__(self, donors: DonorIndex, *, eligible: Flags | None = None) -> None:
        usable = donors.pieces == 1
        self._donors = donors
        self._usable = usable if eligible is None else usable & eligible
        self._pools: dict[tuple[int, Use], Pool | None] = {}

    def get(self, class_id: int, use: Use) -> Pool | None:
        """The pool of a class for a use; None if it has no donors for it."""
        key = (class_id, use)
        if key not in self._pools:
            self._pools[key] = self._collect(class_id, use)
        return self._pools[key]

    def _collect(self, class_id: int, use: Use) -> Pool | None:
        donors = self._donors
        cut, hidden = donors.cut_sides, donors.hidden_sides
        of_class = self._usable & (donors.classes == class_id)
        seen, uncut = of_class & (hidden == 0), of_class & (cut == 0)
        match use:
            case "whole":
                direct, mirrored = seen & uncut, np.zeros_like(seen)
            case "left":
                direct, mirrored = seen & (cut == LEFT), seen & (cut == RIGHT)
            case "right":
                direct, mirrored = seen & (cut == RIGHT), seen & (cut == LEFT)
            case "bottom":
                direct, mirrored = seen & (cut == BOTTOM), np.zeros_like(seen)
            case "hidden":
                direct, mirrored = uncut & (hidden == RIGHT), uncut & (hidden == LEFT)
        members = np.flatnonzero(direct | mirrored)
        if not len(members):
            return None
        log_heights = np.log(donors.heights[members])
        order = np.argsort(log_heights, kind="stable")
        return Pool(members[order], log_heights[order], mirrored[members[order]])
