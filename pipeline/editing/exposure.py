"""The light of a scene, and what an object of another scene needs to stand in it.

Shape legend: K classes, H x W pixels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.editing.pixels import linear_light
from pipeline.scene import LabelMap, Photo

STEP = 4
"""Every fourth row and column tells the mean of a class well enough."""
LEAST_SHARED = 64
"""Sampled pixels of a class in either scene, from which its mean says something."""
BRIGHTNESS = (0.5, 2.0)
"""Bounds of the factor on an object's light."""
TINT = (0.85, 1.18)
"""Bounds of the factors on its single channels, beside that."""

REST = (0.6, 1.7)
"""Bounds of what is left for single surfaces, where whole photos are brought together."""


@dataclass(frozen=True, slots=True, eq=False)
class SceneLight:
    """The mean light of each class of a scene."""

    counts: npt.NDArray[np.int64]
    """Sampled pixels [K]."""
    mean: npt.NDArray[np.float64]
    """Linear light of the three channels, 0..1 [K, 3]; 0 where there are no pixels."""

    @classmethod
    def of(cls, photo: Photo, label: LabelMap, *, num_classes: int) -> "SceneLight":
        """Measure a scene.

        Args:
            photo: RGB, uint8 [H, W, 3].
            label: Class ids [H, W].
            num_classes: K.
        """
        classes = label[::STEP, ::STEP].ravel().astype(np.intp)
        light = linear_light(photo[::STEP, ::STEP]).reshape(-1, 3)
        counts = np.bincount(classes, minlength=num_classes)
        sums = np.stack(
            [np.bincount(classes, light[:, channel], num_classes) for channel in range(3)], axis=1
        )
        return cls(counts, sums / np.maximum(counts, 1)[:, None])


def exposure_gain(
    donor: SceneLight, scene: SceneLight, *, surface: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """The factors on the light of an object's channels that bring it from one scene to another.

    The surfaces that both scenes show (road, trees, walls) tell them: the median of their ratios,
    which one dark wall does not move. It is bounded, and 1 where the scenes share no surface.

    Args:
        donor: The light of the scene that the object is from.
        scene: The light of the scene that it is put into.
        surface: Which classes are surfaces, bool [K].

    Returns:
        float64 [3].
    """
    shared = surface & (np.minimum(donor.counts, scene.counts) >= LEAST_SHARED)
    shared &= (donor.mean > 0).all(axis=1) & (scene.mean > 0).all(axis=1)
    if not shared.any():
        return np.ones(3)
    ratios = np.log(scene.mean[shared] / donor.mean[shared])
    weights = np.minimum(donor.counts, scene.counts)[shared]
    brightness = _weighted_median(ratios.mean(axis=1), weights)
    tint = np.array(
        [_weighted_median(ratios[:, c] - ratios.mean(axis=1), weights) for c in range(3)]
    )
    factor = np.clip(np.exp(brightness), *BRIGHTNESS)
    return np.asarray(factor * np.clip(np.exp(tint - tint.mean()), *TINT))


def class_gains(
    donor: SceneLight, scene: SceneLight, *, surface: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """The factors that bring each class of one scene to the light of another.

    Those of `exposure_gain` and, for surfaces that both show, what is left of the ratio of their
    own means, within bounds.

    Args:
        donor: The light of the scene to be changed.
        scene: The light that it is brought to.
        surface: Which classes are surfaces, bool [K].

    Returns:
        float64 [K, 3].
    """
    gain = exposure_gain(donor, scene, surface=surface)
    gains = np.tile(gain, (len(surface), 1))
    shared = surface & (np.minimum(donor.counts, scene.counts) >= LEAST_SHARED)
    shared &= (donor.mean > 0).all(axis=1) & (scene.mean > 0).all(axis=1)
    rest = scene.mean[shared] / (donor.mean[shared] * gain)
    gains[shared] *= np.clip(rest, *REST)
    return gains


def _weighted_median(values: npt.NDArray[np.float64], weights: npt.NDArray[np.int64]) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
