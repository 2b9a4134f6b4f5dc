"""Windows: the parts of a map that a generator has to draw, where most of a photo is real.

Shape legend: H x W pixels.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.editing.boxes import Box, slices
from pipeline.rendering.generator import LoadedGenerator, render_maps
from pipeline.scene import Photo
from pipeline.styles.stylist import StyleTable

Mask = npt.NDArray[np.bool_]

MARGIN = 64
"""Pixels that a generator sees around what it draws, at least; below, its pixels are read worse."""
MARGINS_PER_HEIGHT = 8
"""In tall pictures the margin is the height over this."""
CELL = 32
"""Windows begin and end at multiples of so many pixels, as generators downsample by such steps."""
WORTH = 0.7
"""Windows that cover more of the picture are not worth their margins: it is drawn whole."""


@dataclass(frozen=True, slots=True, eq=False)
class DrawnWindows:
    """What a generator drew of a scene."""

    photo: Photo
    """RGB, uint8 [H, W, 3]; 0 outside the windows."""
    inside: Mask
    """The pixels of the windows, bool [H, W]."""


def render_missing(
    label: npt.NDArray[np.unsignedinteger],
    instance: npt.NDArray[np.int32],
    missing: Mask,
    generator: LoadedGenerator,
    *,
    styles: StyleTable | None,
) -> DrawnWindows:
    """Render the windows of a scene in which pixels are missing.

    Args:
        label: Class ids [H, W].
        instance: Instance ids [H, W].
        missing: The pixels to draw, bool [H, W]; some.
        generator: What renders them.
        styles: The features of the scene's objects; None if the generator reads none.

    Raises:
        ValueError: The generator's output is not finite.
    """
    photo = np.zeros((*label.shape, 3), np.uint8)
    inside = np.zeros(label.shape, np.bool_)
    for box in find_windows(missing):
        at = slices(box)
        photo[at] = render_maps(
            np.ascontiguousarray(label[at])[None],
            np.ascontiguousarray(instance[at])[None],
            generator,
            styles=None if styles is None else [styles],
        )[0]
        inside[at] = True
    return DrawnWindows(photo, inside)


def find_windows(missing: Mask) -> list[Box]:
    """Boxes, none over another, that hold all missing pixels and a margin around them.

    Args:
        missing: bool [H, W].
    """
    height, width = missing.shape
    margin = max(MARGIN, height // MARGINS_PER_HEIGHT)
    found, _ = ndimage.label(missing, np.ones((3, 3)))
    boxes = [
        _aligned((r.start - margin, c.start - margin, r.stop + margin, c.stop + margin), missing)
        for r, c in ndimage.find_objects(found)
    ]
    while pair := next((p for p in combinations(boxes, 2) if _overlap(*p)), None):
        one, other = pair
        boxes = [box for box in boxes if box is not one and box is not other]
        lows, highs = np.minimum(one, other), np.maximum(one, other)
        boxes.append((int(lows[0]), int(lows[1]), int(highs[2]), int(highs[3])))
    area = sum((bottom - top) * (right - left) for top, left, bottom, right in boxes)
    return sorted(boxes) if area <= WORTH * missing.size else [(0, 0, height, width)]


def _aligned(box: Box, missing: Mask) -> Box:
    """The box from multiples of `CELL` to such, inside the picture."""
    top, left, bottom, right = box
    height, width = missing.shape
    return (
        max(top // CELL * CELL, 0),
        max(left // CELL * CELL, 0),
        min(-(-bottom // CELL) * CELL, height),
        min(-(-right // CELL) * CELL, width),
    )


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
