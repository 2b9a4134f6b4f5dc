"""New contours for regions of stuff that grew, such as trees.

A region borders what lies behind it, such as the sky; there, and only there, its contour is drawn
anew. All masks are bool [H, W], of a window of the picture.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.editing.cutout import Mask
from pipeline.editing.roughness import crowns, roughness

CROWN = 0.07
"""Width of a tree's bumps, as a part of the picture's height."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What a new contour adds to a region, and what it leaves to what is behind."""

    gain: Mask
    """Pixels of what is behind that become part of the region."""
    loss: Mask
    """Pixels of the region that become what is behind."""


def grown_contour(region: Mask, behind: Mask, rng: np.random.Generator, *, unit: float) -> Change:
    """Bend a region's contour like that of trees.

    Args:
        region: The region.
        behind: What is behind it.
        rng: Where the randomness comes from.
        unit: The picture's height in pixels.
    """
    size = max(min(CROWN * unit, np.sqrt(np.count_nonzero(region)) / 2), 2.0)
    inside = ndimage.distance_transform_edt(~behind)
    signed = np.where(behind, 0.5 - ndimage.distance_transform_edt(~region), inside - 0.5)
    smooth = ndimage.gaussian_filter(np.clip(signed, -4 * size, 4 * size), size / 2)
    level = smooth + size * crowns(region.shape, rng, width=size)
    level += size / 4 * roughness(region.shape, rng, coarse=size)
    lost = region & (level <= 0) & (inside < 2 * size)
    gain = joined(behind & (level > 0), region & ~lost)
    return Change(gain, joined(lost, behind))


def joined(mask: Mask, to: Mask) -> Mask:
    """The parts of a mask that are connected with another one, by edges of pixels."""
    parts, count = ndimage.label(mask | to)
    kept = np.zeros(count + 1, np.bool_)
    kept[np.unique(parts[to])] = True
    found: Mask = mask & kept[parts]
    return found
