"""From counts to the report: scores, intervals, recall, the best and the worst photos."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from eval.confusion import ConfusionMatrix
from eval.counts import SideCounts
from eval.mapping import ClassMapping
from eval.measures.intervals import (
    LEVEL,
    REPLICATES,
    SEED,
    Interval,
    bootstrap,
    image_scores,
    interval,
)
from eval.measures.recall import (
    LARGE,
    READABLE,
    SIZES,
    SMALL,
    Recall,
    recall_by,
)
from eval.protocol import ScoreProtocol
from eval.reports.gate import POOR_ORACLE
from eval.reports.report import (
    ClassRow,
    ImageRow,
    PixelSourceRow,
    RealRow,
    RecallRow,
    Report,
    RunRow,
    Score,
    SideReport,
    finite,
)
from eval.scores import HEADLINE, Scores, ScoreTable, divide, mean_of_present
from pipeline.output.manifest import PIXEL_SOURCES

EXTREMES = 12
"""How many of the best and of the worst photos are listed."""
FEW_SCENES = 10
"""Fewer scenes than this make no interval."""


def make_report(
    rendered: SideCounts,
    real: SideCounts,
    *,
    mapping: ClassMapping,
    protocol: ScoreProtocol,
    scorer: dict[str, Any],
    run: RunRow,
    real_row: RealRow,
    version: str,
    replicates: int = REPLICATES,
    seed: int = SEED,
    poor_oracle: float = POOR_ORACLE,
) -> Report:
    """Put a report together.

    Args:
        rendered: Counts of the rendered photos.
        real: Counts of the real ones.
        mapping: The evaluated classes.
        protocol: How they were scored.
        scorer: What the scorer says of itself, as plain data.
        run: The run that was scored.
        real_row: The dataset of the real photos.
        version: Of hdsynth.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
        poor_oracle: Mean IoU below which the oracle is poor.
    """
    tables = [
        bootstrap(c, replicates=replicates, seed=seed + k) for k, c in enumerate((rendered, real))
    ]
    sides = [
        side_report(counts, table, mapping)
        for counts, table in zip((rendered, real), tables, strict=True)
    ]
    # With nothing predicted as a class but its own pixels, IoU is class accuracy.
    accuracies = [
        bootstrap(replace(c, predicted=c.correct), replicates=replicates, seed=seed + k).iou
        for k, c in enumerate((rendered, real))
    ]
    drawn_classes = {"mean_iou": [t.iou for t in tables], "mean_class_accuracy": accuracies}
    ratios = {}
    for name in HEADLINE:
        if name in drawn_classes:
            values = [class_values(side, name, mapping.names) for side in sides]
            value = float(ratio_of_means(*values))
            drawn = ratio_of_means(*drawn_classes[name])
        else:
            ours, theirs = (side.scores[name].value for side in sides)
            value = float("nan") if ours is None or not theirs else ours / theirs
            drawn = divided(tables[0].headline()[name], tables[1].headline()[name])
        ratios[name] = Score.of(interval(value, drawn))
    oracle = sides[1].scores["mean_iou"].value
    poor = oracle is None or oracle < poor_oracle
    return Report(
        hdsynth=version,
        protocol_id=protocol.id,
        protocol=protocol.to_plain(),
        scorer=scorer,
        run=run,
        real=real_row,
        classes=[
            ClassRow(name=name, category=category, color=color, is_thing=thing)
            for name, category, color, thing in zip(
                mapping.names, mapping.categories, mapping.colors, mapping.is_thing, strict=True
            )
        ],
        unscored_classes=list(mapping.unscored),
        unasked_classes=list(mapping.unasked),
        rendered=sides[0],
        oracle=sides[1],
        ratio=ratios,
        oracle_is_poor=poor,
        warnings=_warnings(sides[0], sides[1], mapping, run, real_row, poor=poor),
        bootstrap={"replicates": replicates, "seed": seed, "level": LEVEL},
    )


def class_values(side: SideReport, score: str, names: Sequence[str]) -> Scores:
    """What a score is the mean of, per class; float64 [K], NaN for absent classes.

    Args:
        side: Of a report.
        score: `mean_iou` or `mean_class_accuracy`.
        names: The evaluated classes.
    """
    if score == "mean_iou":
        return np.array([side.iou[name].value for name in names], np.float64)
    return np.array([side.class_accuracy[name] for name in names], np.float64)


def ratio_of_means(part: Scores, whole: Scores) -> Scores:
    """Mean of `part` / mean of `whole`, both over the classes that neither lacks.

    Args:
        part: Scores per class, float64 [..., K]; NaN for absent classes.
        whole: The same of the other side.

    Returns:
        float64 [...]; NaN where no class is left, or all scores of `whole` are 0.
    """
    shared = ~np.isnan(part) & ~np.isnan(whole)
    # Both means are over as many classes, so their ratio is that of the sums.
    sums = [np.where(shared, scores, 0).sum(axis=-1) for scores in (part, whole)]
    return divided(*sums)


def divided(part: Scores, whole: Scores) -> Scores:
    """Elementwise quotient; NaN where it is not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = np.asarray(part) / np.asarray(whole)
    return np.where(np.isfinite(quotient), quotient, np.nan)


def side_report(counts: SideCounts, replicates: ScoreTable, mapping: ClassMapping) -> SideReport:
    """The scores of one side.

    Args:
        counts: Of its photos.
        replicates: Their bootstrap.
        mapping: The evaluated classes.
    """
    confusion = ConfusionMatrix(mapping.num_classes, counts.confusion)
    drawn = replicates.headline()
    iou = confusion.iou
    boundary = divide(counts.boundary[0], counts.boundary[1])
    things = [mapping.names[k] for k in mapping.things]
    categories = confusion.category_iou(mapping.categories)
    ranked = ranking(counts)
    return SideReport(
        images=len(counts),
        scenes=len(set(counts.scene)),
        pixels=confusion.total,
        void_share=confusion.void / confusion.total,
        scores={
            name: Score.of(interval(value, drawn[name]))
            for name, value in confusion.headline().items()
        },
        iou={
            name: Score.of(
                interval(float(iou[k]), replicates.iou[:, k])
                if np.isfinite(iou[k])
                else Interval(float("nan"), float("nan"), float("nan"))
            )
            for k, name in enumerate(mapping.names)
        },
        class_accuracy=_named(mapping.names, confusion.class_accuracy),
        category_iou={name: finite(value) for name, value in categories.items()},
        mean_category_iou=finite(float(mean_of_present(np.array(list(categories.values()))))),
        boundary_iou=_named(things, boundary),
        mean_boundary_iou=finite(float(mean_of_present(boundary))),
        recall=recall_rows(counts, mapping),
        confusion=counts.confusion.tolist(),
        worst=ranked[:EXTREMES],
        best=ranked[::-1][:EXTREMES],
        pixel_sources=pixel_source_rows(counts, mapping),
    )


def pixel_source_rows(counts: SideCounts, mapping: ClassMapping) -> list[PixelSourceRow]:
    """The scores of composites by where their pixels come from; none for other photos."""
    if counts.by_source is None:
        return []
    rows = []
    for name, confusion in zip(PIXEL_SOURCES, counts.by_source, strict=True):
        matrix = ConfusionMatrix(mapping.num_classes, confusion)
        rows.append(
            PixelSourceRow(
                source=name,
                share=matrix.total / int(counts.by_source.sum()),
                acc_valid=finite(matrix.acc_valid),
                mean_iou=finite(matrix.mean_iou),
            )
        )
    return [row for row in rows if row.share]


def recall_rows(counts: SideCounts, mapping: ClassMapping) -> list[RecallRow]:
    """How many objects can be read: all, by origin, by class and by size."""
    readable = counts.object_correct >= READABLE * counts.object_area
    sizes = np.array(SIZES)[
        (counts.object_area > SMALL).astype(int) + (counts.object_area >= LARGE)
    ]
    names = np.array(mapping.names)[counts.object_class]
    everything = {"all": Recall(len(readable), int(readable.sum()))}
    grouped = (
        ("all", everything),
        ("origin", recall_by(counts.object_origin.tolist(), readable)),
        ("class", recall_by(names.tolist(), readable, mapping.names)),
        ("size", recall_by(sizes.tolist(), readable, SIZES)),
        ("pixels", recall_by(counts.object_pixels.tolist(), readable, PIXEL_SOURCES)),
    )
    return [
        RecallRow.model_validate(
            {
                "by": by,
                "group": group,
                "objects": recall.objects,
                "readable": recall.readable,
                "value": finite(recall.value),
            }
        )
        for by, groups in grouped
        for group, recall in groups.items()
    ]


def ranking(counts: SideCounts) -> list[ImageRow]:
    """The worst and the best photos, worst first, by the share of valid pixels read right.

    Photos of which nothing is asked are left out; of many, only the extremes are listed.
    """
    table = image_scores(counts)
    order = np.argsort(table.acc_valid, kind="stable")
    order = order[: int(np.count_nonzero(~np.isnan(table.acc_valid)))]
    if len(order) > 2 * EXTREMES:
        order = np.concatenate([order[:EXTREMES], order[-EXTREMES:]])
    return [
        ImageRow(
            index=int(counts.index[k]),
            scene=counts.scene[k],
            acc_valid=finite(table.acc_valid[k]),
            mean_iou=finite(table.mean_iou[k]),
        )
        for k in order
    ]


def image_table(sides: Sequence[tuple[str, SideCounts]], names: Sequence[str]) -> pa.Table:
    """The scores of every photo: a row each.

    Args:
        sides: `rendered` or `real`, and its counts.
        names: The evaluated classes; a column `iou_NAME` each.
    """
    tables = []
    for side, counts in sides:
        scores = image_scores(counts)
        columns = {
            "side": pa.array([side] * len(counts), pa.string()),
            "index": pa.array(counts.index, pa.int64()),
            "scene": pa.array(counts.scene, pa.string()),
            "pixels": pa.array(counts.total, pa.int64()),
            "void_pixels": pa.array(counts.total - counts.targets.sum(axis=1), pa.int64()),
        }
        for name, values in scores.headline().items():
            columns[name] = pa.array(values, pa.float64(), from_pandas=True)
        for k, name in enumerate(names):
            columns[f"iou_{name}"] = pa.array(scores.iou[:, k], pa.float64(), from_pandas=True)
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def _warnings(
    rendered: SideReport,
    oracle: SideReport,
    mapping: ClassMapping,
    run: RunRow,
    real: RealRow,
    *,
    poor: bool,
) -> list[str]:
    found = []
    if poor:
        value = oracle.scores["mean_iou"].value
        shown = "nothing" if value is None else f"{value:.3f}"
        found.append(
            f"the oracle is poor: the scorer reaches a mean IoU of {shown} on real photos, so its "
            "score of rendered ones means nothing"
        )
    if mapping.unscored:
        found.append(
            f"the scorer does not know {', '.join(mapping.unscored)}; pixels of them are void here"
        )
    for name, side in (("rendered", rendered), ("real", oracle)):
        if side.scenes < FEW_SCENES:
            found.append(
                f"the {name} photos come from {side.scenes} scenes only, so their intervals say "
                "little"
            )
    absent = [n for n in mapping.names if rendered.iou[n].value is None]
    if absent:
        found.append(f"absent from the rendered side, and from its mean: {', '.join(absent)}")
    absent = [n for n in mapping.names if oracle.iou[n].value is None]
    if absent:
        found.append(f"absent from the real side, and from its mean: {', '.join(absent)}")
    for score in ("mean_iou", "mean_class_accuracy"):
        ours, theirs = (
            ~np.isnan(class_values(side, score, mapping.names)) for side in (rendered, oracle)
        )
        lone = [f"{mapping.names[k]} (rendered only)" for k in np.flatnonzero(ours & ~theirs)]
        lone += [f"{mapping.names[k]} (real only)" for k in np.flatnonzero(theirs & ~ours)]
        if lone:
            found.append(
                f"present on one side only, and left out of the ratio of {HEADLINE[score]}: "
                f"{', '.join(lone)}"
            )
    if real.seen:
        found.append(
            f"the scorer learnt from {real.seen} of the {real.photos} real photos, which flatters "
            "the oracle; expected photos that it has not seen (--split)"
        )
    if run.exemplars_seen:
        found.append(
            f"the scorer learnt from {run.exemplars_seen} of the {run.exemplars} scenes whose "
            "pixels the photos show, so their scores are no measure of realism; train it on one "
            "half of them (train-scorer --half 1), and make photos of the other (half=2)"
        )
    if run.shared:
        found.append(
            f"the scorer began as {', '.join(run.shared)}, which the generator's training asked "
            "what is real: it is not independent, and its scores may flatter; expected a scorer "
            "of another network (docs/scorers.md)"
        )
    if real.without_photo:
        found.append(
            f"{real.without_photo} of {real.photos + real.without_photo} real scenes have no "
            "photo, and were left out"
        )
    if run.excluded_samples:
        found.append(
            f"{run.excluded_samples} of {run.samples} samples failed or are not made, "
            "and were left out"
        )
    return found


def _named(names: Sequence[str], values: np.ndarray[Any, Any]) -> dict[str, float | None]:
    return {name: finite(value) for name, value in zip(names, values, strict=True)}
