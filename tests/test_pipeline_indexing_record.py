import itertools
import pickle
from collections import Counter
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings

from pipeline.indexing.record import (
    BOTTOM,
    CUT,
    FEET,
    GAP,
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
POLE, WALL = 17, 12


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


def neighbours(scene: Scene, one: int) -> list[tuple[int, int, int, int]]:
    """The pixels of an object and the ones beside them that are not its own: rows and columns."""
    height, width = scene.size
    return [
        (r, c, y, x)
        for r, c in np.argwhere(scene.instance == one).tolist()
        for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1))
        if 0 <= y < height and 0 <= x < width and scene.instance[y, x] != one
    ]


def pairs(scene: Scene, areas: dict[int, int]) -> dict[int, int]:
    """Riders and bicycles that share the longest edges, by id, both ways."""
    shared = Counter(
        (one, int(scene.instance[y, x]))
        for one in areas
        if one // 1000 == 25
        for _, _, y, x in neighbours(scene, one)
        if scene.instance[y, x] // 1000 == 33
    )
    found: dict[int, int] = {}
    for (one, other), length in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
        long = length > TOUCH * np.sqrt(min(areas[one], areas[other]))
        if long and one not in found and other not in found:
            found |= {one: other, other: one}
    return found


@settings(deadline=None, max_examples=80)
@given(scenes())
def test_hidden_contours_equal_brute_force(scene: Scene) -> None:
    record, roles = index_scene(scene, CITY), class_roles(CITY)
    height, width = scene.size
    areas = {i: int((scene.instance == i).sum()) for i in record.ids.tolist()}
    bottoms = {i: np.argwhere(scene.instance == i)[:, 0].max() for i in areas}
    partners = pairs(scene, areas)

    def pole_end(row: int, column: int) -> int:
        todo, seen = [(row, column)], {(row, column)}
        while todo:
            r, c = todo.pop()
            for near in itertools.product((r - 1, r, r + 1), (c - 1, c, c + 1)):
                inside = 0 <= near[0] < height and 0 <= near[1] < width
                if inside and near not in seen and roles.upright[scene.label[near]]:
                    seen.add(near)
                    todo.append(near)
        return max(r for r, _ in seen)

    def void_end(row: int, column: int) -> int:
        while row + 1 < height and scene.label[row + 1, column] in FROZEN:
            row += 1
        return row

    def kind(row: int, column: int) -> int:
        other, class_id = int(scene.instance[row, column]), int(scene.label[row, column])
        return other if other >= 1000 else -1 if roles.upright[class_id] else (
            -2 if class_id in FROZEN else -3)  # fmt: skip

    def goes_on(r: int, c: int, y: int, x: int) -> bool:
        step, what = (y - r, x - c), kind(y, x)
        while 0 <= y < height and 0 <= x < width and kind(y, x) == what:
            y, x = y + step[0], x + step[1]
        return 0 <= y < height and 0 <= x < width and kind(y, x) == kind(r, c)

    def lies_in(inner: int, outer: int) -> bool:
        one, other = (np.argwhere(scene.instance == i)[:, 1] for i in (inner, outer))
        return one.min() > other.min() and one.max() < other.max()

    for position, one in enumerate(record.ids.tolist()):
        points, lowest = np.argwhere(scene.instance == one), bottoms[one]
        tall = lowest + 1 - points[:, 0].min()
        carrying = roles.support[one // 1000]
        rim = sum((points[:, k] == at).sum() for k, at in
                  ((0, 0), (0, height - 1), (1, 0), (1, width - 1)))  # fmt: skip
        hidden, total = rim, rim
        for r, c, y, x in neighbours(scene, one):
            other, class_id = int(scene.instance[y, x]), int(scene.label[y, x])
            between = goes_on(r, c, y, x)
            if other >= 1000:
                mine = partners.get(one) == other
                before = not mine and bottoms[other] > lowest
                between &= not mine and r == y and lies_in(other, one)
            elif roles.upright[class_id]:
                before, between = pole_end(y, x) > lowest, between and r == y
            elif class_id in FROZEN:
                before, between = void_end(y, x) > lowest, between and c == x
            else:
                before = y > r and r >= lowest - FEET * tall and not carrying[class_id]
                between = False
            hidden, total = hidden + (before or between) + GAP * between, total + 1
        hidden = min(hidden, total)
        assert record.obscured[position] == pytest.approx(hidden / max(total, 1))


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
    partners = pairs(scene, areas)
    assert record.partners.tolist() == [partners.get(i, 0) for i in record.ids.tolist()]
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
            if touching and bottoms[other] > bottoms[one] and partners.get(one) != other:
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
    flags = ("truncated", "occluded", "occluding", "cut_sides", "hidden_sides", "obscured")
    for field in ("ids", "boxes", "areas", "pieces", "partners", *flags):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)


@pytest.mark.parametrize(
    ("beside", "share"),
    [
        ((POLE, 8, 50, 30, 2), 0.25),  # goes on below the car's lowest row
        ((POLE, 8, 50, 17, 2), 0),
        ((26001, 25, 50, 10, 10), 0.125),  # stands farther down
        ((26001, 10, 50, 15, 10), 0),
        ((PERSON, 8, 50, 30, 9), 0.25),  # a crowd
        ((4, 8, 50, 30, 2), 0.25),  # clutter, as a post
        ((4, 8, 50, 17, 2), 0),
        ((WALL, 30, 35, 2, 20), 0.25),  # below the car, so before it
        ((WALL, 18, 35, 2, 20), 0),
        ((WALL, 12, 50, 30, 20), 0),
        ((9, 30, 35, 2, 20), 0),  # parking
    ],
)
def test_the_share_of_a_contour_behind_what_may_be_nearer(
    beside: tuple[int, int, int, int, int], share: float
) -> None:
    """A car of 10 x 10 pixels on the road has a contour of 40 edges."""
    record = index_scene(scene_of((26000, 20, 40, 10, 10), beside), CITY)
    assert record.obscured[0] == pytest.approx(share)


def test_the_border_of_the_picture_and_the_ego_vehicle_obscure() -> None:
    record = index_scene(
        scene_of((26000, 20, 0, 10, 10), (26001, 0, 118, 10, 10), (26002, 50, 40, 10, 10), ego=4),
        CITY,
    )
    assert record.obscured.tolist() == pytest.approx([0.25, 0.5, 0.25])


def test_a_rider_and_a_bicycle_are_one_and_do_not_hide_each_other() -> None:
    record = index_scene(scene_of((25000, 10, 20, 10, 5), (33000, 18, 18, 8, 9)), CITY)
    assert record.partners.tolist() == [33000, 25000]
    assert record.attached.tolist() == [True, True]
    assert not (record.occluded | record.occluding).any()
    assert record.hidden_sides.tolist() == [0, 0]
    assert record.obscured.tolist() == [0, 0]
    # A car in the place of the bicycle hides the rider's feet: 9 of 26 edges.
    record = index_scene(scene_of((25000, 10, 20, 10, 5), (26000, 18, 18, 8, 9)), CITY)
    assert record.partners.tolist() == [0, 0]
    assert record.occluded.tolist() == [True, False]
    assert record.obscured.tolist() == pytest.approx([5 / 26, 0])


def test_each_is_one_with_at_most_one_other_and_that_is_the_nearest() -> None:
    record = index_scene(
        scene_of(
            (25000, 10, 20, 10, 10),
            (33000, 20, 14, 6, 9),  # touches along 3 edges
            (33001, 20, 23, 6, 12),  # along 7
            (25001, 10, 100, 10, 5),  # a rider of nothing
            (24000, 10, 60, 10, 5),  # somebody who pushes one
            (33002, 18, 58, 8, 9),
        ),
        CITY,
    )
    pairs = dict(zip(record.ids.tolist(), record.partners.tolist(), strict=True))
    assert {k: v for k, v in pairs.items() if v} == {25000: 33001, 33001: 25000}


def test_grid_cells_cover_the_picture() -> None:
    rows, columns = grid_cells(np.arange(512), np.arange(512) * 2, (512, 1024))
    assert (rows.min(), rows.max()) == (0, GRID[0] - 1)
    assert (columns.min(), columns.max()) == (0, GRID[1] - 1)
