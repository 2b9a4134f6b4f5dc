"""When a training does what: the updates of each stage, and the decay of the learning rate."""

from dataclasses import dataclass

from hdmodel.errors import InputError
from hdmodel.training.config import StageConfig, TrainConfig


@dataclass(frozen=True, slots=True)
class Schedule:
    """The updates of a stage and its learning rate over time."""

    steps: int
    decay_from: int
    """The update, counted from 0, from which the rate falls linearly; it would be 0 at `steps`."""

    def learning_rate_factor(self, step: int) -> float:
        """Say which share of the learning rate an update of the stage, counted from 0, has.

        Example:
            >>> schedule = Schedule(steps=100, decay_from=51)
            >>> [schedule.learning_rate_factor(step) for step in (0, 50, 75, 99)]
            [1.0, 1.0, 0.5, 0.02]
        """
        if step < self.decay_from:
            return 1.0
        return (self.steps - step) / (self.steps - self.decay_from + 1)


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage and its place in the training."""

    number: int
    config: StageConfig
    schedule: Schedule
    first: int
    """Updates of the stages before it."""

    @property
    def end(self) -> int:
        """Updates made when it is done."""
        return self.first + self.schedule.steps


def plan_stages(config: TrainConfig, *, scenes: int) -> list[PlannedStage]:
    """Lay the stages end to end, with their lengths in updates.

    Args:
        config: The training run.
        scenes: The number of scenes to train on.

    Raises:
        InputError: There are fewer scenes than a batch has samples.
    """
    planned: list[PlannedStage] = []
    for number, stage in enumerate(config.stages):
        if scenes < stage.batch:
            raise InputError(
                f"dataset: has {scenes} scenes to train on, beside those kept to measure on "
                f"(validation), expected at least {stage.batch}, the batch of stage {stage.name!r}"
            )
        first = planned[-1].end if planned else 0
        planned.append(PlannedStage(number, stage, stage_schedule(stage, scenes=scenes), first))
    return planned


def stage_schedule(stage: StageConfig, *, scenes: int) -> Schedule:
    """Count the updates of a stage, and those before its learning rate decays.

    Args:
        stage: Its length in steps or epochs.
        scenes: The number of scenes to train on.
    """
    if stage.steps is not None:
        return Schedule(stage.steps, stage.steps - (stage.decay_steps or 0))
    assert stage.epochs is not None
    steps, decay = (
        max(1, passes * scenes // stage.batch)
        for passes in (stage.epochs, stage.epochs - (stage.decay_epochs or 0))
    )
    return Schedule(steps, decay if stage.decay_epochs else steps)
