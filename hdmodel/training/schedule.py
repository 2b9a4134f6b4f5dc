"""The learning rate over a stage: level, then linearly down to zero (paper, section 4)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """The updates of a stage and its learning rate over time."""

    steps: int
    decay_from: int
    """The update, counted from 0, from which the rate falls linearly; it would be 0 at `steps`."""

    def learning_rate_factor(self, step: int) -> float:
        """The share of the learning rate at an update of the stage, counted from 0."""
        if step < self.decay_from:
            return 1.0
        return (self.steps - step) / (self.steps - self.decay_from + 1)
