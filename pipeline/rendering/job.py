"""The Beam job: shard numbers in, committed shards out; pixels never pass a shuffle."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import RunInference

from hdmodel.allocator import tune_allocator
from pipeline.config import PhotoConfig
from pipeline.donors.bank import DonorBank
from pipeline.editing.picture import PixelSource
from pipeline.exemplars.catalogue import Catalogue
from pipeline.fit import FitMode
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import PixelShares, Record, commit_manifest, digest
from pipeline.output.store import ShardArrays, Store
from pipeline.output.summary import PHASES
from pipeline.planning.plan import read_shard_plan
from pipeline.rendering.compose import ComposedShard, compose_shard
from pipeline.rendering.composer import make_composer
from pipeline.rendering.generator import GeneratorSpec
from pipeline.rendering.handler import (
    NAMESPACE,
    GeneratorHandler,
    RenderedSample,
    RenderedShard,
    keep_composites,
)
from pipeline.sources import Source
from pipeline.sources.reading import SceneReader
from pipeline.taxonomy import Taxonomy

Shards = beam.PTransform[beam.PCollection[int], beam.PCollection[int]]


@dataclass(frozen=True, slots=True)
class JobSpec:
    """All that workers need to know; small, and pickled into the pipeline."""

    out: OutputFolder
    source: Source
    taxonomy: Taxonomy
    size: tuple[int, int]
    fit: FitMode
    generator: GeneratorSpec | None
    """None for composites of real pixels alone."""
    photo: PhotoConfig
    seed: int
    threads: int = 1
    """How many work on one photo in a process."""
    exemplars: SceneReader | None = None
    """Reads the scenes that pixels are copied from, if they are not the job's own."""
    donor_photos: SceneReader | None = None
    """Of composites: reads the scenes of donors that come from another dataset."""


class ShardCoder(beam.coders.Coder):
    """Pickles shards, which no runner does while the stage is fused, and knows their size.

    Beam asks for the size of elements all the time, and its default pickles them to find out.
    """

    def encode(self, value: ComposedShard | RenderedShard) -> bytes:
        """A shard as bytes."""
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def decode(self, encoded: bytes) -> ComposedShard | RenderedShard:
        """A shard of bytes that `encode` made."""
        shard: ComposedShard | RenderedShard = pickle.loads(encoded)
        return shard

    def estimate_size(self, value: ComposedShard | RenderedShard) -> int:
        """Bytes of the pixels."""
        return value.nbytes

    def is_deterministic(self) -> bool:
        """Shards are never keys."""
        return False


beam.coders.registry.register_coder(ComposedShard, ShardCoder)
beam.coders.registry.register_coder(RenderedShard, ShardCoder)


class ComposeShard(beam.DoFn):
    """Reads the plan of a shard and applies its programs."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec

    def setup(self) -> None:
        """Prepare the process, its scene reader and its donors."""
        tune_allocator()
        spec = self._spec
        self._read = SceneReader(
            spec.source,
            spec.taxonomy,
            size=spec.size,
            mode=spec.fit,
            photo=spec.photo.is_composite,
        )
        self._donors = DonorBank.open(spec.out.donors)
        self._composer = None
        if spec.photo.is_copied:
            catalogue = Catalogue.open(spec.out.exemplars)
            self._composer = make_composer(
                spec.photo,
                self._donors.cutout,
                self._read,
                read_donors=spec.donor_photos,
                read_exemplars=spec.exemplars,
                catalogue=lambda: catalogue,
                taxonomy=spec.taxonomy,
                generator=spec.generator is not None,
                seed=spec.seed,
                threads=spec.threads,
            )

    def process(self, shard: int) -> Iterator[ComposedShard]:
        """Compose one shard."""
        rows = read_shard_plan(self._spec.out.plan, shard)
        composed = compose_shard(
            shard,
            rows,
            self._read,
            self._donors.cutout,
            self._spec.taxonomy,
            composer=self._composer,
        )
        for kind in ("read", "compose"):
            failed = sum(
                sample.failure is not None and sample.failure.kind == kind
                for sample in composed.samples
            )
            Metrics.counter(NAMESPACE, f"samples_failed_{kind}").inc(failed)
        yield composed


class WriteShard(beam.DoFn):
    """Writes a shard's pixels, then its manifest: the commit."""

    def __init__(self, out: OutputFolder) -> None:
        self._out = out

    def setup(self) -> None:
        """Open the zarr group."""
        self._store = Store(self._out.data, writable=True)

    def process(self, rendered: RenderedShard) -> Iterator[int]:
        """Write and commit one shard; yields its number."""
        shard = rendered.composed.shard
        start = perf_counter()
        arrays = shard_arrays(rendered)
        self._store.write_shard(shard, arrays)
        records = join_records(rendered, arrays)
        seconds = (perf_counter() - start) / len(records)
        records = [replace(record, seconds_write=seconds) for record in records]
        commit_manifest(self._out.manifest(shard), records)
        for phase in PHASES:
            spent = sum(getattr(record, f"seconds_{phase}") for record in records)
            Metrics.distribution(NAMESPACE, f"shard_{phase}_ms").update(int(1000 * spent))
        ok = sum(record.failure is None for record in records)
        Metrics.counter(NAMESPACE, "samples_ok").inc(ok)
        Metrics.counter(NAMESPACE, "shards_committed").inc()
        yield shard


def shard_arrays(rendered: RenderedShard) -> ShardArrays:
    """The pixels to write; of a sample whose styles could not be read, no maps either."""
    composed = rendered.composed
    label, instance = composed.label, composed.instance
    unread = [i for i, sample in enumerate(rendered.samples) if _is_unread(sample)]
    if unread:
        label, instance = label.copy(), instance.copy()
        label[unread] = 0
        instance[unread] = 0
    return ShardArrays(
        rendered.photo, label, instance, composed.origin, _known_sources(rendered.pixel_source)
    )


def _known_sources(source: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8] | None:
    """Sources of pixels; those of failed samples that were never drawn count as kept."""
    if source is None:
        return None
    known: npt.NDArray[np.uint8] = np.where(source >= PixelSource.HOLE, 0, source)
    return known.astype(np.uint8)


def join_records(rendered: RenderedShard, arrays: ShardArrays) -> list[Record]:
    """What composing and rendering say of each sample, and the digests of its pixels, in one."""
    records = []
    for position, (composed, sample) in enumerate(
        zip(rendered.composed.samples, rendered.samples, strict=True)
    ):
        unread = _is_unread(sample)
        records.append(
            Record(
                index=composed.row.index,
                shard=composed.row.shard,
                scene=composed.row.scene,
                variant=composed.row.variant,
                program=composed.row.program,
                failure=composed.failure or sample.failure,
                events=() if unread else composed.events,
                instances=() if unread else composed.instances,
                styles=sample.styles,
                pixels=(
                    None
                    if arrays.pixel_source is None or composed.failure or sample.failure
                    else PixelShares.of(arrays.pixel_source[position])
                ),
                exemplars=composed.exemplars,
                label_sha256=digest(arrays.label[position]),
                instance_sha256=digest(arrays.instance[position]),
                photo_sha256=digest(arrays.photo[position]),
                seconds_read=composed.seconds_read + sample.seconds_read,
                seconds_compose=composed.seconds_compose,
                seconds_render=sample.seconds_render,
                device=sample.device,
                dtype=sample.dtype,
            )
        )
    return records


def _is_unread(sample: RenderedSample) -> bool:
    """Whether a photo could not be read: as for maps that cannot be, nothing is left of it."""
    return sample.failure is not None and sample.failure.kind == "read"


class RenderShards(Shards):
    """Shard numbers to committed shard numbers.

    Everything after the reshuffle fuses into one stage, so a shard's pixels stay in the process
    that made them. Resource hints go on this whole composite: on a single step of it they would
    break the fusion.
    """

    def __init__(self, spec: JobSpec) -> None:
        super().__init__()
        self._spec = spec

    def expand(self, pcoll: beam.PCollection[int]) -> beam.PCollection[int]:
        """Wire compose, render and write."""
        generator = self._spec.generator
        render = (
            beam.Map(keep_composites)
            if generator is None
            else RunInference(GeneratorHandler(generator))
        )
        committed: beam.PCollection[int] = (
            pcoll
            | "Spread" >> beam.Reshuffle()
            | "Compose" >> beam.ParDo(ComposeShard(self._spec))
            | "Render" >> render.with_output_types(RenderedShard)
            | "Write" >> beam.ParDo(WriteShard(self._spec.out))
        )
        return committed


def build(pipeline: beam.Pipeline, spec: JobSpec, shards: list[int]) -> beam.PCollection[int]:
    """Add the job for some shards to a Beam pipeline; the result holds the committed numbers."""
    transform: Shards = RenderShards(spec)
    if spec.generator is not None and spec.generator.settings.accelerator is not None:
        transform = transform.with_resource_hints(accelerator=spec.generator.settings.accelerator)
    committed: beam.PCollection[int] = (
        pipeline | "Shards" >> beam.Create(shards, reshuffle=False) | "RenderShards" >> transform
    )
    return committed
