"""Features of photos, and how far apart two sets of them are.

The Fréchet distance (Heusel et al. 2017) and the kernel distance (Binkowski et al. 2018) are here
taken on features of EfficientNet-Lite, not of Inception-v3. They are not FID and KID, and cannot be
compared with published ones.

Shape legend: B batch, H x W pixels, N photos, F features.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from eval.errors import EvalError
from eval.scorers.config import Normalisation
from eval.scorers.encoder_weights import NAME, imagenet_state
from eval.scorers.network import normalised, padded
from hdmodel.layers import place

Features = npt.NDArray[np.floating]

IMAGENET = f"{NAME} of ImageNet"
"""What features of `imagenet_extractor` are called."""
KERNEL_SUBSETS = 100
KERNEL_SUBSET_SIZE = 1000


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
        EvalError: The extra `hdsynth[scorer]` is not installed.
    """
    encoder = _ImagenetStages()
    place(encoder, device, torch.channels_last)
    return FeatureExtractor(encoder, normalisation=Normalisation(), dtype=dtype)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMoments:
    """Mean and covariance of features, which can be added up part by part."""

    count: int
    mean: npt.NDArray[np.float64]
    """[F]."""
    scatter: npt.NDArray[np.float64]
    """Sum of the outer products of the deviations from the mean, [F, F]."""

    @classmethod
    def of(cls, features: Features) -> "FeatureMoments":
        """The moments of features [N, F]; N is at least 1."""
        values = features.astype(np.float64)
        mean = values.mean(0)
        centred = values - mean
        return cls(len(values), mean, centred.T @ centred)

    def __add__(self, other: "FeatureMoments") -> "FeatureMoments":
        """The moments of both sets together (Chan et al. 1979)."""
        count = self.count + other.count
        apart = other.mean - self.mean
        return FeatureMoments(
            count,
            self.mean + apart * (other.count / count),
            self.scatter
            + other.scatter
            + np.outer(apart, apart) * (self.count * other.count / count),
        )

    @property
    def covariance(self) -> npt.NDArray[np.float64]:
        """Sample covariance, [F, F].

        Raises:
            EvalError: There are fewer than two photos.
        """
        if self.count < 2:
            raise EvalError(f"features of {self.count} photo, expected at least 2")
        return self.scatter / (self.count - 1)


def frechet_distance(one: FeatureMoments, other: FeatureMoments) -> float:
    """Fréchet distance of two normal distributions with these moments (Dowson and Landau 1982).

    It is biased by the number of photos: compare distances of equally many only, and of no fewer
    than some times F.

    Raises:
        EvalError: There are fewer than two photos on a side, or the features differ in number.
    """
    if one.mean.shape != other.mean.shape:
        raise EvalError(f"{len(one.mean)} features against {len(other.mean)}, expected as many")
    values, vectors = np.linalg.eigh(one.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # tr sqrt(A B) is the sum of the roots of the eigenvalues of sqrt(A) B sqrt(A), which are real.
    product = np.linalg.eigvalsh(root @ other.covariance @ root)
    squared = float(((one.mean - other.mean) ** 2).sum())
    traces = float(np.trace(one.covariance) + np.trace(other.covariance))
    return max(0.0, squared + traces - 2 * float(np.sqrt(np.maximum(product, 0)).sum()))


@dataclass(frozen=True, slots=True)
class KernelDistance:
    """The squared maximum mean discrepancy of two sets, over random subsets."""

    mean: float
    """Unbiased: around 0 for sets of one distribution, and may be negative."""
    std: float
    """Of the subsets; 0 where one subset is all there is."""
    subsets: int
    subset_size: int


def kernel_distance(
    one: Features,
    other: Features,
    *,
    seed: int = 0,
    subsets: int = KERNEL_SUBSETS,
    subset_size: int = KERNEL_SUBSET_SIZE,
) -> KernelDistance:
    """Kernel distance with the kernel (x.y / F + 1)^3 (Binkowski et al. 2018, section 4).

    Args:
        one: Features [N, F].
        other: Features [M, F].
        seed: Of the random subsets.
        subsets: How many.
        subset_size: Photos of each side in each; where there are no more than that, all of the
            photos are one subset.

    Raises:
        EvalError: There are fewer than two photos on a side, or the features differ in number.
    """
    if min(len(one), len(other)) < 2:
        raise EvalError(f"features of {min(len(one), len(other))} photo, expected at least 2")
    if one.shape[1] != other.shape[1]:
        raise EvalError(f"{one.shape[1]} features against {other.shape[1]}, expected as many")
    size = min(subset_size, len(one), len(other))
    if len(one) <= subset_size and len(other) <= subset_size:
        found = np.array([_discrepancy(one.astype(np.float64), other.astype(np.float64))])
    else:
        random = np.random.default_rng(seed)
        found = np.array(
            [
                _discrepancy(
                    one[random.choice(len(one), size, replace=False)].astype(np.float64),
                    other[random.choice(len(other), size, replace=False)].astype(np.float64),
                )
                for _ in range(subsets)
            ]
        )
    return KernelDistance(float(found.mean()), float(found.std()), len(found), size)


def _discrepancy(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy."""
    n, m = len(one), len(other)
    features = one.shape[1]
    within_one = (one @ one.T / features + 1) ** 3
    within_other = (other @ other.T / features + 1) ** 3
    between = (one @ other.T / features + 1) ** 3
    return float(
        (within_one.sum() - np.trace(within_one)) / (n * (n - 1))
        + (within_other.sum() - np.trace(within_other)) / (m * (m - 1))
        - 2 * between.mean()
    )
