"""The multi-scale PatchGAN discriminator (paper, section 3.2).

Shapes: B batch, C channels, H height, W width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdmodel.architecture import DiscriminatorConfig
from hdmodel.layers import InstanceNorm, arrange, downsample

_KERNEL = 4
_MOST_CHANNELS = 512


@dataclass(frozen=True, slots=True)
class ScaleOutput:
    """What the discriminator of one scale says of a batch."""

    hidden: tuple[Tensor, ...]
    """Features of the hidden layers, each (B, C, h, w), first layer first."""
    score_B1HW: Tensor
    """One score per patch, (B, 1, h, w): 1 for real, 0 for fake."""

    @property
    def features(self) -> tuple[Tensor, ...]:
        """All layers, the scores last."""
        return (*self.hidden, self.score_B1HW)

    def split(self, size: int) -> tuple["ScaleOutput", "ScaleOutput"]:
        """The outputs of the first `size` samples of the batch, and those of the others."""
        first = tuple(layer[:size] for layer in self.hidden)
        second = tuple(layer[size:] for layer in self.hidden)
        return (
            ScaleOutput(first, self.score_B1HW[:size]),
            ScaleOutput(second, self.score_B1HW[size:]),
        )


class PatchDiscriminator(nn.Module):
    """One scale: strided 4x4 convolutions, then one score per patch."""

    def __init__(self, in_channels: int, *, base_channels: int, layers: int) -> None:
        super().__init__()
        widths = [min(base_channels * 2**layer, _MOST_CHANNELS) for layer in range(layers + 1)]
        # The last hidden layer keeps the resolution, as in the released code.
        strides = [2] * layers + [1]
        self.hidden = nn.ModuleList(
            nn.Conv2d(before, after, _KERNEL, stride=stride, padding=_KERNEL // 2)
            for before, after, stride in zip([in_channels, *widths], widths, strides, strict=False)
        )
        self.score = nn.Conv2d(widths[-1], 1, _KERNEL, padding=_KERNEL // 2)
        self.norm = InstanceNorm()

    def forward(self, x_BCHW: Tensor) -> ScaleOutput:
        """(B, in_channels, H, W) to the features of every layer."""
        hidden = []
        for number, conv in enumerate(self.hidden):
            x_BCHW = conv(x_BCHW)
            if number > 0:
                x_BCHW = self.norm(x_BCHW)
            x_BCHW = F.leaky_relu(x_BCHW, 0.2)
            hidden.append(x_BCHW)
        return ScaleOutput(tuple(hidden), self.score(x_BCHW))


class MultiscaleDiscriminator(nn.Module):
    """Discriminators of the same shape, each looking at half the resolution of the one before."""

    def __init__(self, config: DiscriminatorConfig, *, in_channels: int) -> None:
        super().__init__()
        self.config = config
        self.scales = nn.ModuleList(
            PatchDiscriminator(
                in_channels, base_channels=config.base_channels, layers=config.layers
            )
            for _ in range(config.scales)
        )

    def forward(self, conditioning_BCHW: Tensor, photo_BCHW: Tensor) -> tuple[ScaleOutput, ...]:
        """Judge photos against their conditioning.

        Args:
            conditioning_BCHW: One-hot and boundary map, (B, C, H, W).
            photo_BCHW: (B, 3, H, W) in [-1, 1].

        Returns:
            One output per scale, full resolution first.
        """
        x_BCHW = torch.cat([conditioning_BCHW.to(photo_BCHW.dtype), photo_BCHW], dim=1)
        x_BCHW = arrange(x_BCHW, next(self.parameters()))
        outputs = []
        for number, scale in enumerate(self.scales):
            if number > 0:
                x_BCHW = downsample(x_BCHW)
            outputs.append(scale(x_BCHW))
        return tuple(outputs)
