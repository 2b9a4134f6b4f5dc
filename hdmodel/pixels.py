"""Photos as networks see them, in [-1, 1], and as files hold them, in 0..255.

Shapes: B batch, C channels, H height, W width.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def to_pixels(photo_BCHW: Tensor) -> npt.NDArray[np.uint8]:
    """Round photos to whole steps of 0..255; what lies outside [-1, 1] is cut off.

    Args:
        photo_BCHW: Floating (B, C, H, W) in [-1, 1], on any device.

    Returns:
        uint8 [B, H, W, C].

    Example:
        >>> photo = torch.tensor([-1.0, 0.0, 1.0, 3.0]).view(1, 1, 1, 4)
        >>> to_pixels(photo).ravel().tolist()
        [0, 128, 255, 255]
    """
    scaled_BCHW = photo_BCHW.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    pixels: npt.NDArray[np.uint8] = (
        scaled_BCHW.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    )
    return pixels


def from_pixels(pixels: Tensor) -> Tensor:
    """Scale pixels of 0..255 to float32 in [-1, 1].

    Args:
        pixels: uint8, any shape, which stays.

    Example:
        >>> from_pixels(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([-1.,  1.])
    """
    return pixels.float() / 127.5 - 1
