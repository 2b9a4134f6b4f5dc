"""Scores of each photo, and the intervals of scores over scenes.

Shape legend: N images, K evaluated classes, R bootstrap replicates.
"""

from dataclasses import dataclass

import numpy as np

from eval.counts import SideCounts
from eval.scores import Scores, ScoreTable, score_table

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
