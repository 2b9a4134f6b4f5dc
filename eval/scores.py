"""Scores of sets of pixels, from their counts: what each is, in one place.

Shape legend: K evaluated classes; ... any number of sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]

HEADLINE = {
    "mean_iou": "mean IoU",
    "acc_valid": "pixel accuracy, void ignored",
    "acc_void_as_error": "pixel accuracy, void as error",
    "mean_class_accuracy": "mean class accuracy",
    "frequency_weighted_iou": "frequency-weighted IoU",
}
"""The scores that are one number per set, and their names for people."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """Scores of sets of pixels, 0..1; NaN where there is nothing to score."""

    iou: Scores
    """Intersection over union [..., K]; NaN for absent classes."""
    class_accuracy: Scores
    """Share of each class's pixels predicted right [..., K]."""
    acc_valid: Scores
    """Share of the pixels predicted right, void left out [...]."""
    acc_void_as_error: Scores
    """Share of all pixels predicted right, void counted as wrong [...].

    The published 82 to 84 % on Cityscapes are counted this way (see the paper's Table 1)."""
    frequency_weighted_iou: Scores
    """`iou` weighted by the classes' shares of the valid pixels [...]."""

    @property
    def mean_iou(self) -> Scores:
        """Mean of `iou` over the classes present [...]."""
        return mean_of_present(self.iou)

    @property
    def mean_class_accuracy(self) -> Scores:
        """Mean of `class_accuracy` over the classes that the targets hold [...]."""
        return mean_of_present(self.class_accuracy)

    def headline(self) -> Mapping[str, Scores]:
        """The scores of `HEADLINE` by name, [...] each."""
        return {name: getattr(self, name) for name in HEADLINE}


def score_table(
    correct: npt.NDArray[np.integer],
    targets: npt.NDArray[np.integer],
    predicted: npt.NDArray[np.integer],
    total: npt.NDArray[np.integer],
) -> ScoreTable:
    """The scores of sets of pixels, as cityscapesScripts defines them.

    Args:
        correct: Pixels per class predicted as it [..., K].
        targets: Pixels per class [..., K].
        predicted: Pixels predicted as each class where the target is not void [..., K].
        total: All pixels [...].
    """
    iou = divide(correct, targets + predicted - correct)
    valid, right = targets.sum(axis=-1), correct.sum(axis=-1)
    weighted = np.where(targets > 0, np.nan_to_num(iou) * targets, 0).sum(axis=-1)
    return ScoreTable(
        iou=iou,
        class_accuracy=divide(correct, targets),
        acc_valid=divide(right, valid),
        acc_void_as_error=divide(right, total),
        frequency_weighted_iou=divide(weighted, valid),
    )


def divide(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Scores:
    """Elementwise quotient, float64; NaN where the whole is 0."""
    result = np.full(np.broadcast_shapes(np.shape(part), np.shape(whole)), np.nan)
    np.divide(part, whole, out=result, where=np.not_equal(whole, 0))
    return result


def mean_of_present(scores: Scores) -> Scores:
    """Mean over the last axis of what is not NaN [...]; NaN where all are."""
    present = ~np.isnan(scores)
    return divide(np.where(present, scores, 0).sum(axis=-1), present.sum(axis=-1))
