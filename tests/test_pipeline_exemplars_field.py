from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.exemplars.field import CAP, REACH, Canvas, Indices, Workers, search, vote
from pipeline.exemplars.pyramid import Level, canvas_of, coarser

ALONE = Workers(None, threads=1)


def level(height: int, width: int, *, slope: float = 0) -> Level:
    """Noise in three classes with a hole in the middle."""
    rng = np.random.default_rng(height)
    classes = np.zeros((height, width), np.int32)
    classes[height // 2 :] = 1
    classes[:, : width // 4] = 2
    hole = np.zeros(classes.shape, np.bool_)
    hole[height // 3 : 2 * height // 3, width // 5 : 2 * width // 3] = True
    colours = rng.integers(0, 256, (height, width, 3)).astype(np.float32)
    slopes = np.full(3, slope, np.float32)
    return Level(colours, classes, known=~hole, wanted=hole, copied=~hole, slopes=slopes)


def started(canvas: Canvas) -> Indices:
    """Every pixel at the first one of its class; the estimate is grey."""
    field = np.full(len(canvas.classes), -1, np.int32)
    field[canvas.hole] = canvas.members[canvas.starts[canvas.classes[canvas.hole]]]
    canvas.target[canvas.hole, :3] = 128
    return field


def cost_of(canvas: Canvas, pixel: int, candidate: int) -> float:
    """By the definition: squares of differences, each at most CAP, and the cost of distance."""
    target = canvas.target.reshape(-1, canvas.width, 4).astype(np.float64)
    source = canvas.source.reshape(-1, canvas.width, 4).astype(np.float64)
    (row, column), (down, across) = divmod(pixel, canvas.width), divmod(candidate, canvas.width)
    size = 2 * REACH + 1
    one = target[row - REACH :, column - REACH :][:size, :size]
    other = source[down - REACH :, across - REACH :][:size, :size]
    far = max(abs(down - row), abs(across - column))
    slope = float(canvas.slopes[canvas.classes[pixel]])
    return float(np.minimum((one - other) ** 2, CAP).sum()) + slope * far


@pytest.mark.parametrize("slope", [0, 700])
def test_the_field_points_at_kept_pixels_of_the_class_and_tells_their_cost(slope: float) -> None:
    picture = level(24, 30, slope=slope)
    canvas = canvas_of(picture)
    field, costs = started(canvas), np.zeros(len(canvas.classes), np.float32)
    for key in range(4):
        field = search(canvas, field, costs, radius=15, key=key, workers=ALONE)
    flat = np.flatnonzero(field >= 0)
    np.testing.assert_array_equal(flat, canvas.hole)
    row, column = np.divmod(field[canvas.hole], canvas.width)
    assert picture.known[row - REACH, column - REACH].all()
    wanted = picture.classes[picture.wanted]
    np.testing.assert_array_equal(picture.classes[row - REACH, column - REACH], wanted)
    expected = [cost_of(canvas, int(pixel), int(field[pixel])) for pixel in canvas.hole]
    np.testing.assert_array_equal(costs[canvas.hole], expected)


def test_enough_passes_find_the_best_of_all_candidates() -> None:
    canvas = canvas_of(level(18, 20))
    field, costs = started(canvas), np.zeros(len(canvas.classes), np.float32)
    for key in range(300):
        field = search(canvas, field, costs, radius=10, key=key, workers=ALONE)
    for pixel in canvas.hole:
        wanted = canvas.classes[pixel]
        candidates = canvas.members[canvas.starts[wanted] : canvas.starts[wanted + 1]]
        assert costs[pixel] == min(cost_of(canvas, int(pixel), int(one)) for one in candidates)


def test_a_vote_is_the_weighted_mean_of_what_patches_put_there() -> None:
    canvas = canvas_of(level(20, 24))
    field, costs = started(canvas), np.zeros(len(canvas.classes), np.float32)
    field = search(canvas, field, costs, radius=12, key=5, workers=ALONE)
    vote(canvas, field, costs, workers=ALONE)
    for pixel in canvas.hole.tolist():
        colours, weights = [], []
        for down in range(-REACH, REACH + 1):
            for across in range(-REACH, REACH + 1):
                offset = down * canvas.width + across
                copied = int(field[pixel + offset]) - offset
                if field[pixel + offset] >= 0 and canvas.choices[copied] == canvas.classes[pixel]:
                    colours.append(canvas.source[copied, :3].astype(np.float64))
                    weights.append((1000 + float(costs[pixel + offset])) ** -2)
        mean = np.average(colours, axis=0, weights=weights)
        np.testing.assert_allclose(canvas.target[pixel, :3], mean, atol=0.5 + 1e-6)


def test_a_coarser_level_takes_the_most_frequent_class_and_the_mean_of_its_known_pixels() -> None:
    fine = level(13, 15)
    fine = replace(fine, classes=np.random.default_rng(0).integers(0, 3, (13, 15), np.int32))
    coarse = coarser(fine)
    assert coarse.classes.shape == (7, 8)
    for row, column in np.ndindex(7, 8):
        block = np.s_[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        classes = fine.classes[block].ravel().tolist()
        chosen = max(classes, key=classes.count)
        assert coarse.classes[row, column] == chosen
        own: npt.NDArray[np.bool_] = fine.classes[block] == chosen
        known = own & fine.known[block]
        assert coarse.known[row, column] == coarse.copied[row, column] == known.any()
        assert coarse.wanted[row, column] == (not known.any())
        if known.any():
            mean = fine.colours[block][known].mean(axis=0)
            np.testing.assert_allclose(coarse.colours[row, column], mean, atol=0.5)
