"""Curves: what is drawn stands where it should."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdmodel.training import curves
from hdmodel.training.curves import (
    Series,
    Stage,
    centred_mean,
    compact,
    draw,
    log_ticks,
    thin,
    ticks,
)

PLOT_LEFT, PLOT_RIGHT = curves.LEFT, curves.WIDTH - curves.RIGHT
PLOT_TOP, PLOT_BOTTOM = curves.TOP, curves.HEIGHT - curves.BOTTOM


def series(steps: list[int], values: list[float], name: str = "l1") -> Series:
    return Series(name, np.array(steps, float), np.array(values, float))


def points(path: str) -> list[list[tuple[float, float]]]:
    """The points of each stroke of a path."""
    number = r"(-?[\d.]+) (-?[\d.]+)"
    strokes = path.split("M")[1:]
    return [[(float(x), float(y)) for x, y in re.findall(number, stroke)] for stroke in strokes]


def test_values_lie_between_the_ticks_they_lie_between() -> None:
    chart = draw([series([5, 10], [1.0, 3.0])], [Stage("all", 1, 10)], scattered=False)
    (stroke,) = points(chart.lines[0].raw)
    at = {tick.text: tick.at for tick in chart.y_ticks}
    assert stroke[0][1] == pytest.approx(at["1"], abs=0.1)
    assert stroke[1][1] == pytest.approx(at["3"], abs=0.1)
    assert stroke[1][1] < stroke[0][1]  # larger is further up
    assert [x for x, _ in stroke] == pytest.approx([(PLOT_LEFT + PLOT_RIGHT) / 2, PLOT_RIGHT])


def test_no_line_crosses_from_one_stage_into_the_next() -> None:
    stages = [Stage("coarse", 1, 10), Stage("joint", 11, 20)]
    chart = draw([series([5, 10, 15, 20], [1, 2, 8, 9])], stages, scattered=False)
    assert [len(stroke) for stroke in points(chart.lines[0].raw)] == [2, 2]
    first, second = chart.bands
    assert first.x + first.width == pytest.approx(second.x) == (PLOT_LEFT + PLOT_RIGHT) / 2


def test_values_that_span_much_get_a_logarithmic_axis() -> None:
    chart = draw([series([1, 2, 3], [1, 10, 100])], [Stage("all", 1, 3)])
    assert chart.logarithmic
    ((low, middle, high),) = points(chart.lines[0].raw)
    assert middle[1] == pytest.approx((low[1] + high[1]) / 2, abs=0.2)
    linear = draw([series([1, 2, 3], [1, 10, 100])], [Stage("all", 1, 3)], scattered=False)
    with_zero = draw([series([1, 2, 3], [0, 10, 100])], [Stage("all", 1, 3)])
    assert not linear.logarithmic
    assert not with_zero.logarithmic


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.booleans(),
    st.none() | st.floats(0, 10),
)
def test_everything_is_inside_the_plot(
    values: list[float], scattered: bool, level: float | None
) -> None:
    steps = list(range(1, len(values) + 1))
    chart = draw([series(steps, values)], [Stage("a", 1, len(values))], scattered=scattered)
    for line in chart.lines:
        for stroke in (*points(line.raw), *points(line.smooth)):
            for x, y in stroke:
                assert PLOT_LEFT <= x <= PLOT_RIGHT + 0.05
                assert PLOT_TOP - 0.05 <= y <= PLOT_BOTTOM + 0.05
    for tick in chart.y_ticks:
        assert PLOT_TOP - 0.1 <= tick.at <= PLOT_BOTTOM + 0.1


def test_a_single_outlier_does_not_flatten_the_curve() -> None:
    values = [1.0 + 0.1 * (step % 7) for step in range(400)]
    values[200] = 30.0
    chart = draw([series(list(range(1, 401)), values)], [Stage("all", 1, 400)])
    assert not chart.logarithmic
    heights = [y for stroke in points(chart.lines[0].smooth) for _, y in stroke]
    assert PLOT_BOTTOM - np.median(heights) > 0.3 * (PLOT_BOTTOM - PLOT_TOP)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.integers(1, 12))
def test_a_centred_mean_is_that_of_the_neighbours(values: list[float], window: int) -> None:
    half = window // 2
    expected = [
        np.mean(values[max(0, place - half) : place + half + 1]) for place in range(len(values))
    ]
    assert centred_mean(np.array(values), window) == pytest.approx(expected, abs=1e-9)


def test_thin_lines_keep_their_peaks() -> None:
    x = np.arange(10_000.0)
    y = np.sin(x)
    y[[1234, 7777]] = 50, -50
    thin_x, thin_y = thin(x, y, most=200)
    assert thin_x.size <= 200
    assert (np.diff(thin_x) > 0).all()
    assert {(1234.0, 50.0), (7777.0, -50.0)} <= set(zip(thin_x, thin_y, strict=True))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 8.7, [0, 2, 4, 6, 8]), (29, 32, [29, 30, 31, 32])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_logarithmic_ticks_are_round_and_few() -> None:
    assert log_ticks(0.2, 30) == pytest.approx([0.2, 1, 5, 20])
    assert log_ticks(1, 1000) == pytest.approx([1, 10, 100, 1000])
    assert len(log_ticks(1e-9, 1e9)) <= 6


def test_numbers_are_short() -> None:
    shown = [compact(value) for value in (0.0002, 0.25, 40, 1500, 600_000, 2_000_000)]
    assert shown == ["0.0002", "0.25", "40", "1.5k", "600k", "2M"]
