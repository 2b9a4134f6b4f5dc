"""The shapes of the networks: plain settings, without torch."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from hdmodel.settings import Settings

PHOTO_CHANNELS = 3


class GeneratorConfig(Settings):
    """The shape of a generator: the paper's (section 3.2, appendix), or one it is compared with.

    With 64 base channels each has the widths that were published; `local` with 32.
    """

    architecture: Literal["global", "local", "unet", "crn"] = "global"
    """`global` is G1 alone; `local` adds enhancers that each double the resolution; `unet` is the
    U-Net of pix2pix; `crn` is the cascaded refinement network."""
    num_classes: PositiveInt = 35
    """Channels of the one-hot label map; comes from the taxonomy."""
    instance_edges: bool = True
    """Whether the boundary map of the instances is a channel of the input."""
    feature_channels: NonNegativeInt = 0
    """Channels of the encoder's features in the input; 0 without an encoder."""
    out_channels: PositiveInt = PHOTO_CHANNELS
    base_channels: PositiveInt = 64
    """Filters of the first layer at full resolution; each level below has twice as many, in `unet`
    at most eight times as many. In `crn` the coarsest modules have 16 times as many."""
    downsamplings: PositiveInt = 4
    """`global` and `local`: strided convolutions of the global part. `unet`: all its strided
    convolutions, 8 as published. `crn`: how often it doubles the resolution, as published 6 for
    photos 256 pixels high, 7 for 512, 8 for 1024."""
    blocks: PositiveInt = 9
    """Residual blocks of the global part; only read by `global` and `local`."""
    upsampling: Literal["transposed", "repeat"] = "transposed"
    """How `global` and `local` double the resolution: the paper's fractionally strided convolution,
    or repeated pixels and a convolution, which cost more and leave no chequered pattern."""
    enhancers: PositiveInt = 1
    """Enhancers on top of the global part; only read by the `local` architecture."""
    enhancer_blocks: PositiveInt = 3
    """Residual blocks of each enhancer; only read by the `local` architecture."""

    @property
    def in_channels(self) -> int:
        """Channels of the conditioning: one-hot, boundary map, features."""
        return self.num_classes + int(self.instance_edges) + self.feature_channels

    @property
    def levels(self) -> int:
        """How many enhancers the network has: 0 except for the `local` architecture."""
        return self.enhancers if self.architecture == "local" else 0

    @property
    def size_multiple(self) -> int:
        """The number of pixels that height and width are padded to a multiple of."""
        return 1 << (self.downsamplings + self.levels)

    @property
    def smallest_size(self) -> int:
        """The fewest pixels per side the layers can pad and normalise without help."""
        if self.architecture in ("unet", "crn"):
            return self.size_multiple
        return max(2 * self.size_multiple, 4 << self.levels)


class EncoderConfig(Settings):
    """The shape of the feature encoder (paper, section 3.4)."""

    in_channels: PositiveInt = PHOTO_CHANNELS
    out_channels: PositiveInt = 3
    """Feature channels per pixel."""
    base_channels: PositiveInt = 16
    """Filters of the first layer; each level below has twice as many."""
    downsamplings: PositiveInt = 4


class DiscriminatorConfig(Settings):
    """The shape of the multi-scale discriminator (paper, section 3.2)."""

    base_channels: PositiveInt = 64
    """Filters of the first layer; each further layer has twice as many, up to 512."""
    layers: PositiveInt = 3
    """Strided convolutions per scale."""
    scales: int = Field(default=3, ge=1, le=6)
    """Discriminators; each next one sees half the resolution."""


class PixelDiscriminatorConfig(Settings):
    """The shape of the discriminator that names the class of each pixel, or calls it fake."""

    channels: PositiveInt = 64
    """Of its decoder; half and a quarter as many at the two finest levels."""
    balance: float = Field(default=0.5, ge=0, le=1)
    """How much more pixels of rare classes count: their weight goes with the class's share of the
    batch to the power of minus this. 1 gives every class the same weight altogether, as OASIS."""
