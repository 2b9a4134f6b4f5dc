"""FID and KID: how far apart two sets of photos are, by their features.

They are the Fréchet distance (Heusel et al. 2017) and the kernel distance (Binkowski et al. 2018)
on features of Inception-v3. On features of another encoder the numbers are not FID and KID, and
cannot be compared with published ones.

Shape legend: N, M photos, F features.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.errors import EvalError

Features = npt.NDArray[np.floating]

KERNEL_SUBSETS = 100
KERNEL_SUBSET_SIZE = 1000


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMoments:
    """Mean and covariance of features."""

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

    Example:
        >>> features = np.array([[0.0, 1.0], [2.0, 5.0], [4.0, 3.0]])
        >>> moments = FeatureMoments.of(features), FeatureMoments.of(features + 3)
        >>> round(frechet_distance(*moments), 6)  # two features, each moved by 3
        18.0
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
