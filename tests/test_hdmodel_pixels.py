"""Photos in [-1, 1] as pixels, and pixels as photos."""

import numpy as np
import torch

from hdmodel.pixels import from_pixels, to_pixels


def test_photos_become_pixels() -> None:
    photo = torch.tensor([-1.0, 0.0, 1.0, 3.0], dtype=torch.bfloat16).view(1, 1, 1, 4)
    assert to_pixels(photo.expand(1, 3, 1, 4))[0, 0, :, 0].tolist() == [0, 128, 255, 255]


def test_every_pixel_comes_back() -> None:
    pixels = np.arange(256 * 3, dtype=np.uint16).astype(np.uint8).reshape(1, 16, 16, 3)
    photo = from_pixels(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert photo.dtype == torch.float32
    assert (photo.min(), photo.max()) == (-1, 1)
    assert np.array_equal(to_pixels(photo), pixels)
