"""Perceptual distances and their mean, against loops over pixels."""

import numpy as np
import numpy.typing as npt
import pytest

from eval.errors import EvalError
from eval.measures.diversity import diversity, perceptual_distances


def stages(variants: int = 3) -> list[npt.NDArray[np.float32]]:
    random = np.random.default_rng(0)
    shapes = [(variants, 4, 3, 5), (variants, 6, 2, 2)]
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def brute_force(maps: list[npt.NDArray[np.float32]], one: int, other: int) -> float:
    total = 0.0
    for stage in maps:
        _, _, height, width = stage.shape
        for row in range(height):
            for column in range(width):
                a, b = (stage[v, :, row, column].astype(np.float64) for v in (one, other))
                cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                total += (2 - 2 * cosine) / (height * width)
    return total


def test_distances_are_those_of_unit_vectors_pixel_by_pixel() -> None:
    maps = stages()
    found = perceptual_distances(maps)
    for one in range(3):
        for other in range(3):
            wanted = 0.0 if one == other else brute_force(maps, one, other)
            assert found[one, other] == pytest.approx(wanted, abs=1e-9)


def test_the_scale_of_features_does_not_count() -> None:
    maps = stages()
    louder = [stage * np.array([1, 7, 0.1], np.float32)[:, None, None, None] for stage in maps]
    np.testing.assert_allclose(perceptual_distances(louder), perceptual_distances(maps), atol=1e-6)


def test_dead_features_are_no_distance_apart() -> None:
    assert not perceptual_distances([np.zeros((2, 3, 2, 2))]).any()


def test_diversity_is_the_mean_over_label_maps_of_the_mean_of_their_pairs() -> None:
    three = np.array([[0, 1, 2], [1, 0, 6], [2, 6, 0]], float)
    two = np.array([[0, 5], [5, 0]], float)
    found = diversity([three, two, np.zeros((1, 1))])
    assert (found.label_maps, found.pairs) == (2, 4)
    assert found.mean == 4.0
    assert found.std == pytest.approx(2**0.5)
    assert np.isnan(diversity([two]).std)
    with pytest.raises(EvalError, match="no label map was rendered more than once"):
        diversity([np.zeros((1, 1))])
