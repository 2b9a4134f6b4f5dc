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
"""Real objects of a class and size that it takes to have a limit of its own."""

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
    """Above which share of unfaithful pixels an object is unfaithful, by class and size.

    Limits are such that few real objects of the class and size exceed them: what the scorer cannot
    read in real photos, small and rare objects first, is not held against rendered ones.
    """

    by_class: dict[tuple[int, int], float]
    """Class id and size to limit, 0..1; where there are enough real objects."""
    by_size: dict[int, float]
    """The same for all classes together."""
    other: float
    """For everything else."""

    def limit(self, one: ObjectShare) -> float:
        """The limit of an object's class and size."""
        size = size_of(one)
        return self.by_class.get((one.class_id, size), self.by_size.get(size, self.other))

    def to_plain(self) -> dict[str, Any]:
        """The limits as plain data; sizes are powers of 4 pixels."""
        return {
            "by_class": {f"{c}/{size}": limit for (c, size), limit in self.by_class.items()},
            "by_size": {str(size): limit for size, limit in self.by_size.items()},
            "other": self.other,
        }


def size_of(one: ObjectShare) -> int:
    """How large an object is: the power of 4 below its pixels; 3 is 64 to 255 pixels."""
    return (max(one.pixels, 1).bit_length() - 1) // 2


def share_limits(
    real: Sequence[ObjectShare], *, quantile: float = QUANTILE, least: float = SHARE
) -> ShareLimits:
    """Limits such that few real objects would be called unfaithful.

    Args:
        real: Objects of real photos at the same size, with shares by the same class means.
        quantile: Share of the real objects of a class and size that must be faithful, 0..1.
        least: No limit is lower.

    Raises:
        EvalError: The quantile is not in 0..1.
    """
    if not 0 <= quantile <= 1:
        raise EvalError(f"quantile is {quantile}, expected 0 to 1")
    by_class: dict[tuple[int, int], list[float]] = {}
    by_size: dict[int, list[float]] = {}
    for one in real:
        if one.pixels:
            size = size_of(one)
            by_class.setdefault((one.class_id, size), []).append(one.unfaithful)
            by_size.setdefault(size, []).append(one.unfaithful)

    def limit(shares: list[float]) -> float:
        return max(least, float(np.quantile(shares, quantile)))

    everything = [share for found in by_size.values() for share in found]
    return ShareLimits(
        by_class={k: limit(v) for k, v in sorted(by_class.items()) if len(v) >= SMALLEST_SAMPLE},
        by_size={k: limit(v) for k, v in sorted(by_size.items()) if len(v) >= SMALLEST_SAMPLE},
        other=limit(everything) if everything else least,
    )


def is_faithful(one: ObjectShare, limits: ShareLimits) -> bool | None:
    """Whether an object shows what its label says.

    None if that cannot be told: none of its pixels was judged, or so many real objects of its
    class and size are unfaithful all over that no share is remarkable.
    """
    limit = limits.limit(one)
    if not one.pixels or limit >= 1:
        return None
    return one.unfaithful <= limit
