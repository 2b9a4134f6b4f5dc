import itertools
import pickle
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings

from pipeline.indexing.record import (
    BOTTOM,
    CUT,
    GRID,
    LEFT,
    NARROW,
    RIGHT,
    TOP,
    TOUCH,
    SceneRecord,
    grid_cells,
    index_scene,
)
from pipeline.roles import class_roles
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.edited_scenes import FROZEN, scenes
from tests.scenes import BUILDING, CAR, PERSON, ROAD, SKY, street

CITY = Taxonomy.load("cityscapes")
POLE = 17


def scene_of(*objects: tuple[int, int, int, int, int], ego: int = 0) -> Scene:
    """Road under objects (id, top, left, height, width), and `ego` rows of ego vehicle."""
    label = np.full((64, 128), ROAD, np.uint8)
    instance = label.astype(np.int32)
    for instance_id, top, left, tall, wide in objects:
        box = (slice(top, top + tall), slice(left, left + wide))
        label[box] = instance_id // 1000 if instance_id >= 1000 else instance_id
        instance[box] = instance_id
    if ego:
        label[-ego:] = instance[-ego:] = 1
    return Scene(name="made", label=label, instance=instance)


def flagged(record: SceneRecord, flags: npt.NDArray[np.bool_]) -> list[int]:
    return [int(i) for i in record.ids[flags]]


def test_a_street() -> None:
    record = index_scene(street(), CITY)
    assert record.ids.tolist() == [24000, 26000, 26001]
    assert record.classes.tolist() == [PERSON, CAR, CAR]
    assert record.boxes[1].tolist() == [15, 8, 19, 16]
    assert record.areas.tolist() == [24, 32, 72]
    assert record.ground.tolist() == [ROAD] * 3
    assert not (record.truncated | record.occluded | record.occluding).any()
    assert record.grid.shape == GRID
    assert record.grid[0, 0] == SKY
    assert record.grid[20, 0] == BUILDING
    assert record.grid[-1, -1] == ROAD


def test_objects_at_the_border_or_at_void_that_reaches_it_are_truncated() -> None:
    record = index_scene(
        scene_of((26000, 10, 0, 5, 9), (26001, 50, 40, 10, 9), (26002, 20, 40, 5, 9), ego=4), CITY
    )
    assert flagged(record, record.truncated) == [26000, 26001]


def test_sides_at_which_the_border_and_void_that_reaches_it_cut() -> None:
    scene = scene_of(
        (26000, 0, 0, 5, 9),
        (26001, 50, 40, 10, 9),
        (26002, 20, 119, 5, 9),
        (26003, 20, 40, 5, 9),
        (4, 21, 49, 2, 3),
        ego=4,
    )
    record = index_scene(scene, CITY)
    assert record.cut_sides.tolist() == [LEFT | TOP, BOTTOM, RIGHT, 0]
    assert record.hidden_sides.tolist() == [0, 0, 0, 0]
    assert record.mirrored().cut_sides.tolist() == [RIGHT | TOP, BOTTOM, LEFT, 0]


def test_sides_at_which_nearer_objects_hide() -> None:
    record = index_scene(
        scene_of(
            (26000, 10, 20, 10, 20),  # behind one to its right
            (26001, 12, 35, 12, 20),
            (26002, 30, 60, 10, 20),  # behind one that hides its lower right corner
            (26003, 35, 70, 12, 20),
            (26004, 30, 100, 12, 10),  # behind one that stands all across below it
            (26005, 42, 98, 9, 14),
        ),
        CITY,
    )
    assert record.hidden_sides.tolist() == [RIGHT, 0, RIGHT | BOTTOM, 0, BOTTOM, 0]
    assert record.cut_sides.tolist() == [0] * 6


def test_what_stands_further_down_hides_what_it_touches() -> None:
    record = index_scene(scene_of((26000, 10, 20, 10, 20), (26001, 12, 35, 12, 20)), CITY)
    assert flagged(record, record.occluded) == [26000]
    assert flagged(record, record.occluding) == [26001]
    assert record.companions.tolist() == [CAR, CAR]
    apart = index_scene(scene_of((26000, 10, 20, 10, 20), (26001, 12, 60, 12, 20)), CITY)
    assert not (apart.occluded | apart.occluding).any()
    assert apart.companions.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("class_id", "hides"), [(POLE, True), (4, True), (PERSON, True), (21, False)]
)
def test_poles_void_and_crowds_may_hide_an_object(class_id: int, hides: bool) -> None:
    tall, wide = (40, 1) if class_id == POLE else (20, 20)
    record = index_scene(scene_of((26000, 10, 20, 10, 20), (class_id, 8, 40, tall, wide)), CITY)
    assert bool(record.occluded[0]) is hides


def test_a_pole_that_splits_an_object_leaves_pieces() -> None:
    record = index_scene(scene_of((26000, 10, 20, 10, 20), (POLE, 8, 30, 30, 2)), CITY)
    assert record.pieces.tolist() == [2]


def test_attached_objects() -> None:
    record = index_scene(
        scene_of((25000, 10, 20, 10, 5), (33000, 20, 18, 6, 9), (33001, 20, 60, 6, 9)), CITY
    )
    riders = np.zeros(CITY.num_classes, bool)
    riders[25] = True
    assert flagged(record, record.attached_to(riders)) == [25000, 33000]


def test_an_object_on_the_last_row_stands_on_nothing_known() -> None:
    record = index_scene(scene_of((26000, 54, 20, 10, 20)), CITY)
    assert record.ground.tolist() == [-1]


@settings(deadline=None, max_examples=60)
@given(scenes())
def test_measures_equal_brute_force(scene: Scene) -> None:
    record = index_scene(scene, CITY)
    ids = sorted({int(i) for i in scene.instance.ravel() if i >= 1000})
    assert record.ids.tolist() == ids
    height, width = scene.size
    for position, instance_id in enumerate(ids):
        points = np.argwhere(scene.instance == instance_id)
        assert record.areas[position] == len(points)
        box = [*points.min(axis=0), *(points.max(axis=0) + 1)]
        assert record.boxes[position].tolist() == box
        on_edge = (points == 0).any() or (points == [height - 1, width - 1]).any()
        void_near = any(
            scene.label[y, x] in FROZEN
            for r, c in points
            for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1))
            if 0 <= y < height and 0 <= x < width
        )
        if on_edge or not void_near:
            assert bool(record.truncated[position]) == on_edge
    rows, columns = np.mgrid[: GRID[0], : GRID[1]]
    sampled = scene.label[
        ((rows + 0.5) * height / GRID[0]).astype(int),
        ((columns + 0.5) * width / GRID[1]).astype(int),
    ]
    np.testing.assert_array_equal(record.grid, sampled)
    again = pickle.loads(pickle.dumps(record))
    np.testing.assert_array_equal(again.boxes, record.boxes)


def runs(lines: npt.NDArray[np.unsignedinteger], class_id: int) -> list[int]:
    """The lengths of a class's runs along the lines."""
    return [
        len(list(group))
        for line in lines.tolist()
        for value, group in itertools.groupby(line)
        if value == class_id
    ]


@settings(deadline=None, max_examples=80)
@given(scenes())
def test_sides_equal_brute_force(scene: Scene) -> None:
    record = index_scene(scene, CITY)
    height, width = scene.size
    surface = class_roles(CITY).surface
    upright = [
        c
        for c in np.flatnonzero(surface)
        if (across := runs(scene.label, c))
        and np.mean(across) < NARROW * width
        and np.mean(across) < np.mean(runs(scene.label.T, c))
    ]
    rim = {
        (r, c)
        for r, c in np.ndindex(height, width)
        if scene.label[r, c] in FROZEN and (r in (0, height - 1) or c in (0, width - 1))
    }
    grown: set[tuple[int, int]] = set()
    while grown != rim:
        grown = set(rim)
        rim |= {
            (y, x)
            for r, c in grown
            for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1))
            if 0 <= y < height and 0 <= x < width and scene.label[y, x] in FROZEN
        }
    bottoms = {i: np.argwhere(scene.instance == i)[:, 0].max() for i in record.ids.tolist()}
    areas = {i: int((scene.instance == i).sum()) for i in record.ids.tolist()}
    for position, one in enumerate(record.ids.tolist()):
        points = np.argwhere(scene.instance == one)
        (top, left), (bottom, right) = points.min(axis=0), points.max(axis=0) + 1
        by_void, by_stuff = [], []
        by_object: dict[int, list[int]] = {}
        for r, c in points.tolist():
            u = Fraction(2 * (r - top) + 1, 2 * (bottom - top))
            v = Fraction(2 * (c - left) + 1, 2 * (right - left))
            side = min((1 - u, 0, BOTTOM), (u, 1, TOP), (v, 2, LEFT), (1 - v, 3, RIGHT))[2]
            for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                if not (0 <= y < height and 0 <= x < width) or scene.instance[y, x] == one:
                    continue
                other, class_id = int(scene.instance[y, x]), int(scene.label[y, x])
                if (y, x) in rim:
                    by_void.append(side)
                elif other >= 1000:
                    by_object.setdefault(other, []).append(side)
                elif not surface[class_id] or (class_id in upright and y == r):
                    by_stuff.append(side)
        hiding = by_stuff if len(by_stuff) > CUT * np.sqrt(areas[one]) else []
        for other, sides in by_object.items():
            touching = len(sides) > TOUCH * np.sqrt(min(areas[one], areas[other]))
            if touching and bottoms[other] > bottoms[one]:
                hiding = hiding + sides
        at_border = (
            (LEFT, left == 0),
            (RIGHT, right == width),
            (TOP, top == 0),
            (BOTTOM, bottom == height),
        )
        cut = {side for side in by_void if by_void.count(side) * 4 >= len(by_void)}
        cut |= {side for side, reaches in at_border if reaches}
        hidden = {side for side in hiding if hiding.count(side) * 4 >= len(hiding)}
        assert record.cut_sides[position] == sum(cut)
        assert record.hidden_sides[position] == sum(hidden)
        assert bool(record.truncated[position]) == bool(cut)


@settings(deadline=None, max_examples=40)
@given(scenes())
def test_a_mirrored_record_is_the_record_of_the_mirrored_scene(scene: Scene) -> None:
    flipped = Scene(scene.name, scene.label[:, ::-1], scene.instance[:, ::-1])
    one, other = index_scene(scene, CITY).mirrored(), index_scene(flipped, CITY)
    flags = ("truncated", "occluded", "occluding", "cut_sides", "hidden_sides")
    for field in ("ids", "boxes", "areas", "pieces", *flags):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)


def test_grid_cells_cover_the_picture() -> None:
    rows, columns = grid_cells(np.arange(512), np.arange(512) * 2, (512, 1024))
    assert (rows.min(), rows.max()) == (0, GRID[0] - 1)
    assert (columns.min(), columns.max()) == (0, GRID[1] - 1)
