"""Confusion matrices: how many pixels of each class are predicted as which.

Shape legend: K evaluated classes; ... any shape of pixels.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from eval.errors import EvalError

VOID = 255
"""In targets: pixels that no class is asked of. In predictions: none of the evaluated classes."""
MOST_CLASSES = 254

Counts = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


class ConfusionMatrix:
    """Pixels by target and predicted class, added up over any number of images.

    All scores are those of cityscapesScripts: a pixel with a void target counts for no class; a
    pixel of a class that is predicted as none of the classes is missed by its class. A class that
    is neither in targets nor in predictions is absent, and its scores are NaN.

    Args:
        num_classes: K.
        counts: int64 [K+1, K+1], rows targets, columns predictions, the last of each void; all
            zero if none are given.
    """

    def __init__(self, num_classes: int, counts: Counts | None = None) -> None:
        if not 1 <= num_classes <= MOST_CLASSES:
            raise ValueError(f"expected 1 to {MOST_CLASSES} classes, got {num_classes}")
        shape = (num_classes + 1, num_classes + 1)
        self.num_classes = num_classes
        self.counts: Counts = np.zeros(shape, np.int64) if counts is None else counts.copy()
        if self.counts.shape != shape:
            raise ValueError(f"expected counts of shape {shape}, got {self.counts.shape}")

    def update(self, target: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8]) -> None:
        """Count the pixels of an image, or of many.

        Args:
            target: Evaluated class 0..K-1 or `VOID`, uint8 [...].
            prediction: The same, uint8 [...].

        Raises:
            EvalError: The shapes differ, or a value is no class.
        """
        self.counts += count_pairs(target, prediction, num_classes=self.num_classes)

    def __add__(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        """The pixels of both."""
        return ConfusionMatrix(self.num_classes, self.counts + other.counts)

    @property
    def correct(self) -> Counts:
        """Pixels per class that are predicted as their class, int64 [K]."""
        return self.counts.diagonal()[: self.num_classes].copy()

    @property
    def targets(self) -> Counts:
        """Pixels per class, int64 [K]."""
        total: Counts = self.counts[: self.num_classes].sum(axis=1)
        return total

    @property
    def predicted(self) -> Counts:
        """Pixels predicted as each class where the target is not void, int64 [K]."""
        total: Counts = self.counts[: self.num_classes, : self.num_classes].sum(axis=0)
        return total

    @property
    def void(self) -> int:
        """Pixels whose target is void."""
        return int(self.counts[self.num_classes].sum())

    @property
    def total(self) -> int:
        """All pixels."""
        return int(self.counts.sum())

    @property
    def acc_valid(self) -> float:
        """Share of the pixels predicted right, void left out; 0..1, NaN if all are void."""
        return _ratio(self.correct.sum(), self.targets.sum())

    @property
    def acc_void_as_error(self) -> float:
        """Share of all pixels predicted right, void counted as wrong; 0..1.

        The published 82 to 84 % on Cityscapes are counted this way (see the paper's Table 1).
        """
        return _ratio(self.correct.sum(), self.total)

    @property
    def class_accuracy(self) -> Scores:
        """Share of each class's pixels predicted right, float64 [K]; NaN where there are none."""
        return divide(self.correct, self.targets)

    @property
    def mean_class_accuracy(self) -> float:
        """Mean of `class_accuracy` over the classes that the targets hold; 0..1."""
        return mean_of_present(self.class_accuracy)

    @property
    def iou(self) -> Scores:
        """Intersection over union per class, float64 [K]; NaN for absent classes."""
        return divide(self.correct, self.targets + self.predicted - self.correct)

    @property
    def mean_iou(self) -> float:
        """Mean of `iou` over the classes present; 0..1, NaN if there is none."""
        return mean_of_present(self.iou)

    @property
    def frequency_weighted_iou(self) -> float:
        """`iou` weighted by the classes' shares of the valid pixels; 0..1."""
        targets = self.targets
        if not targets.sum():
            return float("nan")
        present = targets > 0
        return float((self.iou[present] * targets[present]).sum() / targets.sum())

    def category_iou(self, categories: Sequence[str]) -> dict[str, float]:
        """Intersection over union per category: classes of one category are taken for each other.

        Args:
            categories: The category of each class.
        """
        scores = {}
        names = np.array(categories)
        for name in dict.fromkeys(categories):
            inside = np.flatnonzero(names == name)
            correct = self.counts[np.ix_(inside, inside)].sum()
            union = self.counts[inside].sum() + self.predicted[inside].sum() - correct
            scores[name] = _ratio(correct, union)
        return scores

    def headline(self) -> Mapping[str, float]:
        """The scores that are one number each, by name."""
        return {
            "mean_iou": self.mean_iou,
            "acc_valid": self.acc_valid,
            "acc_void_as_error": self.acc_void_as_error,
            "mean_class_accuracy": self.mean_class_accuracy,
            "frequency_weighted_iou": self.frequency_weighted_iou,
        }


def count_pairs(
    target: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8], *, num_classes: int
) -> Counts:
    """Pixels by target and prediction, int64 [K+1, K+1]; the last row and column are void.

    Raises:
        EvalError: The shapes differ, or a value is no class.
    """
    if target.shape != prediction.shape:
        raise EvalError(
            f"prediction of {_by(prediction.shape)} pixels, expected that of the labels, "
            f"{_by(target.shape)}"
        )
    # 256 x 256 pairs: one pass over the pixels, whatever the number of classes.
    pairs = (target.astype(np.uint16) << 8) | prediction
    table = np.bincount(pairs.ravel(), minlength=1 << 16).reshape(256, 256)
    rows = np.r_[0:num_classes, VOID]
    counts: Counts = table[np.ix_(rows, rows)].astype(np.int64)
    if counts.sum() != target.size:
        table[np.ix_(rows, rows)] = 0
        pair = np.argwhere(table)[0]
        kind, value = ("prediction", pair[1]) if pair[0] in rows else ("target", pair[0])
        raise EvalError(f"{kind} holds {value}, expected 0..{num_classes - 1} or {VOID}")
    return counts


def divide(part: npt.NDArray[np.integer], whole: npt.NDArray[np.integer]) -> Scores:
    """Elementwise quotient, float64; NaN where the whole is 0."""
    result = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=result, where=whole != 0)
    return result


def mean_of_present(scores: Scores) -> float:
    """Mean of the scores that are not NaN; NaN if all are."""
    present = scores[~np.isnan(scores)]
    return float(present.mean()) if len(present) else float("nan")


def _ratio(part: float | np.integer, whole: float | np.integer) -> float:
    return float(part) / float(whole) if whole else float("nan")


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
