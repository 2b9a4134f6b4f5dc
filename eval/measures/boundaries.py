"""Boundary IoU: how well the outlines of classes are met (Cheng et al., CVPR 2021).

Shape legend: K evaluated classes, H x W pixels.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from eval.confusion import VOID, Counts

RATIO = 0.02
"""Width of the band along an outline, as a share of the image's diagonal, as in the paper."""
_OUTSIDE = 254


def band_width(size: tuple[int, int], *, ratio: float = RATIO) -> int:
    """The width of the band in pixels, at least 1.

    Args:
        size: H, W.
        ratio: As a share of the image's diagonal.
    """
    return max(1, round(ratio * float(np.hypot(*size))))


def boundary(classes: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.bool_]:
    """The pixels that lie near the outline of their own region, bool [H, W].

    A pixel does if the square of `width` pixels to each side holds another class, or reaches
    over the edge of the image: what erosion takes from the masks of all classes at once.

    Args:
        classes: Evaluated classes or `VOID`, uint8 [H, W].
        width: In pixels.
    """
    side = 2 * width + 1
    low: npt.NDArray[np.uint8] = classes
    high: npt.NDArray[np.uint8] = classes
    for axis in (0, 1):
        low = ndimage.minimum_filter1d(low, side, axis=axis, mode="constant", cval=_OUTSIDE)
        high = ndimage.maximum_filter1d(high, side, axis=axis, mode="constant", cval=_OUTSIDE)
    # Around void alone both are void, unless the edge of the image is near.
    differs: npt.NDArray[np.bool_] = low != high
    return differs


def boundary_counts(
    target: npt.NDArray[np.uint8],
    prediction: npt.NDArray[np.uint8],
    *,
    classes: npt.NDArray[np.intp],
    width: int,
) -> Counts:
    """Pixels of the bands of target and prediction: intersections and unions to be added up.

    Pixels with a void target count for neither, and are void in the prediction as well: one that is
    right wherever it is scored has the outlines of the target.

    Args:
        target: Evaluated classes or `VOID`, uint8 [H, W].
        prediction: The same.
        classes: The classes asked about.
        width: Of the bands, in pixels.

    Returns:
        int64 [2, len(classes)]: intersection and union.
    """
    valid = target != VOID
    prediction = np.where(valid, prediction, np.uint8(VOID))
    in_target = boundary(target, width) & valid
    in_prediction = boundary(prediction, width) & valid
    both = in_target & in_prediction & (target == prediction)
    of_target, of_prediction, shared = (
        np.bincount(values, minlength=256)[classes]
        for values in (target[in_target], prediction[in_prediction], target[both])
    )
    return np.stack([shared, of_target + of_prediction - shared]).astype(np.int64)
