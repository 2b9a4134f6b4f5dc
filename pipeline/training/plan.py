"""What a training would do and need, found out without training."""

from dataclasses import asdict, dataclass
from typing import Any

from hdmodel.architecture import GeneratorConfig
from hdmodel.training.config import Size
from pipeline.checkpoints import taxonomy_record
from pipeline.training.job import TrainJob, WorldScenesConfig
from pipeline.training.scenes import open_training_scenes

GIB = 2**30


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage of a training."""

    name: str
    size: Size
    """Height and width of its scenes."""
    crop: Size
    batch: int
    steps: int
    learns: str
    parameters: int
    """Of the generator as the stage has it."""
    memory_bytes: int
    """Estimate for one process, on a CPU; see docs/training.md."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a training would do."""

    dataset: str
    taxonomy: str
    scenes: int
    validation: int
    stages: tuple[StagePlan, ...]

    def to_plain(self) -> dict[str, Any]:
        """The plan as JSON-compatible data."""
        return asdict(self) | {"memory_bytes": self.memory_bytes, "steps": self.steps}

    @property
    def memory_bytes(self) -> int:
        """What the largest stage takes."""
        return max(stage.memory_bytes for stage in self.stages)

    @property
    def steps(self) -> int:
        """Updates of all stages."""
        return sum(stage.steps for stage in self.stages)

    def text(self) -> str:
        """The plan for people."""
        lines = [
            ("dataset", f"{self.dataset}: {self.scenes} scenes, {self.validation} to measure on"),
            ("taxonomy", self.taxonomy),
        ]
        lines += [
            (
                stage.name,
                f"{stage.steps:,} updates of {stage.batch} x {stage.crop[0]}x{stage.crop[1]}"
                + ("" if stage.crop == stage.size else f" cut from {stage.size[0]}x{stage.size[1]}")
                + f", {stage.parameters / 1e6:.1f} M parameters, {stage.learns} learns, about "
                f"{stage.memory_bytes / GIB:.1f} GiB",
            )
            for stage in self.stages
        ]
        lines.append(("memory", f"about {self.memory_bytes / GIB:.1f} GiB per process (estimate)"))
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)


def plan_training(job: TrainJob) -> TrainingPlan:
    """Check a training as `hdsynth train` would, and say what it would do.

    Raises:
        InputError: `hdsynth train` would refuse it.
    """
    from hdmodel.training.checks import check_training
    from hdmodel.training.data_parallel import Processes
    from hdmodel.training.memory import training_bytes

    sets = open_training_scenes(job.dataset, validation=job.validation)
    generator = job.generator.model_copy(update={"num_classes": sets.taxonomy.num_classes})
    job = job.model_copy(update={"generator": generator})
    planned = check_training(
        job, sets, taxonomy=taxonomy_record(sets.taxonomy), processes=Processes()
    )
    memory = training_bytes(job)
    stages = tuple(
        StagePlan(
            name=stage.config.name,
            size=job.stage_size(stage.config),
            crop=stage.config.crop or job.stage_size(stage.config),
            batch=stage.config.batch,
            steps=stage.schedule.steps,
            learns="the last enhancer" if stage.config.frozen else "everything",
            parameters=_parameters(job.stage_generator(stage.config)),
            memory_bytes=memory[stage.config.name],
        )
        for stage in planned
    )
    data = job.dataset
    where = "drawn" if isinstance(data, WorldScenesConfig) else data.root
    return TrainingPlan(
        dataset=f"{where} ({data.format})",
        taxonomy=f"{sets.taxonomy.name}, {sets.taxonomy.num_classes} classes",
        scenes=len(sets.training(job.dataset.size)),
        validation=len(sets.validation(job.dataset.size)),
        stages=stages,
    )


def _parameters(config: GeneratorConfig) -> int:
    import torch

    from hdmodel.generator import build_generator

    with torch.device("meta"):
        return sum(p.numel() for p in build_generator(config).parameters())
