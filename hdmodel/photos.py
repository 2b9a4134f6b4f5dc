"""Photos as networks see them, floating in [-1, 1], and as files hold them, uint8.

Both functions work pixel by pixel and keep the order of the axes.
"""

import torch
from torch import Tensor


def to_uint8(photo: Tensor) -> Tensor:
    """A generator's output as a photo of bytes.

    Args:
        photo: Floating, -1 (black) to 1 (white), any shape; what lies outside is cut off.

    Returns:
        uint8, 0 to 255, of the same shape on the same device.
    """
    return photo.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def from_uint8(photo: Tensor) -> Tensor:
    """A photo of bytes as the encoder and the discriminators read it.

    Args:
        photo: uint8, any shape.

    Returns:
        float32, -1 (black) to 1 (white), of the same shape on the same device.
    """
    return photo.float() / 127.5 - 1
