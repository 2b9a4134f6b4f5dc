"""Training from coarse to fine: stage by stage, update by update (paper, sections 3.2 and 4)."""

import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdmodel.allocator import tune_allocator
from hdmodel.checkpoint import TaxonomyRecord, read_checkpoint_config, save_checkpoint
from hdmodel.errors import TrainingError
from hdmodel.training.batches import Batch, RandomBatches, load, stack
from hdmodel.training.checks import check_training, pretrained_networks
from hdmodel.training.config import StageConfig, TrainConfig
from hdmodel.training.data_parallel import Processes
from hdmodel.training.folder import VALIDATION, TrainingFolder
from hdmodel.training.log import TrainingLog, TrainingProgress, TrainingStatus
from hdmodel.training.losses import StepLosses
from hdmodel.training.report import write_report
from hdmodel.training.scene_sets import SceneSets
from hdmodel.training.schedule import PlannedStage
from hdmodel.training.trainer import Trainer

logger = logging.getLogger(__name__)

_PICTURED = 3
_CHECKED_EVERY = 20
"""Updates between checks of the losses on a GPU, which has to be waited for."""


def train(
    config: TrainConfig,
    scenes: SceneSets,
    *,
    taxonomy: TaxonomyRecord,
    palette: npt.NDArray[np.uint8],
    out: Path,
    device: torch.device,
    ignored: Sequence[int] = (),
    processes: Processes | None = None,
    progress: TrainingProgress | None = None,
) -> Path:
    """Train a generator, or go on where an earlier run with this output stopped.

    What it leaves is described in docs/training.md.

    Args:
        config: The training run; `generator.num_classes` is the taxonomy's.
        scenes: Training and validation scenes.
        taxonomy: Of the label maps.
        palette: RGB colour of each class, uint8 [num_classes, 3].
        out: The folder to write into; nobody else may write there meanwhile.
        device: Where to train.
        ignored: Class ids of no look of their own: the pixel discriminator says nothing of them.
        processes: Those that train together; this one alone by default.
        progress: Called before the first update and after each one.

    Returns:
        The final checkpoint.

    Raises:
        ConfigError: `out` holds a run with another configuration.
        InputError: The scenes do not fit the configuration.
        CheckpointError: A checkpoint cannot be read or written; earlier ones stay.
        TrainingError: A loss is not finite, or the disk is full; earlier checkpoints stay.
    """
    tune_allocator()
    processes = processes or Processes()
    stages = check_training(config, scenes, taxonomy=taxonomy, processes=processes)
    run = _Run(
        config,
        scenes,
        taxonomy,
        palette,
        TrainingFolder(out),
        device,
        processes,
        progress,
        pretrained_networks(config),
        ignored,
    )
    if processes.is_first:
        run.folder.claim(config, taxonomy, scenes=len(scenes.training(config.dataset.size)))
        run.folder.settle()
    processes.wait()
    try:
        return run.to_the_end(stages)
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"{out}: the device's memory is full ({str(error).splitlines()[0]}); recompute=true, "
            "a smaller crop or batch, or a larger accumulate take less"
        ) from error
    except OSError as error:
        raise TrainingError(
            f"{out}: cannot be written ({error.strerror or error}); saved checkpoints are kept, "
            "the same command goes on from the last one"
        ) from error


@dataclass(slots=True)
class _Run:
    """What stays the same from the first stage to the last."""

    config: TrainConfig
    scenes: SceneSets
    taxonomy: TaxonomyRecord
    palette: npt.NDArray[np.uint8]
    folder: TrainingFolder
    device: torch.device
    processes: Processes
    progress: TrainingProgress | None
    pretrained: list[str] | None
    """Networks of others that a loss asks; None if that is not known."""
    ignored: Sequence[int]

    def to_the_end(self, stages: Sequence[PlannedStage]) -> Path:
        trainer, done = self._last(stages)
        total = stages[-1].end
        log = None
        if self._writes:
            log = TrainingLog(self.folder, self.config.losses, palette=self.palette, step=done)
        current = next((stage for stage in stages if done < stage.end), stages[-1])
        self._tell(TrainingStatus(done, total, current.config.name, None))
        for stage in stages:
            if done >= stage.end:
                continue
            if trainer is None or trainer.stage is not stage.config:
                trainer = self._next(trainer, stage.config)
            self._stage(trainer, stage, done=done, total=total, log=log)
            done = stage.end
        assert trainer is not None
        if log is not None:
            log.close()
            self._finish(trainer, total)
        self.processes.wait()
        return self.folder.final

    @property
    def _writes(self) -> bool:
        return self.processes.is_first

    def _trainer(self, stage: StageConfig, before: Trainer | None = None) -> Trainer:
        """A trainer, with the networks that never learn of the one before."""
        return Trainer(
            self.config,
            stage,
            device=self.device,
            processes=self.processes,
            perceptual=None if before is None else before.perceptual,
            backbone=None if before is None or before.pixels is None else before.pixels.backbone,
            ignored=self.ignored,
        )

    def _next(self, before: Trainer | None, stage: StageConfig) -> Trainer:
        """The trainer of a stage, which goes on with the networks of the one before."""
        if before is None:
            trainer = self._trainer(stage)
            if self.config.initial is not None:
                trainer.start_from(Path(self.config.initial))
            return trainer
        trainer = self._trainer(stage, before)
        trainer.take_over(before)
        return trainer

    def _last(self, stages: Sequence[PlannedStage]) -> tuple[Trainer | None, int]:
        """The trainer of the newest checkpoint, if there is one, and its number of updates."""
        saved = self.folder.saved()
        if not saved:
            return None, 0
        record = read_checkpoint_config(saved[-1]).training
        stage = next(stage for stage in stages if stage.config.name == record["stage"])
        trainer = self._trainer(stage.config)
        trainer.restore(saved[-1])
        if self._writes:
            logger.info("%s: going on after step %d", self.folder.root, record["step"])
        return trainer, int(record["step"])

    def _stage(
        self,
        trainer: Trainer,
        stage: PlannedStage,
        *,
        done: int,
        total: int,
        log: TrainingLog | None,
    ) -> None:
        size = self.config.stage_size(stage.config)
        batches = RandomBatches(
            self.scenes.training(size),
            crop=stage.config.crop or size,
            batch=stage.config.batch,
            seed=(self.config.seed, stage.number),
            mirror=stage.config.mirror,
            warp=stage.config.warp,
            share=self.processes.share(stage.config.batch, accumulate=stage.config.accumulate),
        )
        validation = self.scenes.validation(size)
        held_out = [stack([validation[n]]) for n in range(len(validation))] if self._writes else []
        training = batches.samples
        shown = held_out[:_PICTURED]
        if self._writes and not shown:
            shown = [stack([training[n]]) for n in range(min(_PICTURED, len(training)))]
        clock = _Clock()
        numbers = range(done - stage.first, stage.schedule.steps)
        loaded = load(batches, numbers, loaders=self.config.loaders, pin=self.device.type == "cuda")
        for number, batch in zip(numbers, loaded, strict=True):
            step = stage.first + number + 1
            learning_rate = (
                stage.config.learning_rate or self.config.optimiser.learning_rate
            ) * stage.schedule.learning_rate_factor(number)
            losses = trainer.update(batch.to(self.device), step=step, learning_rate=learning_rate)
            clock.count()
            saves = step % self.config.save_every == 0 or step == stage.end
            logs = step % self.config.log_every == 0 or saves
            if logs or self.device.type == "cpu" or step % _CHECKED_EVERY == 0:
                values = self._values(losses)
                self._check_finite(values, step)
            self._tell(TrainingStatus(step, total, stage.config.name, partial(_read, losses)))
            if log is not None:
                if step % self.config.picture_every == 0 or step == stage.end:
                    log.picture(*_rendered(trainer, shown), step=step)
                error = _validate(trainer, held_out) if saves else None
                if logs:
                    row: dict[str, float | int | str] = {"step": step, "stage": stage.config.name}
                    row |= values
                    row |= {"learning_rate": learning_rate, "seconds_per_step": clock.lap()}
                    if error is not None:
                        row[VALIDATION] = error
                    log.row(row, steps=total)
                if saves:
                    self._save(trainer, stage, step=step, error=error)
            if saves:
                self.processes.wait()

    def _values(self, losses: StepLosses) -> dict[str, float]:
        """The losses as numbers, averaged over the processes."""
        terms = losses.terms
        mean = self.processes.mean(torch.stack(list(terms.values())).float())
        return dict(zip(terms, mean.tolist(), strict=True))

    def _check_finite(self, losses: Mapping[str, float], step: int) -> None:
        for name, value in losses.items():
            if not np.isfinite(value):
                self._stop(f"{name} is {value}", step)

    def _check_state(self, trainer: Trainer, step: int) -> None:
        """Look at the weights after an update, whose losses were those before it."""
        for tensors in (trainer.best_generator.state_dict(), *trainer.state().values()):
            for key, tensor in tensors.items():
                if not bool(tensor.isfinite().all()):
                    self._stop(f"{key} is no longer finite", step)

    def _stop(self, what: str, step: int) -> NoReturn:
        saved = self.folder.saved()
        good = f"the last good checkpoint is {saved[-1]}" if saved else "nothing was saved"
        raise TrainingError(
            f"{self.folder.root}: {what} at step {step}; {good}. "
            "A lower optimiser.learning_rate or autocast=false may help"
        )

    def _save(
        self, trainer: Trainer, stage: PlannedStage, *, step: int, error: float | None
    ) -> None:
        self._check_state(trainer, step)
        record: dict[str, Any] = {"step": step, "stage": stage.config.name}
        if error is not None:
            record[VALIDATION] = error
        save_checkpoint(
            self.folder.checkpoint(step),
            trainer.best_generator,
            taxonomy=self.taxonomy,
            encoder=trainer.best_encoder,
            training=record | self._provenance(),
            extra_tensors=trainer.state(),
        )
        self.folder.settle()
        self._report(trainer)

    def _finish(self, trainer: Trainer, step: int) -> None:
        record = read_checkpoint_config(self.folder.checkpoint(step)).training
        if self.folder.is_final(record):
            return  # it may have a style bank by now
        shutil.rmtree(self.folder.final, ignore_errors=True)
        save_checkpoint(
            self.folder.final,
            trainer.best_generator,
            taxonomy=self.taxonomy,
            encoder=trainer.best_encoder,
            training=record,
            dtype="float16" if self.config.half_on_disk else "float32",
        )
        self._report(trainer)

    def _report(self, trainer: Trainer) -> None:
        parameters = sum(p.numel() for p in trainer.generator.parameters())
        write_report(self.folder.root, facts={"generator": f"{parameters / 1e6:.1f} M parameters"})

    def _provenance(self) -> dict[str, Any]:
        return {
            "config": self.config.to_plain(),
            "pretrained": self.pretrained,
            "torch": torch.__version__,
        }

    def _tell(self, status: TrainingStatus) -> None:
        if self.progress and self._writes:
            self.progress(status)


def _read(losses: StepLosses) -> dict[str, float]:
    return {name: term.item() for name, term in losses.terms.items()}


def _validate(trainer: Trainer, held_out: Sequence[Batch]) -> float | None:
    """The mean absolute difference of rendered and real photos, in steps of 0..255."""
    if not held_out:
        return None
    errors = [
        float((trainer.render(batch) - batch.photo_BCHW).abs().mean()) * 127.5
        for batch in _on(trainer.device, held_out)
    ]
    return sum(errors) / len(errors)


def _rendered(trainer: Trainer, shown: Sequence[Batch]) -> tuple[Tensor, Tensor, Tensor]:
    """Label maps, and their rendered and real photos."""
    batches = list(_on(trainer.device, shown))
    return (
        torch.cat([batch.label_BHW for batch in batches]),
        torch.cat([trainer.render(batch) for batch in batches]),
        torch.cat([batch.photo_BCHW for batch in batches]),
    )


def _on(device: torch.device, batches: Sequence[Batch]) -> Iterator[Batch]:
    return (batch.to(device) for batch in batches)


class _Clock:
    """Seconds per update between two readings."""

    def __init__(self) -> None:
        self._since, self._counted = time.perf_counter(), 0

    def count(self) -> None:
        self._counted += 1

    def lap(self) -> float:
        now = time.perf_counter()
        seconds = (now - self._since) / max(self._counted, 1)
        self._since, self._counted = now, 0
        return seconds
