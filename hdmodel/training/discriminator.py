"""The multi-scale PatchGAN discriminator (paper, section 3.2).

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Sequence
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

    def forward(
        self, conditioning_BCHW: Tensor, photos_BCHW: Sequence[Tensor]
    ) -> tuple[ScaleOutput, ...]:
        """Compute every layer for each of several photos of the same conditioning.

        The first convolution takes conditioning and photo apart, as a sum, so that what it makes of
        the conditioning is made once, and no gradient is computed for it.
        """
        first = self.hidden[0]
        assert isinstance(first, nn.Conv2d)
        known, stride, padding = conditioning_BCHW.shape[1], first.stride, _KERNEL // 2
        of_conditioning = F.conv2d(
            conditioning_BCHW, first.weight[:, :known], first.bias, stride, padding
        )
        of_photos = (
            F.conv2d(photo_BCHW, first.weight[:, known:], None, stride, padding)
            for photo_BCHW in photos_BCHW
        )
        return tuple(self._after_first(x_BCHW.add_(of_conditioning)) for x_BCHW in of_photos)

    def _after_first(self, x_BCHW: Tensor) -> ScaleOutput:
        x_BCHW = F.leaky_relu(x_BCHW, 0.2)
        hidden = [x_BCHW]
        for conv in list(self.hidden)[1:]:
            x_BCHW = F.leaky_relu(self.norm(conv(x_BCHW)), 0.2)
            hidden.append(x_BCHW)
        return ScaleOutput(tuple(hidden), self.score(x_BCHW))


class MultiscaleDiscriminator(nn.Module):
    """Discriminators of the same shape, each at half the resolution of the one before."""

    def __init__(self, config: DiscriminatorConfig, *, in_channels: int) -> None:
        super().__init__()
        self.config = config
        self.scales = nn.ModuleList(
            PatchDiscriminator(
                in_channels, base_channels=config.base_channels, layers=config.layers
            )
            for _ in range(config.scales)
        )

    def forward(
        self, conditioning_BCHW: Tensor, *photos_BCHW: Tensor
    ) -> tuple[tuple[ScaleOutput, ...], ...]:
        """Judge photos against their conditioning.

        Args:
            conditioning_BCHW: One-hot and boundary map, (B, C, H, W).
            *photos_BCHW: Each (B, 3, H, W) in [-1, 1], such as generated and real photos.

        Returns:
            For each of the photos one output per scale, full resolution first.
        """
        weight = next(self.parameters())
        conditioning_BCHW = arrange(conditioning_BCHW, weight)
        photos = [arrange(photo_BCHW, weight) for photo_BCHW in photos_BCHW]
        outputs = []
        for number, scale in enumerate(self.scales):
            if number > 0:
                conditioning_BCHW = downsample(conditioning_BCHW)
                photos = [downsample(photo_BCHW) for photo_BCHW in photos]
            outputs.append(scale(conditioning_BCHW, photos))
        return tuple(zip(*outputs, strict=True))
