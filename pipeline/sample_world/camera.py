"""The virtual camera: metres of the street world to pixels of the drawing."""

from dataclasses import dataclass
from math import sqrt
from random import Random

import numpy as np
from numpy.typing import NDArray

NEAR = 0.8
"""Nearest depth in metres that is projected; nearer points are moved onto it."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along +z; x points right, y up, the ground is y = 0.

    Lengths of the image are pixels of the drawing grid, lengths of the world are metres.
    """

    width: int
    height: int
    focal: float
    eye: float
    horizon: float
    centre: float
    bend: float
    """Sideways bend of the street: a point at depth z is moved by ``bend * z ** 2`` metres."""

    def u(self, x: float, z: float) -> float:
        """Return the column of the street point (x, z)."""
        z = max(z, NEAR)
        return self.centre + self.focal * (x / z + self.bend * z)

    def v(self, y: float, z: float) -> float:
        """Return the row of a point y metres above the ground at depth z."""
        return self.horizon + self.focal * (self.eye - y) / max(z, NEAR)

    def point(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Return (column, row) of a point."""
        return self.u(x, z), self.v(y, z)

    def scale(self, z: float) -> float:
        """Return the pixels per metre at depth z."""
        return self.focal / max(z, NEAR)

    def points(self, world: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project world [N,3] (x, y, z in metres) to pixels [N,2]."""
        z = np.maximum(world[:, 2], NEAR)
        out = np.empty((len(world), 2))
        out[:, 0] = self.centre + self.focal * (world[:, 0] / z + self.bend * z)
        out[:, 1] = self.horizon + self.focal * (self.eye - world[:, 1]) / z
        return out

    def nearest_ground(self) -> float:
        """Return the depth of the ground at the lower border of the image."""
        return self.focal * self.eye / max(self.height - self.horizon, 1.0)


def place_camera(dice: Random, *, height: int, width: int) -> Camera:
    """Draw a camera for an image grid of height x width pixels."""
    focal = sqrt(2.0 * height * width) * dice.uniform(0.82, 1.12)
    return Camera(
        width=width,
        height=height,
        focal=focal,
        eye=dice.uniform(1.25, 2.1),
        horizon=height * dice.uniform(0.38, 0.5),
        centre=width * dice.uniform(0.38, 0.62),
        bend=dice.choice((0.0, 1.0)) * dice.uniform(-0.0009, 0.0009),
    )
