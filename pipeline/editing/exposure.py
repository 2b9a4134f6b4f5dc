"""The light of a scene, and what an object of another scene needs to stand in it.

Shape legend: K classes, H x W pixels.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.editing.pixels import linear_light
from pipeline.errors import DatasetError
from pipeline.scene import LabelMap, Photo, Scene

STEP = 4
"""Every fourth row and column tells the mean of a class well enough."""
LEAST_SHARED = 64
"""Sampled pixels of a class in either scene, from which its mean says something."""
BRIGHTNESS = (0.5, 2.0)
"""Bounds of the factor on an object's light."""
TINT = (0.85, 1.18)
"""Bounds of the factors on its single channels, beside that."""

MEASURED = 4096
"""Scenes whose light is remembered."""
DARKEST = 0.02
"""The share of pixels that count as the darkest."""
MOST_HAZE = 0.08
"""The most light that is taken for haze; the darkest pixels of a clear scene have a tenth of it."""
DIMMEST = 1e-3
"""Light that is left of a surface at least, when haze is taken away."""
REST = (0.6, 1.7)
"""Bounds of what is left for single surfaces, where whole photos are brought together."""


@dataclass(frozen=True, slots=True, eq=False)
class SceneLight:
    """The mean light of each class of a scene."""

    counts: npt.NDArray[np.int64]
    """Sampled pixels [K]."""
    mean: npt.NDArray[np.float64]
    """Linear light of the three channels, 0..1 [K, 3]; 0 where there are no pixels."""
    airlight: float
    """Light of its darkest pixels, which haze lifts, 0..1 (as the dark channel prior has it: He et
    al., CVPR 2009)."""

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
        return cls(counts, sums / np.maximum(counts, 1)[:, None], darkest(light))


def darkest(light: npt.NDArray[np.floating]) -> float:
    """Light of the darkest pixels of a patch: what is darker still is a hundredth or two of it.

    Args:
        light: Linear, 0..1 [..., 3].
    """
    return float(np.quantile(light.mean(axis=-1), DARKEST, method="lower"))


def haze_between(donor: SceneLight, scene: SceneLight) -> float:
    """The light that haze adds to one scene beyond what it adds to another, within bounds.

    Args:
        donor: The light of the scene that an object is from.
        scene: The light of the scene that it is put into.
    """
    return float(np.clip(donor.airlight - scene.airlight, -MOST_HAZE, MOST_HAZE))


class LightMeter:
    """Measures the light of the scenes of one dataset, and remembers that of the last ones.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._measured: OrderedDict[str, SceneLight] = OrderedDict()

    def __call__(self, scene: Scene) -> SceneLight:
        """The light of a scene.

        Raises:
            DatasetError: It has no photo.
        """
        if scene.name not in self._measured:
            if scene.photo is None:
                raise DatasetError(f"{scene.name}: has no photo, expected one to copy pixels from")
            self._measured[scene.name] = SceneLight.of(
                scene.photo, scene.label, num_classes=self._num_classes
            )
            if len(self._measured) > MEASURED:
                self._measured.popitem(last=False)
        return self._measured[scene.name]


def exposure_gain(
    donor: SceneLight,
    scene: SceneLight,
    *,
    surface: npt.NDArray[np.bool_],
    haze: float = 0.0,
) -> npt.NDArray[np.float64]:
    """The factors on the light of an object's channels that bring it from one scene to another.

    The surfaces that both scenes show (road, trees, walls) tell them: the median of their ratios,
    which one dark wall does not move. It is bounded, and 1 where the scenes share no surface.

    Args:
        donor: The light of the scene that the object is from.
        scene: The light of the scene that it is put into.
        surface: Which classes are surfaces, bool [K].
        haze: What is taken from the donor's light first, as by `with_gain`.

    Returns:
        float64 [3].
    """
    clear = np.maximum((donor.mean - haze) / (1 - haze), DIMMEST)
    shared = _shared(donor, scene, surface)
    if not shared.any():
        return np.ones(3)
    ratios = np.log(scene.mean[shared] / clear[shared])
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
    shared = _shared(donor, scene, surface)
    rest = scene.mean[shared] / (donor.mean[shared] * gain)
    gains[shared] *= np.clip(rest, *REST)
    return gains


def _shared(
    donor: SceneLight, scene: SceneLight, surface: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """The surfaces of which both scenes show enough to tell their light [K]."""
    enough: npt.NDArray[np.bool_] = np.minimum(donor.counts, scene.counts) >= LEAST_SHARED
    return surface & enough & (donor.mean > 0).all(axis=1) & (scene.mean > 0).all(axis=1)


def _weighted_median(values: npt.NDArray[np.float64], weights: npt.NDArray[np.int64]) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
