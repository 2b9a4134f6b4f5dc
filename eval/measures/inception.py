"""Inception-v3, whose features FID and KID are defined on, from weights that the user has."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eval.errors import EvalError
from eval.measures.features import FeatureExtractor

FEATURES = "2048"
"""The layer before the classes, by torch-fidelity's name."""


class InceptionExtractor(FeatureExtractor):
    """Inception-v3 for distances of sets; the stages of another encoder for diversity.

    Args:
        network: torch-fidelity's extractor of the 2048 features.
        stages: The other encoder.
    """

    def __init__(self, network: Any, stages: FeatureExtractor) -> None:  # noqa: ANN401 - untyped
        self._network = network
        self._stages = stages

    @torch.inference_mode()
    def pooled(self, photo_BHWC: Tensor) -> Tensor:
        """The 2048 features: uint8 photos to float32 (B, 2048), resized as FID resizes them."""
        (found_BF,) = self._network(photo_BHWC.permute(0, 3, 1, 2).contiguous())
        features: Tensor = found_BF.float()
        return features

    def maps(self, photo_BHWC: Tensor) -> list[Tensor]:
        """The features of each stage of the other encoder."""
        return self._stages.maps(photo_BHWC)


def inception_name(weights: Path) -> str:
    """What the features are called, with a digest of the weights.

    Raises:
        EvalError: There is no such file.
    """
    if not weights.is_file():
        raise EvalError(
            f"features: expected none, scorer, imagenet or a file of Inception-v3 weights, "
            f"got {str(weights)!r}"
        )
    return f"Inception-v3 {hashlib.sha256(weights.read_bytes()).hexdigest()[:12]}"


def inception_extractor(
    weights: Path, device: torch.device, *, stages: Callable[[], FeatureExtractor]
) -> InceptionExtractor:
    """Load Inception-v3 as torch-fidelity computes it, so that distances are FID and KID.

    Args:
        weights: Its weights, pt_inception-2015-12-05-6726825d.pth; nothing is downloaded.
        device: Where to compute.
        stages: Loads the encoder whose stages diversity is measured on.

    Raises:
        EvalError: torch-fidelity is not installed, or the file holds something else.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise EvalError("FID needs torch-fidelity: pip install 'hdsynth[fid]'") from None
    try:
        network = FeatureExtractorInceptionV3(
            "inception", [FEATURES], feature_extractor_weights_path=str(weights)
        )
    except Exception as error:  # noqa: BLE001 - whatever torch.load and load_state_dict raise
        text = " ".join(str(error).split())[:200]
        raise EvalError(f"{weights}: not the Inception-v3 of torch-fidelity ({text})") from None
    return InceptionExtractor(network.to(device).eval(), stages())
