import numpy as np
import numpy.typing as npt
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.editing.holes import fill_hole
from pipeline.scene import LabelMap

SURFACE = np.zeros(40, bool)
SURFACE[[7, 8, 11, 17, 21, 23]] = True
GROUND = np.zeros(40, bool)
GROUND[[7, 8]] = True


def filled(label: LabelMap, hole: npt.NDArray[np.bool_]) -> LabelMap:
    result = fill(label, hole)
    assert result is not None
    return result


def fill(label: LabelMap, hole: npt.NDArray[np.bool_]) -> LabelMap | None:
    """The whole map with its hole filled."""
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    top, left, bottom, right = box = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    inside = fill_hole(label, box, hole[top:bottom, left:right], surface=SURFACE, ground=GROUND)
    if inside is None:
        return None
    result = label.copy()
    result[top:bottom, left:right] = inside
    return result


def test_layers_go_on_behind_the_object() -> None:
    label = np.full((60, 200), 23, np.uint8)
    label[20:40], label[40:] = 11, 7
    hole = np.zeros(label.shape, bool)
    hole[10:50, 80:120] = True
    behind = label.copy()
    label[hole] = 26
    np.testing.assert_array_equal(filled(label, hole), behind)


def test_a_pole_beside_the_hole_is_not_spread() -> None:
    label = np.full((60, 512), 11, np.uint8)
    label[:, 97:100] = 17
    hole = np.zeros(label.shape, bool)
    hole[10:50, 100:160] = True
    label[hole] = 26
    assert (filled(label, hole)[hole] == 11).all()


def test_other_objects_and_void_are_skipped_not_spread() -> None:
    label = np.full((40, 120), 7, np.uint8)
    label[:, 30:90] = 1
    label[:, 40:80] = 24
    hole = np.zeros(label.shape, bool)
    hole[5:20, 50:60] = True
    result = filled(label, hole)
    assert (result[hole] == 7).all()
    np.testing.assert_array_equal(result[~hole], label[~hole])


def test_a_row_without_surface_is_filled_from_above_or_below() -> None:
    label = np.full((60, 80), 1, np.uint8)
    label[:10] = 23
    hole = np.zeros(label.shape, bool)
    hole[12:18, 30:40] = True
    assert (filled(label, hole)[hole] == 23).all()


def test_surface_far_away_still_fills() -> None:
    label = np.full((200, 400), 1, np.uint8)
    label[0, 0] = 8
    hole = np.zeros(label.shape, bool)
    hole[180:183, 390:393] = True
    assert (filled(label, hole)[hole] == 8).all()


def test_nothing_to_fill_with() -> None:
    label = np.full((8, 8), 1, np.uint8)
    hole = np.zeros(label.shape, bool)
    hole[3:5, 3:5] = True
    assert fill(label, hole) is None
    assert fill(label, np.ones_like(hole)) is None


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 30), width=st.integers(1, 30))
def test_only_the_hole_changes_and_only_to_surfaces_that_are_there(
    seed: int, height: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    label = rng.choice(np.array([1, 7, 8, 11, 17, 24], np.uint8), (height, width))
    hole = rng.random((height, width)) < rng.random()
    sources = np.unique(label[~hole & SURFACE[label]])
    before = label.copy()
    assume(hole.any())
    result = fill(label, hole)
    np.testing.assert_array_equal(label, before)
    assert (result is None) == (not len(sources))
    assume(len(sources))
    assert result is not None
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[~hole], label[~hole])
    assert set(np.unique(result[hole])) <= set(sources)


def beside(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> LabelMap:
    """A map of 120x400 with other layers in its left and its right half: class, and first row."""
    label = np.zeros((120, 400), np.uint8)
    for columns, layers in ((slice(0, 200), left), (slice(200, 400), right)):
        for value, row in layers:
            label[row:, columns] = value
    return label


def hole_between(label: LabelMap) -> tuple[LabelMap, npt.NDArray[np.bool_]]:
    """The map with a hole over both halves filled, and the hole."""
    hole = np.zeros(label.shape, bool)
    hole[30:90, 150:250] = True
    holed = label.copy()
    holed[hole] = 26
    return filled(holed, hole), hole


def test_borders_run_straight_from_one_side_to_the_other() -> None:
    label = beside([(11, 0), (8, 50), (7, 60)], [(11, 0), (8, 60), (7, 75)])
    result, _ = hole_between(label)
    columns = np.arange(150, 250)
    for value, left, right in ((8, 50, 60), (7, 60, 75)):
        top = (result[:, 150:250] == value).argmax(axis=0)
        expected = left + (columns - 149) / 101 * (right - left)
        assert np.abs(top - expected).max() <= 2


def test_ground_at_one_side_alone_narrows_to_nothing_at_the_other() -> None:
    label = beside([(11, 0), (8, 50), (7, 70)], [(11, 0), (7, 60)])
    result, hole = hole_between(label)
    wide = ((result == 8) & hole).sum(axis=0)[150:250]
    assert abs(wide[0] - 20) <= 2
    assert wide[-10:].max() <= 3
    assert (np.diff(wide) <= 1).all()


def test_a_thin_layer_at_one_side_leaves_no_comb() -> None:
    label = beside([(11, 0), (7, 60)], [(11, 0), (21, 48), (11, 52), (7, 60)])
    result, hole = hole_between(label)
    assert not (result[hole] == 21).any()
    many = beside([(11, 0), (7, 60)], [(11, 0), (7, 60)])
    for row in range(40, 60, 6):
        many[row : row + 3, 250:] = 21
    result, hole = hole_between(many)
    assert not (result[hole] == 21).any()


def test_what_stands_at_one_side_ends_upright_and_above_the_ground() -> None:
    label = beside([(23, 0), (11, 20), (7, 70)], [(23, 0), (21, 20), (7, 60)])
    result, hole = hole_between(label)
    inside = result[30:90, 150:250]
    ground = inside == 7
    assert (np.diff(ground.astype(int), axis=0) >= 0).all()  # never above what stands
    standing = np.where(ground, 0, inside)
    assert set(np.unique(standing)) == {0, 11, 21}
    border = (standing[:25] == 21).argmax(axis=1)
    assert np.ptp(border) <= 2
    assert (result[~hole] == label[~hole]).all()


def test_what_is_above_a_hole_comes_down_where_the_sides_are_far() -> None:
    label = np.full((120, 600), 26, np.uint8)  # a row of cars
    label[:30] = 11
    label[90:] = 7
    label[30:60, :90] = label[30:60, 510:] = 21
    label[60:90, :90] = label[60:90, 510:] = 7
    hole = np.zeros(label.shape, bool)
    hole[30:90, 270:330] = True
    result = filled(label, hole)
    assert (result[30:58, 275:325] == 11).mean() > 0.9
    assert (result[62:90, 270:330] == 7).all()
