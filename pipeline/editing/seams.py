"""Seams: where pixels of different photos meet along the contour of an object that was put."""

import numpy as np

from pipeline.editing.cutout import Mask
from pipeline.scene import InstanceMap, Photo

_KERNEL = ((-1, -1, 1), (-1, 0, 2), (-1, 1, 1), (0, -1, 2), (0, 0, 4), (0, 1, 2),
           (1, -1, 1), (1, 0, 2), (1, 1, 1))  # fmt: skip
"""Rows, columns and weights of a small bell, as a lens has it."""


def find_seams(instance: InstanceMap, put: Mask) -> Mask:
    """The pixels on both sides of the contours of objects that were put, bool [H, W].

    Args:
        instance: Instance ids [H, W].
        put: Pixels that objects brought along, bool [H, W].
    """
    seams = np.zeros(put.shape, np.bool_)
    for axis in (0, 1):
        one = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
        other = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
        meets = (instance[one] != instance[other]) & (put[one] | put[other])
        seams[one] |= meets
        seams[other] |= meets
    return seams


def soften(photo: Photo, seams: Mask) -> Photo:
    """The photo with its seams as soft as contours are in photos: each pixel of one is mixed.

    Args:
        photo: RGB, uint8 [H, W, 3]; not modified.
        seams: Which pixels, bool [H, W].
    """
    rows, columns = np.nonzero(seams)
    height, width = seams.shape
    total = np.zeros((len(rows), 3), np.uint32)
    for down, across, weight in _KERNEL:
        near = photo[np.clip(rows + down, 0, height - 1), np.clip(columns + across, 0, width - 1)]
        total += weight * near.astype(np.uint32)
    softened = photo.copy()
    softened[rows, columns] = ((total + 8) // 16).astype(np.uint8)
    return softened
