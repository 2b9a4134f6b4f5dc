"""The Beam ModelHandler that renders whole shards with a generator.

Shape legend: S samples of a shard, H x W pixels.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler

from pipeline.devices import candidate_devices
from pipeline.editing.picture import PixelSource
from pipeline.errors import DatasetError
from pipeline.fit import photos_per_batch
from pipeline.output.manifest import Failure, StyleChoice
from pipeline.rendering.batching import device_is_lost, render_in_batches
from pipeline.rendering.compose import ComposedShard
from pipeline.rendering.composite import drawn_in
from pipeline.rendering.generator import (
    GeneratorSpec,
    LoadedGenerator,
    load_on_device,
    render_maps,
)
from pipeline.rendering.windows import render_missing
from pipeline.scene import Photo
from pipeline.styles.stylist import StyleTable, Stylist

NAMESPACE = "hdsynth"


@dataclass(frozen=True, slots=True)
class RenderedSample:
    """What rendering says of a sample; nothing if composing it failed."""

    styles: tuple[StyleChoice, ...] = ()
    failure: Failure | None = None
    seconds_read: float = 0.0
    """Spent reading photos that styles are taken from."""
    seconds_render: float = 0.0
    device: str | None = None
    dtype: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RenderedShard:
    """A shard with its photos; those of failed samples are black."""

    composed: ComposedShard
    samples: tuple[RenderedSample, ...]
    photo: Photo
    """uint8 [S, H, W, 3]."""
    pixel_source: npt.NDArray[np.uint8] | None = None
    """Of composites: where each pixel is from [S, H, W]."""

    @property
    def nbytes(self) -> int:
        """Bytes of the maps and photos."""
        return self.composed.nbytes + self.photo.nbytes


class GeneratorHandler(ModelHandler[ComposedShard, RenderedShard, LoadedGenerator]):
    """Loads a generator once per process and renders shards with it.

    A shard is cut into batches of at most `batch_pixels` pixels. A batch that runs out of memory
    is halved; a sample that fails alone is recorded as failed, and its neighbours are rendered.

    Args:
        spec: The generator.
        devices: Finds the devices of a request; tests put made-up ones here.
    """

    def __init__(
        self, spec: GeneratorSpec, *, devices: Callable[[str], list[str]] = candidate_devices
    ) -> None:
        super().__init__()
        self._spec = spec
        self._devices = devices

    def load_model(self) -> LoadedGenerator:
        """Take a device, until the generator is no longer used, and load the generator onto it."""
        generator = load_on_device(self._spec, devices=self._devices)
        weakref.finalize(generator, generator.lease.close)
        return generator

    def run_inference(
        self,
        batch: Sequence[ComposedShard],
        model: LoadedGenerator,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[RenderedShard]:
        """Render shards; Beam's batch is always a single one."""
        for composed in batch:
            yield render_shard(
                composed,
                model,
                batch_pixels=self._spec.settings.batch_pixels,
                seam=self._spec.seam,
            )

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
    composed: ComposedShard,
    generator: LoadedGenerator,
    *,
    batch_pixels: int,
    seam: bool = True,
) -> RenderedShard:
    """Render the samples of a shard that have maps, and say of each how it went.

    Args:
        composed: The shard.
        generator: What renders it.
        batch_pixels: The largest batch, in pixels.
        seam: Whether the contour of what is drawn in a photo of real pixels is softened.
    """
    count, height, width = composed.label.shape
    photo = np.zeros((count, height, width, 3), np.uint8)
    pixel_source = None
    samples = [RenderedSample()] * count
    todo = [i for i, sample in enumerate(composed.samples) if sample.failure is None]
    if composed.photo is not None and composed.pixel_source is not None:
        photo, pixel_source = composed.photo.copy(), composed.pixel_source.copy()
        todo = [i for i in todo if (pixel_source[i] >= PixelSource.HOLE).any()]
    if generator.stylist is not None:
        for position in todo:
            samples[position] = _assign_styles(
                composed, position, generator.stylist, device=generator.lease.device
            )
        todo = [i for i in todo if samples[i].failure is None]

    inside: dict[int, npt.NDArray[np.bool_]] = {}

    def render(positions: Sequence[int]) -> Photo:
        styles = None
        if generator.stylist is not None:
            styles = [StyleTable.of(samples[i].styles) for i in positions]
        if pixel_source is None:
            return render_maps(
                composed.label[positions], composed.instance[positions], generator, styles=styles
            )
        parts = []
        for place, i in enumerate(positions):
            drawn = render_missing(
                composed.label[i],
                composed.instance[i],
                pixel_source[i] >= PixelSource.HOLE,
                generator,
                styles=None if styles is None else styles[place],
            )
            inside[i] = drawn.inside
            parts.append(drawn.photo)
        return np.stack(parts)

    for batch in render_in_batches(
        todo,
        render,
        size=photos_per_batch(batch_pixels, (height, width)),
        device=generator.lease.device,
        halved=Metrics.counter(NAMESPACE, "batches_halved").inc,
    ):
        for place, position in enumerate(batch.positions):
            failure = None
            if isinstance(batch.result, str):
                failure = Failure("render", batch.result)
                _count_failure(failure)
                photo[position] = 0
            elif pixel_source is None:
                photo[position] = batch.result[place]
            else:
                photo[position], pixel_source[position] = drawn_in(
                    photo[position],
                    pixel_source[position],
                    batch.result[place],
                    composed.label[position],
                    inside=inside[position],
                    seam=seam,
                )
            sample = samples[position]
            samples[position] = replace(
                sample,
                failure=failure,
                seconds_render=sample.seconds_render + batch.seconds / len(batch.positions),
                device=generator.lease.device,
                dtype=str(generator.dtype).removeprefix("torch."),
            )
    return RenderedShard(composed, tuple(samples), photo, pixel_source)


def keep_composites(composed: ComposedShard) -> RenderedShard:
    """A shard of composites as it is, without a generator; samples that need one have failed."""
    assert composed.photo is not None
    assert composed.pixel_source is not None
    photo, samples = composed.photo, []
    for position, source in enumerate(composed.pixel_source):
        sample = RenderedSample()
        missing = int(np.count_nonzero(source >= PixelSource.HOLE))
        if missing and composed.samples[position].failure is None:
            text = f"{missing} of {source.size} pixels are in no photo, and there is no generator"
            sample = RenderedSample(failure=Failure("render", text))
            _count_failure(Failure("render", text))
            photo = photo.copy()
            photo[position] = 0
        samples.append(sample)
    return RenderedShard(composed, tuple(samples), photo, composed.pixel_source)


def _assign_styles(
    composed: ComposedShard, position: int, stylist: Stylist, *, device: str
) -> RenderedSample:
    """Choose the styles of one sample; one without them has failed."""
    sample = composed.samples[position]
    styles: tuple[StyleChoice, ...] = ()
    failure: Failure | None = None
    start, read_before = perf_counter(), stylist.seconds
    try:
        styles = stylist.assign_styles(
            composed.instance[position],
            sample.instances,
            scene=sample.row.scene,
            index=sample.row.index,
        )
    except DatasetError as error:
        failure = Failure("read", str(error))
    except Exception as error:
        if device_is_lost(device, error):
            raise
        failure = Failure("render", f"{type(error).__name__}: {error}")
    seconds_read = stylist.seconds - read_before
    if failure is not None:
        _count_failure(failure)
    return RenderedSample(
        styles, failure, seconds_read, seconds_render=perf_counter() - start - seconds_read
    )


def _count_failure(failure: Failure) -> None:
    Metrics.counter(NAMESPACE, f"samples_failed_{failure.kind}").inc()
