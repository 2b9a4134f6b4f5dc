"""The generators: G1 alone, or G1 with local enhancers (paper, section 3.2), and its rivals.

Shapes: B batch, C channels, H height, W width.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from hdmodel.architecture import GeneratorConfig
from hdmodel.crn import CascadedRefinement
from hdmodel.layers import (
    ConvNormReLU,
    Head,
    ResidualBlock,
    Upsample,
    arrange,
    downsample,
    pad_to_multiple,
)
from hdmodel.unet import UNet


class Trunk(nn.Module):
    """The global generator without its last layer."""

    def __init__(
        self,
        in_channels: int,
        base_channels: int,
        *,
        downsamplings: int,
        blocks: int,
        repeat: bool = False,
    ) -> None:
        super().__init__()
        widths = [base_channels * 2**level for level in range(downsamplings + 1)]
        self.stem = ConvNormReLU(in_channels, base_channels, kernel=7, stride=1)
        self.down = nn.Sequential(
            *(
                ConvNormReLU(widths[level], widths[level + 1], kernel=3, stride=2)
                for level in range(downsamplings)
            )
        )
        self.blocks = nn.Sequential(*(ResidualBlock(widths[-1]) for _ in range(blocks)))
        self.up = nn.Sequential(
            *(
                Upsample(widths[level], widths[level - 1], repeat=repeat)
                for level in range(downsamplings, 0, -1)
            )
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, base_channels, H, W)."""
        features_BCHW: Tensor = self.up(self.blocks(self.down(self.stem(x_BCHW))))
        return features_BCHW


class Enhancer(nn.Module):
    """One level of refinement: the paper's G2 without its last layer."""

    def __init__(
        self, in_channels: int, base_channels: int, *, blocks: int, repeat: bool = False
    ) -> None:
        super().__init__()
        self.stem = ConvNormReLU(in_channels, base_channels, kernel=7, stride=1)
        self.down = ConvNormReLU(base_channels, 2 * base_channels, kernel=3, stride=2)
        self.blocks = nn.Sequential(*(ResidualBlock(2 * base_channels) for _ in range(blocks)))
        self.up = Upsample(2 * base_channels, base_channels, repeat=repeat)

    def forward(self, conditioning_BCHW: Tensor, coarse_BCHW: Tensor) -> Tensor:
        """Refine the level below.

        Args:
            conditioning_BCHW: (B, in_channels, H, W).
            coarse_BCHW: Features of the level below, (B, 2 * base_channels, H / 2, W / 2).

        Returns:
            (B, base_channels, H, W).
        """
        detail_BCHW = self.down(self.stem(conditioning_BCHW))
        features_BCHW: Tensor = self.up(self.blocks(detail_BCHW + coarse_BCHW))
        return features_BCHW


class Generator(nn.Module, ABC):
    """What all architectures share: casting, padding to a multiple, cropping back."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, conditioning_BCHW: Tensor) -> Tensor:
        """Render photos.

        Args:
            conditioning_BCHW: One-hot, boundary map and features as `condition` makes them,
                floating, (B, in_channels, H, W), any height and width.

        Returns:
            float32 (B, out_channels, H, W) in [-1, 1].

        Raises:
            ValueError: The number of channels is not the network's.
        """
        if conditioning_BCHW.shape[1] != self.config.in_channels:
            raise ValueError(
                f"conditioning has {conditioning_BCHW.shape[1]} channels, "
                f"expected {self.config.in_channels}"
            )
        height, width = conditioning_BCHW.shape[-2:]
        x_BCHW = pad_to_multiple(
            arrange(conditioning_BCHW, next(self.parameters())),
            multiple=self.config.size_multiple,
            smallest=self.config.smallest_size,
        )
        return self.render(x_BCHW)[..., :height, :width]

    @abstractmethod
    def render(self, x_BCHW: Tensor) -> Tensor:
        """Run the network itself, on sizes that are multiples of `config.size_multiple`."""


class GlobalGenerator(Generator):
    """G1: encoder, residual blocks, decoder."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.trunk = Trunk(
            config.in_channels,
            config.base_channels,
            downsamplings=config.downsamplings,
            blocks=config.blocks,
            repeat=config.upsampling == "repeat",
        )
        self.head = Head(config.base_channels, config.out_channels)

    def render(self, x_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W) in [-1, 1]."""
        photo_BCHW: Tensor = self.head(self.trunk(x_BCHW))
        return photo_BCHW


class LocalEnhancer(Generator):
    """G1 at a fraction of the resolution, and one enhancer per doubling on top of it."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.trunk = Trunk(
            config.in_channels,
            config.base_channels * 2**config.enhancers,
            downsamplings=config.downsamplings,
            blocks=config.blocks,
            repeat=config.upsampling == "repeat",
        )
        self.enhancers = nn.ModuleList(
            Enhancer(
                config.in_channels,
                config.base_channels * 2 ** (config.enhancers - 1 - level),
                blocks=config.enhancer_blocks,
                repeat=config.upsampling == "repeat",
            )
            for level in range(config.enhancers)
        )
        self.head = Head(config.base_channels, config.out_channels)

    def render(self, x_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W) in [-1, 1]."""
        pyramid = [x_BCHW]
        for _ in self.enhancers:
            pyramid.append(downsample(pyramid[-1]))
        features_BCHW = self.trunk(pyramid.pop())
        for enhancer in self.enhancers:
            features_BCHW = enhancer(pyramid.pop(), features_BCHW)
        photo_BCHW: Tensor = self.head(features_BCHW)
        return photo_BCHW


class UNetGenerator(Generator):
    """The U-Net of pix2pix."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.unet = UNet(
            config.in_channels,
            config.out_channels,
            config.base_channels,
            downsamplings=config.downsamplings,
        )

    def render(self, x_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W) in [-1, 1]."""
        photo_BCHW: Tensor = self.unet(x_BCHW)
        return photo_BCHW


class CascadedRefinementGenerator(Generator):
    """The cascaded refinement network."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.cascade = CascadedRefinement(
            config.in_channels,
            config.out_channels,
            config.base_channels,
            doublings=config.downsamplings,
        )

    def render(self, x_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W) in [-1, 1]."""
        photo_BCHW: Tensor = self.cascade(x_BCHW)
        return photo_BCHW


_ARCHITECTURES: dict[str, type[Generator]] = {
    "global": GlobalGenerator,
    "local": LocalEnhancer,
    "unet": UNetGenerator,
    "crn": CascadedRefinementGenerator,
}


def build_generator(config: GeneratorConfig) -> Generator:
    """Build the network of a configuration, with torch's own random weights."""
    return _ARCHITECTURES[config.architecture](config)
