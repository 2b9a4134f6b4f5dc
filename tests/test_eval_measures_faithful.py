"""Faithfulness: calibration, masks and verdicts against loops and hand-made scenes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.errors import EvalError
from eval.measures.faithful import (
    FAITHFUL,
    UNFAITHFUL,
    UNJUDGED,
    ClassLosses,
    ObjectShare,
    faithful_mask,
    is_faithful,
    object_shares,
    share_limits,
    size_of,
)


def real_losses(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    train_ids = random.choice([0, 1, 3, 255], (6, 8)).astype(np.uint8)
    losses = random.exponential(size=(6, 8)).astype(np.float32)
    losses[train_ids == 255] = np.nan
    return losses, train_ids


@given(st.integers(0, 2**32 - 1))
def test_class_means_are_those_of_a_loop(seed: int) -> None:
    losses, train_ids = real_losses(seed)
    means = ClassLosses.of(losses, train_ids).means
    for train_id in range(256):
        values = [
            float(loss)
            for loss, found in zip(losses.ravel(), train_ids.ravel(), strict=True)
            if found == train_id and found != 255
        ]
        if values:
            assert means[train_id] == pytest.approx(sum(values) / len(values))
        else:
            assert np.isnan(means[train_id])


def test_losses_of_parts_add_up_to_those_of_the_whole() -> None:
    losses, train_ids = real_losses(1)
    parts = ClassLosses.none()
    for row in range(len(losses)):
        parts += ClassLosses.of(losses[row], train_ids[row])
    whole = ClassLosses.of(losses, train_ids)
    np.testing.assert_allclose(parts.total, whole.total)
    assert (parts.pixels == whole.pixels).all()


def test_a_pixel_is_unfaithful_above_a_multiple_of_its_class() -> None:
    means = np.full(256, np.nan)
    means[[0, 1]] = 1.0, 0.1
    losses = np.array([[1.2, 1.3, 0.12], [0.13, np.nan, 9.0]])
    train_ids = np.array([[0, 0, 1], [1, 255, 7]], np.uint8)
    mask = faithful_mask(losses, train_ids, means)
    assert mask.dtype == np.uint8
    assert mask.tolist() == [
        [FAITHFUL, UNFAITHFUL, FAITHFUL],
        [UNFAITHFUL, UNJUDGED, UNJUDGED],
    ]
    assert faithful_mask(losses, train_ids, means, factor=1.1)[0, 0] == UNFAITHFUL
    assert faithful_mask(losses, train_ids, means, factor=20)[1, 0] == FAITHFUL


def test_infinite_losses_are_unfaithful_and_spoil_no_mean() -> None:
    losses, train_ids = np.array([[np.inf, 1.0]]), np.zeros((1, 2), np.uint8)
    means = ClassLosses.of(losses, train_ids).means
    assert means[0] == 1.0
    assert faithful_mask(losses, train_ids, means).tolist() == [[UNFAITHFUL, FAITHFUL]]


def test_shares_count_the_judged_pixels_of_each_object() -> None:
    instance = np.array([[26000, 26000, 26000, 7], [24003, 24003, 26001, 26]], np.int32)
    mask = np.array(
        [[UNFAITHFUL, FAITHFUL, FAITHFUL, UNFAITHFUL], [UNFAITHFUL, UNJUDGED, UNJUDGED, 0]],
        np.uint8,
    )
    person, car, unseen = object_shares(mask, instance)
    assert person == ObjectShare(instance=24003, class_id=24, pixels=1, unfaithful=1.0)
    assert (car.instance, car.class_id, car.pixels) == (26000, 26, 3)
    assert car.unfaithful == pytest.approx(1 / 3)
    assert (unseen.instance, unseen.pixels) == (26001, 0)
    assert np.isnan(unseen.unfaithful)
    assert object_shares(mask, np.full((2, 4), 7, np.int32)) == []


def objects(class_id: int, shares: list[float], *, pixels: int = 100) -> list[ObjectShare]:
    return [
        ObjectShare(class_id * 1000 + k, class_id, pixels, share) for k, share in enumerate(shares)
    ]


def test_sizes_are_powers_of_four() -> None:
    for pixels, size in ((0, 0), (1, 0), (3, 0), (4, 1), (63, 2), (64, 3), (255, 3), (256, 4)):
        assert size_of(ObjectShare(1, 1, pixels, 0.0)) == size


def test_limits_pass_most_real_objects_of_each_class_and_size() -> None:
    cars = objects(26, [k / 100 for k in range(101)])
    others = [*objects(24, [0.1] * 30), *objects(25, [0.6])]
    limits = share_limits([*cars, *others, *objects(26, [0.2] * 19, pixels=5000)])
    assert limits.by_class == {(24, 3): 0.5, (26, 3): pytest.approx(0.95)}
    small = [one.unfaithful for one in [*cars, *others]]
    assert limits.by_size == {3: pytest.approx(np.quantile(small, 0.95))}
    assert limits.other == pytest.approx(np.quantile([*small, *[0.2] * 19], 0.95))
    passed = [is_faithful(car, limits) for car in cars]
    assert sum(map(bool, passed)) == 96
    assert limits.limit(objects(25, [0.9])[0]) == limits.by_size[3]
    assert limits.limit(objects(26, [0.9], pixels=5000)[0]) == limits.other
    assert limits.to_plain()["by_class"]["24/3"] == 0.5


def test_what_cannot_be_told_is_not_judged() -> None:
    unreadable = share_limits(objects(24, [1.0] * 30))
    assert is_faithful(objects(24, [1.0])[0], unreadable) is None
    assert is_faithful(ObjectShare(1, 26, 0, float("nan")), share_limits([])) is None
    assert is_faithful(objects(26, [0.5])[0], share_limits([])) is True
    assert is_faithful(objects(26, [0.6])[0], share_limits([])) is False


def test_what_does_not_fit_is_named() -> None:
    means = np.zeros(256)
    with pytest.raises(EvalError, match=r"losses of shape \[2, 2\], expected \[2, 3\]"):
        faithful_mask(np.zeros((2, 2)), np.zeros((2, 3), np.uint8), means)
    with pytest.raises(EvalError, match="factor is 0, expected a positive number"):
        faithful_mask(np.zeros((2, 2)), np.zeros((2, 2), np.uint8), means, factor=0)
    with pytest.raises(EvalError, match=r"mask of shape \[2, 2\], expected \[1, 2\]"):
        object_shares(np.zeros((2, 2), np.uint8), np.zeros((1, 2), np.int32))
    with pytest.raises(EvalError, match="quantile is 2, expected 0 to 1"):
        share_limits([], quantile=2)
