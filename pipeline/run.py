"""Running a render job: checks first, then the plan, then the Beam pipeline, then the summary."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import yaml

from hdmodel.atomic import write_atomically
from hdmodel.checkpoint import load_encoder, load_generator
from pipeline.config import RenderConfig
from pipeline.devices import candidate_devices
from pipeline.donors.bank import DonorBank, donor_photo_reader
from pipeline.errors import OutputError, RunError
from pipeline.exemplars.catalogue import Catalogue
from pipeline.output.folder import OutputFolder, fingerprint
from pipeline.output.lock import locked
from pipeline.output.results import RunResults
from pipeline.output.store import create_store
from pipeline.output.summary import RunSummary, failed_shards, summarise
from pipeline.planning.plan import Plan, check_programs, count_shards, write_plan
from pipeline.planning.quotas import quota_lines, write_reports
from pipeline.prepare import PreparedJob, catalogue_of, collect_donors, plan_job, prepare
from pipeline.progress import progress_bar, watching
from pipeline.rendering.generator import GeneratorSpec
from pipeline.rendering.job import JobSpec, build
from pipeline.rendering.runner import JobRunner
from pipeline.sources.reading import SceneReader, photo_reader

log = logging.getLogger("hdsynth.render")


def render(
    config: RenderConfig,
    *,
    overwrite: bool = False,
    retry_failed: bool = False,
    beam_options: Sequence[str] = (),
) -> RunSummary:
    """Run a render job, or resume it: committed shards are kept, the others are rendered.

    Args:
        config: The job.
        overwrite: Delete what an earlier job left in the output folder, and start again.
        retry_failed: Also render again the shards that hold failed samples.
        beam_options: Options for Beam; with a `--runner` among them that runner is used.

    Raises:
        InputError: Something about the job is wrong; nothing was written.
        OutputError: The output cannot be written; committed shards are kept.
    """
    runner = JobRunner.choose(beam_options)
    job = prepare(config)
    if runner.named is None:
        candidate_devices(config.generator.device)
        # A checkpoint that does not load fails here, not on workers.
        if job.checkpoint is not None:
            load_generator(job.checkpoint)
            if job.style is not None and job.style.reads_photos:
                load_encoder(job.checkpoint)
    job.out.check_target(overwrite=overwrite)
    resume = job.out.exists() and not overwrite
    if resume:
        job.out.check_same_job(job.identity)
        check_programs(job.out.plan)
        with _writing(job.out), _claimed(job.out):
            return _finish(job, retry_failed=retry_failed, runner=runner)
    with TemporaryDirectory(prefix="hdsynth-") as scratch:
        records, bank = collect_donors(job, Path(scratch) / "donors")
        catalogue = catalogue_of(job, records)
        plan = plan_job(job, records, catalogue, donors=bank.index)
        for report in plan.quotas:
            if report.reasons:
                log.warning("quota: %s", "; ".join(quota_lines([report])))
        with _writing(job.out), _claimed(job.out):
            if job.out.exists() and not overwrite:
                raise OutputError(f"{job.out.root}: another job was started here just now")
            _start(job, plan, bank, catalogue)
            return _finish(job, retry_failed=retry_failed, runner=runner)


@contextmanager
def _claimed(out: OutputFolder) -> Iterator[None]:
    """Make the folder and keep other jobs out of it."""
    out.root.mkdir(parents=True, exist_ok=True)
    with locked(out.root):
        yield


def _start(job: PreparedJob, plan: Plan, bank: DonorBank, catalogue: Catalogue | None) -> None:
    """Write all that comes before rendering; the config, last, makes the folder a run."""
    out, config = job.out, job.config
    out.clear()
    out.manifests.mkdir()
    taxonomy = yaml.safe_dump(job.taxonomy.to_plain(), sort_keys=False, default_flow_style=None)
    write_atomically(out.taxonomy, taxonomy.encode())
    bank.copy_to(out.donors)
    write_reports(out.quotas, plan.quotas)
    plan.priors.save(out.priors)
    if catalogue is not None:
        catalogue.save(out.exemplars)
    write_plan(out.plan, plan.rows, shard_size=config.output.shard_size)
    create_store(
        out.data,
        samples=job.samples,
        shard_size=config.output.shard_size,
        size=config.size,
        label_dtype=job.taxonomy.label_dtype,
        attributes={
            "taxonomy": job.taxonomy.to_plain(),
            "generator_hash": job.generator_hash,
            "generator_pretrained": None if job.pretrained is None else list(job.pretrained),
            "config_fingerprint": fingerprint(job.identity),
            "versions": versions(),
        },
        origin=config.output.origin,
        pixel_source=config.photo.is_copied,
    )
    out.write_config(job.identity, config.to_plain(), versions())


def _finish(job: PreparedJob, *, retry_failed: bool, runner: JobRunner) -> RunSummary:
    out = job.out
    if leftovers := out.sweep():
        log.info("swept %d leftover files of a killed writer", len(leftovers))
    out.read_taxonomy()
    DonorBank.open(out.donors).check_masks()
    if job.config.photo.is_copied:
        Catalogue.open(out.exemplars)
    results = RunResults(out)
    out.manifests.mkdir(exist_ok=True)
    for shard in sorted({shard for shard, _ in results.lost_files(out.committed())}):
        log.warning("shard %d is committed, but a file of it is lost: rendering it again", shard)
        out.manifest(shard).unlink()
    if retry_failed:
        for shard in failed_shards(out):
            out.manifest(shard).unlink()
    shards = count_shards(out.plan)
    committed = set(out.committed())
    todo = [shard for shard in range(shards) if shard not in committed]
    start = perf_counter()
    if todo:
        log.info("%d of %d shards to render into %s", len(todo), shards, out.root)
        spec = job_spec(job)
        with (
            progress_bar("rendering shards", shards, done=len(committed)) as advance,
            watching(lambda: len(out.committed()), advance),
        ):
            try:
                runner.run(
                    lambda pipeline: build(pipeline, spec, todo),
                    workers=min(job.config.workers, len(todo)),
                )
            except RunError as error:
                raise RunError(
                    f"{out.root}: the run stopped: {error}\n"
                    "Committed shards are kept, run the same command again to go on."
                ) from error
    missing = set(range(shards)) - set(out.committed())
    if missing:
        raise OutputError(
            f"{out.root}: {len(missing)} of {shards} shards were not committed; "
            "run the same command again"
        )
    return summarise(out, rendered=set(todo), seconds=perf_counter() - start)


def job_spec(job: PreparedJob) -> JobSpec:
    """What the workers are told."""
    config, photos, donor_photos = job.config, None, None
    reads_photos = job.style is not None and job.style.reads_photos
    if reads_photos:
        photos = photo_reader(job.source, job.taxonomy, size=config.size, mode=config.fit)
    exemplars = None
    if job.exemplars is not None:
        exemplars = SceneReader(
            job.exemplars, job.taxonomy, size=config.size, mode=config.fit, photo=True
        )
    if job.bank is not None and (reads_photos or config.photo.is_composite):
        donor_photos = donor_photo_reader(job.bank)
    generator = None
    if job.checkpoint is not None:
        generator = GeneratorSpec(
            job.checkpoint,
            config.generator,
            job.style,
            photos,
            donor_photos if reads_photos else None,
            config.photo.seam,
        )
    return JobSpec(
        out=OutputFolder(config.output.path),
        source=job.source,
        taxonomy=job.taxonomy,
        size=config.size,
        fit=config.fit,
        generator=generator,
        photo=config.photo,
        donor_photos=donor_photos,
        exemplars=exemplars,
        threads=max(1, (os.cpu_count() or 1) // config.workers),
        seed=config.seed,
    )


def versions() -> dict[str, str]:
    """Versions of what decides the bytes of an output."""
    deciding = ("hdsynth", "torch", "zarr", "numpy", "scipy", "scikit-learn", "apache-beam")
    return {name: version(name) for name in deciding}


@contextmanager
def _writing(out: OutputFolder) -> Iterator[None]:
    """Turn what the file system says into one line for the user."""
    try:
        yield
    except OSError as error:
        message = f"{out.root}: cannot be written ({error.strerror or error})"
        if out.exists():
            message += "; committed shards are kept, run the same command again to go on"
        raise OutputError(message) from error
