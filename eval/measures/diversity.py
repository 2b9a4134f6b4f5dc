"""Diversity: how different photos of the same label map look.

The distance of two photos is that of their features at each stage of an encoder, each pixel's
vector scaled to length 1 (as LPIPS without its learnt weights, Zhang et al. 2018, equation 1). It
is taken on EfficientNet-Lite features and is not LPIPS.

Shape legend: V variants of one label map; C channels, h x w pixels of a stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.errors import EvalError

Stages = Sequence[npt.NDArray[np.floating]]
"""Features of each stage, [V, C, h, w]."""

_SMALLEST_LENGTH = 1e-10


def perceptual_distances(stages: Stages) -> npt.NDArray[np.float64]:
    """The distance of every two variants, float64 [V, V]; 0 on the diagonal, symmetric.

    Each stage adds the mean over its pixels of the squared distance of unit vectors: 0 to 4.

    Args:
        stages: Features of the variants at each stage, [V, C, h, w]; V is at least 1.
    """
    variants = len(stages[0])
    distances = np.zeros((variants, variants))
    for stage in stages:
        values = stage.astype(np.float64)
        length = np.sqrt((values**2).sum(1, keepdims=True))
        unit = values / np.maximum(length, _SMALLEST_LENGTH)
        for first in range(variants):
            for second in range(first + 1, variants):
                apart = ((unit[first] - unit[second]) ** 2).sum(0).mean()
                distances[first, second] += apart
    return distances + distances.T


@dataclass(frozen=True, slots=True)
class Diversity:
    """The mean distance of variants, over label maps."""

    mean: float
    """Mean over the label maps of the mean distance of two variants; 0 where all are the same."""
    std: float
    """Over the label maps; NaN for one."""
    label_maps: int
    """How many have at least two variants."""
    pairs: int


def diversity(distances: Sequence[npt.NDArray[np.floating]]) -> Diversity:
    """Sum up the distances of the variants of many label maps.

    Args:
        distances: For each label map the distances of its variants, [V, V]; maps with one
            variant say nothing and are left out.

    Raises:
        EvalError: No label map has two variants.
    """
    means, pairs = [], 0
    for matrix in distances:
        upper = matrix[np.triu_indices(len(matrix), 1)]
        if len(upper):
            means.append(float(upper.mean()))
            pairs += len(upper)
    if not means:
        raise EvalError(
            "diversity: no label map was rendered more than once, expected at least two photos of "
            "one"
        )
    std = float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")
    return Diversity(float(np.mean(means)), std, len(means), pairs)
