"""The cascaded refinement network, a generator that ours is compared with (Chen and Koltun 2017).

Shapes: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdmodel.layers import Block

_WIDTHS = (16, 16, 16, 16, 16, 8, 8, 2, 0.5)
"""Channels of the modules from coarse to fine, in base channels: 1024 to 32 for 64 of them."""


def module_widths(base_channels: int, doublings: int) -> list[int]:
    """List each module's channels, the coarsest first; finer ones than published stay narrow."""
    return [
        max(1, int(base_channels * _WIDTHS[min(level, len(_WIDTHS) - 1)]))
        for level in range(doublings + 1)
    ]


class RefinementModule(Block):
    """Twice: 3x3 convolution, layer norm, leaky ReLU (section 3.1).

    The norm is over channels, height and width of a sample, with a scale and an offset per channel,
    as in the released code.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(1, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(1, out_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        x_BCHW = F.leaky_relu(self.norm1(self.conv1(x_BCHW)), 0.2)
        return F.leaky_relu(self.norm2(self.conv2(x_BCHW)), 0.2)


class CascadedRefinement(nn.Module):
    """Modules that each see the conditioning at their size and the features of the coarser one.

    The original's last layer is linear, and photos are cut off at black and white; here it is
    followed by tanh, as photos of every generator are in [-1, 1].

    Args:
        in_channels: Of the conditioning.
        out_channels: Of the photo.
        base_channels: A sixteenth of the channels of the coarsest modules.
        doublings: Modules after the first, which sees the conditioning 2**doublings times smaller:
            4x8 pixels as published.
    """

    def __init__(
        self, in_channels: int, out_channels: int, base_channels: int, *, doublings: int
    ) -> None:
        super().__init__()
        widths = module_widths(base_channels, doublings)
        self.refinements = nn.ModuleList(
            RefinementModule(in_channels + before, after)
            for before, after in zip([0, *widths], widths, strict=False)
        )
        self.last = nn.Conv2d(widths[-1], out_channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to float32 (B, out_channels, H, W) in [-1, 1].

        Height and width are multiples of 2**doublings.
        """
        pyramid = [x_BCHW]
        for _ in range(len(self.refinements) - 1):
            pyramid.append(F.avg_pool2d(pyramid[-1], 2))
        features_BCHW = self.refinements[0](pyramid.pop())
        for refinement in list(self.refinements)[1:]:
            known_BCHW = pyramid.pop()
            upsampled_BCHW = F.interpolate(
                features_BCHW, size=known_BCHW.shape[-2:], mode="bilinear", align_corners=True
            )
            features_BCHW = refinement(torch.cat([upsampled_BCHW, known_BCHW], dim=1))
        return torch.tanh(self.last(features_BCHW).float())
