"""What a scorer learns by: cross entropy over pixels, and how much each class weighs.

Shape legend: B batch, H x W pixels, K classes.
"""

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from hdmodel.training.batches import Samples
from pipeline.taxonomy import IGNORED_TRAIN_ID

_BALANCED_BY = 200
"""Scenes that class weights are counted on."""


def cross_entropy(logits_BKHW: Tensor, ids_BHW: Tensor, *, weight: Tensor | None) -> Tensor:
    """The mean cross entropy of the pixels that are not ignored; 0 if all are.

    Args:
        logits_BKHW: float32.
        ids_BHW: Train ids, int64; 255 is ignored.
        weight: Of each class, float32 [K]; all 1 if None.
    """
    losses = F.cross_entropy(
        logits_BKHW, ids_BHW, weight=weight, ignore_index=IGNORED_TRAIN_ID, reduction="sum"
    )
    valid = ids_BHW != IGNORED_TRAIN_ID
    count = valid.sum() if weight is None else (weight[ids_BHW.where(valid, 0)] * valid).sum()
    return losses / count.clamp(min=1e-6)


def class_weights(scenes: Samples, classes: int) -> npt.NDArray[np.float32]:
    """1 / ln(1.02 + share) of each class, with a mean of 1 (Paszke et al. 2016, ENet).

    Args:
        scenes: Samples with train ids; at most 200 of them, evenly spread, are counted.
        classes: K.
    """
    counts = np.zeros(256, np.int64)
    for index in range(0, len(scenes), -(-len(scenes) // _BALANCED_BY)):
        counts += np.bincount(scenes[index][0].ravel(), minlength=256)
    shares = counts[:classes] / max(1, counts[:classes].sum())
    weights = 1 / np.log(1.02 + shares)
    scaled: npt.NDArray[np.float32] = (weights / weights.mean()).astype(np.float32)
    return scaled
