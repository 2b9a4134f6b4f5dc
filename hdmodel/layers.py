"""The layers that generator, encoder and discriminator are made of.

Shapes: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class InstanceNorm(nn.Module):
    """Normalise each channel of each sample to mean 0 and variance 1 over height and width.

    No learned parameters. Statistics are those of the sample alone, so a photo does not depend
    on its batch. It goes through batch normalisation, sample by sample: on a CPU that kernel
    alone reads channels-last bfloat16 as it lies, and sums in float32.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalise (B, C, H, W); height times width must exceed 1."""
        samples = [F.batch_norm(x, None, None, training=True) for x in torch.split(x_BCHW, 1)]
        return samples[0] if len(samples) == 1 else torch.cat(samples)


class ConvNormReLU(nn.Module):
    """Convolution, instance norm, ReLU: the paper's `c7s1-k` and `dk`."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        # Full-resolution layers see the picture mirrored, strided ones see zeros.
        self.reflection = (kernel // 2,) * 4 if stride == 1 else None
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=0 if stride == 1 else kernel // 2,
        )
        self.norm = InstanceNorm()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        if self.reflection is not None:
            x_BCHW = F.pad(x_BCHW, self.reflection, mode="reflect")
        return F.relu(self.norm(self.conv(x_BCHW)), inplace=True)


class Upsample(nn.Module):
    """Fractionally strided convolution, instance norm, ReLU: the paper's `uk`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            in_channels, out_channels, 3, stride=2, padding=1, output_padding=1
        )
        self.norm = InstanceNorm()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, 2H, 2W)."""
        return F.relu(self.norm(self.conv(x_BCHW)), inplace=True)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around which the input is carried: the paper's `Rk`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3)
        self.conv2 = nn.Conv2d(channels, channels, 3)
        self.norm = InstanceNorm()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        hidden: Tensor = self.norm(self.conv1(F.pad(x_BCHW, (1, 1, 1, 1), mode="reflect")))
        hidden = F.relu(hidden, inplace=True)
        hidden = self.norm(self.conv2(F.pad(hidden, (1, 1, 1, 1), mode="reflect")))
        return x_BCHW + hidden


class Head(nn.Module):
    """The last 7x7 convolution and tanh; its output is float32 whatever the weights are."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 7)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W) in [-1, 1]."""
        return torch.tanh(self.conv(F.pad(x_BCHW, (3, 3, 3, 3), mode="reflect")).float())


def arrange(x_BCHW: Tensor, weight: Tensor) -> Tensor:
    """Cast an input to the dtype of a network's weights, in the memory layout that suits it.

    Channels last is faster in half precision (autocast included). Float32 stays channels first:
    there the normalisation sums more exactly, and gives what the original gives.

    Args:
        x_BCHW: (B, C, H, W).
        weight: Any weight of the network.
    """
    half = weight.dtype != torch.float32 or torch.is_autocast_enabled(x_BCHW.device.type)
    layout = torch.channels_last if half else torch.contiguous_format
    return x_BCHW.to(dtype=weight.dtype).contiguous(memory_format=layout)


def downsample(x_BCHW: Tensor) -> Tensor:
    """Halve height and width by a 3x3 average that leaves the outside of the picture out."""
    return F.avg_pool2d(x_BCHW, 3, stride=2, padding=1, count_include_pad=False)


def pad_to_multiple(x_BCHW: Tensor, *, multiple: int, smallest: int) -> Tensor:
    """Extend the right and lower side so that height and width are multiples of a number.

    The picture is mirrored; where the border is as wide as the picture, its edge is repeated.

    Args:
        x_BCHW: (B, C, H, W).
        multiple: The result's height and width are multiples of it.
        smallest: The result's height and width are at least this.

    Returns:
        The input itself where nothing is to be padded.
    """
    height, width = x_BCHW.shape[-2:]
    right, below = (
        max(-(-size // multiple) * multiple, smallest) - size for size in (width, height)
    )
    for border, size, padding in (
        (right, width, (0, right, 0, 0)),
        (below, height, (0, 0, 0, below)),
    ):
        if border:
            mode = "reflect" if border < size else "replicate"
            x_BCHW = F.pad(x_BCHW, padding, mode=mode)
    return x_BCHW


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw all convolution weights from N(0, 0.02) and set biases to 0 (paper, section 3.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
