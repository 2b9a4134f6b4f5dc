import numpy as np
import numpy.typing as npt
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.editing.holes import fill_hole
from pipeline.scene import LabelMap

SURFACE = np.zeros(40, bool)
SURFACE[[7, 8, 11, 17, 21, 23]] = True


def filled(label: LabelMap, hole: npt.NDArray[np.bool_]) -> LabelMap:
    result = fill(label, hole)
    assert result is not None
    return result


def fill(label: LabelMap, hole: npt.NDArray[np.bool_]) -> LabelMap | None:
    """The whole map with its hole filled."""
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    top, left, bottom, right = box = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    inside = fill_hole(label, box, hole[top:bottom, left:right], surface=SURFACE)
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
