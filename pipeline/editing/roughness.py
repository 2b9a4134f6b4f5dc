"""Rough fields: random surfaces as irregular as the contours of trees, at all scales."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Field = npt.NDArray[np.float64]

FINEST = 3.0
"""Scale in pixels below which nothing is added."""
FALL = 0.62
"""The amplitude of each scale over that of the next larger one, which is twice as coarse."""


def roughness(shape: tuple[int, int], rng: np.random.Generator, *, coarse: float) -> Field:
    """A random field with mean 0 and standard deviation 1, about [H, W].

    Args:
        shape: H and W in pixels.
        rng: Where the randomness comes from.
        coarse: The largest scale, in pixels; each next one is half as large.
    """
    field: Field = np.zeros(shape)
    total, amplitude, scale = 0.0, 1.0, max(coarse, FINEST)
    while scale >= FINEST:
        field += amplitude * _waves(shape, rng, scale=scale)
        total += amplitude**2
        scale, amplitude = scale / 2, amplitude * FALL
    field *= 2.5 / np.sqrt(total)
    return field


def _waves(shape: tuple[int, int], rng: np.random.Generator, *, scale: float) -> Field:
    """Uniform random values in -1..1 at the corners of squares, blended between them [H, W]."""
    height, width = shape
    corners = rng.uniform(-1, 1, (int(height / scale) + 2, int(width / scale) + 2))
    row, down = _blend(height, scale)
    column, across = _blend(width, scale)
    lines = corners[row] * (1 - down)[:, None] + corners[row + 1] * down[:, None]
    field: Field = lines[:, column] * (1 - across) + lines[:, column + 1] * across
    return field


def _blend(length: int, scale: float) -> tuple[npt.NDArray[np.intp], Field]:
    """For each pixel the corner before it, and the weight of the next one."""
    at = np.arange(length) / scale
    corner = at.astype(np.intp)
    share = at - corner
    return corner, share * share * (3 - 2 * share)


def crowns(shape: tuple[int, int], rng: np.random.Generator, *, width: float) -> Field:
    """A field of round bumps, one beside the other, in -0.5..0.5 [H, W].

    Args:
        shape: H and W in pixels.
        rng: Where the randomness comes from.
        width: Of a bump, in pixels.
    """
    rows, columns = (int(length / width) + 1 for length in shape)
    middles = np.indices((rows, columns)) + rng.uniform(0, 1, (2, rows, columns))
    at = np.minimum(middles * width, np.array(shape)[:, None, None] - 1).astype(np.intp)
    empty = np.ones(shape, np.bool_)
    empty[at[0], at[1]] = False
    distance: Field = ndimage.distance_transform_edt(empty)
    field: Field = np.clip(0.5 - distance / width, -0.5, 0.5)
    return field
