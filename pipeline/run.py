"""Running a render job: checks first, then the plan, then the Beam pipeline, then the summary."""

import logging
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from time import perf_counter

import apache_beam as beam
import yaml
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import (
    EmbeddedPythonEnvironment,
    Environment,
    SubprocessSDKEnvironment,
)

from hdmodel.checkpoint import load_generator
from hdmodel.errors import ConfigError
from pipeline.config import RenderConfig, fingerprint
from pipeline.devices import candidate_devices
from pipeline.errors import OutputError, RunError
from pipeline.job import JobSpec, build
from pipeline.output import OutputFolder, write_atomically
from pipeline.plan import PlanRow, count_shards, write_plan
from pipeline.prepare import PreparedJob, index_scenes, make_plan, prepare
from pipeline.progress import Advance, progress_bar, watching
from pipeline.store import create_store
from pipeline.summary import RunSummary, failed_shards, summarise

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
        overwrite: Delete what an earlier job left in the output folder, whatever it was.
        retry_failed: Also render again the shards that hold failed samples.
        beam_options: Options for Beam; with a `--runner` among them that runner is used.

    Raises:
        InputError: Something about the job is wrong; nothing was written.
        OutputError: The output cannot be written; committed shards are kept.
    """
    options = _pipeline_options(beam_options)
    job = prepare(config)
    if options.view_as(StandardOptions).runner is None:
        candidate_devices(config.generator.device)
        load_generator(job.checkpoint)  # a checkpoint that does not load fails here, not on workers
    job.out.check_target(overwrite=overwrite)
    resume = job.out.exists() and not overwrite
    if resume:
        job.out.check_same_job(job.identity)
        rows = None
    else:
        rows = make_plan(job, index_scenes(job))
    with _writing(job.out):
        job.out.root.mkdir(parents=True, exist_ok=True)
        with job.out.locked():
            if rows is not None:
                if job.out.exists() and not overwrite:
                    raise OutputError(f"{job.out.root}: another job was started here just now")
                _start(job, rows)
            return _finish(job, retry_failed=retry_failed, options=options)


def _start(job: PreparedJob, rows: Sequence[PlanRow]) -> None:
    """Write all that comes before rendering; the config, last, makes the folder a run."""
    out, config = job.out, job.config
    out.clear()
    out.manifests.mkdir()
    taxonomy = yaml.safe_dump(job.taxonomy.to_plain(), sort_keys=False, default_flow_style=None)
    write_atomically(out.taxonomy, taxonomy.encode())
    write_plan(out.plan, rows, shard_size=config.output.shard_size)
    create_store(
        out.data,
        samples=job.samples,
        shard_size=config.output.shard_size,
        size=config.size,
        label_dtype=job.taxonomy.label_dtype,
        attributes={
            "taxonomy": job.taxonomy.to_plain(),
            "generator_hash": job.generator_hash,
            "config_fingerprint": fingerprint(job.identity),
            "versions": versions(),
        },
    )
    out.write_config(job.identity, config.to_plain(), versions())


def _finish(job: PreparedJob, *, retry_failed: bool, options: PipelineOptions) -> RunSummary:
    out = job.out
    if leftovers := out.sweep():
        log.info("swept %d leftover files of a killed writer", len(leftovers))
    if retry_failed:
        for shard in failed_shards(out):
            out.manifest(shard).unlink()
    shards = count_shards(out.plan)
    committed = set(out.committed())
    todo = [shard for shard in range(shards) if shard not in committed]
    start = perf_counter()
    if todo:
        log.info("%d of %d shards to render into %s", len(todo), shards, out.root)
        with progress_bar("rendering shards", shards) as advance:
            _run_beam(job, todo, options=options, advance=advance)
    missing = set(range(shards)) - set(out.committed())
    if missing:
        raise OutputError(
            f"{out.root}: {len(missing)} of {shards} shards were not committed; "
            "run the same command again"
        )
    return summarise(out, rendered=set(todo), seconds=perf_counter() - start)


def _pipeline_options(beam_options: Sequence[str]) -> PipelineOptions:
    """Parse the user's options for Beam.

    Raises:
        ConfigError: Beam does not know one of them.
    """
    options = PipelineOptions(list(beam_options))
    known = options.get_all_options()
    for option in beam_options:
        name = option.removeprefix("--").partition("=")[0]
        if option.startswith("--") and name.removeprefix("no_") not in known:
            raise ConfigError(f"Beam does not know the option {option!r} (given after --)")
    return options


def _run_beam(
    job: PreparedJob, shards: list[int], *, options: PipelineOptions, advance: Advance
) -> None:
    local = options.view_as(StandardOptions).runner is None
    workers = min(job.config.workers, len(shards)) if local else 1
    if local:
        options.view_as(DirectOptions).direct_num_workers = workers
    with (
        watching(lambda: len(job.out.committed()), advance),
        _threads_per_worker(workers),
    ):
        # The runner is named: Beam's default first tries to fetch another engine.
        runner = FnApiRunner(default_environment=_environment(workers)) if local else None
        pipeline = beam.Pipeline(runner=runner, options=options)
        build(pipeline, job_spec(job), shards)
        try:
            pipeline.run().wait_until_finish()
        except RuntimeError as error:
            # Errors of worker processes arrive as text; the last line is the error itself.
            reason = str(error).strip().splitlines()[-1]
            raise RunError(
                f"{job.out.root}: the run stopped: {reason}\n"
                "Committed shards are kept, run the same command again to go on."
            ) from error


def job_spec(job: PreparedJob) -> JobSpec:
    """What the workers are told."""
    config = job.config
    return JobSpec(
        out=OutputFolder(job.out.root.absolute()),
        source=job.source,
        taxonomy=job.taxonomy,
        size=config.size,
        fit=config.fit,
        checkpoint=job.checkpoint.absolute(),
        device=config.generator.device,
        dtype=config.generator.dtype,
        batch_pixels=config.generator.batch_pixels,
        accelerator=config.generator.accelerator,
    )


def versions() -> dict[str, str]:
    """Versions of what decides the bytes of an output."""
    return {name: version(name) for name in ("hdsynth", "torch", "zarr", "numpy", "apache-beam")}


def _environment(workers: int) -> Environment:
    """Where Beam's own runner runs the job: in this process, or in workers of ours."""
    if workers == 1:
        return EmbeddedPythonEnvironment.default()
    return SubprocessSDKEnvironment.from_command_string(
        f"exec {shlex.quote(sys.executable)} -P -m pipeline.worker {os.getpid()}"
    )


@contextmanager
def _threads_per_worker(workers: int) -> Iterator[None]:
    """Let worker processes share the cores instead of each taking all of them."""
    if workers == 1:
        yield
        return
    previous = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    try:
        yield
    finally:
        if previous is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = previous


@contextmanager
def _writing(out: OutputFolder) -> Iterator[None]:
    """Turn what the file system says into one line for the user."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{out.root}: cannot be written ({error.strerror or error}); "
            "committed shards are kept, run the same command again to go on"
        ) from error
