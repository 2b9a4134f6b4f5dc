"""Training with several processes, each on a device of its own: `torchrun -m hdsynth train`.

Every process computes its share of each batch; gradients are averaged, so that the weights stay
the same everywhere and the result is that of one process with the whole batch, up to rounding.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hdmodel.errors import ConfigError, TrainingError


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1

    @classmethod
    def join(cls, device: torch.device) -> "Processes":
        """Join the processes that torchrun started; alone where it did not.

        Args:
            device: Where this process trains: decides what carries the gradients.
        """
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, batch: int, *, accumulate: int) -> slice:
        """Choose the samples of a batch that this process computes.

        Raises:
            ConfigError: The batch cannot be divided evenly.
        """
        if batch % (self.world * accumulate):
            raise ConfigError(
                f"batch is {batch}, expected a multiple of {self.world * accumulate}: "
                f"{self.world} processes with accumulate {accumulate}"
            )
        own = batch // self.world
        return slice(self.rank * own, (self.rank + 1) * own)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their mean over all processes."""
        if self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        with _together():
            dist.all_reduce(flat)
        flat /= self.world
        pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view(gradient.shape))

    def mean(self, values: Tensor) -> Tensor:
        """Average a tensor over all processes."""
        if self.world > 1:
            values = values.clone()
            with _together():
                dist.all_reduce(values)
            values /= self.world
        return values

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            with _together():
                dist.barrier()

    def leave(self) -> None:
        """Leave the group when all are done; a process alone has none."""
        if self.world > 1:
            dist.destroy_process_group()


@contextmanager
def _together() -> Iterator[None]:
    """Say what it means when the others no longer answer."""
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrainingError(f"another process of the training failed ({reason})") from error
