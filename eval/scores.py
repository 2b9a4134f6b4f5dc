"""Scores with intervals, over all photos and of each one.

Shape legend: N images, K evaluated classes, R bootstrap replicates.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.confusion import Scores, divide
from eval.counts import SideCounts

REPLICATES = 1000
LEVEL = 0.95
SEED = 0
_MOST_WEIGHTS = 1 << 24
"""How many weights are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A score and the range in which it would lie for other photos of the same kind."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the range."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """Scores of many sets of pixels at once; the first axis is that of the sets."""

    mean_iou: Scores
    acc_valid: Scores
    acc_void_as_error: Scores
    mean_class_accuracy: Scores
    frequency_weighted_iou: Scores
    iou: Scores
    """[..., K]."""

    def headline(self) -> Mapping[str, Scores]:
        """The scores that are one number per set, by name."""
        return {
            "mean_iou": self.mean_iou,
            "acc_valid": self.acc_valid,
            "acc_void_as_error": self.acc_void_as_error,
            "mean_class_accuracy": self.mean_class_accuracy,
            "frequency_weighted_iou": self.frequency_weighted_iou,
        }


def score_table(
    correct: npt.NDArray[np.integer],
    targets: npt.NDArray[np.integer],
    predicted: npt.NDArray[np.integer],
    total: npt.NDArray[np.integer],
) -> ScoreTable:
    """The scores of many sets of pixels; see `ConfusionMatrix` for what each means.

    Args:
        correct: Pixels per class predicted as it [sets, K].
        targets: Pixels per class [sets, K].
        predicted: Pixels predicted as each class where the target is not void [sets, K].
        total: All pixels [sets].
    """
    iou = divide(correct, targets + predicted - correct)
    valid = targets.sum(axis=1)
    weighted = np.where(targets > 0, np.nan_to_num(iou) * targets, 0).sum(axis=1)
    return ScoreTable(
        mean_iou=_mean_present(iou),
        acc_valid=divide(correct.sum(axis=1), valid),
        acc_void_as_error=divide(correct.sum(axis=1), total),
        mean_class_accuracy=_mean_present(divide(correct, targets)),
        frequency_weighted_iou=np.where(valid > 0, weighted / np.maximum(valid, 1), np.nan),
        iou=iou,
    )


def image_scores(counts: SideCounts) -> ScoreTable:
    """The scores of each photo by itself, [N]."""
    return score_table(counts.correct, counts.targets, counts.predicted, counts.total)


def bootstrap(counts: SideCounts, *, replicates: int = REPLICATES, seed: int = SEED) -> ScoreTable:
    """The scores of `replicates` sets of scenes drawn with replacement, [R].

    A scene is drawn with all photos that were made of it, which resemble each other. Sums of
    pixels are exact, so the result depends on the photos and the seed alone.

    Args:
        counts: Of the photos.
        replicates: R.
        seed: Of the draws.
    """
    classes = counts.correct.shape[1]
    names, scene_of = np.unique(np.array(counts.scene), return_inverse=True)
    scenes = len(names)
    # float64 holds sums of pixels exactly below 2**53, and multiplies much faster.
    pixels = np.zeros((scenes, 3 * classes + 1))
    np.add.at(
        pixels,
        scene_of,
        np.concatenate(
            [counts.correct, counts.targets, counts.predicted, counts.total[:, None]], axis=1
        ),
    )
    random = np.random.default_rng(seed)
    chunk = max(1, _MOST_WEIGHTS // scenes)
    sums = []
    for start in range(0, replicates, chunk):
        rows = min(chunk, replicates - start)
        drawn = random.integers(scenes, size=(rows, scenes))
        drawn += np.arange(rows)[:, None] * scenes
        weights = np.bincount(drawn.ravel(), minlength=rows * scenes).reshape(rows, scenes)
        sums.append(weights.astype(np.float64) @ pixels)
    total = np.concatenate(sums).astype(np.int64)
    return score_table(
        total[:, :classes],
        total[:, classes : 2 * classes],
        total[:, 2 * classes : 3 * classes],
        total[:, 3 * classes],
    )


def interval(value: float, replicates: Scores, *, level: float = LEVEL) -> Interval:
    """The percentile interval of a score; NaN replicates are left out.

    Args:
        value: The score itself.
        replicates: float64 [R].
        level: Share of the replicates inside.
    """
    known = replicates[~np.isnan(replicates)]
    if not len(known):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def _mean_present(scores: Scores) -> Scores:
    """Mean over the last axis of what is not NaN; NaN where all are."""
    present = ~np.isnan(scores)
    number = present.sum(axis=-1)
    total = np.where(present, scores, 0).sum(axis=-1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
