"""Running an evaluation: checks first, then the Beam job, then the report."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Literal

import pyarrow.parquet as pq

from eval.assembly import image_table, make_report
from eval.counts import CountsFolder, Side, SideCounts, read_counts
from eval.errors import EvalError
from eval.faithful import FACTOR
from eval.filter import check_filter, write_filter
from eval.gate import Gate, check_classes, check_gate
from eval.job import EvalSpec, OpenScorer, PhotoScorer, Task, build, load
from eval.junit import write_junit
from eval.mapping import ClassMapping
from eval.pages import write_pages
from eval.protocol import Preset, Size, choose_protocol
from eval.report import (
    REPORT,
    Distances,
    DiversityRow,
    ExcludedRow,
    FilterRow,
    RealRow,
    Report,
    RunRow,
    check_comparable,
    finite,
    read_report,
)
from eval.variants import measure_diversity
from pipeline.config import RenderConfig, resolved_dataset
from pipeline.devices import candidate_devices
from pipeline.engine import Engine
from pipeline.errors import OutputError, RunError
from pipeline.lock import LOCK, locked
from pipeline.manifest import OK, read_manifests
from pipeline.output import OutputFolder
from pipeline.plan import count_samples, count_shards
from pipeline.progress import progress_bar, watching
from pipeline.sources import DatasetConfig, Source, open_source
from pipeline.store import Store, shard_file
from pipeline.taxonomy import Taxonomy

if TYPE_CHECKING:
    from eval.scorer import FeatureSource

log = logging.getLogger("hdsynth.eval")

FeatureChoice = Literal["none", "scorer", "imagenet"]

BLOCK = 16
"""Real photos per task."""
COUNTS, IMAGES, JUNIT = "counts", "images.parquet", "junit.xml"
OWN_ENTRIES = {REPORT, COUNTS, IMAGES, JUNIT, "report.md", "report.html", LOCK}
EXCLUDED_SHOWN = 20


@dataclass(frozen=True, slots=True)
class EvalConfig:
    """What is to be scored, and how."""

    out: Path
    """The output folder of a run."""
    scorer: Path
    """The scorer's folder or file."""
    report: Path
    """The folder to write into."""
    real: DatasetConfig | None = None
    """The real photos; by default the dataset of the run."""
    preset: Preset = "as-rendered"
    input_size: Size | None = None
    """H, W at which the scorer sees photos; by default that of scoring."""
    dtype: str = "float32"
    device: str = "auto"
    batch_pixels: int = 4_000_000
    """Largest batch in pixels; at least one photo is scored at a time."""
    workers: int = 1
    exclude_failed: bool = False
    """Whether to score a run of which samples failed or are not made yet, without them."""
    write_filter: bool = False
    """Whether to mark unfaithful pixels and objects in the run itself."""
    filter_factor: float = FACTOR
    """A pixel is unfaithful above so many times its class's mean loss on real photos."""
    features: FeatureChoice = "scorer"
    """Whose features to take for distances between the sets of photos, if any's."""


def load_scorer(path: Path, device: str, *, dtype: str, features: FeatureChoice) -> PhotoScorer:
    """Load a scorer; heavy imports wait until then.

    Args:
        path: Its folder or file.
        device: A torch device.
        dtype: Its arithmetic.
        features: Whose features it gives.
    """
    from eval.scorer import load_scorer as load

    given: FeatureSource = "imagenet" if features == "imagenet" else "scorer"
    return load(path, device=device, dtype=dtype, features=given)


@dataclass(frozen=True, slots=True)
class PreparedEval:
    """A checked evaluation."""

    spec: EvalSpec
    tasks: list[Task]
    run: RunRow
    real: RealRow
    scorer: dict[str, object]


def prepare(config: EvalConfig, open_scorer: OpenScorer) -> PreparedEval:
    """Check all that can be checked before photos are read.

    Raises:
        InputError: Something about the evaluation is wrong; nothing was written.
    """
    out = OutputFolder(config.out.absolute())
    record = out.read_config()
    taxonomy = out.read_taxonomy()
    store = Store(out.data)
    run, shards = _run_row(out, record["fingerprint"], store, exclude=config.exclude_failed)
    # The recorded job says how scenes were fitted, and where they are from.
    job = RenderConfig.parse(record["config"], origin=str(out.config))
    real = resolved_dataset(config.real or job.dataset)
    source = open_source(real)
    _check_taxonomy(source, taxonomy, real)
    scenes = _with_photos(source, real, asked=config.real is not None)
    device = candidate_devices(config.device)[0]
    scorer = open_scorer(device)
    mapping = ClassMapping.between(taxonomy, scorer.taxonomy)
    protocol = choose_protocol(
        config.preset,
        rendered_size=store.size,
        input_size=config.input_size,
        fit_mode=job.fit,
        scorer=scorer.sha256,
        scorer_dtype=config.dtype,
        taxonomy=taxonomy,
        mapping=mapping,
        split=real.split or "",
        rendered=run.scored,
        real=len(scenes),
    )
    protocol.check_real(source.read(scenes[0], photo=False).size, where=scenes[0])
    spec = EvalSpec(
        out=out,
        taxonomy=taxonomy,
        real=source,
        real_root=real.root,
        real_scenes=scenes,
        block=BLOCK,
        protocol=protocol,
        mapping=mapping,
        open_scorer=open_scorer,
        device=config.device,
        batch_pixels=config.batch_pixels,
        counts=CountsFolder(config.report.absolute() / COUNTS),
        features=_features(scorer, config.features),
    )
    tasks = [Task("rendered", shard) for shard in shards]
    tasks += [Task("real", number) for number in range(-(-len(scenes) // BLOCK))]
    described = {"sha256": scorer.sha256, "taxonomy": scorer.taxonomy.name, **scorer.describe()}
    real_row = RealRow(root=real.root, format=real.format, split=real.split, photos=len(scenes))
    return PreparedEval(spec, tasks, run, real_row, described)


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
    engine = Engine.choose(beam_options)
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
        count(spec, prepared.tasks, engine=engine, workers=config.workers)
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
            report = report.model_copy(update={"filter": _filter(config, prepared, engine=engine)})
        report = _with_distances(report, spec, sides["rendered"], sides["real"])
        if gate is not None or before is not None:
            report = report.model_copy(update={"gate": check_gate(report, gate or Gate(), before)})
        pq.write_table(
            image_table([*sides.items()], spec.mapping.names),
            config.report / IMAGES,
            compression="zstd",
        )
        write_pages(config.report, report, spec)
        write_junit(config.report / JUNIT, report.gate, seconds=perf_counter() - start)
        report.save(config.report)
    return report


def _features(scorer: PhotoScorer, choice: FeatureChoice) -> str | None:
    """Whose features are kept; None where none are asked for, or an adapted model has none."""
    if choice == "none":
        return None
    try:
        return scorer.features_name
    except EvalError:
        if choice == "imagenet":
            raise
        log.warning("the scorer gives no features, so no distances are measured")
        return None


def _filter(config: EvalConfig, prepared: PreparedEval, *, engine: Engine) -> FilterRow:
    """Mark what is unfaithful in the run, which no other job may write meanwhile."""
    with (
        locked(prepared.spec.out.root),
        TemporaryDirectory(prefix=".filter-", dir=config.report) as folder,
    ):
        summary = write_filter(
            prepared.spec,
            prepared.tasks,
            results=Path(folder).absolute(),
            engine=engine,
            workers=config.workers,
            factor=config.filter_factor,
        )
    return FilterRow.model_validate(asdict(summary))


def _with_distances(
    report: Report, spec: EvalSpec, rendered: SideCounts, real: SideCounts
) -> Report:
    """The report with how far the sets of photos are apart, and how different variants look."""
    from eval.features import FeatureMoments, frechet_distance, kernel_distance

    ours, theirs = rendered.features, real.features
    if spec.features is None or ours is None or theirs is None:
        return report
    frechet, kernel = None, None
    if min(len(ours), len(theirs)) > 1:
        frechet = frechet_distance(FeatureMoments.of(ours), FeatureMoments.of(theirs))
        kernel = kernel_distance(ours, theirs)
    distances = Distances(
        features=spec.features,
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
    return report.model_copy(update={"distances": distances, "diversity": row})


def count(spec: EvalSpec, tasks: Sequence[Task], *, engine: Engine, workers: int) -> None:
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
            engine.run(
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


def _run_row(
    out: OutputFolder, fingerprint: str, store: Store, *, exclude: bool
) -> tuple[RunRow, list[int]]:
    """The run, and the shards that hold photos to score."""
    shards, samples = count_shards(out.plan), count_samples(out.plan)
    excluded = []
    holding: list[int] = []
    good = 0
    committed = set(out.committed())
    for row in read_manifests(out.manifests, ("index", "shard", "status", "error")):
        if row["status"] == OK:
            good += 1
            if not holding or holding[-1] != row["shard"]:
                holding.append(row["shard"])
        else:
            excluded.append(
                ExcludedRow(index=row["index"], shard=row["shard"], reason=row["error"] or "failed")
            )
    missing = [shard for shard in range(shards) if shard not in committed]
    if good == 0:
        raise OutputError(f"{out.root}: no photo is rendered yet, there is nothing to score")
    if (excluded or missing) and not exclude:
        first = excluded[0] if excluded else None
        told = [f"{len(excluded)} failed"] * bool(excluded)
        told += [f"{len(missing)} of {shards} shards are not made yet"] * bool(missing)
        shown = ", ".join(str(row.index) for row in excluded[:EXCLUDED_SHOWN])
        more = ", ..." if len(excluded) > EXCLUDED_SHOWN else ""
        named = f"; failed samples: {shown}{more} (first: {first.reason})" if first else ""
        raise OutputError(
            f"{out.root}: of {samples} samples {' and '.join(told)}{named}; make them with "
            "hdsynth render --retry-failed, or leave them out with --exclude-failed"
        )
    for shard in holding:
        for name in store.arrays:
            file = shard_file(out.data, name, shard)
            if not file.is_file():
                raise OutputError(
                    f"{file}: missing, though shard {shard} is committed; "
                    f"see hdsynth verify {out.root}"
                )
    excluded += [ExcludedRow(index=None, shard=shard, reason="not made yet") for shard in missing]
    generator = store.attributes.get("generator_hash")
    made = RunRow(
        path=str(out.root),
        name=out.root.name,
        config_fingerprint=fingerprint,
        generator_hash=generator if isinstance(generator, str) else None,
        samples=samples,
        scored=good,
        excluded_samples=samples - good,
        excluded=excluded[:EXCLUDED_SHOWN],
    )
    return made, holding


def _check_taxonomy(source: Source, taxonomy: Taxonomy, real: DatasetConfig) -> None:
    if source.taxonomy.fingerprint != taxonomy.fingerprint:
        raise EvalError(
            f"{real.root}: the real photos have the taxonomy {source.taxonomy.name!r}, the run "
            f"has {taxonomy.name!r}; expected the same classes (--taxonomy)"
        )


def _with_photos(source: Source, real: DatasetConfig, *, asked: bool) -> tuple[str, ...]:
    names = tuple(ref.name for ref in source.scenes if ref.photo is not None)
    where = f"{real.root}, split {real.split!r}" if real.split else real.root
    if not names:
        hint = "" if asked else "; name real photos with --real DIR --format F"
        raise EvalError(f"{where}: has no photos, which the oracle is scored on{hint}")
    if without := len(source.scenes) - len(names):
        log.warning("%d of %d real scenes have no photo", without, len(source.scenes))
    return names


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


def _check_baseline(before: Report, spec: EvalSpec, path: Path | None) -> None:
    """Find out before photos are read whether a baseline can be compared with."""
    stub = before.model_copy(
        update={"protocol_id": spec.protocol.id, "protocol": spec.protocol.to_plain()}
    )
    check_comparable(stub, before, names=("this run", f"the baseline {path}"))
