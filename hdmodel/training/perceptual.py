"""The perceptual loss: how far apart two photos are for a network that recognises objects.

Shapes: B batch, C channels, H height, W width.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from hdmodel.checkpoint import check_keys
from hdmodel.errors import CheckpointError, ConfigError
from hdmodel.layers import arrange, place
from hdmodel.training.perceptual_config import IMAGE, TORCHVISION, PerceptualConfig
from hdmodel.weights_file import read_state

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's photos in 0..1, which the weights were trained to see as 0 and 1."""

_KINDS = ("E", "D")
"""VGG-19 and VGG-16, by the names that torchvision and the paper behind them have for them."""
VGG19_ONLY = "features.34.weight"
"""VGG-16 has fewer layers."""
BLURRED = "pooling.blurred"
"""A tensor of this name in a weights file says that the network was trained with `BlurredPool`."""
_HOW_TO = (
    'on a machine with internet, python -c "import torchvision; '
    "torchvision.models.vgg19(weights='DEFAULT')\" fetches them; or name a file with "
    "--set vgg.weights=FILE (hdsynth import-vgg makes a stand-in); or go without them: "
    "--set losses.perceptual=0 (docs/training.md)"
)


class BlurredPool(nn.Module):
    """Halves the resolution so that a shift of the photo shifts the features (Zhang, ICML 2019).

    The largest of each 2x2 pixels, at every place; then every second place of its mean with the
    weights 1, 2, 1 across and down. Two means of two are that.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H // 2 + 1, W // 2 + 1); H and W at least 4."""
        x_BCHW = F.pad(F.max_pool2d(x_BCHW, 2, stride=1), (2, 2, 2, 2), mode="reflect")
        return F.avg_pool2d(F.avg_pool2d(x_BCHW, 2, stride=1), 2)


class PerceptualLoss(nn.Module):
    """Distance of the features of a VGG network (paper, section 3.5).

    Photos are normalised as the network's training photos were; the released code leaves that out.

    Args:
        config: Layers and their weights.
        vgg: The `features` of torchvision's network, at least down to the deepest of the layers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: PerceptualConfig, vgg: nn.Sequential) -> None:
        super().__init__()
        self.config = config
        self.vgg = _needed(vgg, config)
        self._names = {index: name for name, index in _rectifiers(vgg).items()}
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, fake_BCHW: Tensor, real_BCHW: Tensor) -> Tensor:
        """Sum up the layers' mean absolute differences, weighted.

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
        """Compute the layers that are compared, by name.

        Args:
            photo_BCHW: (B, 3, H, W) in [-1, 1].
        """
        found = {IMAGE: photo_BCHW} if IMAGE in self.config.layers else {}
        x_BCHW = ((photo_BCHW + 1) / 2 - self.mean) / self.std
        x_BCHW = arrange(x_BCHW, next(self.vgg.parameters(), x_BCHW))
        for index, layer in enumerate(self.vgg):
            x_BCHW = layer(x_BCHW)
            if self._names.get(index) in self.config.layers:
                found[self._names[index]] = x_BCHW
        return found


def load_perceptual(config: PerceptualConfig, *, device: torch.device) -> PerceptualLoss:
    """Load the perceptual loss with the weights that a configuration names.

    Raises:
        CheckpointError: There are none, or the file holds something else.
    """
    file = weights_path(config)
    state = _read(file)
    vgg = _fitting(config, {key: tuple(value.shape) for key, value in state.items()}, file)
    vgg.load_state_dict(
        {key: state[f"features.{key}"].float() for key in vgg.state_dict()}, assign=True
    )
    loss = PerceptualLoss(config, vgg)
    place(loss, device, torch.channels_last)
    return loss


def untrained_perceptual(config: PerceptualConfig) -> PerceptualLoss:
    """Make the perceptual loss with random weights: as large and as slow as with the real ones.

    Where there are none that could be used, it is that of VGG-19.
    """
    try:
        shapes = _shapes(weights_path(config))
    except CheckpointError:
        return PerceptualLoss(config, _build("E"))
    return PerceptualLoss(
        config, _build("E" if VGG19_ONLY in shapes else "D", blurred=BLURRED in shapes)
    )


def check_perceptual(config: PerceptualConfig, *, least_side: int | None = None) -> str:
    """Find out whether the weights are there and fit a VGG, without keeping them.

    Args:
        config: Which weights, and which layers.
        least_side: Pixels that photos will have per side at least; any number if not given.

    Returns:
        The network's name in torchvision: vgg19 or vgg16.

    Raises:
        CheckpointError: They are not.
        ConfigError: Photos will be too small for its poolings.
    """
    file = weights_path(config)
    shapes = _shapes(file)
    _fitting(config, shapes, file)
    if BLURRED in shapes and least_side is not None:
        # Each blurred pooling needs 4 pixels per side, and leaves half of them and one.
        poolings = config.smallest_side.bit_length() - 1
        needed = 2**poolings + 2 if poolings else 1
        if least_side < needed:
            raise ConfigError(
                f"crops of {least_side} pixels per side, expected at least {needed} for the "
                f"blurred poolings of {file} with vgg.layers"
            )
    return "vgg19" if VGG19_ONLY in shapes else "vgg16"


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The tensors of a weights file, without their values where it can be read so."""
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, framework="pt") as opened:
                keys = list(opened.keys())
                return {key: tuple(opened.get_slice(key).get_shape()) for key in keys}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: not a safetensors file ({error})") from None
    return {key: tuple(value.shape) for key, value in _read(file).items()}


def weights_path(config: PerceptualConfig) -> Path:
    """Find the file that holds the network's weights.

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
    """The network whose weights have these shapes, still on the meta device."""
    present = {key for key in shapes if re.fullmatch(r"features\.\d+\.weight", key)}
    for kind in _KINDS:
        with torch.device("meta"):
            vgg = _build(kind, blurred=BLURRED in shapes)
        if present == {f"features.{key}" for key in vgg.state_dict() if key.endswith("weight")}:
            break
    else:
        raise CheckpointError(
            f"{file}: holds {len(present)} convolutions `features.N.weight`, expected the 16 of "
            "VGG-19 or the 13 of VGG-16 in torchvision's places (without batch norm)"
        )
    for layer in config.layers:
        if layer not in (IMAGE, *_rectifiers(vgg)):
            raise CheckpointError(f"{file}: is a VGG-16, which has no layer {layer!r} (vgg.layers)")
    vgg = _needed(vgg, config)
    expected = {f"features.{key}": tuple(value.shape) for key, value in vgg.state_dict().items()}
    check_keys(expected, {key: shapes[key] for key in expected if key in shapes}, origin=str(file))
    return vgg


def _build(kind: str, *, blurred: bool = False) -> nn.Sequential:
    """The `features` of torchvision's VGG-19 ("E") or VGG-16 ("D"), without its classifier."""
    from torchvision.models.vgg import cfgs, make_layers  # slow to import, and seldom needed

    vgg: nn.Sequential = make_layers(cfgs[kind])
    if blurred:
        layers = (BlurredPool() if isinstance(layer, nn.MaxPool2d) else layer for layer in vgg)
        return nn.Sequential(*layers)
    return vgg


def _rectifiers(vgg: nn.Sequential) -> dict[str, int]:
    """Where the rectifiers of a network are: relu1_1 at 1."""
    places: dict[str, int] = {}
    block, number = 1, 0
    for index, layer in enumerate(vgg):
        if isinstance(layer, nn.ReLU):
            number += 1
            places[f"relu{block}_{number}"] = index
        elif isinstance(layer, nn.MaxPool2d | BlurredPool):
            block, number = block + 1, 0
    return places


def _needed(vgg: nn.Sequential, config: PerceptualConfig) -> nn.Sequential:
    """The part of a network down to the deepest layer that is compared."""
    places = _rectifiers(vgg)
    return vgg[: max((places[layer] + 1 for layer in config.layers if layer != IMAGE), default=0)]
