"""Preparing an evaluation: everything that can be checked before photos are read."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.counts import CountsFolder
from eval.errors import EvalError
from eval.job import EvalSpec, OpenScorer, PhotoScorer, Task
from eval.mapping import ClassMapping
from eval.measures.faithful import FACTOR
from eval.protocol import Preset, Size, choose_protocol
from eval.reports.report import ExcludedRow, RealRow, RunRow
from eval.scorers.loading import FeatureChoice
from pipeline.config import PhotoConfig, RenderConfig
from pipeline.devices import candidate_devices
from pipeline.editing.program import Program
from pipeline.errors import OutputError
from pipeline.output.manifest import OK
from pipeline.output.results import RunResults
from pipeline.planning.plan import count_samples, count_shards
from pipeline.sources import DatasetConfig, Source, open_source
from pipeline.sources.config import resolved_dataset
from pipeline.sources.photos import scenes_with_photos
from pipeline.taxonomy import Taxonomy

log = logging.getLogger("hdsynth.eval")

BLOCK = 16
"""Real photos per task."""
COUNTS = "counts"
"""Folder of the counts in that of the report."""
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
    independent_scorer: bool = False
    """Whether a scorer is refused that shares weights with a loss of the generator's training."""
    features: FeatureChoice = "scorer"
    """Whose features to take for distances between the sets of photos, if any's."""


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
    results = RunResults(config.out.absolute())
    out, record, taxonomy = results.folder, results.record, results.taxonomy
    run, shards = _run_row(results, exclude=config.exclude_failed)
    # The recorded job says how scenes were fitted, and where they are from.
    job = RenderConfig.parse(record["config"], origin=str(out.config))
    real = resolved_dataset(config.real or job.dataset)
    source = open_source(real)
    _check_taxonomy(source, taxonomy, real)
    scenes = _real_scenes(source, real, asked=config.real is not None)
    if job.photo.is_copied and config.preset == "paper":
        kind = "composites" if job.photo.is_composite else "photos drawn from exemplars"
        raise EvalError(
            f"{out.root}: holds {kind}, whose pixels are real ones, and the paper's protocol is of "
            "rendered photos; expected --protocol as-rendered"
        )
    device = candidate_devices(config.device)[0]
    scorer = open_scorer(device)
    mapping = ClassMapping.between(taxonomy, scorer.taxonomy)
    protocol = choose_protocol(
        config.preset,
        rendered_size=results.store.size,
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
    exemplars = _copied_from(results, job.photo) if job.photo.is_copied else set()
    run = run.model_copy(
        update={
            "photo": job.photo.mode,
            "exclude_near": job.photo.exclude_near,
            "exemplars": len(exemplars),
            "exemplars_seen": len(exemplars & scorer.seen),
            "shared": shared_networks(run.pretrained, scorer.pretrained),
        }
    )
    if config.independent_scorer:
        check_independence(run)
    protocol.check_real(source.read(scenes[0], photo=False).size, where=scenes[0])
    spec = EvalSpec(
        out=out,
        taxonomy=taxonomy,
        real=source,
        real_dataset=real,
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
    real_row = RealRow(
        root=real.root,
        format=real.format,
        split=real.split,
        photos=len(scenes),
        without_photo=len(source.scenes) - len(scenes),
        seen=len(scorer.seen.intersection(scenes)),
    )
    return PreparedEval(spec, tasks, run, real_row, described)


def shared_networks(asked: Sequence[str] | None, began: frozenset[str] | None) -> list[str] | None:
    """Tell which networks of others both generator and scorer have to do with.

    Args:
        asked: Those that the generator's losses asked; None if that is not known.
        began: Those whose weights the scorer may have begun with; None if that is not known.

    Returns:
        None where it cannot be told.

    Example:
        >>> shared_networks(["vgg16", "tf_efficientnet_lite0"], frozenset({"vgg16"}))
        ['vgg16']
        >>> shared_networks([], None)
        []
        >>> shared_networks(None, frozenset({"vgg16"})) is None
        True
    """
    if asked is not None and not asked:
        return []
    if began is not None and not began:
        return []
    return None if asked is None or began is None else sorted(began.intersection(asked))


def check_independence(run: RunRow) -> None:
    """Refuse a scorer that shares weights with a loss of the generator's training, or may.

    Raises:
        EvalError: It does, or that cannot be told.
    """
    advice = "expected a scorer of another network, such as one that train-scorer scratch makes"
    if run.shared is None:
        unknown = "scorer began with" if run.pretrained else "generator's losses asked"
        raise EvalError(
            f"{run.path}: which networks of others the {unknown} is not known; {advice}"
        )
    if run.shared:
        raise EvalError(
            f"the scorer began as {', '.join(run.shared)}, which the training of the generator of "
            f"{run.path} asked as well; {advice}"
        )


def _copied_from(results: RunResults, photo: PhotoConfig) -> set[str]:
    """The scenes that pixels of the photos are from: of composites also the samples' own."""
    found: set[str] = set()
    for row in results.rows(("scene", "program", "exemplars")):
        found.update(row["exemplars"] or ())
        if photo.is_composite:
            program = Program.parse(json.loads(row["program"]), origin="manifest")
            found.update((row["scene"], *program.donors))
    return found


def _features(scorer: PhotoScorer, choice: FeatureChoice) -> str | None:
    """Whose features are kept; None where none are asked for, or an adapted model has none."""
    if choice == "none":
        return None
    try:
        return scorer.features_name
    except EvalError:
        if choice != "scorer":
            raise
        log.warning("the scorer gives no features, so no distances are measured")
        return None


def _run_row(results: RunResults, *, exclude: bool) -> tuple[RunRow, list[int]]:
    """The run, and the shards that hold photos to score."""
    out = results.folder
    shards, samples = count_shards(out.plan), count_samples(out.plan)
    excluded = []
    holding: list[int] = []
    good = 0
    committed = set(out.committed())
    for row in results.rows(("index", "shard", "status", "error")):
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
        if excluded:
            raise OutputError(
                f"{out.root}: all {len(excluded)} samples made so far failed, there is nothing to "
                f"score (first: sample {excluded[0].index}: {excluded[0].reason})"
            )
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
    results.check_files(holding)
    excluded += [ExcludedRow(index=None, shard=shard, reason="not made yet") for shard in missing]
    attributes = results.store.attributes
    generator = attributes.get("generator_hash")
    made = RunRow(
        path=str(out.root),
        name=out.root.name,
        config_fingerprint=results.record["fingerprint"],
        generator_hash=generator if isinstance(generator, str) else None,
        samples=samples,
        scored=good,
        excluded_samples=samples - good,
        excluded=excluded[:EXCLUDED_SHOWN],
        pretrained=attributes.get("generator_pretrained"),
    )
    return made, holding


def _check_taxonomy(source: Source, taxonomy: Taxonomy, real: DatasetConfig) -> None:
    if source.taxonomy.fingerprint != taxonomy.fingerprint:
        raise EvalError(
            f"{real.root}: the real photos have the taxonomy {source.taxonomy.name!r}, the run "
            f"has {taxonomy.name!r}; expected the same classes (--taxonomy)"
        )


def _real_scenes(source: Source, real: DatasetConfig, *, asked: bool) -> tuple[str, ...]:
    where = f"{real.root}, split {real.split!r}" if real.split else real.root
    hint = "" if asked else "; name real photos with --real DIR --format F"
    missing = EvalError(f"{where}: has no photos, which the oracle is scored on{hint}")
    return tuple(ref.name for ref in scenes_with_photos(source, otherwise=missing))
