"""Assigned targets: what is asked of one sample so far, and the demands that it comes to."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.planning.demands import Demands, Hidden
from pipeline.planning.quotas import MANY, Target


@dataclass(slots=True)
class AssignedTargets:
    """What is asked of one sample so far."""

    targets: dict[int, Target] = field(default_factory=dict)
    """By number: the shares of samples to which it is to belong."""
    extra: Counter[int] = field(default_factory=Counter)
    """By class id: objects beside those of the source."""
    reached: Counter[int] = field(default_factory=Counter)
    """By class id: objects that targets led to which were not met; they stay where nothing else
    forbids them."""

    def demands(self) -> Demands:
        """What the sample must hold."""
        classes = {target.class_id for target in self.targets.values()} | self.reached.keys()
        bounds = {}
        for class_id in sorted(classes):
            low, high = self.bounds(class_id)
            bounds[class_id] = max(low, min(self.reached[class_id], high)), high
        return Demands(
            bounds={class_id: both for class_id, both in bounds.items() if both != (0, MANY)},
            extra={class_id: count for class_id, count in self.extra.items() if count},
            hidden=tuple(
                Hidden(target.class_id, target.low, target.occluded)
                for target in self.targets.values()
                if target.occluded is not None
            ),
        )

    def bounds(self, class_id: int) -> tuple[int, int]:
        """Fewest and most objects of a class."""
        own = [
            target
            for target in self.targets.values()
            if target.class_id == class_id and target.occluded is None
        ]
        fewest = max((target.low for target in own), default=0)
        return fewest, min((target.high for target in own), default=MANY)

    def allows(self, target: Target) -> bool:
        """Whether a target goes with what is asked already."""
        low, high = self.bounds(target.class_id)
        if target.occluded is not None:
            return high >= target.low
        return target.low <= high and low <= target.high
