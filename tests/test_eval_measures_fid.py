"""Distances of sets of features against other calculations, and against torch-fidelity's."""

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
import torch

from eval.errors import EvalError
from eval.measures.fid import FeatureMoments, frechet_distance, kernel_distance


def features(count: int, width: int, *, seed: int = 0) -> npt.NDArray[np.float64]:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, width)) @ random.normal(size=(width, width)) + seed


def test_frechet_distance_is_that_of_the_matrix_root() -> None:
    one, other = features(50, 6, seed=1), features(70, 6, seed=2)
    a, b = np.cov(one.T), np.cov(other.T)
    root = scipy.linalg.sqrtm(a @ b).real
    wanted = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root)
    found = frechet_distance(FeatureMoments.of(one), FeatureMoments.of(other))
    assert found == pytest.approx(wanted, rel=1e-9)


def test_frechet_distance_of_a_shift_is_its_square() -> None:
    one = features(40, 5)
    moments = FeatureMoments.of(one)
    assert frechet_distance(moments, FeatureMoments.of(one + 3)) == pytest.approx(9 * 5)
    assert frechet_distance(moments, moments) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_needs_no_more_photos_than_features() -> None:
    few = FeatureMoments.of(features(4, 12))
    assert np.isfinite(frechet_distance(few, FeatureMoments.of(features(5, 12, seed=3))))


def test_moments_are_the_mean_and_the_sample_covariance() -> None:
    values = features(20, 3, seed=5)
    moments = FeatureMoments.of(values)
    assert moments.count == 20
    np.testing.assert_allclose(moments.mean, values.mean(0))
    np.testing.assert_allclose(moments.covariance, np.cov(values.T))


def test_frechet_distance_is_that_of_torch_fidelity() -> None:
    metric = pytest.importorskip("torch_fidelity.metric_fid", reason="extra fid is not installed")
    one, other = features(90, 8, seed=1), features(120, 8, seed=2)
    moments = [FeatureMoments.of(one), FeatureMoments.of(other)]
    statistics = [{"mu": m.mean(0), "sigma": np.cov(m.T)} for m in (one, other)]
    wanted = metric.fid_statistics_to_metric(*statistics, verbose=False)
    assert frechet_distance(*moments) == pytest.approx(
        wanted["frechet_inception_distance"], rel=1e-6
    )


def test_kernel_distance_is_that_of_torch_fidelity() -> None:
    metric = pytest.importorskip("torch_fidelity.metric_kid", reason="extra fid is not installed")
    one, other = features(40, 8, seed=1) / 8, features(40, 8, seed=2) / 8
    whole = metric.kid_features_to_metric(
        torch.from_numpy(one), torch.from_numpy(other), kid_subsets=1, kid_subset_size=40,
        kid_kernel="poly", kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1, rng_seed=0, verbose=False,
    )  # fmt: skip
    assert kernel_distance(one, other).mean == pytest.approx(
        whole["kernel_inception_distance_mean"], rel=1e-9
    )


def test_kernel_distance_is_the_sum_over_all_pairs() -> None:
    one, other = features(5, 4, seed=1), features(7, 4, seed=2)

    def kernel(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
        return float((x @ y / 4 + 1) ** 3)

    within = [
        np.mean([kernel(x, y) for i, x in enumerate(side) for j, y in enumerate(side) if i != j])
        for side in (one, other)
    ]
    between = np.mean([kernel(x, y) for x in one for y in other])
    found = kernel_distance(one, other)
    assert found.mean == pytest.approx(sum(within) - 2 * between, rel=1e-12)
    assert (found.std, found.subsets, found.subset_size) == (0.0, 1, 5)


def test_kernel_distance_over_subsets_is_around_zero_for_one_distribution() -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 300, 4))
    near = kernel_distance(one, other, subsets=40, subset_size=100)
    far = kernel_distance(one, other + 1, subsets=40, subset_size=100)
    assert abs(near.mean) < 2 * near.std < far.mean
    assert near == kernel_distance(one, other, subsets=40, subset_size=100)
    assert near != kernel_distance(one, other, subsets=40, subset_size=100, seed=1)


def test_one_photo_or_other_features_are_refused() -> None:
    one, wide = FeatureMoments.of(features(1, 4)), FeatureMoments.of(features(9, 5))
    with pytest.raises(EvalError, match="features of 1 photo, expected at least 2"):
        frechet_distance(one, one)
    with pytest.raises(EvalError, match="4 features against 5"):
        frechet_distance(one, wide)
    with pytest.raises(EvalError, match="expected at least 2"):
        kernel_distance(features(1, 4), features(9, 4))
    with pytest.raises(EvalError, match="4 features against 5"):
        kernel_distance(features(9, 4), features(9, 5))
