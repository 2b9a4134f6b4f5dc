"""Faithfulness: which pixels and objects of a rendered photo do not show what their label says.

After FreeMask (Yang et al., NeurIPS 2023, section 3.3): a pixel whose loss exceeds a multiple of
the mean loss of its class is taken as wrongly rendered. Here the mean is that on real photos, so
what is measured is the photo against what the same scorer makes of real ones.

Shape legend: H x W pixels; ... any shape of pixels; K train ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.errors import EvalError
from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap
from pipeline.taxonomy import IGNORED_TRAIN_ID

UNFAITHFUL, FAITHFUL, UNJUDGED = 0, 1, 255
"""Values of a mask: readers void the first."""
FACTOR = 1.25
SHARE = 0.5
QUANTILE = 0.95
SMALLEST_SAMPLE = 20
"""Objects of a class below which its limit is taken from those of all classes."""

Losses = npt.NDArray[np.floating]
TrainIds = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class ClassLosses:
    """The losses of each class on real photos, added up over any number of them."""

    total: npt.NDArray[np.float64]
    """Sum of the losses, [256]."""
    pixels: npt.NDArray[np.int64]
    """[256]."""

    @classmethod
    def none(cls) -> "ClassLosses":
        """Those of no photo."""
        return cls(np.zeros(256), np.zeros(256, np.int64))

    @classmethod
    def of(cls, losses: Losses, train_ids: TrainIds) -> "ClassLosses":
        """Those of photos: losses [...], NaN where ignored, and train ids [...]."""
        known = np.isfinite(losses) & (train_ids != IGNORED_TRAIN_ID)
        ids = train_ids[known]
        return cls(
            np.bincount(ids, losses[known].astype(np.float64), 256).astype(np.float64),
            np.bincount(ids, minlength=256).astype(np.int64),
        )

    def __add__(self, other: "ClassLosses") -> "ClassLosses":
        """Those of both."""
        return ClassLosses(self.total + other.total, self.pixels + other.pixels)

    @property
    def means(self) -> npt.NDArray[np.float64]:
        """The mean loss of each class, [256]; NaN for classes that no photo showed."""
        means = np.full(256, np.nan)
        np.divide(self.total, self.pixels, out=means, where=self.pixels > 0)
        return means


def faithful_mask(
    losses: Losses,
    train_ids: TrainIds,
    means: npt.NDArray[np.float64],
    *,
    factor: float = FACTOR,
) -> Mask:
    """Which pixels show what their label says: `FAITHFUL`, `UNFAITHFUL` or `UNJUDGED`.

    Not judged are ignored pixels and those of classes that no real photo showed.

    Args:
        losses: The scorer's loss against the label map, [...]; NaN where ignored.
        train_ids: uint8 [...].
        means: The mean loss of each class on real photos, [256].
        factor: A pixel is unfaithful above so many times its class's mean.

    Raises:
        EvalError: The shapes differ, or the factor is not positive.
    """
    if losses.shape != train_ids.shape:
        raise EvalError(
            f"losses of shape {list(losses.shape)}, expected {list(train_ids.shape)} as the labels"
        )
    if not factor > 0:
        raise EvalError(f"factor is {factor}, expected a positive number")
    limits = (factor * means)[train_ids]
    judged = ~np.isnan(losses) & ~np.isnan(limits) & (train_ids != IGNORED_TRAIN_ID)
    mask = np.full(losses.shape, UNJUDGED, np.uint8)
    mask[judged] = FAITHFUL
    mask[judged & (np.nan_to_num(losses, nan=0.0) > np.nan_to_num(limits))] = UNFAITHFUL
    return mask


@dataclass(frozen=True, slots=True)
class ObjectShare:
    """How much of one object is unfaithful."""

    instance: int
    """Its id in the instance map."""
    class_id: int
    pixels: int
    """Its pixels that were judged."""
    unfaithful: float
    """Share of them, 0..1; NaN if none was judged."""


def object_shares(mask: Mask, instance: InstanceMap) -> list[ObjectShare]:
    """How much of each single object is unfaithful, sorted by id.

    Args:
        mask: As `faithful_mask` makes it, uint8 [H, W].
        instance: Instance ids in Cityscapes' encoding, int32 [H, W].

    Raises:
        EvalError: The shapes differ.
    """
    if mask.shape != instance.shape:
        raise EvalError(
            f"mask of shape {list(mask.shape)}, expected {list(instance.shape)} as the instances"
        )
    things = instance >= INSTANCES_PER_CLASS
    ids, places = np.unique(instance[things], return_inverse=True)
    inside = mask[things]
    judged = np.bincount(places, weights=inside != UNJUDGED, minlength=len(ids))
    wrong = np.bincount(places, weights=inside == UNFAITHFUL, minlength=len(ids))
    return [
        ObjectShare(
            instance=int(key),
            class_id=int(key) // INSTANCES_PER_CLASS,
            pixels=int(count),
            unfaithful=float(bad / count) if count else float("nan"),
        )
        for key, count, bad in zip(ids, judged, wrong, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class ShareLimits:
    """Above which share of unfaithful pixels an object is unfaithful, per class.

    A share of the pixels that is rare among real objects of the class, and at least `SHARE`.
    """

    by_class: dict[int, float]
    """Class id to limit, 0..1."""
    other: float
    """For classes with too few real objects."""

    def limit(self, class_id: int) -> float:
        """The limit of a class."""
        return self.by_class.get(class_id, self.other)

    def to_plain(self) -> dict[str, Any]:
        """The limits as plain data."""
        return {"by_class": {str(k): v for k, v in self.by_class.items()}, "other": self.other}


def share_limits(
    real: Sequence[ObjectShare], *, quantile: float = QUANTILE, least: float = SHARE
) -> ShareLimits:
    """Limits such that few real objects would be called unfaithful.

    Args:
        real: Objects of real photos, with shares by the same class means.
        quantile: Share of the real objects of a class that must be faithful, 0..1.
        least: No limit is lower.

    Raises:
        EvalError: The quantile is not in 0..1.
    """
    if not 0 <= quantile <= 1:
        raise EvalError(f"quantile is {quantile}, expected 0 to 1")
    shares: dict[int, list[float]] = {}
    for one in real:
        if one.pixels:
            shares.setdefault(one.class_id, []).append(one.unfaithful)
    everything = [share for found in shares.values() for share in found]
    other = max(least, float(np.quantile(everything, quantile))) if everything else least
    by_class = {
        class_id: max(least, float(np.quantile(found, quantile)))
        for class_id, found in sorted(shares.items())
        if len(found) >= SMALLEST_SAMPLE
    }
    return ShareLimits(by_class, other)


def is_faithful(one: ObjectShare, limits: ShareLimits) -> bool | None:
    """Whether an object shows what its label says; None if none of its pixels was judged."""
    return None if not one.pixels else one.unfaithful <= limits.limit(one.class_id)
