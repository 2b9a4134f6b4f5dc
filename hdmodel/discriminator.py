"""The multi-scale PatchGAN discriminator (paper, section 3.2).

Shapes: B batch, N photos, C channels, H height, W width.
"""

from dataclasses import dataclass

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

    def forward(self, conditioning_BCHW: Tensor, photo_NCHW: Tensor) -> ScaleOutput:
        """The features of every layer; arguments as for `MultiscaleDiscriminator`."""
        first = self.hidden[0]
        assert isinstance(first, nn.Conv2d)
        x_NCHW = F.leaky_relu(_conv_of_both(first, conditioning_BCHW, photo_NCHW), 0.2)
        hidden = [x_NCHW]
        for conv in list(self.hidden)[1:]:
            x_NCHW = F.leaky_relu(self.norm(conv(x_NCHW)), 0.2)
            hidden.append(x_NCHW)
        return ScaleOutput(tuple(hidden), self.score(x_NCHW))


def _conv_of_both(conv: nn.Conv2d, conditioning_BCHW: Tensor, photo_NCHW: Tensor) -> Tensor:
    """The convolution of the two side by side, without ever laying them side by side.

    What it makes of the conditioning is made once for all photos of it, and no gradient is computed
    for it.
    """
    known = conditioning_BCHW.shape[1]
    stride, padding = conv.stride[0], _KERNEL // 2
    of_conditioning = F.conv2d(
        conditioning_BCHW, conv.weight[:, :known], conv.bias, stride=stride, padding=padding
    )
    of_photo = F.conv2d(photo_NCHW, conv.weight[:, known:], stride=stride, padding=padding)
    repeats = len(photo_NCHW) // len(conditioning_BCHW)
    return of_photo.add_(of_conditioning.repeat(repeats, 1, 1, 1))


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

    def forward(self, conditioning_BCHW: Tensor, photo_NCHW: Tensor) -> tuple[ScaleOutput, ...]:
        """Judge photos against their conditioning.

        Args:
            conditioning_BCHW: One-hot and boundary map, (B, C, H, W).
            photo_NCHW: (N, 3, H, W) in [-1, 1]; N is B or a multiple of it, as of B generated
                photos followed by the B real ones.

        Returns:
            One output per scale, full resolution first.
        """
        weight = next(self.parameters())
        conditioning_BCHW = arrange(conditioning_BCHW, weight)
        photo_NCHW = arrange(photo_NCHW, weight)
        outputs = []
        for number, scale in enumerate(self.scales):
            if number > 0:
                conditioning_BCHW, photo_NCHW = (
                    downsample(conditioning_BCHW),
                    downsample(photo_NCHW),
                )
            outputs.append(scale(conditioning_BCHW, photo_NCHW))
        return tuple(outputs)
