"""How evenly the programs of a run use donors."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from pipeline.editing.program import Paste, Program, Replace


@dataclass(frozen=True, slots=True)
class DonorUse:
    """How often donors are pasted, or put in the place of others."""

    pastes: int
    donors: int
    """How many different ones."""
    most: int
    """How often the one that is used most."""
    gini: float
    """The Gini coefficient of the uses of those that are used: 0 if all are used alike."""

    @classmethod
    def of(cls, programs: Iterable[Program]) -> Self:
        """Count the donors of programs."""
        uses = Counter(
            (operation.donor, operation.donor_instance)
            for program in programs
            for operation in program.operations
            if isinstance(operation, Paste | Replace)
        )
        if not uses:
            return cls(0, 0, 0, 0.0)
        counts = np.sort(np.array(list(uses.values())))
        ranks = 2 * np.arange(1, len(counts) + 1) - len(counts) - 1
        gini = float(ranks @ counts) / (len(counts) * int(counts.sum()))
        return cls(int(counts.sum()), len(counts), int(counts[-1]), round(gini, 3))

    def text(self) -> str:
        """The uses for people."""
        if not self.pastes:
            return "none used"
        return (
            f"{self.donors} used in {self.pastes} pastes, none more than {self.most} times "
            f"(Gini {self.gini:.2f})"
        )
