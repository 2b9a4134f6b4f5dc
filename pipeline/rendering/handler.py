"""The Beam ModelHandler that renders whole shards with a generator.

Shape legend: S samples of a shard, B of a batch, C conditioning channels, H x W pixels.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler
from torch import Tensor, nn

from hdmodel.allocator import tune_allocator
from hdmodel.checkpoint import load_generator
from hdmodel.conditioning import condition
from hdmodel.photos import to_uint8
from pipeline.devices import Lease, candidate_devices, lease_device
from pipeline.errors import DatasetError
from pipeline.fit import photos_per_batch
from pipeline.output.manifest import FAILED
from pipeline.rendering.compose import ComposedShard
from pipeline.scene import Photo
from pipeline.sources.reading import SceneReader
from pipeline.styles.style import Style
from pipeline.styles.stylist import StyleTable, Stylist, paint

NAMESPACE = "hdsynth"


@dataclass(frozen=True, slots=True, eq=False)
class RenderedShard:
    """A shard with its photos; those of failed samples are black."""

    composed: ComposedShard
    photo: Photo
    """uint8 [S, H, W, 3]."""

    @property
    def nbytes(self) -> int:
        """Bytes of the maps and photos."""
        return self.composed.nbytes + self.photo.nbytes


@dataclass(frozen=True, eq=False)  # no slots: Beam shares it by a weak reference
class LoadedGenerator:
    """A generator on its device."""

    network: nn.Module
    num_classes: int
    instance_edges: bool
    """Whether it reads the boundary map of the instances."""
    lease: Lease
    dtype: torch.dtype
    stylist: Stylist | None = None
    """Chooses how objects look; None for a generator that reads no features."""


class GeneratorHandler(ModelHandler[ComposedShard, RenderedShard, LoadedGenerator]):
    """Loads a checkpoint once per process and renders shards with it.

    A shard is cut into batches of at most `batch_pixels` pixels. A batch that runs out of memory
    is halved; a sample that fails alone is recorded as failed, and its neighbours are rendered.

    Args:
        checkpoint: Checkpoint folder.
        num_classes: Classes of the label maps.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        dtype: Name of the arithmetic's dtype.
        batch_pixels: Largest batch in pixels; at least one photo is rendered at a time.
        style: How objects look; None for a generator that reads no features.
        photos: Reads scenes with photos; only needed by a style that reads photos.
        donor_photos: The same for the scenes of donors, if those are of another dataset.
        devices: Finds the devices of a request; tests put made-up ones here.
    """

    def __init__(
        self,
        *,
        checkpoint: Path,
        num_classes: int,
        device: str,
        dtype: str,
        batch_pixels: int,
        style: Style | None = None,
        photos: SceneReader | None = None,
        donor_photos: SceneReader | None = None,
        devices: Callable[[str], list[str]] = candidate_devices,
    ) -> None:
        super().__init__()
        self._checkpoint = checkpoint
        self._num_classes = num_classes
        self._device = device
        self._dtype = dtype
        self._batch_pixels = batch_pixels
        self._style = style
        self._photos = photos
        self._donor_photos = donor_photos
        self._devices = devices

    def load_model(self) -> LoadedGenerator:
        """Take a device and load the checkpoint onto it, with what chooses the looks."""
        tune_allocator()
        lease = lease_device(self._devices(self._device))
        dtype: torch.dtype = getattr(torch, self._dtype)
        network = load_generator(self._checkpoint, device=lease.device, dtype=dtype)
        stylist = None
        if self._style is not None:
            stylist = Stylist(
                self._style,
                self._checkpoint,
                read=self._photos,
                read_donors=self._donor_photos,
                device=lease.device,
            )
        model = LoadedGenerator(
            network, self._num_classes, network.config.instance_edges, lease, dtype, stylist
        )
        weakref.finalize(model, lease.close)
        return model

    def run_inference(
        self,
        batch: Sequence[ComposedShard],
        model: LoadedGenerator,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[RenderedShard]:
        """Render shards; Beam's batch is always a single one."""
        for composed in batch:
            yield render_shard(composed, model, batch_pixels=self._batch_pixels)

    def get_num_bytes(self, batch: Sequence[ComposedShard]) -> int:
        """Bytes of the maps; Beam's default would pickle them to find out."""
        return sum(shard.nbytes for shard in batch)

    def get_metrics_namespace(self) -> str:
        """The name under which Beam reports inference metrics."""
        return NAMESPACE

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """One element, a whole shard, at a time."""
        return {"min_batch_size": 1, "max_batch_size": 1}


def render_shard(
    composed: ComposedShard, model: LoadedGenerator, *, batch_pixels: int
) -> RenderedShard:
    """Render the samples of a shard that have maps, and note in their records how it went."""
    samples, height, width = composed.label.shape
    photo = np.zeros((samples, height, width, 3), np.uint8)
    if model.stylist is not None:
        for position, record in enumerate(composed.records):
            if record.status != FAILED:
                _dress(composed, position, model.stylist, device=model.lease.device)
    todo = [i for i, record in enumerate(composed.records) if record.status != FAILED]
    size = photos_per_batch(batch_pixels, (height, width))
    for start in range(0, len(todo), size):
        for positions, result, seconds in _render_robustly(
            todo[start : start + size], composed, model
        ):
            for place, position in enumerate(positions):
                record = composed.records[position]
                record.seconds_render += seconds / len(positions)
                record.device = str(model.lease.device)
                record.dtype = str(model.dtype).removeprefix("torch.")
                if isinstance(result, str):
                    record.fail("render", result)
                    Metrics.counter(NAMESPACE, "samples_failed_render").inc()
                else:
                    photo[position] = result[place]
    return RenderedShard(composed, photo)


def _dress(composed: ComposedShard, position: int, stylist: Stylist, *, device: str) -> None:
    """Choose the looks of one sample; one without them is recorded as failed."""
    record = composed.records[position]
    start, read_before = perf_counter(), stylist.seconds
    try:
        stylist.dress(record, composed.instance[position])
    except DatasetError as error:
        # As for maps that cannot be read: nothing of the sample is there.
        composed.label[position] = 0
        composed.instance[position] = 0
        record.instances, record.events = [], []
        record.fail("read", str(error))
        Metrics.counter(NAMESPACE, "samples_failed_read").inc()
    except Exception as error:
        if device_is_lost(device, error):
            raise
        record.fail("render", f"{type(error).__name__}: {error}")
        Metrics.counter(NAMESPACE, "samples_failed_render").inc()
    seconds_read = stylist.seconds - read_before
    record.seconds_read += seconds_read
    record.seconds_render += perf_counter() - start - seconds_read


def _render_robustly(
    positions: list[int], composed: ComposedShard, model: LoadedGenerator
) -> Iterator[tuple[list[int], Photo | str, float]]:
    """Render a batch, in halves where it fails; yields photos or the reason, and the seconds."""
    start = perf_counter()
    try:
        styles = [StyleTable.of(composed.records[i].styles) for i in positions]
        photos = render_maps(
            composed.label[positions],
            composed.instance[positions],
            model,
            styles=styles if model.stylist is not None else None,
        )
    except Exception as error:
        if device_is_lost(model.lease.device, error):
            raise
        failure = f"{type(error).__name__}: {error}"
    else:
        yield positions, photos, perf_counter() - start
        return
    if len(positions) == 1:
        yield positions, failure, perf_counter() - start
        return
    if model.lease.device.startswith("cuda"):
        torch.cuda.empty_cache()
    Metrics.counter(NAMESPACE, "batches_halved").inc()
    middle = len(positions) // 2
    yield from _render_robustly(positions[:middle], composed, model)
    yield from _render_robustly(positions[middle:], composed, model)


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


def render_maps(
    label: npt.NDArray[np.unsignedinteger],
    instance: npt.NDArray[np.int32],
    model: LoadedGenerator,
    *,
    styles: Sequence[StyleTable] | None = None,
) -> Photo:
    """Render photos of label and instance maps.

    Args:
        label: Class ids [B, H, W].
        instance: Instance ids [B, H, W].
        model: The generator.
        styles: The features of each map's objects [B]; None if the generator reads none.

    Returns:
        RGB photos, uint8 [B, H, W, 3].

    Raises:
        ValueError: The generator's output is not finite.
    """
    device = torch.device(model.lease.device)
    with torch.inference_mode():
        instance_BHW = torch.from_numpy(instance).to(device)
        conditioning_BCHW = condition(
            torch.from_numpy(label.astype(np.int32, copy=False)).to(device),
            instance_BHW if model.instance_edges else None,
            num_classes=model.num_classes,
            features=None if styles is None else paint(instance_BHW, styles),
            dtype=model.dtype,
        )
        photo_BCHW: Tensor = model.network(conditioning_BCHW)
        if not bool(photo_BCHW.isfinite().all()):
            raise ValueError("the generator's output is not finite")
        return to_uint8(photo_BCHW).permute(0, 2, 3, 1).contiguous().cpu().numpy()
