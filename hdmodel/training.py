"""The training loop: LSGAN and feature matching (paper, section 3.2 and 4).

Shapes: B batch, C channels, H height, W width.
"""

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml
from torch import Tensor, nn

from hdmodel.allocator import tune_allocator
from hdmodel.batches import Batch, RandomCrops, Samples, stack
from hdmodel.checkpoint import (
    GENERATOR_FILE,
    TaxonomyRecord,
    check_keys,
    read_checkpoint_config,
    read_tensors,
    save_checkpoint,
)
from hdmodel.conditioning import condition
from hdmodel.discriminator import MultiscaleDiscriminator
from hdmodel.errors import ConfigError
from hdmodel.generator import build_generator
from hdmodel.layers import initialise
from hdmodel.losses import (
    DiscriminatorLosses,
    GeneratorLosses,
    discriminator_losses,
    generator_losses,
)
from hdmodel.settings import read_yaml
from hdmodel.train_config import TrainConfig
from hdmodel.training_log import MetricsTable, picture_sheet

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.csv"
FINAL = "final"
DISCRIMINATOR_FILE = "discriminator.safetensors"
OPTIMISER_FILE = "optimizer.safetensors"

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_KEPT_CHECKPOINTS = 2
_PREVIEWS = 3
_MAY_CHANGE = {"steps", "decay_from", "log_every", "save_every", "half_on_disk"}


@dataclass(frozen=True, slots=True)
class StepLosses:
    """The losses of one update, before it."""

    generator: GeneratorLosses
    discriminator: DiscriminatorLosses


TrainingProgress = Callable[[int, StepLosses | None], None]
"""Told the number of updates made; the losses of the last one are None before the first."""


class Trainer:
    """Generator, discriminator and their optimisers.

    Args:
        config: The training run.
        device: Where to train.
    """

    def __init__(self, config: TrainConfig, *, device: torch.device) -> None:
        self.config = config
        self.device = device
        random = torch.Generator().manual_seed(config.seed)
        self.generator = build_generator(config.generator)
        self.discriminator = MultiscaleDiscriminator(
            config.discriminator,
            in_channels=config.generator.in_channels + config.generator.out_channels,
        )
        layout = torch.channels_last if config.autocast else torch.contiguous_format
        for network in (self.generator, self.discriminator):
            initialise(network, random)
            network.to(device=device)
            network.to(memory_format=layout)
        self._optimisers = {
            name: torch.optim.Adam(
                network.parameters(),
                lr=config.optimiser.learning_rate,
                betas=(config.optimiser.beta1, config.optimiser.beta2),
                fused=True,
            )
            for name, network in self._networks.items()
        }

    @property
    def _networks(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def update(self, batch: Batch, *, learning_rate: float) -> StepLosses:
        """Improve both networks on one batch.

        Both gradients are those at the weights before the update. One pass of the discriminator
        serves both: its own gradient stops at its weights, the generator's passes through.
        """
        size = batch.photo_BCHW.shape[0]
        with self._autocast():
            conditioning_BCHW = self.condition(batch)
            fake_BCHW = self.generator(conditioning_BCHW)
            judged = self.discriminator(
                torch.cat([conditioning_BCHW, conditioning_BCHW]),
                torch.cat([fake_BCHW, batch.photo_BCHW]),
            )
        fake, real = zip(*(output.split(size) for output in judged), strict=True)
        losses = StepLosses(
            generator=generator_losses(fake, real, feature_weight=self.config.feature_matching),
            discriminator=discriminator_losses(fake, real),
        )
        torch.autograd.backward(
            losses.discriminator.total,
            inputs=list(self.discriminator.parameters()),
            retain_graph=True,
        )
        torch.autograd.backward(losses.generator.total, inputs=list(self.generator.parameters()))
        for optimiser in self._optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = learning_rate
            optimiser.step()
            optimiser.zero_grad()
        return losses

    @torch.no_grad()
    def render(self, batch: Batch) -> Tensor:
        """Photos of a batch's maps, float32 (B, 3, H, W) in [-1, 1]."""
        with self._autocast():
            photo_BCHW: Tensor = self.generator(self.condition(batch))
        return photo_BCHW

    def condition(self, batch: Batch) -> Tensor:
        """The generator's input for a batch, (B, in_channels, H, W)."""
        return condition(
            batch.label_BHW,
            batch.instance_BHW if self.config.generator.instance_edges else None,
            num_classes=self.config.generator.num_classes,
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.autocast)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What training needs to go on, beside the generator: tensors by file name and key."""
        moments: dict[str, Tensor] = {}
        for network, optimiser in self._optimisers.items():
            names = [name for name, _ in self._networks[network].named_parameters()]
            for index, values in optimiser.state_dict()["state"].items():
                for moment in _MOMENTS:
                    moments[f"{network}.{names[index]}.{moment}"] = values[moment]
        return {DISCRIMINATOR_FILE: self.discriminator.state_dict(), OPTIMISER_FILE: moments}

    def restore(self, checkpoint: Path) -> None:
        """Go on from a checkpoint that `state` was saved with.

        Raises:
            CheckpointError: The checkpoint is damaged, or of other networks.
        """
        for network, name in (
            (self.generator, GENERATOR_FILE),
            (self.discriminator, DISCRIMINATOR_FILE),
        ):
            tensors = read_tensors(checkpoint, name)
            check_keys(_shapes(network.state_dict()), _shapes(tensors), origin=str(checkpoint))
            network.load_state_dict(tensors)
        moments = read_tensors(checkpoint, OPTIMISER_FILE)
        for name, optimiser in self._optimisers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for index, (key, weight) in enumerate(self._networks[name].named_parameters()):
                state[index] = {
                    moment: _like(moments[f"{name}.{key}.{moment}"], weight) for moment in _MOMENTS
                }
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def train(
    config: TrainConfig,
    samples: Samples,
    *,
    taxonomy: TaxonomyRecord,
    palette: npt.NDArray[np.uint8],
    out: Path,
    device: torch.device,
    progress: TrainingProgress | None = None,
) -> Path:
    """Train a generator, or go on where an earlier run with this output stopped.

    Leaves `config.yaml`, `metrics.csv`, `samples/step-*.png` (labels, rendered, real), the two
    newest checkpoints `step-*`, and at the end the checkpoint `final`.

    Args:
        config: The training run; `generator.num_classes` is the taxonomy's.
        samples: The training set: (label, instance, photo) arrays of at least the crop's size.
        taxonomy: Of the label maps.
        palette: RGB colour of each class, uint8 [num_classes, 3].
        out: The folder to write into.
        device: Where to train.
        progress: Called before the first update and after each one.

    Returns:
        The final checkpoint.

    Raises:
        ConfigError: `out` holds a run with another configuration.
        InputError: A sample does not fit the configuration.
    """
    tune_allocator()
    _claim(out, config)
    trainer = Trainer(config, device=device)
    checkpoints = _checkpoints(out)
    done = 0
    if checkpoints:
        trainer.restore(checkpoints[-1])
        done = int(read_checkpoint_config(checkpoints[-1]).training["step"])
        logger.info("%s: going on after step %d", out, done)
    crops = RandomCrops(samples, crop=config.crop, batch=config.batch, seed=config.seed)
    previews = stack([samples[i] for i in range(min(_PREVIEWS, len(samples)))], device=device)
    metrics = MetricsTable(out / METRICS_FILE, step=done)
    if progress:
        progress(done, None)
    started, logged = time.perf_counter(), done
    for step in range(done, config.steps):
        learning_rate = config.optimiser.learning_rate * config.learning_rate_factor(step)
        losses = trainer.update(crops.batch(step, device=device), learning_rate=learning_rate)
        number = step + 1
        if progress:
            progress(number, losses)
        if number % config.log_every == 0 or number == config.steps:
            row = {
                "step": number,
                "adversarial": losses.generator.adversarial.item(),
                "feature_matching": losses.generator.feature_matching.item(),
                "discriminator_real": losses.discriminator.real.item(),
                "discriminator_fake": losses.discriminator.fake.item(),
                "learning_rate": learning_rate,
                "seconds_per_step": (time.perf_counter() - started) / (number - logged),
            }
            metrics.append(row)
            _log(row, steps=config.steps)
            sheet = picture_sheet(
                previews.label_BHW,
                trainer.render(previews),
                previews.photo_BCHW,
                palette=palette,
            )
            (out / "samples").mkdir(exist_ok=True)
            sheet.save(out / "samples" / f"step-{number:06d}.png")
            started, logged = time.perf_counter(), number
        if number % config.save_every == 0 or number == config.steps:
            _save(trainer, out, step=number, taxonomy=taxonomy)
    shutil.rmtree(out / FINAL, ignore_errors=True)
    return save_checkpoint(
        out / FINAL,
        trainer.generator,
        taxonomy=taxonomy,
        training=_provenance(config, config.steps),
        dtype="float16" if config.half_on_disk else "float32",
    )


def _claim(out: Path, config: TrainConfig) -> None:
    """Write the configuration into a new folder, or compare it with the one that is there."""
    plain = config.to_plain()
    file = out / CONFIG_FILE
    if file.is_file():
        earlier = read_yaml(file)
        changed = [
            key
            for key in sorted(plain.keys() | earlier.keys())
            if key not in _MAY_CHANGE and plain.get(key) != earlier.get(key)
        ]
        if changed:
            raise ConfigError(
                f"{out}: holds a run with another {', '.join(changed)}, "
                "expected the same configuration or a new folder"
            )
    elif out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"{out}: is not empty and no training run, expected a new folder")
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")


def _checkpoints(out: Path) -> list[Path]:
    """The checkpoints to go on from, oldest first."""
    return sorted(path for path in out.glob("step-*") if path.is_dir())


def _save(trainer: Trainer, out: Path, *, step: int, taxonomy: TaxonomyRecord) -> None:
    save_checkpoint(
        out / f"step-{step:06d}",
        trainer.generator,
        taxonomy=taxonomy,
        training=_provenance(trainer.config, step),
        extra_tensors=trainer.state(),
    )
    for old in _checkpoints(out)[:-_KEPT_CHECKPOINTS]:
        shutil.rmtree(old)


def _provenance(config: TrainConfig, step: int) -> dict[str, Any]:
    return {"step": step, "config": config.to_plain(), "torch": torch.__version__}


def _like(value: Tensor, weight: Tensor) -> Tensor:
    """A moment laid out in memory as its weight: the fused optimiser walks both in one go."""
    return torch.empty_like(weight).copy_(value) if value.shape == weight.shape else value


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _log(row: Mapping[str, float], *, steps: int) -> None:
    left = (steps - row["step"]) * row["seconds_per_step"]
    logger.info(
        "step %d/%d: adversarial %.3f, feature matching %.3f, discriminator %.3f real %.3f fake, "
        "%.2f s/step, %d min left",
        row["step"],
        steps,
        row["adversarial"],
        row["feature_matching"],
        row["discriminator_real"],
        row["discriminator_fake"],
        row["seconds_per_step"],
        round(left / 60),
    )
