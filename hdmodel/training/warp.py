"""Bending samples: smooth random displacements of photo and maps alike.

Contours of every shape stay true to the photo, and few scenes do not always show the same ones
(Simard et al., Best Practices for Convolutional Neural Networks, ICDAR 2003).
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_SPACING = 48
"""Pixels between the points whose displacements are drawn."""


def warp(
    label: npt.NDArray[np.unsignedinteger],
    instance: npt.NDArray[np.signedinteger],
    photo: npt.NDArray[np.uint8],
    *,
    pixels: float,
    random: np.random.Generator,
) -> tuple[npt.NDArray[np.unsignedinteger], npt.NDArray[np.signedinteger], npt.NDArray[np.uint8]]:
    """Bend a sample.

    Args:
        label: Class ids [H, W].
        instance: Instance ids [H, W].
        photo: RGB [H, W, 3].
        pixels: The standard deviation of the displacements drawn, in each direction.
        random: Decides.

    Returns:
        Maps that hold ids of the given ones alone, and the photo, bilinear. What comes in from
        outside is the pixel at the border.
    """
    height, width = label.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    rows = np.clip(rows + _smooth((height, width), pixels, random), 0, height - 1)
    columns = np.clip(columns + _smooth((height, width), pixels, random), 0, width - 1)
    nearest = np.rint(rows).astype(np.intp), np.rint(columns).astype(np.intp)
    bent = np.stack(
        [
            ndimage.map_coordinates(
                photo[..., channel], (rows, columns), output=np.float32, order=1, mode="nearest"
            )
            for channel in range(photo.shape[-1])
        ],
        axis=-1,
    )
    return label[nearest], instance[nearest], np.rint(bent).astype(np.uint8)


def _smooth(
    size: tuple[int, int], pixels: float, random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Displacements [H, W] through random ones at the points of a grid."""
    points = tuple(side // _SPACING + 4 for side in size)
    drawn = random.normal(0.0, pixels, points)
    lines = [1.5 + np.arange(side) / _SPACING for side in size]
    rows, columns = np.meshgrid(*lines, indexing="ij")
    bent: npt.NDArray[np.float32] = ndimage.map_coordinates(
        drawn, (rows, columns), output=np.float32, order=3, mode="nearest"
    )
    return bent
