"""A frozen network that was trained on ImageNet, whose features a discriminator reads.

A discriminator that learns from a few hundred photos knows little; one that reads features of a
network that has seen a million tells at once what looks wrong (Sauer et al., Projected GANs
Converge Faster, NeurIPS 2021).

Shapes: B batch, C channels, H height, W width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from hdmodel.errors import InputError
from hdmodel.imagenet import NAME, imagenet_file, imagenet_state
from hdmodel.layers import arrange, place

STRIDES = (2, 4, 8, 16, 32)
WIDTHS = (16, 24, 40, 112, 320)
"""Channels of the features, finest first."""


class Backbone(nn.Module):
    """EfficientNet-Lite0 down to its last stage. It never learns; gradients go through to photos.

    Its own normalisation keeps the statistics of ImageNet, so a photo's features depend on that
    photo alone.
    """

    def __init__(self) -> None:
        super().__init__()
        import timm  # slow to import, and seldom needed

        self.network: Any = timm.create_model(NAME, pretrained=False, features_only=True)
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "Backbone":
        """Stay as it was trained, whatever the networks around it do."""
        return super().train(mode=False)

    def forward(self, photo_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Compute features of photos, finest first.

        Args:
            photo_BCHW: (B, 3, H, W) in [-1, 1], which is what the network was trained on.

        Returns:
            One tensor per stride in `STRIDES`, (B, WIDTHS[i], H / stride, W / stride), rounded up.
        """
        x_BCHW = arrange(photo_BCHW, next(self.network.parameters()))
        return tuple(self.network(x_BCHW))


def check_backbone() -> None:
    """Find out whether the weights are there.

    Raises:
        InputError: They are not; the message names what to install, and how to go without.
    """
    try:
        imagenet_file()
    except InputError as error:
        raise InputError(f"losses.pixel: {error}; or --set losses.pixel=0") from None


def load_backbone(*, device: torch.device) -> Backbone:
    """Load the network with its weights of ImageNet.

    Raises:
        InputError: The package with the weights is not installed.
        CheckpointError: Its weights are not those of the network.
    """
    backbone = Backbone()
    state = imagenet_state()
    wanted = backbone.network.state_dict()
    backbone.network.load_state_dict({key: state[key] for key in wanted})
    place(backbone, device, torch.channels_last)
    return backbone
