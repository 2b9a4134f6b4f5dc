"""Features of photos: what an encoder makes of them.

Shape legend: B batch, H x W pixels, F features.
"""

from typing import Any

import torch
from torch import Tensor, nn

from eval.scorers.config import Normalisation
from eval.scorers.network import normalised, padded
from hdmodel.imagenet import NAME, imagenet_state
from hdmodel.layers import place

IMAGENET = f"{NAME} of ImageNet"
"""What features of `imagenet_extractor` are called."""


class FeatureExtractor:
    """An encoder of photos.

    Args:
        encoder: In eval mode, on its device; photos to a list of features, finest first, of which
            the first may be the photo itself.
        normalisation: Of its input.
        dtype: Of the arithmetic.
    """

    def __init__(
        self, encoder: nn.Module, *, normalisation: Normalisation, dtype: torch.dtype
    ) -> None:
        self._encoder = encoder
        self._normalisation = normalisation
        self._dtype = dtype

    def pooled(self, photo_BHWC: Tensor) -> Tensor:
        """The mean over the pixels of the deepest features: uint8 photos to float32 (B, F)."""
        return self.maps(photo_BHWC)[-1].mean((2, 3))

    @torch.inference_mode()
    def maps(self, photo_BHWC: Tensor) -> list[Tensor]:
        """The features of each stage, float32 (B, C, h, w): uint8 photos (B, H, W, 3) to them."""
        photo_BCHW = padded(normalised(photo_BHWC, self._normalisation))
        enabled = self._dtype != torch.float32
        with torch.autocast(photo_BHWC.device.type, self._dtype, enabled=enabled):
            stages = self._encoder(photo_BCHW)
        return [stage.float() for stage in stages if stage.shape[1] not in (0, 3)]


class _ImagenetStages(nn.Module):
    """EfficientNet-Lite0 as trained on ImageNet: its five stages, and the layer before the classes.

    The last one is what its classifier reads, 1280 features.
    """

    def __init__(self) -> None:
        super().__init__()
        import timm

        self.network: Any = timm.create_model(NAME, pretrained=False)
        self.network.load_state_dict(imagenet_state())
        self.eval().requires_grad_(False)

    def forward(self, photo_BCHW: Tensor) -> list[Tensor]:
        """Features of the stages, finest first."""
        last, stages = self.network.forward_intermediates(photo_BCHW)
        return [*stages, last]


def imagenet_extractor(
    device: torch.device, *, dtype: torch.dtype = torch.float32
) -> FeatureExtractor:
    """EfficientNet-Lite0 as trained on ImageNet; F is 1280.

    Raises:
        InputError: The extra `hdsynth[scorer]` is not installed.
    """
    encoder = _ImagenetStages()
    place(encoder, device, torch.channels_last)
    return FeatureExtractor(encoder, normalisation=Normalisation(), dtype=dtype)
