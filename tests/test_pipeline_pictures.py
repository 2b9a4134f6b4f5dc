import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pictures import (
    colorize,
    draw_frame,
    draw_map,
    draw_objects,
    outline_colors,
    outlines,
    ring,
    shrink,
    view_width,
)
from pipeline.taxonomy import Taxonomy
from tests.scenes import street

COLORS = Taxonomy.load("cityscapes").colors


def test_colours_are_those_of_the_classes() -> None:
    scene = street()
    picture = colorize(scene.label, COLORS)
    assert picture.dtype == np.uint8
    for row, column in ((0, 0), (10, 3), (20, 30), (18, 10)):
        expected = Taxonomy.load("cityscapes").classes[scene.label[row, column]].color
        assert tuple(picture[row, column]) == expected


@given(st.integers(0, 2**32 - 1))
def test_outlines_are_object_pixels_with_another_neighbour(seed: int) -> None:
    rng = np.random.default_rng(seed)
    instance = rng.choice([7, 23, 26000, 26001], size=(7, 9)).astype(np.int32)
    expected = np.zeros(instance.shape, bool)
    for row in range(7):
        for column in range(9):
            for y, x in (
                (row - 1, column),
                (row + 1, column),
                (row, column - 1),
                (row, column + 1),
            ):
                if 0 <= y < 7 and 0 <= x < 9 and instance[y, x] != instance[row, column]:
                    expected[row, column] = instance[row, column] >= 1000
    np.testing.assert_array_equal(outlines(instance), expected)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2), st.integers(1, 3))
def test_a_ring_lies_around_its_mask(seed: int, start: int, width: int) -> None:
    mask = np.random.default_rng(seed).random((12, 15)) < 0.03
    steps = np.full(mask.shape, 99)
    for y, x in np.argwhere(mask):
        rows, columns = np.indices(mask.shape)
        steps = np.minimum(steps, np.maximum(np.abs(rows - y), np.abs(columns - x)))
    expected = (steps > start) & (steps <= start + width)
    np.testing.assert_array_equal(ring(mask, start=start, width=width), expected)


def test_changes_are_outlined_in_white_and_black_outside_of_what_changed() -> None:
    scene = street()
    changed = scene.instance == 26001
    plain = draw_map(scene.label, scene.instance, COLORS)
    marked = draw_map(scene.label, scene.instance, COLORS, changed=changed)
    np.testing.assert_array_equal(marked[changed], plain[changed])
    touched = (marked != plain).any(axis=2)
    assert touched.any()
    assert {tuple(color) for color in marked[touched]} <= {(255, 255, 255), (0, 0, 0)}
    none = draw_map(scene.label, scene.instance, COLORS, changed=np.zeros_like(changed))
    np.testing.assert_array_equal(none, plain)


def test_object_outlines_can_be_told_from_any_class_colour() -> None:
    for taxonomy in ("cityscapes", "coco_stuff", "ade20k"):
        colors = Taxonomy.load(taxonomy).colors.astype(int)
        lines = outline_colors(colors.astype(np.uint8)).astype(int)
        assert (np.abs(lines - colors).max(axis=1) >= 45).all()


def test_maps_are_enlarged_by_whole_pixels() -> None:
    scene = street()
    width = view_width(64, least=640, most=1280)
    assert width == 640
    flat = np.zeros_like(scene.instance)
    picture = draw_map(scene.label, flat, COLORS, width=width)
    expected = np.kron(scene.label, np.ones((10, 10), np.uint8))
    np.testing.assert_array_equal(picture, COLORS[expected])


def test_view_widths_stay_in_bounds() -> None:
    for columns in range(1, 3000, 7):
        width = view_width(columns, least=640, most=1280)
        assert width <= 1280
        assert columns >= 1280 or width % columns == 0
        assert width >= 640


def test_photos_are_only_made_smaller() -> None:
    photo = np.full((20, 40, 3), 9, np.uint8)
    assert shrink(photo, width=40) is photo
    assert shrink(photo, width=100) is photo
    small = shrink(photo, width=10)
    assert small.shape == (5, 10, 3)
    assert (small == 9).all()


def test_single_objects_have_colours_of_their_own_and_dark_borders() -> None:
    label = np.full((9, 20), 7, np.uint8)
    label[2:7, 2:18] = 26
    instance = label.astype(np.int32)
    instance[2:7, 2:10], instance[2:7, 10:18] = 26000, 26001
    picture = draw_objects(label, instance, COLORS, width=40)
    assert picture.shape == (18, 40, 3)
    left, right, road = (tuple(picture[9, column].tolist()) for column in (10, 30, 1))
    assert len({left, right, road}) == 3
    assert max(COLORS[7]) < min(road)
    assert (picture[9, [4, 19, 20, 35]] < 30).all()
    same = draw_objects(label, instance, COLORS)
    np.testing.assert_array_equal(same[4, 5], picture[9, 10])


def test_a_frame_lies_inside_its_box() -> None:
    plain = np.full((20, 30, 3), 100, np.uint8)
    framed = draw_frame(plain, (5, 10, 15, 25))
    changed = (framed != plain).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 14, 10, 24)
    assert framed[10, 10:14, 0].tolist() == [0, 255, 255, 0]
    assert not changed[9:11, 14:21].any()
    assert draw_frame(plain, (5, 5, 6, 6)).shape == plain.shape
    assert (plain == 100).all()
