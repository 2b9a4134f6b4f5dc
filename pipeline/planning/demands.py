"""Demands: what one sample must hold, and what it could not do of that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pipeline.indexing.record import SceneRecord
from pipeline.planning.quotas import MANY

Step = Literal["take out", "add", "hide"]


@dataclass(frozen=True, slots=True)
class Hidden:
    """A demand for objects that nearer ones hide in part."""

    class_id: int
    count: int
    part: tuple[float, float]
    """Least and greatest hidden part, 0..1."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What one sample must hold, by class id."""

    bounds: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Fewest and most objects."""
    extra: Mapping[int, int] = field(default_factory=dict)
    """Objects beside those of the source; below 0, so many are taken out."""
    hidden: tuple[Hidden, ...] = ()

    @property
    def any(self) -> bool:
        """Whether anything is asked."""
        return bool(self.bounds or self.extra or self.hidden)

    def wanted(self, class_id: int, count: int) -> tuple[int, int]:
        """Fewest and most objects of a class.

        Args:
            class_id: The class.
            count: How many the source has.
        """
        low, high = self.bounds.get(class_id, (0, MANY))
        if class_id not in self.extra:
            return low, high
        count = min(max(count + self.extra[class_id], low), high)
        return count, count

    def edits(self, record: SceneRecord) -> int:
        """How many edits of a scene they take, at least."""
        hidden = {asked.class_id: 0 for asked in self.hidden}
        for asked in self.hidden:
            hidden[asked.class_id] += asked.count
        total = 0
        for class_id in {**self.bounds, **self.extra, **hidden}:
            count = int(np.count_nonzero(record.classes == class_id))
            low, high = self.wanted(class_id, count)
            total += max(count - high, 0) + max(low - count, hidden.get(class_id, 0), 0)
        return total


@dataclass(frozen=True, slots=True)
class Failure:
    """A demand that a sample could not meet."""

    class_id: int
    step: Step
    """What could not be done."""
    reason: str
    part: tuple[float, float] | None = None
    """Of objects to be hidden: the hidden part that was asked for."""
