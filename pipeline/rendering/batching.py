"""Rendering in batches: a batch that fails, most often for want of memory, is halved.

Shape legend: B samples of a batch, H x W pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch

from pipeline.scene import Photo


@dataclass(frozen=True, slots=True, eq=False)
class RenderedBatch:
    """The photos of a batch, or why the one sample in it has none."""

    positions: Sequence[int]
    """Which samples these are [B]."""
    result: Photo | str
    """uint8 [B, H, W, 3], or the error."""
    seconds: float


def render_in_batches(
    positions: Sequence[int],
    render: Callable[[Sequence[int]], Photo],
    *,
    size: int,
    device: str,
    halved: Callable[[], None] = lambda: None,
) -> Iterator[RenderedBatch]:
    """Render samples in batches, and a batch that fails in halves, down to single samples.

    Args:
        positions: The samples.
        render: Gives the photos of some of them, uint8 [B, H, W, 3].
        size: Largest B.
        device: What renders; an error after which nothing works on it any more is raised.
        halved: Called whenever a batch is halved.
    """
    for start in range(0, len(positions), size):
        yield from _render_or_halve(positions[start : start + size], render, device, halved)


def _render_or_halve(
    positions: Sequence[int],
    render: Callable[[Sequence[int]], Photo],
    device: str,
    halved: Callable[[], None],
) -> Iterator[RenderedBatch]:
    start = perf_counter()
    try:
        photos = render(positions)
    except Exception as error:
        if device_is_lost(device, error):
            raise
        failure = f"{type(error).__name__}: {error}"
    else:
        yield RenderedBatch(positions, photos, perf_counter() - start)
        return
    if len(positions) == 1:
        yield RenderedBatch(positions, failure, perf_counter() - start)
        return
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    halved()
    middle = len(positions) // 2
    yield from _render_or_halve(positions[:middle], render, device, halved)
    yield from _render_or_halve(positions[middle:], render, device, halved)


def device_is_lost(device: str, error: Exception) -> bool:
    """Whether an error is the device's and not the batch's: nothing can be rendered on it any more.

    A CUDA context that broke fails every later call, so samples would be blamed one by one.
    """
    if not device.startswith("cuda") or isinstance(error, torch.OutOfMemoryError):
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False
