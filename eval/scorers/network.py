"""Segmentation networks: of segmentation-models-pytorch, by name, and what all of them share.

Shape legend: B batch, H x W pixels, K channels of the output.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

import segmentation_models_pytorch as smp
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from segmentation_models_pytorch.encoders import get_encoder_names
from torch import Tensor, nn
from torch.nn import functional as F

from eval.errors import EvalError
from eval.scorers.config import WEIGHTS_FILE, NetworkConfig, Normalisation
from eval.scorers.encoder_weights import load_imagenet
from hdmodel.errors import CheckpointError
from hdmodel.suggestions import did_you_mean

PIXEL_MULTIPLE = 32
"""Photos are padded to a multiple of it: the stride of the deepest encoders."""


def build_network(config: NetworkConfig, *, num_classes: int) -> nn.Module:
    """A network with random weights; (B, 3, H, W) to logits (B, num_classes, H, W).

    Raises:
        EvalError: There is no such architecture or encoder, or an option is wrong.
    """
    known = sorted(smp.MODEL_ARCHITECTURES_MAPPING)
    if config.architecture.lower() not in known:
        raise EvalError(_unknown("network.architecture", config.architecture, known))
    encoders = get_encoder_names()
    if not config.encoder.startswith("tu-") and config.encoder not in encoders:
        raise EvalError(
            _unknown("network.encoder", config.encoder, encoders) + ", or tu- and a name of timm"
        )
    try:
        network: nn.Module = smp.create_model(
            config.architecture,
            encoder_name=config.encoder,
            encoder_weights=None,
            classes=num_classes,
            **config.options,
        )
    except (TypeError, ValueError, KeyError, RuntimeError, IndexError) as error:
        raise EvalError(
            f"network: segmentation-models-pytorch cannot build {config.architecture} on "
            f"{config.encoder} with options {config.options} ({' '.join(str(error).split())})"
        ) from None
    return network


def start_from(network: nn.Module, initial: str, *, config: NetworkConfig) -> None:
    """Give a new network the weights that its training starts from, in place.

    Args:
        network: As `build_network` makes it.
        initial: See `ScorerTraining.initial`.
        config: Of the network.

    Raises:
        EvalError: There are no ImageNet weights for this encoder.
        CheckpointError: A file cannot be read, or is of another network.
    """
    encoder = network.encoder
    assert isinstance(encoder, nn.Module)
    if initial == "none":
        return
    if initial == "imagenet":
        load_imagenet(encoder, name=config.encoder)
        return
    path = Path(initial)
    state = _read_weights(path / WEIGHTS_FILE if path.is_dir() else path)
    whole, part = _shapes(network.state_dict()), _shapes(encoder.state_dict())
    given = _shapes(state)
    # A scorer of other classes starts from all but its last layer.
    differing = {key for key in whole if given.get(key) != whole[key]}
    if given.keys() == whole.keys() and all("segmentation_head" in key for key in differing):
        kept = {key: value for key, value in state.items() if key not in differing}
        network.load_state_dict(kept, strict=False)
    elif part.items() <= given.items():
        encoder.load_state_dict({key: state[key] for key in part})
    else:
        wrong = next(iter(differing or part.keys()))
        raise CheckpointError(
            f"{path}: weights of another network; {wrong} is "
            f"{list(given[wrong]) if wrong in given else 'missing'}, expected "
            f"{list(whole.get(wrong, part.get(wrong, ())))} as {config.architecture} on "
            f"{config.encoder}"
        )


def load_weights(network: nn.Module, file: Path) -> None:
    """Fill a network from a file that it was saved to; weights become float32.

    Raises:
        CheckpointError: The file is missing, damaged, of another network, or not all finite.
    """
    state = {
        key: value.float() if value.is_floating_point() else value
        for key, value in _read_weights(file).items()
    }
    expected, given = _shapes(network.state_dict()), _shapes(state)
    for key in expected.keys() | given.keys():
        if expected.get(key) != given.get(key):
            raise CheckpointError(
                f"{file}: {key} is {_shown(given.get(key))}, expected {_shown(expected.get(key))}"
            )
    check_finite(state, origin=str(file))
    network.load_state_dict(state)


def check_finite(state: Mapping[str, Tensor], *, origin: str) -> None:
    """Refuse weights that hold NaN or infinity.

    Raises:
        CheckpointError: A tensor does.
    """
    for key, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(f"{origin}: {key} holds NaN or infinity, expected finite weights")


def normalised(photo_BHWC: Tensor, normalisation: Normalisation) -> Tensor:
    """Photos as a network wants them: uint8 (B, H, W, 3) to float32 (B, 3, H, W)."""
    mean = torch.tensor(normalisation.mean, device=photo_BHWC.device).view(1, 3, 1, 1)
    std = torch.tensor(normalisation.std, device=photo_BHWC.device).view(1, 3, 1, 1)
    return (photo_BHWC.permute(0, 3, 1, 2).float() / 255 - mean) / std


def padded(photo_BCHW: Tensor, multiple: int = PIXEL_MULTIPLE) -> Tensor:
    """Photos with their last row and column repeated up to a multiple of pixels."""
    height, width = photo_BCHW.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return photo_BCHW
    return F.pad(photo_BCHW, (0, right, 0, below), mode="replicate")


def _read_weights(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file, expected weights")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, LookupError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{file}: not a readable file of weights ({reason})") from None
    except Exception as error:  # noqa: BLE001 - torch's unpickler raises whatever a file provokes
        raise CheckpointError(
            f"{file}: not a file of weights alone ({type(error).__name__})"
        ) from None
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise CheckpointError(f"{file}: expected a state dict of tensors")
    return {str(key).removeprefix("module."): value for key, value in loaded.items()}


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _shown(shape: tuple[int, ...] | None) -> str:
    return "not there" if shape is None else f"a tensor of shape {list(shape)}"


def _unknown(key: str, name: str, known: list[str]) -> str:
    return f"{key} {name!r}: unknown{did_you_mean(name, known)} (known: {', '.join(known)})"
