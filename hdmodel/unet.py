"""The U-Net of pix2pix, a generator that ours is compared with (Isola et al. 2017, section 3.2).

Shapes: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdmodel.layers import Block, InstanceNorm

_KERNEL = 4
_MOST = 8
"""The widest levels have this many times the channels of the first."""
_WITH_DROPOUT = 3
"""Levels of the decoder that have it, at most; those at the bottom."""
_DROPPED = 0.5


class Contraction(Block):
    """Strided convolution and, except at both ends of the encoder, instance norm."""

    def __init__(
        self, in_channels: int, out_channels: int, *, activated: bool, normalised: bool
    ) -> None:
        super().__init__()
        self.activated = activated
        # A bias would be subtracted again by the norm.
        self.conv = nn.Conv2d(
            in_channels, out_channels, _KERNEL, stride=2, padding=1, bias=not normalised
        )
        self.norm = InstanceNorm() if normalised else nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H / 2, W / 2), before its rectifier."""
        if self.activated:
            x_BCHW = F.leaky_relu(x_BCHW, 0.2)
        halved_BCHW: Tensor = self.norm(self.conv(x_BCHW))
        return halved_BCHW


class Expansion(Block):
    """ReLU, fractionally strided convolution, instance norm and, while training, dropout."""

    def __init__(self, in_channels: int, out_channels: int, *, dropout: bool) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            in_channels, out_channels, _KERNEL, stride=2, padding=1, bias=False
        )
        self.norm = InstanceNorm()
        self.dropout = nn.Dropout(_DROPPED) if dropout else nn.Identity()

    def forward(self, x_BCHW: Tensor, skipped_BCHW: Tensor) -> Tensor:
        """Double the resolution and add what the encoder saw at it.

        Args:
            x_BCHW: (B, in_channels, H, W).
            skipped_BCHW: (B, out_channels, 2H, 2W).

        Returns:
            (B, 2 * out_channels, 2H, 2W).
        """
        doubled_BCHW = self.dropout(self.norm(self.conv(F.relu(x_BCHW))))
        return torch.cat([skipped_BCHW, doubled_BCHW], dim=1)


class UNet(nn.Module):
    """Strided convolutions down to a few pixels and up again, with skips between equal sizes.

    Instance norm stands for the original's batch norm, which at its batch of 1 is the same but for
    a learned scale and offset per channel. The original drops features in photos it renders, too,
    as its only source of noise; here they are dropped in training alone, so the same input always
    gives the same photo.

    Args:
        in_channels: Of the input.
        out_channels: Of the photo.
        base_channels: Filters of the first convolution.
        downsamplings: Strided convolutions.
    """

    def __init__(
        self, in_channels: int, out_channels: int, base_channels: int, *, downsamplings: int
    ) -> None:
        super().__init__()
        widths = [base_channels * min(2**level, _MOST) for level in range(downsamplings)]
        deepest = downsamplings - 1
        # The deepest map may be a single pixel, which a norm would make 0.
        self.down = nn.ModuleList(
            Contraction(before, after, activated=level > 0, normalised=0 < level < deepest)
            for level, (before, after) in enumerate(
                zip([in_channels, *widths], widths, strict=False)
            )
        )
        self.up = nn.ModuleList(
            Expansion(
                widths[level] if level == deepest else 2 * widths[level],
                widths[level - 1],
                dropout=widths[level] == _MOST * base_channels and level > deepest - _WITH_DROPOUT,
            )
            for level in range(deepest, 0, -1)
        )
        self.last = nn.ConvTranspose2d(
            2 * base_channels if deepest else base_channels,
            out_channels,
            _KERNEL,
            stride=2,
            padding=1,
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to float32 (B, out_channels, H, W) in [-1, 1]."""
        skipped: list[Tensor] = []
        for contraction in self.down:
            x_BCHW = contraction(x_BCHW)
            skipped.append(x_BCHW)
        skipped.pop()
        for expansion in self.up:
            x_BCHW = expansion(x_BCHW, skipped.pop())
        return torch.tanh(self.last(F.relu(x_BCHW)).float())
