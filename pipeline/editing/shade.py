"""The shadow at an object's feet: measured where it stood, laid where it is put.

Shape legend: h x w pixels of an object's box; m pixels of margin around it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from pipeline.editing.boxes import Box
from pipeline.editing.pixels import linear_light
from pipeline.scene import LabelMap, Photo

Mask = npt.NDArray[np.bool_]

MARGIN = 0.25
"""Margin around the object, as a share of its height."""
FEET = 0.35
"""The part of the object's height, from below, beside which the ground is looked at."""
DARKEST = 0.1
"""What is darker than this share of the ground around is no shadow, but something dark."""
LEAST_GROUND = 24
"""Pixels of ground beside the feet from which a shadow can be measured."""
TOUCHING = 0.1
"""The part of the object's height, from below, in which it touches the ground."""
FALL_OFF = 0.03
"""Over what distance the shadow of contact falls off, as a share of the object's height."""
TRACE = 0.88
"""Ground with less light than this share shows that something stood there."""
CONTOUR = 2
"""Pixels around an object that show some of it."""
DEPTH = 0.6
"""How much light the shadow of contact takes away where the object touches the ground."""


@dataclass(frozen=True, slots=True, eq=False)
class Shade:
    """The share of light that an object leaves to the ground around its feet."""

    share: npt.NDArray[np.float32]
    """0..1, [h + m, w + 2 m]: its box with a margin at both sides and below."""
    margin: int
    """m."""

    def mirrored(self) -> "Shade":
        """The shade of the mirrored object."""
        return Shade(self.share[:, ::-1], self.margin)

    def part(self, rows: slice, columns: slice) -> "Shade":
        """The shade of a part of the object: what lies around that part of its box."""
        m = self.margin
        return Shade(
            self.share[rows.start : rows.stop + m, columns.start : columns.stop + 2 * m], m
        )

    def scaled(self, size: tuple[int, int]) -> "Shade":
        """The shade of the object at another size.

        Args:
            size: New height and width of its box.
        """
        before = self.share.shape[0] - self.margin
        margin = max(1, round(self.margin * size[0] / before))
        shape = (size[1] + 2 * margin, size[0] + margin)
        picture = Image.fromarray(self.share).resize(shape, Image.Resampling.BILINEAR)
        return Shade(np.asarray(picture), margin)


def measure_shade(photo: Photo, label: LabelMap, box: Box, mask: Mask, *, ground: Mask) -> Shade:
    """The shadow of an object where it stands.

    How dark the ground beside its feet is against the ground further off, smoothed so that the
    texture of the ground does not come along; right at its lower contour at least the narrow, dark
    rim that any object has, which smoothing would spread.

    Args:
        photo: RGB of its scene, uint8 [H, W, 3].
        label: Class ids of its scene [H, W].
        box: The object's, inside the picture.
        mask: Its pixels, bool [h, w].
        ground: Which classes it may stand on, bool [K].
    """
    top, left, bottom, right = box
    height = bottom - top
    margin = max(2, round(MARGIN * height))
    window = _window(top, left - margin, bottom + margin, right + margin, label.shape)
    rows, columns = window
    is_ground = ground[label[rows, columns]]
    light = linear_light(photo[rows, columns]).mean(axis=-1)
    near = np.zeros(is_ground.shape, np.bool_)
    first = max(bottom - max(2, round(FEET * height)), 0) - rows.start
    near[max(first, 0) :] = True
    feet = is_ground & near
    share = np.ones((height + margin, right - left + 2 * margin), np.float32)
    contact = _contact(mask, margin, share.shape)
    if np.count_nonzero(feet) < LEAST_GROUND:
        return Shade(contact, margin)
    # The brighter half of the ground is what no shadow lies on.
    reference = np.percentile(light[feet], 75)
    ratio = np.clip(light / max(float(reference), 1e-4), DARKEST, 1.0)
    sigma = max(1.0, 0.03 * height)
    weight = ndimage.gaussian_filter(feet.astype(np.float32), sigma)
    smooth = ndimage.gaussian_filter(np.where(feet, ratio, 0).astype(np.float32), sigma)
    found = np.where(weight > 0.02, smooth / np.maximum(weight, 0.02), 1.0)
    inside = (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - (left - margin), columns.stop - (left - margin)),
    )
    share[inside] = found
    fade = _fade(share.shape, margin)
    return Shade(np.minimum(1 - (1 - share) * fade, contact).astype(np.float32), margin)


def lay_shade(
    share: npt.NDArray[np.float32], shade: Shade, *, top: int, left: int, ground: Mask
) -> None:
    """Take an object's shadow from the light of a scene, in place.

    Args:
        share: The light that is left, 0..1, of the whole scene [H, W].
        shade: The object's.
        top: First row of its box.
        left: First column of its box.
        ground: Pixels that the shadow may fall on, bool [H, W].
    """
    height, width = shade.share.shape
    first = left - shade.margin
    rows, columns = _window(top, first, top + height, first + width, share.shape)
    part = shade.share[
        rows.start - top : rows.stop - top, columns.start - first : columns.stop - first
    ]
    lit = share[rows, columns]
    np.minimum(lit, part, out=lit, where=ground[rows, columns])


def traces_of(
    shade: Shade, box: Box, mask: Mask, label: LabelMap, *, ground: Mask, surface: Mask
) -> tuple[tuple[slice, slice], Mask]:
    """Where a photo shows an object beside its own pixels: its shadow, and its soft contour.

    Args:
        shade: The object's.
        box: The object's, inside the picture.
        mask: Its pixels, bool [h, w].
        label: Class ids [H, W].
        ground: Which classes its shadow falls on, bool [K].
        surface: Which classes are surfaces, bool [K].

    Returns:
        A window of the picture, and which of its pixels, bool.
    """
    top, left, bottom, right = box
    m = shade.margin
    window = _window(top - CONTOUR, left - m, bottom + m, right + m, label.shape)
    classes = label[window]
    contour = np.zeros((bottom - top + CONTOUR + m, right - left + 2 * m), np.bool_)
    contour[CONTOUR : CONTOUR + bottom - top, m : m + right - left] = mask
    dark = np.zeros(contour.shape, np.bool_)
    dark[CONTOUR:] = shade.share < TRACE
    contour = ndimage.binary_dilation(contour, iterations=CONTOUR)
    inside = (
        slice(window[0].start - top + CONTOUR, window[0].stop - top + CONTOUR),
        slice(window[1].start - left + m, window[1].stop - left + m),
    )
    traces: Mask = (contour[inside] & surface[classes]) | (dark[inside] & ground[classes])
    return window, traces


def _contact(mask: Mask, margin: int, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The shadow of contact: it falls off with the distance from what touches the ground.

    That is the lowest pixel of each column, where it is near the object's lowest row.
    """
    height = len(mask)
    solid = np.zeros(size, np.bool_)
    lowest = height - 1 - np.argmax(mask[::-1], axis=0)
    touching = mask.any(axis=0) & (lowest >= height - max(2, round(TOUCHING * height)))
    solid[lowest[touching], margin + np.flatnonzero(touching)] = True
    distance = ndimage.distance_transform_edt(~solid)
    soft = 1 - DEPTH * np.exp(-distance / max(1.0, FALL_OFF * height))
    share: npt.NDArray[np.float32] = (1 - (1 - soft) * _fade(size, margin)).astype(np.float32)
    return share


def _fade(shape: tuple[int, int], margin: int) -> npt.NDArray[np.float64]:
    """From 1 beside the object to 0 at the edge of the margin."""
    height, width = shape
    below = np.clip((height - np.arange(height)) / margin, 0, 1)
    beside = np.clip(np.minimum(np.arange(width) + 1, width - np.arange(width)) / margin, 0, 1)
    return below[:, None] * beside


def _window(
    top: int, left: int, bottom: int, right: int, size: tuple[int, ...]
) -> tuple[slice, slice]:
    return (
        slice(max(top, 0), max(min(bottom, size[0]), 0)),
        slice(max(left, 0), max(min(right, size[1]), 0)),
    )
