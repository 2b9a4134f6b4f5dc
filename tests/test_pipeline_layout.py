import pickle

import numpy as np
import numpy.typing as npt
import pytest
from edited_scenes import FROZEN, scenes
from hypothesis import given, settings
from scenes import BUILDING, CAR, PERSON, ROAD, SKY, street

from pipeline.layout import GRID, SceneRecord, grid_cells, index_scene
from pipeline.program import MirrorScene
from pipeline.recompose import edit
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy

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


@settings(deadline=None, max_examples=40)
@given(scenes())
def test_a_mirrored_record_is_the_record_of_the_mirrored_scene(scene: Scene) -> None:
    one, other = (
        index_scene(scene, CITY).mirrored(),
        index_scene(edit(scene, MirrorScene(), taxonomy=CITY), CITY),
    )
    for field in ("ids", "boxes", "areas", "truncated", "occluded", "occluding", "pieces"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)


def test_grid_cells_cover_the_picture() -> None:
    rows, columns = grid_cells(np.arange(512), np.arange(512) * 2, (512, 1024))
    assert (rows.min(), rows.max()) == (0, GRID[0] - 1)
    assert (columns.min(), columns.max()) == (0, GRID[1] - 1)
