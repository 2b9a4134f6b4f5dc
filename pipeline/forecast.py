"""Forecasts: what a job would do and need, found out without writing to its output."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hdmodel.architecture import EncoderConfig, GeneratorConfig
from hdmodel.checkpoint import ENCODER_FILE, GENERATOR_FILE, read_checkpoint_config
from pipeline.config import RenderConfig
from pipeline.devices import candidate_devices
from pipeline.editing.program import Paste, Replace
from pipeline.fit import photos_per_batch
from pipeline.planning.donor_use import DonorUse
from pipeline.planning.quotas import QuotaReport, quota_lines
from pipeline.prepare import PreparedJob, catalogue_of, collect_donors, plan_job, prepare
from pipeline.rendering.exemplar import CHOSEN
from pipeline.scene import INSTANCES_PER_CLASS
from pipeline.sources.reading import CACHE_BYTES

GIB = 2**30
BYTES_OF_DTYPE = {"float32": 4, "bfloat16": 2, "float16": 2}
OBJECT_NUMBER_BYTES = 24
"""Per pixel: the instance ids as int64, and the objects numbered through, twice."""
FIELD_PIXEL_BYTES = 120
"""Per pixel of the photo that is drawn and of each that it is copied from, measured."""
PROCESS_BYTES = 960 << 20
"""What a worker process takes before any work (interpreter, torch, Beam), and the spare memory
that its tuned allocator keeps."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a job would do and need."""

    out: str
    state: str
    """new, or resumes with how many shards committed."""
    dataset: str
    scenes: int
    """Source scenes that would be used, also as donors."""
    scenes_in_dataset: int
    samples: int
    shards: int
    size: tuple[int, int]
    photo: str
    """Where pixels come from: rendered, composite or exemplar."""
    generator: str | None
    style: dict[str, Any] | None
    """How styles are chosen, and modes of the style bank by class name; None if the generator reads
    no features."""
    devices: list[str]
    workers: int
    batch: int
    """Photos per batch."""
    edits: dict[str, int]
    """Operations over all samples, by name."""
    pasted: dict[str, int]
    """Objects of other scenes, pasted or in place of others, by class."""
    donor_use: DonorUse
    """How evenly donors are used."""
    critic: dict[str, float] | None
    """By class, how well the critic tells real objects from proposed places (area under the curve);
    it chooses the places of these classes. None without a critic."""
    unedited: int
    """Samples whose program has no operation."""
    quotas: list[QuotaReport]
    """What the policy's quotas ask for, and what the plan comes to."""
    disk_bytes: int
    """Pixels before compression; label and instance maps shrink to little, photos to about half."""
    memory_bytes: int
    """Estimate for all worker processes together, host and device memory."""

    def to_plain(self) -> dict[str, Any]:
        """The forecast as JSON-compatible data."""
        return asdict(self) | {"quotas": [report.to_plain() for report in self.quotas]}

    def text(self) -> str:
        """The forecast for people."""
        height, width = self.size
        edits = ", ".join(f"{name} {count}" for name, count in sorted(self.edits.items()))
        pasted = ", ".join(f"{name} {count}" for name, count in sorted(self.pasted.items()))
        lines = [
            ("dataset", f"{self.dataset}: {self.scenes} of {self.scenes_in_dataset} scenes used"),
            ("output", f"{self.out} ({self.state})"),
            ("samples", f"{self.samples} of {height}x{width}, in {self.shards} shards"),
            ("edits", f"{edits or 'none'}; {self.unedited} samples are not edited"),
            ("pasted", pasted or "nothing"),
            ("donors", self.donor_use.text()),
            ("critic", self._critic_text()),
            ("photos", self.photo),
            ("generator", self.generator or "none"),
            *([("style", self._style_text())] if self.style else []),
            (
                "devices",
                f"{', '.join(self.devices)}, {self.workers} worker processes, "
                f"{self.batch} photos per batch",
            ),
            ("disk", f"{self.disk_bytes / GIB:.2f} GiB before compression"),
            ("memory", f"about {self.memory_bytes / GIB:.1f} GiB over all workers (estimate)"),
        ]
        for place, text in enumerate(quota_lines(self.quotas)):
            lines.append(("quotas" if place == 0 else "", text))
        return "\n".join(f"{name:<10} {text}" for name, text in lines)

    def _critic_text(self) -> str:
        if self.critic is None:
            return "none: the policy goes without, or places nothing"
        told = ", ".join(f"{name} {auc:.2f}" for name, auc in sorted(self.critic.items()))
        if not told:
            return "none: of no class enough objects are seen"
        return f"tells real objects from proposed places (AUC): {told}"

    def _style_text(self) -> str:
        assert self.style is not None
        words = {
            "source": "as in the photos that objects come from",
            "random": "a random mode of the style bank for each object",
            "mean": "the mean of each class in the style bank",
        }
        fixed = ", ".join(
            f"{name} {number}" for name, number in sorted(self.style["fixed"].items())
        )
        mode = self.style["mode"]
        return f"{mode}: {words[mode]}" + (f"; always mode {fixed}" if fixed else "")


def forecast(config: RenderConfig) -> Forecast:
    """Check a job as `render` would, and say what it would do.

    Raises:
        InputError: `render` would refuse the job.
    """
    job = prepare(config)
    devices = candidate_devices(config.generator.device)
    job.out.check_target(overwrite=False)
    state = "new"
    if job.out.exists():
        job.out.check_same_job(job.identity)
        state = f"resumes, {len(job.out.committed())} shards are committed"
    with TemporaryDirectory(prefix="hdsynth-") as scratch:
        records, bank = collect_donors(job, Path(scratch) / "donors")
        plan = plan_job(job, records, catalogue_of(job, records), donors=bank.index)
    edits: Counter[str] = Counter()
    pasted: Counter[str] = Counter()
    unedited = 0
    for row in plan.rows:
        program = row.parsed_program()
        unedited += not program.operations
        for operation in program.operations:
            edits[operation.op] += 1
            if isinstance(operation, Paste | Replace):
                for instance in (operation.donor_instance, *operation.donor_along):
                    pasted[job.taxonomy.class_names[instance // INSTANCES_PER_CLASS]] += 1
    return Forecast(
        out=str(job.out.root),
        state=state,
        dataset=f"{config.dataset.root} ({config.dataset.format})",
        scenes=len(records),
        scenes_in_dataset=len(job.scenes),
        samples=job.samples,
        shards=job.shards,
        size=config.size,
        photo=job.config.photo.mode,
        generator=None if job.checkpoint is None else str(job.checkpoint),
        style=None if job.config.style is None else job.config.style.to_plain(),
        devices=devices,
        workers=config.workers,
        batch=_batch(config),
        edits=dict(edits),
        pasted=dict(pasted),
        unedited=unedited,
        donor_use=plan.donor_use,
        critic=plan.told,
        quotas=plan.quotas,
        disk_bytes=job.samples * _sample_bytes(job, origin=config.output.origin),
        memory_bytes=_memory(job),
    )


def _batch(config: RenderConfig) -> int:
    fitting = photos_per_batch(config.generator.batch_pixels, config.size)
    return min(fitting, config.output.shard_size)


def _sample_bytes(job: PreparedJob, *, origin: bool) -> int:
    height, width = job.config.size
    copied = job.config.photo.is_copied  # which photos show where their pixels are from
    return height * width * (3 + 4 + job.taxonomy.label_dtype.itemsize + 2 * origin + copied)


def _memory(job: PreparedJob) -> int:
    config = job.config
    height, width = config.size
    pixel_bytes = BYTES_OF_DTYPE[config.generator.dtype]
    weights = activations = 0
    if job.checkpoint is not None:
        checkpoint = read_checkpoint_config(job.checkpoint)
        weights = (job.checkpoint / GENERATOR_FILE).stat().st_size
        activations = (
            _batch(config) * height * width * pixel_bytes * _live_channels(checkpoint.generator)
        )
        if job.style is not None and job.style.reads_photos and checkpoint.encoder is not None:
            # It runs before a shard's batches, one scene at a time, in float32.
            weights += (job.checkpoint / ENCODER_FILE).stat().st_size
            activations = max(
                activations, height * width * _encoder_pixel_bytes(checkpoint.encoder)
            )
    shard = config.output.shard_size * _sample_bytes(job, origin=True)  # composed in any case
    cache = min(CACHE_BYTES, len(job.scenes) * _sample_bytes(job, origin=False))
    # A shard is in memory as it is composed, as it is rendered, and as it is compressed.
    per_worker = PROCESS_BYTES + 2 * weights + activations + 3 * shard + cache
    if config.photo.mode == "exemplar":
        per_worker += (1 + CHOSEN) * height * width * FIELD_PIXEL_BYTES
    if job.exemplars is not None:
        per_worker += min(CACHE_BYTES, len(job.exemplars.scenes) * _sample_bytes(job, origin=False))
    processes = min(config.workers, job.shards)
    return processes * per_worker + (PROCESS_BYTES if processes > 1 else 0)


def _live_channels(network: GeneratorConfig) -> int:
    """Full-resolution channels alive at the network's widest moment, its first layer.

    The conditioning, its padded copy and the convolution's reordered copy of that; input, output
    and padded copy of the first layer's normalisation.
    """
    return 3 * network.in_channels + 4 * network.base_channels


def _encoder_pixel_bytes(encoder: EncoderConfig) -> int:
    """Bytes per pixel at the encoder's widest moment, its first layer, in float32.

    As for the generator, and the numbers of the objects over which its features are averaged.
    """
    channels = 3 * encoder.in_channels + 4 * encoder.base_channels
    return BYTES_OF_DTYPE["float32"] * channels + OBJECT_NUMBER_BYTES
