"""The VGG-16 of a perceptual metric that hardly minds shifts: ImageNet's, with blurred poolings.

The PyPI package stlpips-pytorch (BSD licence) carries one in its file vgg_shift_tolerant.pth: the
convolutions of a VGG-16 that learnt ImageNet with poolings that blur (Zhang, Making Convolutional
Networks Shift-Invariant Again, ICML 2019; Ghildyal and Liu, Shift-tolerant Perceptual Similarity
Metric, ECCV 2022).
"""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdmodel.errors import CheckpointError
from hdmodel.training.perceptual import BLURRED, MEAN, STD
from hdmodel.weights_file import State, read_state

_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Where torchvision's VGG-16 has its convolutions."""
_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
_BLUR = (0.25, 0.5, 0.25)
_CLOSE = 1e-3

Floats = npt.NDArray[np.float32]


def read_shift_tolerant(file: Path) -> dict[str, Floats]:
    """Read the metric's VGG-16.

    Args:
        file: vgg_shift_tolerant.pth of stlpips-pytorch.

    Returns:
        Tensors by torchvision's names, and `BLURRED`.

    Raises:
        CheckpointError: The file is missing, unreadable, or no such network.
    """
    state = read_state(file)
    numbers = sorted(
        (int(found[1]), key.removesuffix(".weight"))
        for key in state
        if (found := re.fullmatch(r"net\.slice\d\.(\d+)\.weight", key))
    )
    blurs = [value for key, value in state.items() if re.fullmatch(r"net\..*\.filt", key)]
    if len(numbers) != len(_PLACES) or len(blurs) != 4:
        raise CheckpointError(
            f"{file}: has {len(numbers)} convolutions `net.sliceN.M` and {len(blurs)} blurs, "
            "expected 13 and 4 as in vgg_shift_tolerant.pth of stlpips-pytorch"
        )
    _check_input(state, file)
    if not all(_is_blur(blur) for blur in blurs):
        raise CheckpointError(f"{file}: its poolings blur otherwise, expected weights 1, 2, 1")
    tensors: dict[str, Floats] = {BLURRED: np.array(_BLUR, np.float32)}
    channels = 3
    for (_, name), place, width in zip(numbers, _PLACES, _WIDTHS, strict=True):
        weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        if weight.shape != (width, channels, 3, 3) or bias is None or bias.shape != (width,):
            raise CheckpointError(
                f"{file}: {name} has shape {tuple(weight.shape)}, expected "
                f"{(width, channels, 3, 3)} and a bias"
            )
        if not (weight.isfinite().all() and bias.isfinite().all()):
            raise CheckpointError(f"{file}: {name} holds values that are not finite")
        tensors[f"features.{place}.weight"] = weight.float().contiguous().numpy()
        tensors[f"features.{place}.bias"] = bias.float().contiguous().numpy()
        channels = width
    return tensors


def _check_input(state: State, file: Path) -> None:
    """It normalises photos of [-1, 1] as `hdmodel.training.perceptual` does those of 0..1."""
    shift, scale = (state.get(f"scaling_layer.{name}") for name in ("shift", "scale"))
    if (
        shift is None
        or scale is None
        or shift.numel() != len(MEAN)
        or scale.numel() != len(STD)
        or not torch.allclose(shift.flatten(), 2 * torch.tensor(MEAN) - 1, atol=_CLOSE)
        or not torch.allclose(scale.flatten(), 2 * torch.tensor(STD), atol=_CLOSE)
    ):
        raise CheckpointError(f"{file}: does not normalise photos as networks of ImageNet do")


def _is_blur(filter_C1HW: Tensor) -> bool:
    line = torch.tensor(_BLUR)
    wanted = (
        (line[:, None] * line).expand_as(filter_C1HW) if filter_C1HW.shape[-2:] == (3, 3) else None
    )
    return wanted is not None and torch.allclose(filter_C1HW.float(), wanted, atol=_CLOSE)
