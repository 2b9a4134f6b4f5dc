"""Running an evaluation: checks first, then the Beam job, then the report."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import pyarrow.parquet as pq

from eval.assembly import image_table, make_report
from eval.counts import Side, SideCounts, read_counts
from eval.errors import EvalError
from eval.filter import check_filter, write_filter
from eval.job import EvalSpec, OpenScorer, Task, build, load
from eval.measures.features import IMAGENET
from eval.measures.variants import measure_diversity
from eval.prepare import COUNTS, EvalConfig, PreparedEval, prepare
from eval.reports.gate import Gate, check_classes, check_gate
from eval.reports.junit import write_junit
from eval.reports.pages import write_pages
from eval.reports.report import (
    REPORT,
    Distances,
    DiversityRow,
    FilterRow,
    Report,
    check_comparable,
    finite,
    read_report,
)
from eval.scorers.loading import load_scorer
from hdmodel.imagenet import NAME as IMAGENET_NETWORK
from pipeline.errors import RunError
from pipeline.output.lock import locked
from pipeline.progress import progress_bar, watching
from pipeline.rendering.runner import JobRunner

log = logging.getLogger("hdsynth.eval")

IMAGES, JUNIT = "images.parquet", "junit.xml"


def evaluate(
    config: EvalConfig,
    *,
    gate: Gate | None = None,
    baseline: Path | None = None,
    beam_options: Sequence[str] = (),
    open_scorer: OpenScorer | None = None,
) -> Report:
    """Score a run and the real photos beside it, and write the report.

    Photos that were counted before under the same protocol are not read again.

    Args:
        config: What to score.
        gate: Rules that the scores must meet; they are judged, and written into the report.
        baseline: An earlier report, which the scores must not fall behind.
        beam_options: Options for Beam; with a `--runner` among them that runner is used.
        open_scorer: Loads the scorer; that of `config.scorer` by default.

    Raises:
        InputError: Something about the evaluation is wrong.
        RunError: The job stopped; what was counted is kept.
    """
    start = perf_counter()
    runner = JobRunner.choose(beam_options)
    open_scorer = open_scorer or partial(
        load_scorer, config.scorer, dtype=config.dtype, features=config.features
    )
    _check_target(config.report)
    before = None if baseline is None else read_report(baseline)
    prepared = prepare(config, open_scorer)
    spec = prepared.spec
    if gate is not None:
        check_classes(gate, spec.mapping.names)
    if config.write_filter:
        check_filter(spec)
    if before is not None:
        _check_baseline(before, spec, baseline)
    spec.counts.root.mkdir(parents=True, exist_ok=True)
    with locked(config.report):
        _remove_verdict(config.report, keep=baseline)
        count(spec, prepared.tasks, runner=runner, workers=config.workers)
        sides = _read_sides(spec, prepared.tasks)
        report = make_report(
            sides["rendered"],
            sides["real"],
            mapping=spec.mapping,
            protocol=spec.protocol,
            scorer=prepared.scorer,
            run=prepared.run,
            real_row=prepared.real,
            version=version("hdsynth"),
            poor_oracle=(gate or Gate()).oracle_mean_iou,
        )
        if config.write_filter:
            report = report.model_copy(update={"filter": _filter(config, prepared, runner=runner)})
        report = _with_distances(report, spec, sides["rendered"], sides["real"])
        if gate is not None or before is not None:
            report = report.model_copy(update={"gate": check_gate(report, gate or Gate(), before)})
        # The verdict first: whatever fails afterwards cannot lose it.
        report.save(config.report)
        write_junit(config.report / JUNIT, report.gate, seconds=perf_counter() - start)
        pq.write_table(
            image_table([*sides.items()], spec.mapping.names),
            config.report / IMAGES,
            compression="zstd",
        )
        write_pages(config.report, report, spec)
    return report


def _filter(config: EvalConfig, prepared: PreparedEval, *, runner: JobRunner) -> FilterRow:
    """Mark what is unfaithful in the run, which no other job may write meanwhile."""
    with (
        locked(prepared.spec.out.root),
        TemporaryDirectory(prefix=".filter-", dir=config.report) as folder,
    ):
        summary = write_filter(
            prepared.spec,
            prepared.tasks,
            results=Path(folder).absolute(),
            runner=runner,
            workers=config.workers,
            factor=config.filter_factor,
        )
    return FilterRow.model_validate(asdict(summary))


def _with_distances(
    report: Report, spec: EvalSpec, rendered: SideCounts, real: SideCounts
) -> Report:
    """The report with how far the sets of photos are apart, and how different variants look."""
    from eval.measures.fid import FeatureMoments, frechet_distance, kernel_distance

    ours, theirs = rendered.features, real.features
    if spec.features is None or ours is None or theirs is None:
        return report
    frechet, kernel = None, None
    if min(len(ours), len(theirs)) > 1:
        frechet = frechet_distance(FeatureMoments.of(ours), FeatureMoments.of(theirs))
        kernel = kernel_distance(ours, theirs)
    distances = Distances(
        features=spec.features,
        fid=spec.features.startswith("Inception-v3"),
        rendered=len(ours),
        real=len(theirs),
        frechet=frechet,
        kernel=None if kernel is None else kernel.mean,
        kernel_std=None if kernel is None else kernel.std,
    )
    loaded = load(spec)
    try:
        variants = measure_diversity(spec, loaded.scorer)
    finally:
        loaded.lease.close()
    row = None
    if variants is not None:
        row = DiversityRow(
            mean=variants.mean,
            std=finite(variants.std),
            label_maps=variants.label_maps,
            pairs=variants.pairs,
        )
    warnings = list(report.warnings)
    if spec.features == IMAGENET and IMAGENET_NETWORK in (report.run.pretrained or ()):
        warnings.append(
            f"distances are taken on features of {IMAGENET}, which the generator's training asked "
            "what is real: they may flatter"
        )
    return report.model_copy(
        update={"distances": distances, "diversity": row, "warnings": warnings}
    )


def count(spec: EvalSpec, tasks: Sequence[Task], *, runner: JobRunner, workers: int) -> None:
    """Run the job for the tasks that are not counted yet.

    Raises:
        EvalError: A photo, or the scorer, cannot be used.
        RunError: The job stopped for another reason.
    """
    todo = [
        task
        for task in tasks
        if not spec.counts.is_done(task.side, task.number, spec.fingerprint(task))
    ]
    if not todo:
        log.info("all photos were counted before")
        return
    for task in todo:
        for name in (spec.counts.file, spec.counts.error):
            name(task.side, task.number).unlink(missing_ok=True)

    def done() -> int:
        return sum(spec.counts.file(task.side, task.number).is_file() for task in tasks)

    with (
        progress_bar("scoring shards", len(tasks), done=len(tasks) - len(todo)) as advance,
        watching(done, advance),
    ):
        try:
            runner.run(
                lambda pipeline: build(pipeline, spec, todo), workers=min(workers, len(todo))
            )
        except RunError as error:
            raise RunError(
                f"{spec.out.root}: the evaluation stopped: {error}\n"
                "What was counted is kept, run the same command again to go on."
            ) from error
    errors = [path for t in todo if (path := spec.counts.error(t.side, t.number)).is_file()]
    if errors:
        more = f" (and {len(errors) - 1} more shards have errors)" if len(errors) > 1 else ""
        raise EvalError(errors[0].read_text(encoding="utf-8") + more)
    if missing := len(tasks) - done():
        raise EvalError(
            f"{spec.counts.root}: {missing} of {len(tasks)} counts files were not written; "
            "run the same command again"
        )


def _read_sides(spec: EvalSpec, tasks: Sequence[Task]) -> dict[Side, SideCounts]:
    sides: tuple[Side, ...] = ("rendered", "real")
    return {
        side: read_counts(
            [spec.counts.file(side, task.number) for task in tasks if task.side == side],
            num_classes=spec.mapping.num_classes,
            num_things=len(spec.mapping.things),
        )
        for side in sides
    }


def _check_target(report: Path) -> None:
    """Refuse a folder that holds something else than an evaluation."""
    if report.exists() and not report.is_dir():
        raise EvalError(f"{report}: expected a folder for the report, found a file")
    if report.is_dir():
        found = {path.name for path in report.iterdir() if not path.name.startswith(".")}
        if found and not found & {REPORT, COUNTS}:
            raise EvalError(
                f"{report}: holds {min(found)!r} and no report, expected a new or empty folder, "
                "or an earlier report"
            )


def _remove_verdict(report: Path, *, keep: Path | None) -> None:
    """Remove an earlier verdict, which could be taken for that of an evaluation that stops.

    Args:
        report: The folder.
        keep: The baseline, which may be the earlier report itself; it stays until it is replaced.
    """
    (report / JUNIT).unlink(missing_ok=True)
    if keep is None or (report / REPORT).resolve() not in (
        keep.resolve(),
        (keep / REPORT).resolve(),
    ):
        (report / REPORT).unlink(missing_ok=True)


def _check_baseline(before: Report, spec: EvalSpec, path: Path | None) -> None:
    """Find out before photos are read whether a baseline can be compared with."""
    stub = before.model_copy(
        update={"protocol_id": spec.protocol.id, "protocol": spec.protocol.to_plain()}
    )
    check_comparable(stub, before, names=("this run", f"the baseline {path}"))
