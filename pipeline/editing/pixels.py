"""The real pixels that an object brings along: cut out, resampled, without their background.

Shape legend: H x W pixels of a photo, h x w of an object's box.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from pipeline.editing.boxes import Box, slices
from pipeline.scene import Photo

Mask = npt.NDArray[np.bool_]

INSET = 1
"""Pixels along an object's contour whose colours are taken from further inside."""
THIN = 1.5
"""Pixels of an object that are farther from any inside it are those of a thin part."""
LEAST_INSET_SIDE = 16
"""Objects smaller than this on a side keep the colours of their contour; they have few others."""


def without_background(photo: Photo, box: Box, mask: Mask) -> Photo:
    """An object's own colours, spread over its whole box.

    Pixels along a contour show object and background mixed, and contours are drawn a little wide
    or narrow. So the outermost pixels, and all beyond, take the colour of the nearest one inside;
    where the object is thin, as legs and wheels are, it has no inside and keeps its own.

    Args:
        photo: RGB of its scene, uint8 [H, W, 3].
        box: The object's, inside the picture.
        mask: Its pixels, bool [h, w], at least one.

    Returns:
        RGB of its box, uint8 [h, w, 3].
    """
    inner = mask
    if min(mask.shape) >= LEAST_INSET_SIDE:
        eroded = _inside_contour(mask, box, photo.shape[:2])
        inner = eroded | (mask & (ndimage.distance_transform_edt(~eroded) > THIN))
        inner = inner if inner.any() else mask
    own = photo[slices(box)]
    if inner.all():
        return own
    rows, columns = ndimage.distance_transform_edt(
        ~inner, return_distances=False, return_indices=True
    )
    spread: Photo = own[rows, columns]
    return spread


def resampled(photo: Photo, size: tuple[int, int]) -> Photo:
    """A patch at another size: means of areas where it shrinks, bilinear where it grows.

    Args:
        photo: RGB, uint8 [h, w, 3].
        size: New height and width.
    """
    height, width = size
    if photo.shape[:2] == size:
        return photo
    shrinks = height * width < photo.shape[0] * photo.shape[1]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(photo).resize((width, height), method))


def linear_light(photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Light of sRGB values, 0..1, float32 of the same shape (IEC 61966-2-1)."""
    light: npt.NDArray[np.float32] = _LINEAR[photo]
    return light


def with_gain(photo: Photo, gain: npt.NDArray[np.floating], *, haze: float = 0.0) -> Photo:
    """A patch in more or less light, and behind less haze.

    Args:
        photo: RGB, uint8 [..., 3].
        gain: Factor on the light of each channel [3].
        haze: Light that is taken away first, below 1; negative where some is added.
    """
    clear = (_LINEAR[:, None] - haze) / (1 - haze)
    tables = _srgb(np.clip(clear * gain, 0, 1))
    return np.stack([tables[photo[..., channel], channel] for channel in range(3)], axis=-1)


def with_gains(
    photo: Photo, label: npt.NDArray[np.integer], gains: npt.NDArray[np.floating]
) -> Photo:
    """A photo with each class in more or less light.

    Args:
        photo: RGB, uint8 [H, W, 3].
        label: Class ids [H, W].
        gains: Factor on the light of each channel, by class [K, 3].
    """
    tables = _srgb(np.clip(_LINEAR[:, None, None] * gains, 0, 1))
    lit: Photo = tables[photo, label[..., None], np.arange(3)]
    return lit


def dimmed(photo: Photo, shade: npt.NDArray[np.float32]) -> Photo:
    """A patch with some of its light taken away, pixel by pixel.

    Args:
        photo: RGB, uint8 [..., 3].
        shade: The share of light that is left, 0..1 [...].
    """
    return _srgb(_LINEAR[photo] * shade[..., None])


def _inside_contour(mask: Mask, box: Box, size: tuple[int, ...]) -> Mask:
    """A mask without its outermost pixels; where the picture's border cuts it is no contour."""
    top, left, bottom, right = box
    height, width = size
    cut = ((top == 0, bottom == height), (left == 0, right == width))
    around = np.pad(mask, INSET, constant_values=cut)
    eroded = ndimage.binary_erosion(around, iterations=INSET, border_value=1)
    inside: Mask = eroded[INSET:-INSET, INSET:-INSET]
    return inside


def _srgb(light: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """The nearest sRGB values of light in 0..1."""
    steps = np.rint(light * (len(_TO_SRGB) - 1)).astype(np.intp)
    values: npt.NDArray[np.uint8] = _TO_SRGB[steps]
    return values


def _tables() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    values = np.arange(256) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    light = np.linspace(0, 1, 1 << 14)
    srgb = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return linear.astype(np.float32), np.rint(srgb * 255).astype(np.uint8)


_LINEAR, _TO_SRGB = _tables()
