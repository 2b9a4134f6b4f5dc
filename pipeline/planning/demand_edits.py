"""Edits that meet what is asked of one sample, and why some of it is not met."""

from collections.abc import Iterator

import numpy as np

from pipeline.editing.program import Paste
from pipeline.planning.demands import Failure, Hidden
from pipeline.planning.objects import Flags, ObjectEdits
from pipeline.planning.quotas import MANY

TRIES = 2
"""How often an object is pasted in vain before no more are tried in the same sample."""
HIDING_TRIES = 6
"""The same for objects that are to be hidden in part."""
MARGIN = 0.2
"""Part of a range of hidden parts that is kept from its ends: they are judged by coarse shapes."""

TOO_MANY = "the rest are too large to take out, or protected"
MAX_EDITS = "max_edits reached"
NO_PLACE = "no place found"
NO_PLACE_BEHIND = "no place found behind others"
NO_DONORS = "no donors"
LOST = "other edits hide or cut off too much"
FORBIDDEN = "another quota allows no more of them"


class DemandEdits(ObjectEdits):
    """The edits of the objects of one sample, of which some meet its demands."""

    def meet(self) -> tuple[Failure, ...]:
        """Meet the demands, as far as can be.

        Returns:
            What could not be met, and what was in the way in the end.
        """
        return tuple(self._meet())

    def _meet(self) -> Iterator[Failure]:
        demands = self.demands
        wanted = {
            class_id: demands.wanted(class_id, self._count(class_id))
            for class_id in {**demands.bounds, **demands.extra}
        }
        for class_id, (_, high) in wanted.items():
            if reason := self._take_out(class_id, high):
                yield Failure(class_id, "take out", reason)
        hiding = [(hidden, wanted.get(hidden.class_id, (0, MANY))[1]) for hidden in demands.hidden]
        for hidden, most in hiding:
            self._hide(hidden, most)
        for class_id, (low, _) in wanted.items():
            if reason := self._add(class_id, low):
                yield Failure(class_id, "add", reason)
        for hidden, most in hiding:  # what was added may hide more of them, or others be behind it
            if reason := self._hide(hidden, most):
                yield Failure(hidden.class_id, "hide", reason, hidden.part)

    @property
    def _room(self) -> int:
        """How many edits may still be made."""
        return self.budget - self.edits

    def _take_out(self, class_id: int, most: int) -> str | None:
        """Take objects out until there are so few, and say why not.

        If there will not be so few, none is taken out. Where `extra` asks for fewer, each counts.
        """
        partly = class_id in self.demands.extra
        while (excess := self._count(class_id) - most) > 0:
            own = self.scene.present[: len(self.record.ids)] & (self.record.classes == class_id)
            able = np.flatnonzero(own & self.removable & self._partner_may_go())
            needed = 1 if partly else excess
            if len(able) < needed:
                return TOO_MANY
            if self._room < needed:
                return MAX_EDITS
            plain = able[self.editable[able]]
            self._drop(int(self.rng.choice(plain if len(plain) else able)))
        return None

    def _add(self, class_id: int, fewest: int) -> str | None:
        """Paste objects until there are so many, and say why not; those that find a place stay."""
        failed = 0
        while (missing := fewest - self._count(class_id)) > 0:
            if not self.rules.donor_odds[class_id]:
                return NO_DONORS
            pasted = 0
            while pasted < missing:
                if self._room <= 0:
                    return MAX_EDITS
                if not self._may_bring(class_id):
                    return FORBIDDEN
                at_once = 1 if self.rules.together.get(class_id) else missing - pasted
                more = self._paste_some(class_id, min(at_once, self._room))
                pasted += more
                failed += not more
                if failed == TRIES:
                    return NO_PLACE
            if pasted and self._count(class_id) <= fewest - missing:
                return LOST
        return None

    def _hide(self, hidden: Hidden, most: int) -> str | None:
        """Paste objects behind others until so many are hidden as asked, and say why not.

        Args:
            hidden: What is asked.
            most: Objects of the class that there may be.
        """
        low, high = hidden.part
        margin = MARGIN * (high - low)
        part = (low + margin, high - margin)
        missed = 0
        while (count := self._count_hidden(hidden.class_id, part)) < hidden.count:
            if self._room <= 0:
                return MAX_EDITS
            if self._count(hidden.class_id) >= most:
                return FORBIDDEN
            if not self.rules.donor_odds[hidden.class_id]:
                return NO_DONORS
            if not self._may_bring(hidden.class_id):
                return FORBIDDEN
            kept = self.editable.copy(), self.removable.copy()
            if self._paste(hidden.class_id, occluded=part):
                if self._count_hidden(hidden.class_id, part) > count:
                    continue
                self._take_back()
                self.editable, self.removable = kept
            missed += 1
            if missed == HIDING_TRIES:
                return NO_PLACE_BEHIND
        return None

    def _may_bring(self, class_id: int) -> bool:
        """Whether what an object of a class brings along may become more."""
        bounds = self.demands.bounds
        brought = [one for one in self.rules.together.get(class_id, ()) if one in bounds]
        return all(self._count(one) < bounds[one][1] for one in brought)

    def _partner_may_go(self) -> Flags:
        """Which objects of the scene are one with none that must stay [n]."""
        partners = self.scene.partners[: len(self.record.ids)]
        stay = np.zeros(self.rules.taxonomy.num_classes, np.bool_)
        for class_id, (low, _) in self.demands.bounds.items():
            stay[class_id] = self._count(class_id) <= low
        may_go: Flags = (partners < 0) | ~stay[self.record.classes[partners]]
        return may_go

    def _count_hidden(self, class_id: int, part: tuple[float, float]) -> int:
        """How many objects of a class are hidden by a part in a range."""
        tally = self.tally()
        hidden = 1 - tally.visible[tally.classes == class_id]
        return int(np.count_nonzero((hidden >= part[0]) & (hidden <= part[1])))

    def _take_back(self) -> None:
        """Take back the last edit, which was a paste."""
        paste = self.operations.pop()
        assert isinstance(paste, Paste)
        self.rules.placer.take_back(self.scene, paste)
        self._tally = None
