"""Sources: instance maps decoded, against plain loops."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.sources.decoding import decode_indices, decode_instances
from pipeline.taxonomy import Taxonomy
from tests.scenes import ROAD
from tests.sources import CITY

COCO = Taxonomy.load("coco_stuff")
VALUES = st.sampled_from([0, 7, 23, 24, 26, 255, 7000, 24000, 26000, 26001, 26999, 40000, 65535])
SHAPE = (3, 4)


@pytest.mark.parametrize("number", [40_001, 2_000_000_000])
def test_instance_ids_of_no_class(number: int) -> None:
    label = np.full((3, 3), ROAD, np.uint8)
    values = np.full((3, 3), ROAD, np.int64)
    values[0, 0] = number
    _, errors, _ = decode_instances(values, label, CITY, file="i.png")
    assert str(number) in str(errors[0])


@given(
    label=hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 7, 24, 26, 34])),
    values=hnp.arrays(np.uint16, SHAPE, elements=VALUES),
)
def test_decode_instances_pixel_by_pixel(
    label: npt.NDArray[np.uint8], values: npt.NDArray[np.uint16]
) -> None:
    special = {255: 34, 65535: 34}
    wrong: Counter[int] = Counter()
    expected = []
    for class_id, value in zip(label.ravel().tolist(), values.ravel().tolist(), strict=True):
        named = special.get(value, value // 1000 if value >= 1000 else value)
        agrees = named == class_id
        wrong[value] += not agrees and value != 0
        single = agrees and value >= 1000 and class_id in (24, 26)
        expected.append(value if single else class_id)
    instance, errors, warnings = decode_instances(values, label, CITY, file="i.png")
    assert instance.ravel().tolist() == expected
    total = Counter(values.ravel().tolist())
    serious = {value for value in wrong if wrong[value] and 2 * wrong[value] >= total[value]}
    assert {error.values[0][0] for error in errors} == serious
    minor = {value: n for value, n in wrong.items() if n and value not in serious}
    assert {value: n for w in warnings for value, n in w.values} == minor


@given(data=st.data())
def test_decode_indices_object_by_object(data: st.DataObject) -> None:
    label = data.draw(hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 3, 4, 149])))
    label_values = np.where(label == 0, 255, label.astype(int) - 1).astype(np.uint8)
    index = data.draw(hnp.arrays(np.uint8, SHAPE, elements=st.integers(0, 4)))
    repeat = data.draw(hnp.arrays(np.bool_, SHAPE))
    index[repeat] = label_values[repeat]
    instance = decode_indices(index, label_values, label, COCO)
    pixels = list(zip(label.flat, index.flat, label_values.flat, instance.flat, strict=True))
    things = [(int(c), int(i), int(v)) for c, i, v, _ in pixels if 1 <= c <= 91]
    last = max((i for _, i, v in things if i != v), default=-1)
    areas = Counter((i, c) for c, i, v in things if not (i == v and i > last + 1))
    for class_id, number, value, got in pixels:
        c, i = int(class_id), int(number)
        mine = [(area, -other) for (j, other), area in areas.items() if j == i]
        crowd = i == value and i > last + 1
        main = not crowd and mine and max(mine) == (areas[i, c], -c)
        assert (got >= 1000) == (1 <= c <= 91 and bool(main))
        assert got // 1000 == c if got >= 1000 else got == c
    objects = {(int(i), int(got)) for _, i, _, got in pixels if got >= 1000}
    assert len({i for i, _ in objects}) == len(objects) == len({got for _, got in objects})
