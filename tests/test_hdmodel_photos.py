import numpy as np
import torch

from hdmodel.photos import from_uint8, to_uint8


def test_every_byte_survives_the_way_through_a_network() -> None:
    photo = torch.arange(256, dtype=torch.uint8).reshape(1, 2, 8, 16)
    scaled = from_uint8(photo)
    np.testing.assert_allclose(
        scaled.numpy(), np.linspace(-1, 1, 256, dtype=np.float32).reshape(photo.shape), atol=1e-6
    )
    assert torch.equal(to_uint8(scaled), photo)


def test_what_lies_outside_is_cut_off_and_the_rest_rounded() -> None:
    values = torch.tensor([-3.0, -1.0, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 1.0, 1.2])
    assert to_uint8(values).tolist() == [0, 0, 0, 1, 255, 255]
