"""How stuff grows into its neighbour: as trees do, as houses do, as roads do.

All masks are bool [H, W], of a window of the picture. What grows stays connected with where it
came from, and reaches no farther than asked.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.editing.contours import joined
from pipeline.editing.cutout import Mask
from pipeline.editing.roofs import HOUSE
from pipeline.editing.roughness import crowns, roughness

Reach = npt.NDArray[np.float64]

BUMPS = 3.0
"""Width of the bumps with which trees grow, over how far they do."""
SMALLEST = 0.01
"""Their least width, as a part of the picture's height."""
BASE = 0.5
"""Least length along which a part of it hangs on to the tree, over the root of its area."""
ASIDE = 0.6
"""How far a house grows to one side, over how far it grows upwards."""
UNCHANGED = 0.3
"""Share of the houses that do not become taller."""
DEPTH = 1 / 3
"""How far ground grows along columns, over how far it does along rows."""
LEAST = 0.5
"""Least part of the way that ground grows to one of its sides."""


def grow_as_trees(
    growing: Mask,
    giving: Mask,
    rng: np.random.Generator,
    *,
    pixels: int,
    towards: int,
    unit: float,
) -> Mask:
    """Irregular growth in crowns, which leaves gaps between the parts that were apart.

    Args:
        growing: What grows.
        giving: What gives way.
        rng: Where the randomness comes from.
        pixels: How far at most.
        towards: -1: upwards and aside; 1: downwards and aside; 0: to all sides.
        unit: The picture's height in pixels.
    """
    size = max(BUMPS * pixels, SMALLEST * unit)
    distance, nearest = ndimage.distance_transform_edt(~growing, return_indices=True)
    down = np.arange(len(growing))[:, None] - nearest[0]
    astray = np.maximum(-towards * down, 0)
    irregular = 1.5 * crowns(growing.shape, rng, width=size)
    irregular += 0.6 * roughness(growing.shape, rng, coarse=size)
    reach = pixels * (1 + np.tanh(irregular)) / 2
    grown = giving & (distance + 2 * astray <= reach)
    return _rooted(grown & ~_between(growing, nearest, gap=max(2, pixels // 3)), growing)


def _rooted(grown: Mask, growing: Mask) -> Mask:
    """The parts of what has grown that are not behind a gap: those with a broad base."""
    parts, count = ndimage.label(grown)
    numbers = np.arange(count + 1)
    base = ndimage.sum_labels(ndimage.binary_dilation(growing), parts, numbers)
    kept = base >= BASE * np.sqrt(ndimage.sum_labels(grown, parts, numbers))
    kept[0] = False
    found: Mask = kept[parts]
    return found


def _between(growing: Mask, nearest: npt.NDArray[np.integer], *, gap: int) -> Mask:
    """Where two parts of what grows are about equally near: strips as wide as `gap`."""
    parts, _ = ndimage.label(ndimage.binary_dilation(growing, np.ones((3, 3), np.bool_)))
    part = parts[nearest[0], nearest[1]]
    edges = np.zeros(growing.shape, np.uint8)
    edges[1:] = part[1:] != part[:-1]
    edges[:, 1:] |= part[:, 1:] != part[:, :-1]
    strips: Mask = ndimage.maximum_filter(edges, 2 * (gap // 2) + 1) > 0
    return strips


def grow_as_houses(
    growing: Mask,
    giving: Mask,
    rng: np.random.Generator,
    *,
    pixels: int,
    towards: int,
    unit: float,
) -> Mask:
    """Growth with the straight edges that are there: of whole houses, and to one side.

    Args:
        growing: What grows.
        giving: What gives way.
        rng: Where the randomness comes from.
        pixels: How far at most.
        towards: -1: houses become taller; 1: what is above them comes down.
        unit: The picture's height in pixels.
    """
    height, width = growing.shape
    reach, start = np.zeros(width), 0
    while start < width:
        end = start + max(round(rng.uniform(HOUSE[0], HOUSE[1]) * unit), 1)
        part = rng.uniform(0.4, 1.0) if rng.random() >= UNCHANGED else 0.0
        reach[start:end] = pixels * part
        start = end
    reach[rng.integers(width)] = pixels
    upright = _along(growing.T, giving.T, reach[:, None], towards=towards).T
    side = 1 if rng.random() < 0.5 else -1
    aside = _along(growing, giving, np.full((height, 1), ASIDE * pixels), towards=side)
    return upright | aside


def grow_as_ground(
    growing: Mask, giving: Mask, through: Mask, rng: np.random.Generator, *, reach: Reach
) -> Mask:
    """Growth that keeps edges straight, and smaller the farther away, as seen in perspective.

    Args:
        growing: What grows.
        giving: What gives way.
        through: What is narrow and stands before it, such as poles.
        rng: Where the randomness comes from.
        reach: How far at most in each row, in pixels [H].
    """
    aside = giving | through
    grown = np.zeros(growing.shape, np.bool_)
    for side, part in zip((-1, 1), rng.uniform(LEAST, 1, 2), strict=True):
        grown |= _along(growing, aside, (part * reach)[:, None], towards=side)
        grown |= _along(growing.T, aside.T, part * DEPTH * reach, towards=side).T
    return joined(grown & giving, growing)


def _along(growing: Mask, giving: Mask, reach: Reach, *, towards: int) -> Mask:
    """What gives way along rows, next to what grows and without a break.

    Args:
        growing: What grows [H, W].
        giving: What gives way [H, W].
        reach: How far, in pixels [H, 1] or [W].
        towards: 1: to the right; -1: to the left.
    """
    if towards < 0:
        turned = reach if reach.ndim == 2 else reach[::-1]
        return _along(growing[:, ::-1], giving[:, ::-1], turned, towards=1)[:, ::-1]
    columns = np.arange(growing.shape[1], dtype=np.int32)
    last = np.maximum.accumulate(np.where(growing, columns, -len(columns)), axis=1)
    stop = np.maximum.accumulate(np.where(growing | giving, -1, columns), axis=1)
    found: Mask = giving & (columns - last <= reach + 0.5) & (last > stop)
    return found
