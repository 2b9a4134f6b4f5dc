"""The perceptual loss: how far apart two photos are for a network that recognises objects.

Shapes: B batch, C channels, H height, W width.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.models.vgg import cfgs, make_layers

from hdmodel.checkpoint import check_keys
from hdmodel.errors import CheckpointError
from hdmodel.layers import arrange, place
from hdmodel.training.perceptual_config import IMAGE, TORCHVISION, PerceptualConfig
from hdmodel.weights_file import read_state

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's photos in 0..1, which the weights were trained to see as 0 and 1."""

_VGG = ("E", "D")
"""VGG-19 and VGG-16, as torchvision calls what they are made of."""
_HOW_TO = (
    'on a machine with internet, python -c "import torchvision; '
    "torchvision.models.vgg19(weights='DEFAULT')\" fetches them; or name a file with "
    "--set vgg.weights=FILE (hdsynth import-vgg makes a stand-in); or go without them: "
    "--set losses.perceptual=0 (docs/training.md)"
)


class PerceptualLoss(nn.Module):
    """Distance of the features of a VGG network (paper, section 3.5).

    Photos are normalised as the network's training photos were; the released code leaves that out.

    Args:
        config: Layers and their weights.
        network: The convolutions, rectifiers and poolings of torchvision's VGG-16 or VGG-19.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: PerceptualConfig, network: nn.Sequential) -> None:
        super().__init__()
        self.config = config
        nodes = {str(node): layer for layer, node in _nodes(network, config.layers).items()}
        self.network = create_feature_extractor(network, nodes) if nodes else None
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, fake_BCHW: Tensor, real_BCHW: Tensor) -> Tensor:
        """The weighted sum of the layers' mean absolute differences.

        Args:
            fake_BCHW: Generated photos, (B, 3, H, W) in [-1, 1]; the gradient flows into them.
            real_BCHW: The photos they stand for.

        Returns:
            A float32 scalar, not yet weighted by lambda.
        """
        with torch.no_grad():
            wanted = self.features(real_BCHW)
        made = self.features(fake_BCHW)
        losses = [
            weight * F.l1_loss(made[layer].float(), wanted[layer].float())
            for layer, weight in zip(self.config.layers, self.config.layer_weights, strict=True)
        ]
        return torch.stack(losses).sum()

    def features(self, photo_BCHW: Tensor) -> dict[str, Tensor]:
        """The layers that are compared, by name.

        Args:
            photo_BCHW: (B, 3, H, W) in [-1, 1].
        """
        found = {IMAGE: photo_BCHW} if IMAGE in self.config.layers else {}
        if self.network is None:
            return found
        x_BCHW = ((photo_BCHW + 1) / 2 - self.mean) / self.std
        features: dict[str, Tensor] = self.network(arrange(x_BCHW, next(self.parameters())))
        return found | features


def load_perceptual(config: PerceptualConfig, *, device: torch.device) -> PerceptualLoss:
    """The perceptual loss with the weights that a configuration names.

    Raises:
        CheckpointError: There are none, or the file holds something else.
    """
    file = weights_path(config)
    state = _read(file)
    network = _fitting(config, {key: tuple(value.shape) for key, value in state.items()}, file)
    network.load_state_dict(
        {key: state[f"features.{key}"].float() for key in network.state_dict()}, assign=True
    )
    loss = PerceptualLoss(config, network)
    place(loss, device, torch.channels_last)
    return loss


def check_perceptual(config: PerceptualConfig) -> None:
    """Find out whether the weights are there and fit a VGG, without keeping them.

    Raises:
        CheckpointError: They are not.
    """
    file = weights_path(config)
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, framework="pt") as opened:
                keys = list(opened.keys())
                shapes = {key: tuple(opened.get_slice(key).get_shape()) for key in keys}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: not a safetensors file ({error})") from None
    else:
        shapes = {key: tuple(value.shape) for key, value in _read(file).items()}
    _fitting(config, shapes, file)


def weights_path(config: PerceptualConfig) -> Path:
    """The file that holds the network's weights.

    Raises:
        CheckpointError: There is none.
    """
    if config.weights != TORCHVISION:
        file = Path(config.weights)
        if not file.is_file():
            raise CheckpointError(f"vgg.weights: {file}: no such file; {_HOW_TO}")
        return file
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    found = sorted(cache.glob("vgg19-*.pth"))
    if not found:
        raise CheckpointError(
            f"vgg.weights: torchvision's cache {cache} has no vgg19-*.pth, which losses.perceptual "
            f"needs; {_HOW_TO}"
        )
    return found[-1]


def _read(file: Path) -> Mapping[str, Tensor]:
    if file.suffix != ".safetensors":
        return read_state(file)
    try:
        state: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: not a safetensors file ({error})") from None
    return state


def _fitting(
    config: PerceptualConfig, shapes: Mapping[str, tuple[int, ...]], file: Path
) -> nn.Sequential:
    """The network that weights are of, down to the deepest layer compared, on the meta device."""
    present = {
        int(found[1]) for key in shapes if (found := re.fullmatch(r"features\.(\d+)\.weight", key))
    }
    for name in _VGG:
        network = _vgg(name)
        places = [n for n, layer in enumerate(network) if isinstance(layer, nn.Conv2d)]
        if present == set(places):
            break
    else:
        raise CheckpointError(
            f"{file}: holds {len(present)} convolutions `features.N.weight`, expected the 16 of "
            "VGG-19 or the 13 of VGG-16 in torchvision's places (without batch norm)"
        )
    missing = [layer for layer in config.layers if layer not in (IMAGE, *_rectifiers(network))]
    if missing:
        raise CheckpointError(
            f"{file}: is a VGG-16, which has no layer {missing[0]!r} (vgg.layers)"
        )
    network = _down_to(network, config)
    expected = {f"features.{k}": tuple(v.shape) for k, v in network.state_dict().items()}
    check_keys(expected, {key: shapes[key] for key in expected if key in shapes}, origin=str(file))
    return network


def untrained_perceptual(config: PerceptualConfig) -> PerceptualLoss:
    """The perceptual loss with weights of no meaning: as large and as slow as the real one."""
    network = _down_to(_vgg("E"), config)
    return PerceptualLoss(config, network.to_empty(device="cpu"))


def _vgg(name: str) -> nn.Sequential:
    """The layers before the classifier of one of torchvision's VGGs, without weights."""
    with torch.device("meta"):
        network: nn.Sequential = make_layers(cfgs[name])
    return network


def _rectifiers(network: nn.Sequential) -> dict[str, int]:
    """The places of the rectifiers, by the names that papers have for them: `relu1_1`, ..."""
    found: dict[str, int] = {}
    block, number = 1, 0
    for position, layer in enumerate(network):
        if isinstance(layer, nn.MaxPool2d):
            block, number = block + 1, 0
        elif isinstance(layer, nn.ReLU):
            number += 1
            found[f"relu{block}_{number}"] = position
    return found


def _nodes(network: nn.Sequential, layers: Collection[str]) -> dict[str, int]:
    """The places of the layers that are compared."""
    return {layer: n for layer, n in _rectifiers(network).items() if layer in layers}


def _down_to(network: nn.Sequential, config: PerceptualConfig) -> nn.Sequential:
    """The network down to the deepest layer that is compared."""
    return network[: max(_nodes(network, config.layers).values(), default=-1) + 1]
