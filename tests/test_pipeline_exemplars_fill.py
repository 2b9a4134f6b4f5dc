import numpy as np
import numpy.typing as npt
import pytest

from pipeline.exemplars.fill import fill_holes
from pipeline.scene import LabelMap, Photo

Mask = npt.NDArray[np.bool_]
Index = slice | tuple[slice, slice]


def noise(height: int, width: int, *, seed: int = 0, low: int = 0, high: int = 256) -> Photo:
    rng = np.random.default_rng(seed)
    return rng.integers(low, high, (height, width, 3), dtype=np.uint8)


def disc(height: int, width: int, *, row: int, column: int, radius: int) -> Mask:
    rows, columns = np.ogrid[:height, :width]
    mask: Mask = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return mask


def two_halves(height: int, width: int) -> tuple[Photo, LabelMap]:
    """Dark noise of class 3 above bright noise of class 7."""
    label = np.full((height, width), 3, np.uint8)
    label[height // 2 :] = 7
    dark, bright = noise(height, width, high=80), noise(height, width, low=170)
    return np.where((label == 3)[..., None], dark, bright), label


@pytest.mark.parametrize("vertical", [False, True])
def test_stripes_are_continued_exactly(vertical: bool) -> None:
    line = np.repeat(np.array([[200, 30, 30], [30, 30, 200]], np.uint8), 4, axis=0)
    photo = np.tile(line, (12, 1))[:, None].repeat(96, axis=1)
    if vertical:
        photo = photo.transpose(1, 0, 2).copy()
    hole = disc(96, 96, row=48, column=50, radius=11)
    label = np.zeros((96, 96), np.uint8)
    masked = np.where(hole[..., None], 0, photo).astype(np.uint8)
    np.testing.assert_array_equal(fill_holes(masked, label, hole).photo, photo)


def test_what_lies_outside_the_holes_is_untouched() -> None:
    photo, label = two_halves(80, 120)
    hole = disc(80, 120, row=40, column=30, radius=9) | disc(80, 120, row=70, column=110, radius=12)
    before = photo.copy()
    filled = fill_holes(photo, label, hole)
    np.testing.assert_array_equal(filled.photo[~hole], photo[~hole])
    np.testing.assert_array_equal(photo, before)
    assert not filled.unfilled.any()
    assert not filled.unfilled.any()


def test_each_class_is_filled_from_its_own_pixels() -> None:
    photo, label = two_halves(80, 120)
    hole = disc(80, 120, row=40, column=60, radius=15)
    label[36:44, 56:64] = 3
    filled = fill_holes(photo, label, hole).photo
    assert filled[hole & (label == 3)].max() < 80
    assert filled[hole & (label == 7)].min() >= 170


def test_what_the_photo_shows_in_a_hole_does_not_matter() -> None:
    photo, label = two_halves(80, 120)
    hole = disc(80, 120, row=40, column=60, radius=15)
    other = photo.copy()
    other[hole] = noise(80, 120, seed=5)[hole]
    np.testing.assert_array_equal(
        fill_holes(photo, label, hole).photo, fill_holes(other, label, hole).photo
    )


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_the_number_of_threads_changes_no_byte(threads: int) -> None:
    photo, label = two_halves(160, 200)
    hole = disc(160, 200, row=80, column=100, radius=45)
    np.testing.assert_array_equal(
        fill_holes(photo, label, hole, threads=threads).photo, fill_holes(photo, label, hole).photo
    )


def test_a_seed_decides_what_is_found() -> None:
    photo, label = two_halves(80, 120)
    hole = disc(80, 120, row=40, column=60, radius=15)
    one, again, other = (fill_holes(photo, label, hole, seed=seed).photo for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_classes_that_nothing_shows_are_left() -> None:
    photo, label = two_halves(50, 100)
    hole = disc(50, 100, row=25, column=50, radius=12)
    label[20:30, 45:55] = 9
    label[30:32, 45:50] = 4
    filled = fill_holes(photo, label, hole)
    np.testing.assert_array_equal(filled.unfilled, (label == 9) | (label == 4))
    np.testing.assert_array_equal(filled.photo[filled.unfilled], photo[filled.unfilled])
    rest = hole & ~filled.unfilled
    assert (filled.photo[rest & (label == 3)] < 80).all()


def test_a_class_of_which_few_pixels_are_kept_comes_from_exemplars_that_show_more() -> None:
    photo, label = two_halves(50, 100)
    hole = disc(50, 100, row=25, column=50, radius=12)
    label[20:30, 45:55] = 9
    label[2:4, 2:7] = 9
    photo[2:4, 2:7] = 33
    more = np.full((20, 20, 3), 77, np.uint8), np.full((20, 20), 9, np.uint8)
    fewer = more[0][:2, :3], more[1][:2, :3]
    wanted = hole & (label == 9)
    for exemplars, fewest, color, used in (
        ([], 11, 33, ()),
        ([fewer], 11, 33, ()),
        ([more], 10, 33, ()),
        ([fewer, more], 11, 77, None),
    ):
        filled = fill_holes(photo, label, hole, exemplars=exemplars, fewest=fewest)
        assert not filled.unfilled.any()
        assert (filled.photo[wanted] == color).all()
        assert used is None or filled.used == used
    assert 1 in filled.used


def test_only_exemplars_that_were_copied_from_are_told() -> None:
    photo, label = two_halves(50, 100)
    hole = disc(50, 100, row=25, column=50, radius=12)
    label[20:30, 45:55] = 9
    without = np.full((20, 20, 3), 50, np.uint8), np.full((20, 20), 5, np.uint8)
    shows = np.full((20, 20, 3), 77, np.uint8), np.full((20, 20), 9, np.uint8)
    assert fill_holes(photo, label, hole, exemplars=[without, shows]).used == (1,)


def test_a_class_of_an_exemplar_comes_from_it_alone() -> None:
    photo, label = two_halves(50, 100)
    hole = disc(50, 100, row=25, column=50, radius=12)
    label[20:30, 45:55] = 9
    foreign = noise(40, 70, low=100, high=120)
    foreign_label = np.full((40, 70), 9, np.uint8)
    foreign_label[:, 40:] = 3
    foreign[:, 40:] = 255
    filled = fill_holes(photo, label, hole, exemplars=[(foreign, foreign_label)])
    assert not filled.unfilled.any()
    assert filled.used == (0,)
    borrowed = filled.photo[label == 9]
    assert borrowed.min() >= 100
    assert borrowed.max() < 120
    assert filled.photo[hole & (label == 3)].max() < 80


@pytest.mark.parametrize(
    "where", [np.s_[:9, :], np.s_[:, -7:], np.s_[40:, 50:], np.s_[10:11, 10:11], np.s_[0:0]]
)
def test_holes_at_the_frame_and_of_any_size_are_filled(where: Index) -> None:
    photo, label = two_halves(53, 71)
    hole = np.zeros(label.shape, np.bool_)
    hole[where] = True
    filled = fill_holes(photo, label, hole).photo
    assert (filled[hole & (label == 3)] < 80).all()
    assert (filled[hole & (label == 7)] >= 170).all()


def test_a_class_far_away_is_found() -> None:
    photo, label = two_halves(40, 900)
    hole = np.zeros(label.shape, np.bool_)
    hole[10:20, 10:20] = True
    label[12:15, 12:15] = 5
    label[5:9, 880:890] = 5
    photo[5:9, 880:890] = 255
    filled = fill_holes(photo, label, hole).photo
    assert (filled[12:15, 12:15] == 255).all()
