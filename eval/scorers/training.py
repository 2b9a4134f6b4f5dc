"""Training scorers on real photos.

Shape legend: B batch, H x W pixels.
"""

import copy
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from eval.confusion import ConfusionMatrix
from eval.errors import EvalError
from eval.scorers.config import (
    STATE_FILE,
    ScorerConfig,
    ScorerTraining,
    read_scorer_config,
    train_classes,
)
from eval.scorers.folder import claim, save_scorer
from eval.scorers.loss import class_weights, cross_entropy
from eval.scorers.network import build_network, check_finite, normalised, padded, start_from
from eval.scorers.scorer import NetworkSegmenter, arithmetic
from hdmodel.allocator import tune_allocator
from hdmodel.atomic import write_atomically
from hdmodel.errors import CheckpointError, ConfigError, TrainingError
from hdmodel.layers import place
from hdmodel.training.batches import Batch, RandomBatches, Sample, Samples, load
from hdmodel.training.log import MetricsTable, TrainingProgress, TrainingStatus
from hdmodel.training.scene_sets import SceneSets
from pipeline.taxonomy import IGNORED_TRAIN_ID, Taxonomy

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.csv"
COLUMNS = ("step", "loss", "learning_rate", "seconds_per_step")

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class TrainIdSamples:
    """Scenes with train ids in the place of class ids, and without objects."""

    def __init__(self, scenes: Samples, taxonomy: Taxonomy) -> None:
        self._scenes = scenes
        self._table = taxonomy.train_ids

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> Sample:
        label, _, photo = self._scenes[index]
        ids = self._table[label]
        return ids, np.zeros(ids.shape, np.int8), photo


def train_scorer(
    config: ScorerTraining,
    scenes: SceneSets,
    *,
    taxonomy: Taxonomy,
    out: Path,
    device: torch.device,
    names: Sequence[str] = (),
    progress: TrainingProgress | None = None,
) -> ScorerConfig:
    """Train a scorer, or go on where an earlier run with this output stopped.

    `out` is the scorer in the end: `scorer.yaml` and `scorer.safetensors`, beside `config.yaml`
    and `metrics.csv`.

    Args:
        config: The training run.
        scenes: Training and held-out scenes, with class ids of the taxonomy.
        taxonomy: Of the scenes.
        out: The folder to write into; nobody else may write there meanwhile.
        device: Where to train.
        names: Of the training scenes, as far as they have some outside this training.
        progress: Called before the first update and after each one.

    Returns:
        What `scorer.yaml` says; its scores are those on the held-out scenes.

    Raises:
        ConfigError: `out` holds another training, the taxonomy has no train ids, or the network
            cannot learn from batches and crops of this size.
        EvalError: The network cannot be built, or there are too few scenes.
        CheckpointError: Weights to start from, or to go on from, cannot be used.
        TrainingError: The loss is not finite; what was saved stays.
    """
    tune_allocator()
    classes = train_classes(taxonomy)
    training = TrainIdSamples(scenes.training(config.dataset.size), taxonomy)
    if len(training) < config.batch:
        raise EvalError(
            f"dataset: has {len(training)} scenes to train on, expected at least {config.batch}, "
            "the batch"
        )
    torch.manual_seed(config.seed)
    network = build_network(config.network, num_classes=classes)
    try_network(network, config, num_classes=classes, device=device)
    record = {
        "scenes": len(training),
        "scene_names": list(names),
        "taxonomy": {"name": taxonomy.name, "fingerprint": taxonomy.fingerprint},
        "config": config.to_plain(),
    }
    if claim(out, record):
        return read_scorer_config(out)
    start_from(network, config.initial, config=config.network)
    place(network, device, torch.channels_last)
    run = _Run(config, network, device, config.length(len(training)))
    done = run.restore(out / STATE_FILE)
    if done:
        log.info("%s: going on after step %d", out, done)
    weight = None
    if config.class_balance == "log":
        weight = torch.from_numpy(class_weights(training, classes)).to(device)
    run.train(training, out=out, done=done, weight=weight, progress=progress)
    held_out = TrainIdSamples(scenes.validation(config.dataset.size), taxonomy)
    scores = score(network, held_out, taxonomy=taxonomy, config=config, device=device)
    log.info("%s: held-out mean IoU %.4f on %d scenes", out, scores["mean_iou"], len(held_out))
    return save_scorer(network, config, taxonomy, out=out, scores=scores, record=record)


@dataclass(slots=True)
class _Run:
    """A network that learns."""

    config: ScorerTraining
    network: nn.Module
    device: torch.device
    steps: int
    optimiser: torch.optim.AdamW

    def __init__(
        self, config: ScorerTraining, network: nn.Module, device: torch.device, steps: int
    ) -> None:
        self.config, self.network, self.device, self.steps = config, network, device, steps
        encoder = {id(p) for p in network.encoder.parameters()}  # type: ignore[union-attr]
        rest = [p for p in network.parameters() if id(p) not in encoder]
        first = [p for p in network.parameters() if id(p) in encoder]
        self.optimiser = torch.optim.AdamW(
            [{"params": first}, {"params": rest}],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def train(
        self,
        training: Samples,
        *,
        out: Path,
        done: int,
        weight: Tensor | None,
        progress: TrainingProgress | None,
    ) -> None:
        """Make the updates that are left."""
        config = self.config
        batches = RandomBatches(
            training,
            crop=config.crop or config.dataset.size,
            batch=config.batch,
            seed=(config.seed,),
            mirror=config.mirror,
        )
        table = MetricsTable(out / METRICS_FILE, columns=COLUMNS, step=done)
        numbers = range(done, self.steps)
        loaded = load(batches, numbers, loaders=config.loaders, pin=self.device.type == "cuda")
        self.network.train()
        if progress:
            progress(TrainingStatus(done, self.steps, "training", None))
        since, losses = time.perf_counter(), list[float]()
        for number, batch in zip(numbers, loaded, strict=True):
            step = number + 1
            factor = config.learning_rate_factor(number, self.steps)
            losses.append(self._update(batch, factor=factor, step=step, weight=weight))
            if not np.isfinite(losses[-1]):
                raise TrainingError(
                    f"{out}: the loss is {losses[-1]} at step {step}; what was saved stays. A "
                    "lower learning_rate or autocast=false may help"
                )
            if progress:
                shown = partial(_named, loss=losses[-1])
                progress(TrainingStatus(step, self.steps, "training", shown))
            if step % config.log_every == 0 or step == self.steps:
                now = time.perf_counter()
                row = {
                    "step": step,
                    "loss": float(np.mean(losses)),
                    "learning_rate": config.learning_rate * factor,
                    "seconds_per_step": (now - since) / len(losses),
                }
                table.append(row)
                log.info(
                    "step %d of %d: loss %.4f, %.2f s per step",
                    step,
                    self.steps,
                    row["loss"],
                    row["seconds_per_step"],
                )
                since, losses = now, []
            if step % config.save_every == 0 or step == self.steps:
                self._save(out / STATE_FILE, step)

    def _update(self, batch: Batch, *, factor: float, step: int, weight: Tensor | None) -> float:
        """One update; returns the loss before it."""
        config = self.config
        rates = (config.encoder_learning_rate or config.learning_rate, config.learning_rate)
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        # Dropout draws from torch's global state: make that a function of the update alone.
        torch.manual_seed(int(np.random.SeedSequence([config.seed, step]).generate_state(1)[0]))
        ids_BHW = batch.label_BHW.to(self.device, torch.int64)
        photo_BHWC = batch.photo_BCHW.permute(0, 2, 3, 1).to(self.device)
        logits_BKHW = learning_logits(self.network, photo_BHWC, config)
        loss = cross_entropy(logits_BKHW, ids_BHW, weight=weight)
        torch.autograd.backward(loss)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return float(loss.detach())

    def _save(self, file: Path, step: int) -> None:
        """Write all that training needs to go on, whole or not at all."""
        tensors = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        check_finite(tensors, origin=f"step {step}")
        for number, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": moments[name] for name in _MOMENTS}
        content = {key: value.cpu().contiguous() for key, value in tensors.items()}
        write_atomically(file, save(content, metadata={"step": str(step)}))

    def restore(self, file: Path) -> int:
        """Go on from what `_save` left; returns the number of updates made, 0 without the file."""
        if not file.is_file():
            return 0
        try:
            tensors = load_file(file)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{file}: damaged ({error}); delete it to train from the start"
            ) from None
        weights = {
            key.removeprefix("network."): value
            for key, value in tensors.items()
            if key.startswith("network.")
        }
        self.network.load_state_dict(weights)
        learning = [p for group in self.optimiser.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimiser."):
                _, number, name = key.split(".")
                weight = learning[int(number)]
                if value.shape == weight.shape:
                    # The fused optimiser walks weights and moments as they lie in memory.
                    value = torch.empty_like(weight).copy_(value)
                state.setdefault(int(number), {})[name] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        return int(next(iter(state.values()))["step"])


def learning_logits(network: nn.Module, photo_BHWC: Tensor, config: ScorerTraining) -> Tensor:
    """Logits, float32 (B, K, H, W) of photos padded as for predictions; padding has no loss.

    Args:
        network: On its device.
        photo_BHWC: uint8, on the same device.
        config: Says normalisation and arithmetic.
    """
    height, width = photo_BHWC.shape[1:3]
    photo_BCHW = padded(normalised(photo_BHWC, config.normalisation)).contiguous(
        memory_format=torch.channels_last
    )
    dtype = torch.bfloat16 if config.autocast else torch.float32
    with arithmetic(photo_BHWC.device, dtype):
        logits_BKHW: Tensor = network(photo_BCHW)
    return logits_BKHW[:, :, :height, :width].float()


def try_network(
    network: nn.Module, config: ScorerTraining, *, num_classes: int, device: torch.device
) -> None:
    """Compute one small batch with a copy of the network, as an update would.

    Args:
        network: New; left as it is.
        config: The training run.
        num_classes: K.
        device: Where to compute.

    Raises:
        ConfigError: The network cannot learn from batches and crops of this size.
    """
    height, width = config.crop or config.dataset.size
    batch = min(config.batch, 2)  # networks tell one photo from several, not how many
    wanted = (batch, num_classes, height, width)
    trial = copy.deepcopy(network).train()
    place(trial, device, torch.channels_last)
    photo_BHWC = torch.zeros((batch, height, width, 3), dtype=torch.uint8, device=device)
    try:
        with torch.no_grad():
            found = tuple(learning_logits(trial, photo_BHWC, config).shape)
        reason = None if found == wanted else f"it gives {list(found)}, not {list(wanted)}"
    except (ValueError, RuntimeError, TypeError, IndexError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
    if reason is not None:
        few = "; with a batch of 1 many networks cannot learn" if batch == 1 else ""
        raise ConfigError(
            f"batch {config.batch}, crop {height}x{width}: {config.network.architecture} on "
            f"{config.network.encoder} cannot learn from them ({reason}){few}"
        )


def score(
    network: nn.Module,
    held_out: Samples,
    *,
    taxonomy: Taxonomy,
    config: ScorerTraining,
    device: torch.device,
) -> dict[str, Any]:
    """Scores on held-out scenes with train ids, as plain data; NaN becomes None.

    The network is left in eval mode.
    """
    network.eval()
    segmenter = NetworkSegmenter(network, config.normalisation, torch.float32)
    matrix = ConfusionMatrix(train_classes(taxonomy))
    with torch.inference_mode():
        for index in range(len(held_out)):
            ids, _, photo = held_out[index]
            pixels = torch.tensor(photo)[None].to(device)
            predicted = segmenter(pixels).argmax(1)[0].to(torch.uint8).cpu().numpy()
            matrix.update(ids.astype(np.uint8), predicted)
    names = class_names(taxonomy)
    return {
        "scenes": len(held_out),
        **{key: _plain(value) for key, value in matrix.headline().items()},
        "iou": {name: _plain(float(v)) for name, v in zip(names, matrix.iou, strict=True)},
    }


def class_names(taxonomy: Taxonomy) -> list[str]:
    """The name of each train id from 0 on: of its first class."""
    names = [f"train id {number}" for number in range(train_classes(taxonomy))]
    for c in reversed(taxonomy.classes):
        if c.train_id != IGNORED_TRAIN_ID:
            names[c.train_id] = c.name
    return names


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def _named(*, loss: float) -> dict[str, float]:
    return {"loss": loss}
