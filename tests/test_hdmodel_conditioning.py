"""Conditioning against loops over pixels, and instance averages against loops over objects."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hdmodel.conditioning import boundary_map, condition, one_hot
from hdmodel.encoder import average_over_instances
from hdmodel.errors import InputError

maps = hnp.arrays(
    np.int32,
    st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 6)),
    elements=st.sampled_from([0, 1, 2, 26000, 26001, 2**31 - 1]),
)


@given(maps)
@settings(max_examples=60, deadline=None)
def test_boundary_map_compares_the_four_neighbours(instance: np.ndarray) -> None:
    batch, height, width = instance.shape
    expected = np.zeros(instance.shape, bool)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    if 0 <= v < height and 0 <= u < width:
                        expected[b, y, x] |= instance[b, y, x] != instance[b, v, u]
    assert np.array_equal(boundary_map(torch.from_numpy(instance)).numpy(), expected)


def test_boundary_map_tells_large_ids_apart() -> None:
    # Beyond 2**24 neighbouring ids are the same number in float32.
    instance = torch.tensor([[[2**25, 2**25 + 1]]], dtype=torch.int32)
    assert boundary_map(instance).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_condition_stacks_one_hot_boundary_and_features(dtype: type) -> None:
    rng = np.random.default_rng(3)
    label = rng.integers(0, 5, (2, 4, 7)).astype(dtype)
    instance = rng.integers(0, 3, (2, 4, 7)).astype(np.int32)
    features = rng.normal(size=(2, 3, 4, 7)).astype(np.float32)
    result = condition(
        torch.from_numpy(label),
        torch.from_numpy(instance),
        num_classes=5,
        features=torch.from_numpy(features),
    ).numpy()
    assert result.shape == (2, 9, 4, 7)
    assert result.dtype == np.float32
    assert np.array_equal(result[:, :5], np.eye(5)[label].transpose(0, 3, 1, 2))
    assert np.array_equal(result[:, 5], boundary_map(torch.from_numpy(instance)).float().numpy())
    assert np.array_equal(result[:, 6:], features)


def test_condition_without_instances_is_the_one_hot() -> None:
    label = torch.tensor([[[0, 2], [1, 1]]])
    plain = condition(label, None, num_classes=3, dtype=torch.bfloat16)
    assert plain.dtype == torch.bfloat16
    assert torch.equal(plain, one_hot(label, num_classes=3, dtype=torch.bfloat16))
    assert torch.equal(plain.argmax(1), label)


@pytest.mark.parametrize("value", [3, 255, -1])
def test_condition_refuses_labels_that_are_no_class(value: int) -> None:
    label = torch.tensor([[[0, value]]])
    with pytest.raises(InputError, match=rf"value {value}, expected 0\.\.2"):
        condition(label, None, num_classes=3)


def test_condition_refuses_sizes_that_disagree() -> None:
    label = torch.zeros((1, 4, 4), dtype=torch.uint8)
    with pytest.raises(InputError, match="instance map: shape"):
        condition(label, torch.zeros((1, 4, 5), dtype=torch.int32), num_classes=2)
    with pytest.raises(InputError, match="features: shape"):
        condition(label, None, num_classes=2, features=torch.zeros((1, 3, 2, 4)))


@given(maps)
@settings(max_examples=30, deadline=None)
def test_instance_average_is_the_mean_of_each_object(instance: np.ndarray) -> None:
    batch, height, width = instance.shape
    features = np.random.default_rng(0).normal(size=(batch, 3, height, width)).astype(np.float32)
    expected = features.copy()
    for b in range(batch):
        for object_id in np.unique(instance[b]):
            mask = instance[b] == object_id
            expected[b][:, mask] = features[b][:, mask].mean(axis=1, keepdims=True)
    result = average_over_instances(torch.from_numpy(features), torch.from_numpy(instance))
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)


def test_instance_average_carries_gradients() -> None:
    features = torch.randn((1, 2, 3, 3), generator=torch.Generator().manual_seed(0))
    features.requires_grad_(True)
    average_over_instances(features, torch.ones((1, 3, 3), dtype=torch.int32)).sum().backward()
    assert features.grad is not None
    torch.testing.assert_close(features.grad, torch.ones_like(features))
