"""The stages of a training: how long each is, and whether it can start."""

from dataclasses import dataclass
from typing import Protocol

from hdmodel.errors import InputError
from hdmodel.training.batches import Samples
from hdmodel.training.config import Size, StageConfig, TrainConfig
from hdmodel.training.data_parallel import Processes
from hdmodel.training.perceptual import check_perceptual
from hdmodel.training.schedule import Schedule


class SceneSets(Protocol):
    """Where the scenes of a training come from."""

    def training(self, size: Size) -> Samples:
        """The scenes to train on, at a height and width in pixels."""
        ...

    def validation(self, size: Size) -> Samples:
        """Scenes that are not trained on, at a height and width in pixels; may be none."""
        ...


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
    """The stages with their lengths in updates.

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
                f"dataset: has {scenes} scenes to train on, expected at least {stage.batch}, "
                f"the batch of stage {stage.name!r}"
            )
        first = planned[-1].end if planned else 0
        planned.append(PlannedStage(number, stage, stage.schedule(scenes), first))
    return planned


def check_training(
    config: TrainConfig, scenes: SceneSets, *, processes: Processes
) -> list[PlannedStage]:
    """Find out, before anything is written or computed, whether a training can start.

    Returns:
        Its stages.

    Raises:
        InputError: There are too few scenes.
        ConfigError: A batch cannot be divided among the processes.
        CheckpointError: The weights of the perceptual loss cannot be used.
    """
    if config.losses.perceptual:
        check_perceptual(config.vgg)
    stages = plan_stages(config, scenes=len(scenes.training(config.stage_size(config.stages[0]))))
    for stage in stages:
        processes.share(stage.config.batch, accumulate=stage.config.accumulate)
    return stages
