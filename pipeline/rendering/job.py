"""The Beam job: shard numbers in, committed shards out; pixels never pass a shuffle."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import RunInference

from hdmodel.allocator import tune_allocator
from pipeline.donors.bank import DonorBank
from pipeline.fit import FitMode
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import FAILED, commit_manifest, digest
from pipeline.output.store import ShardArrays, Store
from pipeline.output.summary import STAGES
from pipeline.planning.plan import read_shard_plan
from pipeline.rendering.compose import ComposedShard, compose_shard
from pipeline.rendering.handler import NAMESPACE, GeneratorHandler, RenderedShard
from pipeline.sources import Source
from pipeline.sources.reading import SceneReader, photo_reader
from pipeline.styles.style import Style
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
    checkpoint: Path
    device: str
    dtype: str
    batch_pixels: int
    style: Style | None = None
    donor_photos: SceneReader | None = None
    """Reads the photos of donors that come from another dataset."""
    accelerator: str | None = None

    def handler(self) -> GeneratorHandler:
        """The model handler of the job."""
        photos = None
        if self.style is not None and self.style.reads_photos:
            photos = photo_reader(self.source, self.taxonomy, size=self.size, mode=self.fit)
        return GeneratorHandler(
            checkpoint=self.checkpoint,
            num_classes=self.taxonomy.num_classes,
            device=self.device,
            dtype=self.dtype,
            batch_pixels=self.batch_pixels,
            style=self.style,
            photos=photos,
            donor_photos=self.donor_photos,
        )


class ShardCoder(beam.coders.Coder):
    """Pickles shards, which no engine does while the stage is fused, and knows their size.

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
        self._read = SceneReader(spec.source, spec.taxonomy, size=spec.size, mode=spec.fit)
        self._donors = DonorBank.open(spec.out.donors)

    def process(self, shard: int) -> Iterator[ComposedShard]:
        """Compose one shard."""
        rows = read_shard_plan(self._spec.out.plan, shard)
        composed = compose_shard(shard, rows, self._read, self._donors.cutout, self._spec.taxonomy)
        for kind in ("read", "compose"):
            failed = sum(record.error_kind == kind for record in composed.records)
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
        start = perf_counter()
        composed = rendered.composed
        self._store.write_shard(
            composed.shard,
            ShardArrays(rendered.photo, composed.label, composed.instance, composed.origin),
        )
        for position, record in enumerate(composed.records):
            record.label_sha256 = digest(composed.label[position])
            record.instance_sha256 = digest(composed.instance[position])
            record.photo_sha256 = digest(rendered.photo[position])
        seconds = perf_counter() - start
        for record in composed.records:
            record.seconds_write = seconds / len(composed.records)
        commit_manifest(self._out.manifest(composed.shard), composed.records)
        for stage in STAGES:
            spent = sum(getattr(record, f"seconds_{stage}") for record in composed.records)
            Metrics.distribution(NAMESPACE, f"shard_{stage}_ms").update(int(1000 * spent))
        ok = sum(record.status != FAILED for record in composed.records)
        Metrics.counter(NAMESPACE, "samples_ok").inc(ok)
        Metrics.counter(NAMESPACE, "shards_committed").inc()
        yield composed.shard


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
        committed: beam.PCollection[int] = (
            pcoll
            | "Spread" >> beam.Reshuffle()
            | "Compose" >> beam.ParDo(ComposeShard(self._spec))
            | "Render" >> RunInference(self._spec.handler()).with_output_types(RenderedShard)
            | "Write" >> beam.ParDo(WriteShard(self._spec.out))
        )
        return committed


def build(pipeline: beam.Pipeline, spec: JobSpec, shards: list[int]) -> beam.PCollection[int]:
    """Add the job for some shards to a Beam pipeline; the result holds the committed numbers."""
    transform: Shards = RenderShards(spec)
    if spec.accelerator is not None:
        transform = transform.with_resource_hints(accelerator=spec.accelerator)
    committed: beam.PCollection[int] = (
        pipeline | "Shards" >> beam.Create(shards, reshuffle=False) | "RenderShards" >> transform
    )
    return committed
