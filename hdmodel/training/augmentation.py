"""Changes to what discriminators see, so that they cannot learn few photos by heart.

The same changes for generated and real photos, and gradients go through them (Zhao et al.,
Differentiable Augmentation for Data-Efficient GAN Training, NeurIPS 2020). What moves pixels moves
those of the maps as well.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hdmodel.training.augmentation_config import AugmentationConfig

Random = np.random.Generator

_BRIGHTNESS, _SATURATION, _CONTRAST = 1.0, 1.0, 0.5
"""How far each may go at `colour` 1: brightness by half of this in photos of [-1, 1]."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is done to each sample of one batch."""

    shifts: tuple[tuple[int, int], ...] = ()
    """Pixels down and to the right, per sample; none if empty."""
    colours: tuple[tuple[float, float, float], ...] = ()
    """Brightness added, factors of saturation and of contrast, per sample; none if empty."""
    holes: tuple[tuple[slice, slice], ...] = ()
    """The rectangle cut out, per sample; none if empty."""

    @classmethod
    def draw(
        cls, config: AugmentationConfig, *, size: tuple[int, int], randoms: Sequence[Random]
    ) -> "Augmentation":
        """Draw what is done.

        Args:
            config: How strong.
            size: Height and width in pixels.
            randoms: Of each sample; decides.
        """
        shift, colour, cutout = config.translation, config.colour, config.cutout
        return cls(
            shifts=tuple(_shift(shift, size, random) for random in randoms) if shift else (),
            colours=tuple(_colour(colour, random) for random in randoms) if colour else (),
            holes=tuple(_hole(cutout, size, random) for random in randoms) if cutout else (),
        )

    def photo(self, photo_BCHW: Tensor) -> Tensor:
        """Change photos, (B, 3, H, W) in [-1, 1]; what comes in from outside is 0, a mid grey."""
        if self.colours:
            photo_BCHW = torch.cat(
                [
                    _coloured(x, *c)
                    for x, c in zip(torch.split(photo_BCHW, 1), self.colours, strict=True)
                ]
            )
        return self.moved(photo_BCHW)

    def moved(self, x_BCHW: Tensor, *, outside: int = 0) -> Tensor:
        """Move pixels and cut out rectangles; `outside` stands where nothing is left."""
        if self.shifts:
            x_BCHW = torch.cat(
                [
                    F.pad(x, (right, -right, down, -down), value=outside)
                    for x, (down, right) in zip(torch.split(x_BCHW, 1), self.shifts, strict=True)
                ]
            )
        if self.holes:
            kept_B1HW = torch.ones_like(x_BCHW[:, :1])
            for sample, hole in enumerate(self.holes):
                kept_B1HW[sample, :, hole[0], hole[1]] = 0
            x_BCHW = x_BCHW * kept_B1HW
            if outside:
                x_BCHW = x_BCHW + (1 - kept_B1HW) * outside
        return x_BCHW


def _shift(share: float, size: tuple[int, int], random: Random) -> tuple[int, int]:
    most = [round(share * side) for side in size]
    down, right = (int(random.integers(-far, far + 1)) for far in most)
    return down, right


def _colour(strength: float, random: Random) -> tuple[float, float, float]:
    brightness, saturation, contrast = random.uniform(-1, 1, 3)
    return (
        strength * _BRIGHTNESS / 2 * brightness,
        1 + strength * _SATURATION * saturation,
        1 + strength * _CONTRAST * contrast,
    )


def _hole(share: float, size: tuple[int, int], random: Random) -> tuple[slice, slice]:
    """A rectangle of this share of each side, whose centre is anywhere in the picture."""
    sides = []
    for side in size:
        length = round(share * side)
        first = int(random.integers(side + 1)) - length // 2
        sides.append(slice(max(first, 0), max(first + length, 0)))
    return sides[0], sides[1]


def _coloured(photo_BCHW: Tensor, brightness: float, saturation: float, contrast: float) -> Tensor:
    photo_BCHW = photo_BCHW + brightness
    grey_B1HW = photo_BCHW.mean(1, keepdim=True)
    photo_BCHW = (photo_BCHW - grey_B1HW) * saturation + grey_B1HW
    level = photo_BCHW.mean((1, 2, 3), keepdim=True)
    return (photo_BCHW - level) * contrast + level
