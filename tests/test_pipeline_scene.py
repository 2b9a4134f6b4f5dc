"""Instance encoding against a flood fill and dictionaries."""

from collections import deque

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.scene import (
    connected_instances,
    disagreements,
    encode_indices,
    instances_of,
    stuff_instances,
)
from pipeline.taxonomy import Taxonomy
from tests.scenes import CAR, PERSON, ROAD, street

CITY = Taxonomy.load("cityscapes")
THINGS = {24, 25, 26}
LABELS = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([7, 23, 0, 24, 26, 26]),
)


def flood_fill(label: npt.NDArray[np.uint8]) -> list[tuple[int, frozenset[tuple[int, int]]]]:
    """8-connected components of thing classes, by breadth-first search."""
    height, width = label.shape
    seen: set[tuple[int, int]] = set()
    found = []
    for start in np.ndindex(height, width):
        class_id = int(label[start])
        if start in seen or class_id not in THINGS:
            continue
        pixels, queue = {start}, deque([start])
        while queue:
            row, column = queue.popleft()
            for near in (
                (row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)
            ):
                inside = 0 <= near[0] < height and 0 <= near[1] < width
                if inside and near not in pixels and label[near] == class_id:
                    pixels.add(near)
                    queue.append(near)
        seen |= pixels
        found.append((class_id, frozenset(pixels)))
    return found


def pixels_of(instance: npt.NDArray[np.int32]) -> set[tuple[int, frozenset[tuple[int, int]]]]:
    groups: dict[int, set[tuple[int, int]]] = {}
    for place, value in np.ndenumerate(instance):
        if value >= 1000:
            groups.setdefault(int(value), set()).add((place[0], place[1]))
    return {(value // 1000, frozenset(pixels)) for value, pixels in groups.items()}


@given(label=LABELS, min_area=st.integers(1, 4))
def test_components_equal_flood_fill(label: npt.NDArray[np.uint8], min_area: int) -> None:
    instance = connected_instances(label, CITY, min_area=min_area)
    assert instance.dtype == np.int32
    expected = {(c, pixels) for c, pixels in flood_fill(label) if len(pixels) >= min_area}
    assert pixels_of(instance) == expected
    rest = instance < 1000
    np.testing.assert_array_equal(instance[rest], label[rest])
    for class_id in THINGS:
        ids = np.unique(instance[instance // 1000 == class_id])
        assert ids.tolist() == [class_id * 1000 + k for k in range(len(ids))]
    assert disagreements(label, instance, CITY) == 0


def test_more_than_1000_components_leave_the_smallest_as_crowd() -> None:
    label = np.full((100, 100), ROAD, np.uint8)
    label[::2, ::2] = CAR  # 2500 single pixels
    label[0:2, 0:2] = CAR
    instance = connected_instances(label, CITY)
    assert len(np.unique(instance[instance >= 1000])) == 1000
    assert instance.max() == CAR * 1000 + 999
    assert (instance[0:2, 0:2] == CAR * 1000).all()
    assert disagreements(label, instance, CITY) == 0


@given(data=st.data())
def test_encode_indices_equals_dictionary(data: st.DataObject) -> None:
    label = data.draw(LABELS)
    index = data.draw(
        hnp.arrays(st.sampled_from([np.uint8, np.int32]), label.shape, elements=st.integers(0, 5))
    )
    instance = encode_indices(index, label, CITY)
    objects: dict[tuple[int, int], set[int]] = {}
    for place, class_id in np.ndenumerate(label):
        if class_id in THINGS:
            objects.setdefault((int(class_id), int(index[place])), set()).add(int(instance[place]))
        else:
            assert instance[place] == class_id
    ids = [next(iter(found)) for found in objects.values()]
    assert all(len(found) == 1 for found in objects.values())
    assert len(set(ids)) == len(ids)
    for (class_id, number), found in objects.items():
        rank = sum(1 for c, n in objects if c == class_id and n < number)
        assert found == {class_id * 1000 + rank}


@given(label=LABELS)
def test_instances_of_equals_brute_force(label: npt.NDArray[np.uint8]) -> None:
    instance = connected_instances(label, CITY)
    found = instances_of(instance)
    assert [item.id for item in found] == sorted(
        {int(v) for v in instance.ravel().tolist() if v >= 1000}
    )
    for item in found:
        rows, columns = np.nonzero(instance == item.id)
        assert item.class_id == item.id // 1000
        assert item.area == len(rows)
        assert item.box == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        assert item.contact_row == rows.max()


def test_no_objects() -> None:
    label = np.full((3, 4), ROAD, np.uint8)
    assert instances_of(stuff_instances(label)) == []
    np.testing.assert_array_equal(connected_instances(label, CITY), np.full((3, 4), ROAD))
    np.testing.assert_array_equal(
        encode_indices(np.ones((3, 4), np.uint8), label, CITY), np.full((3, 4), ROAD)
    )


def test_disagreements_count_pixels() -> None:
    scene = street()
    assert disagreements(scene.label, scene.instance, CITY) == 0
    instance = scene.instance.copy()
    instance[0, :5] = CAR * 1000
    instance[scene.instance == PERSON * 1000] = CAR * 1000 + 7
    assert disagreements(scene.label, instance, CITY) == 5 + 24


def test_scene_properties() -> None:
    scene = street(photo=True)
    assert scene.size == (32, 64)
    assert scene.photo is not None
    assert scene.without_photo().photo is None
    assert scene.without_photo().label is scene.label
