"""A discriminator that names the class of each pixel, or calls it fake.

The idea of a segmentation network as the discriminator is that of OASIS (Sushko et al., You Only
Need Adversarial Supervision for Semantic Image Synthesis, ICLR 2021); that of a light U-Net on
frozen features is DP-SIMS's (Berrada et al., Unlocking Pre-trained Image Backbones for Semantic
Image Synthesis, CVPR 2024).

Shapes: B batch, C channels, K classes, H height, W width.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from hdmodel.architecture import PHOTO_CHANNELS, PixelDiscriminatorConfig
from hdmodel.layers import arrange

_FEWEST = 16
"""Channels of the two finest levels, at least."""


class PixelDiscriminator(nn.Module):
    """A decoder from the features of a frozen backbone, and the photo itself, to one class a pixel.

    From coarse to fine: features are doubled in size, joined by the backbone's of that size, and
    convolved. The last level has the photo in the backbone's place, for it must see single pixels.
    Its norms are brought up to date by `update_norms`, not by use.

    Args:
        config: Its size.
        num_classes: K of the label maps.
        widths: Channels of the backbone's features, finest first; each halves the resolution.
    """

    def __init__(
        self, config: PixelDiscriminatorConfig, *, num_classes: int, widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.config = config
        coarse_to_fine = [*reversed(widths), PHOTO_CHANNELS]
        coarse = [config.channels] * (len(widths) - 1)
        outs = [*coarse, *(max(config.channels // part, _FEWEST) for part in (2, 4))]
        self.lateral = nn.ModuleList(
            _conv(width, out, kernel=3 if width == PHOTO_CHANNELS else 1)
            for width, out in zip(coarse_to_fine, outs, strict=True)
        )
        self.merge = nn.ModuleList(
            _conv(before + out, out, kernel=3) for before, out in pairwise(outs)
        )
        self.classes = nn.Conv2d(outs[-1], num_classes + 1, 1)

    def forward(self, photo_BCHW: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Judge photos.

        Args:
            photo_BCHW: (B, 3, H, W) in [-1, 1].
            features: The backbone's of these photos, finest first.

        Returns:
            Logits (B, K + 1, H, W); the last one is that of "fake".
        """
        photo_BCHW = arrange(photo_BCHW, self.classes.weight)
        levels = [*reversed(features), photo_BCHW]
        x_BCHW = F.leaky_relu(self.lateral[0](levels[0]), 0.2)
        for level_BCHW, lateral, merge in zip(
            levels[1:], list(self.lateral)[1:], self.merge, strict=True
        ):
            side_BCHW = F.leaky_relu(lateral(level_BCHW), 0.2)
            x_BCHW = F.interpolate(x_BCHW, size=side_BCHW.shape[-2:], mode="nearest")
            x_BCHW = F.leaky_relu(merge(torch.cat([x_BCHW, side_BCHW], dim=1)), 0.2)
        logits_BKHW: Tensor = self.classes(x_BCHW)
        return logits_BKHW


def update_norms(network: PixelDiscriminator, *, times: int = 1) -> None:
    """Bring the estimates of the weights' largest singular values up to date.

    They stay as they are otherwise, so that every part of a batch is judged by the same weights.

    Args:
        network: In eval mode, and left so.
        times: Steps of the power iteration; new weights need some.
    """
    network.train()
    with torch.no_grad():
        for _ in range(times):
            for module in network.modules():
                if is_parametrized(module):
                    module.weight  # noqa: B018 - computing it is the step
    network.eval()


def _conv(in_channels: int, out_channels: int, *, kernel: int) -> nn.Module:
    """Make a convolution whose weight, as a matrix, has the largest singular value 1."""
    return spectral_norm(nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2))
