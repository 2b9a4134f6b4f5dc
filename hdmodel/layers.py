"""The layers that generator, encoder and discriminator are made of.

Shapes: B batch, C channels, H height, W width.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


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


class Block(nn.Module):
    """A part of a network that `keep_no_activations` may compute twice."""


class ConvNormReLU(Block):
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


class _Repeat(torch.autograd.Function):
    """Every pixel as a square of four; torch's own gradient of it is slow on a CPU."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        return F.interpolate(x_BCHW, scale_factor=2, mode="nearest")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        return F.avg_pool2d(gradients[0], 2).mul_(4)


def _repeat(x_BCHW: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2H, 2W)."""
    repeated: Tensor = _Repeat.apply(x_BCHW)
    return repeated


class Upsample(Block):
    """Doubles height and width; convolution, instance norm, ReLU: the paper's `uk`.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        repeat: Whether pixels are repeated and then convolved, which leaves no chequered pattern,
            instead of the paper's fractionally strided convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, *, repeat: bool = False) -> None:
        super().__init__()
        self.repeat = repeat
        self.conv = (
            nn.Conv2d(in_channels, out_channels, 3)
            if repeat
            else nn.ConvTranspose2d(
                in_channels, out_channels, 3, stride=2, padding=1, output_padding=1
            )
        )
        self.norm = InstanceNorm()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, 2H, 2W)."""
        if self.repeat:
            x_BCHW = F.pad(_repeat(x_BCHW), (1, 1, 1, 1), mode="reflect")
        return F.relu(self.norm(self.conv(x_BCHW)), inplace=True)


class ResidualBlock(Block):
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
    """Cast an input to the dtype that a network computes in, in the memory layout that suits it.

    Channels last is faster in half precision (autocast included). Float32 stays channels first:
    there the normalisation sums more exactly, and gives what the original gives.

    Args:
        x_BCHW: (B, C, H, W).
        weight: Any weight of the network.
    """
    device, dtype = x_BCHW.device.type, weight.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    layout = torch.contiguous_format if dtype == torch.float32 else torch.channels_last
    return x_BCHW.to(dtype=dtype).contiguous(memory_format=layout)


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
            # The weight itself, or what a spectral norm computes it from.
            learning = {key: p for key, p in module.named_parameters() if not key.endswith("bias")}
            (weight,) = learning.values()
            nn.init.normal_(weight, 0.0, 0.02, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def place(network: nn.Module, device: torch.device, layout: torch.memory_format) -> None:
    """Bring a network's weights to a device and, where they are four-dimensional, into a layout.

    As `network.to`, but also for the fake tensors of `hdmodel.training.memory`.
    """
    for module in network.modules():
        for name, weight in module.named_parameters(recurse=False):
            moved = weight.detach().to(device)
            if moved.ndim == 4:
                moved = moved.contiguous(memory_format=layout)
            setattr(module, name, nn.Parameter(moved, requires_grad=weight.requires_grad))
        for name, values in module.named_buffers(recurse=False):
            setattr(module, name, values.to(device))


def keep_no_activations(network: nn.Module) -> None:
    """Make the blocks of a network compute their insides again in the backward pass.

    Each block then keeps its input alone, for about a third more computation.
    """
    for block in network.modules():
        if isinstance(block, Block):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
