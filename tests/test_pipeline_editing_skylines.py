import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.editing.roughness import crowns, roughness
from pipeline.editing.skylines import crown_line, cut_off, faded, stepped

shifts = st.lists(st.floats(-50, 50), min_size=1, max_size=60).map(np.array)


@given(shifts, st.floats(0.1, 4))
def test_faded_shifts_are_the_largest_that_grow_so_slowly(shift: np.ndarray, slope: float) -> None:
    columns = np.arange(len(shift))
    distances = np.abs(columns[:, None] - columns)
    expected = np.sign(shift) * (np.abs(shift) + slope * distances).min(axis=1)
    np.testing.assert_allclose(faded(shift, slope=slope), expected, atol=1e-9)


@given(shifts, shifts, st.integers(0, 99))
def test_houses_move_no_farther_than_any_of_their_columns(
    shift: np.ndarray, wanted: np.ndarray, seed: int
) -> None:
    length = min(len(shift), len(wanted))
    shift, wanted = shift[:length], wanted[:length]
    moved = stepped(shift, wanted, np.random.default_rng(seed), unit=80)
    assert (np.abs(moved) <= np.abs(shift)).all()
    alike = stepped(shift, shift, np.random.default_rng(seed), unit=80)
    np.testing.assert_array_equal(alike, shift)


def test_what_a_change_cuts_off() -> None:
    was = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0]], bool)
    now = was.copy()
    now[0, 2] = False
    top = np.zeros(was.shape, bool)
    top[0] = True
    found = cut_off(was, now, top, top)
    np.testing.assert_array_equal(np.argwhere(found), [[1, 2]])


@pytest.mark.parametrize("coarse", [4, 30, 200])
def test_roughness_is_centred_and_has_all_scales(coarse: float) -> None:
    fields = [roughness((80, 300), np.random.default_rng(n), coarse=coarse) for n in range(60)]
    assert abs(np.mean(fields)) < 0.3
    assert 0.6 < np.std(fields) < 1.5
    for scale in (2, 8, 32):
        steps = np.array([np.abs(field[:, scale:] - field[:, :-scale]).mean() for field in fields])
        assert steps.mean() > 0.03
    again = roughness((80, 300), np.random.default_rng(3), coarse=coarse)
    np.testing.assert_array_equal(again, fields[3])


def test_crowns_are_round_bumps() -> None:
    field = crowns((60, 200), np.random.default_rng(0), width=20)
    assert field.max() == 0.5
    assert field.min() >= -0.5
    # One pixel farther from the middle is at most one pixel lower.
    assert np.abs(np.diff(field, axis=0)).max() <= 1 / 20 + 1e-9


@given(st.integers(1, 300), st.integers(0, 9), st.sampled_from([24, 100, 512]))
def test_a_line_of_crowns_keeps_its_height_on_the_whole(width: int, seed: int, unit: int) -> None:
    line = crown_line(width, np.random.default_rng(seed), unit=unit)
    assert line.shape == (width,)
    assert abs(line.mean()) < 1e-9
    assert np.abs(line).max() < 0.12 * unit
