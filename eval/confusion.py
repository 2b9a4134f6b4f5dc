"""Confusion matrices: how many pixels of each class are predicted as which.

Shape legend: K evaluated classes; ... any shape of pixels.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from eval.errors import EvalError
from eval.scores import Scores, ScoreTable, score_table

VOID = 255
"""In targets: pixels that no class is asked of. In predictions: none of the evaluated classes."""
MOST_CLASSES = 254

Counts = npt.NDArray[np.int64]


class ConfusionMatrix:
    """Pixels by target and predicted class, added up over any number of images.

    All scores are those of cityscapesScripts: a pixel with a void target counts for no class; a
    pixel of a class that is predicted as none of the classes is missed by its class. A class that
    is neither in targets nor in predictions is absent, and its scores are NaN.

    Args:
        num_classes: K.
        counts: int64 [K+1, K+1], rows targets, columns predictions, the last of each void; all
            zero if none are given.

    Example:
        >>> import numpy as np
        >>> matrix = ConfusionMatrix(2)
        >>> matrix.update(np.uint8([0, 0, 1, 255]), np.uint8([0, 1, 1, 1]))
        >>> matrix.acc_valid, matrix.acc_void_as_error, matrix.mean_iou
        (0.6666666666666666, 0.5, 0.5)
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
    def scores(self) -> ScoreTable:
        """All scores of these pixels."""
        return score_table(self.correct, self.targets, self.predicted, np.asarray(self.total))

    @property
    def acc_valid(self) -> float:
        """Share of the pixels predicted right, void left out; 0..1, NaN if all are void."""
        return float(self.scores.acc_valid)

    @property
    def acc_void_as_error(self) -> float:
        """Share of all pixels predicted right, void counted as wrong; 0..1."""
        return float(self.scores.acc_void_as_error)

    @property
    def class_accuracy(self) -> Scores:
        """Share of each class's pixels predicted right, float64 [K]; NaN where there are none."""
        return self.scores.class_accuracy

    @property
    def mean_class_accuracy(self) -> float:
        """Mean of `class_accuracy` over the classes that the targets hold; 0..1."""
        return float(self.scores.mean_class_accuracy)

    @property
    def iou(self) -> Scores:
        """Intersection over union per class, float64 [K]; NaN for absent classes."""
        return self.scores.iou

    @property
    def mean_iou(self) -> float:
        """Mean of `iou` over the classes present; 0..1, NaN if there is none."""
        return float(self.scores.mean_iou)

    @property
    def frequency_weighted_iou(self) -> float:
        """`iou` weighted by the classes' shares of the valid pixels; 0..1."""
        return float(self.scores.frequency_weighted_iou)

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
        """The scores that are one number each, by name (`eval.scores.HEADLINE`)."""
        return {name: float(value) for name, value in self.scores.headline().items()}


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


def _ratio(part: float | np.integer, whole: float | np.integer) -> float:
    return float(part) / float(whole) if whole else float("nan")


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
