"""Which features the perceptual loss compares: plain settings, without torch."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from hdmodel.settings import Settings

TORCHVISION = "torchvision"
IMAGE = "image"
"""The name of a layer that is no layer: the photo itself."""
CONVOLUTIONS = (2, 2, 4, 4, 4)
"""Convolutions between the poolings of VGG-19; VGG-16 has one less in each of the last three."""
LAYERS = tuple(
    f"relu{block}_{place}"
    for block, count in enumerate(CONVOLUTIONS, start=1)
    for place in range(1, count + 1)
)

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PerceptualConfig(Settings):
    """The network and the layers of the perceptual loss (paper, section 3.5)."""

    weights: str = TORCHVISION
    """A file of VGG-19 or VGG-16 weights as torchvision has them (.pth or .safetensors), or
    `torchvision`: what torchvision has in its cache. Nothing is ever downloaded."""
    layers: tuple[str, ...] = Field(
        default=("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), min_length=1
    )
    """What is compared: outputs of the network's rectifiers, or `image`."""
    layer_weights: tuple[Weight, ...] = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    """How much each of them counts; those of the released code by default."""

    @property
    def smallest_side(self) -> int:
        """Pixels per side that leave something after the poolings before the deepest layer."""
        blocks = [int(layer[4]) for layer in self.layers if layer != IMAGE]
        return 1 << (max(blocks, default=1) - 1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        unknown = [layer for layer in self.layers if layer not in (IMAGE, *LAYERS)]
        if unknown:
            raise ValueError(
                f"layers: unknown {unknown[0]!r}, expected {IMAGE!r} or relu1_1 to {LAYERS[-1]}"
            )
        if len(self.layer_weights) != len(self.layers):
            raise ValueError(
                f"layer_weights has {len(self.layer_weights)} values, "
                f"expected {len(self.layers)} as layers"
            )
        return self
