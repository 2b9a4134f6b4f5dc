"""Horizons and sizes are recovered from objects that were made with known ones."""

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.placing.perspective import DEFAULT_HORIZON, Perspective

CATEGORIES = ("", "vehicle", "vehicle", "human", "vehicle")
SIZES = np.array([1.0, 0.9, 1.8, 1.0, 1.0])


def objects(
    seed: int, *, scenes: int = 200, each: int = 4, spread: float = 0.02, sigma: float = 0.12
) -> tuple[npt.NDArray[np.float64], ...]:
    """Rows, heights, classes (1 to 3), scenes, and the scenes' horizons about 0.45."""
    rng = np.random.default_rng(seed)
    horizons = 0.45 + spread * rng.standard_normal(scenes)
    of = np.repeat(np.arange(scenes), each)
    classes = rng.integers(1, 4, len(of))
    above = 0.03 * np.exp(rng.uniform(0, 2.4, len(of)))
    heights = SIZES[classes] * above * np.exp(sigma * rng.standard_normal(len(of)))
    return horizons[of] + above, heights, classes, of, horizons


@pytest.mark.parametrize("outliers", [0.0, 0.08])
def test_the_fit_finds_what_the_objects_were_made_with(outliers: float) -> None:
    rows, heights, classes, of, _ = objects(0)
    rng = np.random.default_rng(1)
    wrong = rng.random(len(rows)) < outliers
    heights = np.where(wrong, heights * np.exp(rng.uniform(-2, 1.5, len(rows))), heights)
    found = Perspective.fit(rows, heights, classes, of, categories=CATEGORIES)
    assert found.horizon == pytest.approx(0.45, abs=0.012)
    assert found.spread == pytest.approx(0.02, abs=0.008)
    np.testing.assert_allclose(np.exp(found.log_sizes[1:4]), SIZES[1:4], rtol=0.12)
    np.testing.assert_allclose(found.sigmas[1:4], 0.12, atol=0.05)
    assert found.counts.tolist() == np.bincount(classes, minlength=5).tolist()


def test_scale_does_not_matter() -> None:
    rows, heights, classes, of, _ = objects(2)
    found = Perspective.fit(rows, heights, classes, of, categories=CATEGORIES)
    for height in (100, 1024):
        own = of == 7
        view = found.view(rows[own] * height, heights[own] * height, classes[own], height=height)
        mean, sigma = found.log_height(1, np.array([0.8 * height]), view, height=height)
        if height == 100:
            expected = (view.horizon / 100, mean[0] - np.log(100), sigma[0])
    assert (view.horizon / 1024, mean[0] - np.log(1024), sigma[0]) == pytest.approx(expected)


def test_a_scene_corrects_the_horizon() -> None:
    rows, heights, classes, of, horizons = objects(3, each=6, spread=0.03)
    found = Perspective.fit(rows, heights, classes, of, categories=CATEGORIES)
    views = [
        found.view(rows[of == s], heights[of == s], classes[of == s], height=1) for s in range(200)
    ]
    errors = np.array([view.horizon for view in views]) - horizons
    assert np.sqrt(np.mean(errors**2)) < 0.5 * np.std(horizons)
    # What a view says about its own doubt is about true.
    assert 0.5 < np.mean((errors / [view.spread for view in views]) ** 2) < 2


def test_a_scene_without_whole_objects_has_the_shared_horizon() -> None:
    rows, heights, classes, of, _ = objects(4)
    found = Perspective.fit(rows, heights, classes, of, categories=CATEGORIES)
    view = found.view(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), height=200)
    assert view.horizon == pytest.approx(200 * found.horizon)
    assert view.spread == pytest.approx(200 * found.spread)


def test_few_objects_lean_on_their_category() -> None:
    rows, heights, classes, of, _ = objects(5)
    # One vehicle of class 4, four times as tall as the others, and a class nobody saw.
    found = Perspective.fit(
        np.append(rows, 0.7),
        np.append(heights, 4.0 * 0.25),
        np.append(classes, 4),
        np.append(of, 0),
        categories=(*CATEGORIES, "human", "animal"),
    )
    assert found.counts[4] == 1
    vehicles = np.exp(found.log_sizes[[1, 2]])
    assert vehicles.min() < np.exp(found.log_sizes[4]) < 4.0
    assert found.log_sizes[5] == pytest.approx(found.log_sizes[3])
    assert found.sigmas[5] > found.sigmas[3]
    everything = np.exp(found.log_sizes[6])
    assert SIZES[1:4].min() < everything < SIZES[1:4].max()


def test_no_objects_at_all() -> None:
    nothing = np.zeros(0)
    none = np.zeros(0, np.int64)
    found = Perspective.fit(nothing, nothing, none, none, categories=CATEGORIES)
    assert found.horizon == DEFAULT_HORIZON
    mean, sigma = found.log_height(
        1, np.array([80.0]), found.view(nothing, nothing, none, height=100), height=100
    )
    assert np.isfinite(mean).all()
    assert (sigma > 0.3).all()
