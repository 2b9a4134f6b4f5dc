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

from hdmodel.checkpoint import check_keys
from hdmodel.errors import CheckpointError
from hdmodel.layers import arrange, place
from hdmodel.training.perceptual_config import (
    CONVOLUTIONS,
    IMAGE,
    LAYERS,
    TORCHVISION,
    PerceptualConfig,
)
from hdmodel.weights_file import read_state

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's photos in 0..1, which the weights were trained to see as 0 and 1."""

_WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the convolutions between the poolings."""
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
        convolutions: Weight and bias of the network's convolutions by name, such as `conv1_1`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, config: PerceptualConfig, convolutions: Mapping[str, tuple[Tensor, Tensor]]
    ) -> None:
        super().__init__()
        self.config = config
        self._names = tuple(convolutions)
        for name, (weight, bias) in convolutions.items():
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
            self.add_module(name, conv)
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
        if not self._names:
            return found
        first = self.get_submodule(self._names[0])
        assert isinstance(first, nn.Conv2d)
        x_BCHW = arrange(((photo_BCHW + 1) / 2 - self.mean) / self.std, first.weight)
        block = self._names[0].partition("_")[0]
        for name in self._names:
            if name.partition("_")[0] != block:
                block = name.partition("_")[0]
                x_BCHW = F.max_pool2d(x_BCHW, 2)
            x_BCHW = F.relu(self.get_submodule(name)(x_BCHW))
            layer = name.replace("conv", "relu")
            if layer in self.config.layers:
                found[layer] = x_BCHW
        return found


def load_perceptual(config: PerceptualConfig, *, device: torch.device) -> PerceptualLoss:
    """The perceptual loss with the weights that a configuration names.

    Raises:
        CheckpointError: There are none, or the file holds something else.
    """
    file = weights_path(config)
    state = _read(file)
    names = _needed(config, {key: tuple(value.shape) for key, value in state.items()}, file)
    loss = PerceptualLoss(
        config,
        {
            name: (state[f"{key}.weight"].float(), state[f"{key}.bias"].float())
            for name, key in names.items()
        },
    )
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
    _needed(config, shapes, file)


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


def _needed(
    config: PerceptualConfig, shapes: Mapping[str, tuple[int, ...]], file: Path
) -> dict[str, str]:
    """The convolutions down to the deepest layer compared: our names to torchvision's."""
    names = _names(shapes.keys(), file)
    deepest = max(_place(layer, names, file) for layer in config.layers)
    needed = dict(list(names.items())[:deepest])
    expected: dict[str, tuple[int, ...]] = {}
    channels = 3
    for name, key in needed.items():
        width = _WIDTHS[int(name[4]) - 1]
        expected |= {f"{key}.weight": (width, channels, 3, 3), f"{key}.bias": (width,)}
        channels = width
    check_keys(expected, {key: shapes[key] for key in expected if key in shapes}, origin=str(file))
    return needed


def _names(keys: Collection[str], file: Path) -> dict[str, str]:
    """Our name of each convolution to torchvision's: `conv1_1` to `features.0`."""
    present = {
        int(found[1]) for key in keys if (found := re.fullmatch(r"features\.(\d+)\.weight", key))
    }
    for counts in (CONVOLUTIONS, (2, 2, 3, 3, 3)):
        names: dict[str, str] = {}
        position = 0
        for block, count in enumerate(counts, start=1):
            for number in range(1, count + 1):
                names[f"conv{block}_{number}"] = f"features.{position}"
                position += 2
            position += 1
        if present == {int(key.split(".")[1]) for key in names.values()}:
            return names
    raise CheckpointError(
        f"{file}: holds {len(present)} convolutions `features.N.weight`, expected the 16 of VGG-19 "
        "or the 13 of VGG-16 in torchvision's places (without batch norm)"
    )


def _place(layer: str, names: Mapping[str, str], file: Path) -> int:
    """How many convolutions it takes to get to a layer."""
    if layer == IMAGE:
        return 0
    name = layer.replace("relu", "conv")
    if name not in names:
        raise CheckpointError(f"{file}: is a VGG-16, which has no layer {layer!r} (vgg.layers)")
    return list(names).index(name) + 1


def untrained_perceptual(config: PerceptualConfig) -> PerceptualLoss:
    """The perceptual loss with weights of no meaning: as large and as slow as the real one."""
    blocks = (
        (f"conv{block}_{number}", width)
        for block, (count, width) in enumerate(zip(CONVOLUTIONS, _WIDTHS, strict=True), start=1)
        for number in range(1, count + 1)
    )
    deepest = max((LAYERS.index(layer) + 1 for layer in config.layers if layer != IMAGE), default=0)
    convolutions: dict[str, tuple[Tensor, Tensor]] = {}
    channels = 3
    for name, width in list(blocks)[:deepest]:
        convolutions[name] = (torch.zeros(width, channels, 3, 3), torch.zeros(width))
        channels = width
    return PerceptualLoss(config, convolutions)
