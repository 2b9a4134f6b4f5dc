"""How much memory an update of a training takes, found out without taking it.

The update runs on fake tensors, which have shapes and no content, while the bytes of all tensors
alive are counted. So whatever the networks, losses and options are, the count follows the code.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hdmodel.training.backbone import Backbone
from hdmodel.training.batches import Batch
from hdmodel.training.config import Size, StageConfig, TrainConfig
from hdmodel.training.perceptual import untrained_perceptual
from hdmodel.training.trainer import Trainer

PROCESS_BYTES = 832 << 20
"""What a training process takes on a CPU beside its tensors: interpreter, torch, readers, and the
spare memory that its tuned allocator keeps."""
MARGIN = 1.1
"""Convolution libraries take memory for themselves, and freed memory is not all of use."""


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are alive, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: int = 0
        self.peak: int = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - torch's own signature
        """Run an operation and count what it made."""
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known.add(storage)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.live -= size


def update_bytes(config: TrainConfig, stage: StageConfig, *, processes: int = 1) -> int:
    """Find the most bytes of tensors alive during updates of a stage, on one device.

    Weights, optimiser state, gradients and activations count; what convolution libraries take for
    themselves meanwhile does not.

    Args:
        config: The training run.
        stage: The stage of it.
        processes: How many share each batch.
    """
    device = torch.device("cpu")
    height, width = stage.crop or config.stage_size(stage)
    samples = max(1, stage.batch // processes)
    with FakeTensorMode(), PeakMemory() as memory:
        perceptual = untrained_perceptual(config.vgg) if config.losses.perceptual else None
        trainer = Trainer(
            config.model_copy(update={"compile": False}),
            stage,
            device=device,
            perceptual=perceptual,
            backbone=Backbone() if config.losses.pixel else None,
        )
        batch = _empty_batch(samples, (height, width))
        for step in range(2):  # the first one makes the optimisers' state
            trainer.update(batch.to(device), step=step, learning_rate=1e-4)
        del batch
        # Whole scenes are rendered to measure and to show.
        trainer.render(_empty_batch(1, config.stage_size(stage)).to(device))
        peak: int = memory.peak
    return peak


def _empty_batch(samples: int, size: Size) -> Batch:
    ids = torch.zeros((samples, *size), dtype=torch.int32)
    photo = torch.zeros((samples, 3, *size), dtype=torch.uint8)
    return Batch(ids, ids.clone(), ids.long(), photo, objects=64 * samples)


def training_bytes(config: TrainConfig, *, processes: int = 1) -> dict[str, int]:
    """Estimate the bytes each stage of a training takes on one device, by the stage's name.

    Args:
        config: The training run; `generator.num_classes` is the taxonomy's.
        processes: How many share each batch.
    """
    return {
        stage.name: int(MARGIN * update_bytes(config, stage, processes=processes)) + PROCESS_BYTES
        for stage in config.stages
    }
