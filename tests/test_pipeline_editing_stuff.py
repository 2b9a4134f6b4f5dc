import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.editing.cutout import OperationSkipped
from pipeline.editing.program import GrowRegion, Operation, RelabelRegion, Skyline
from pipeline.editing.recompose import edit
from pipeline.roles import class_roles
from pipeline.scene import Scene
from tests.edited_scenes import CITY, scenes, slowly, stuff_operations
from tests.scenes import BUILDING, CAR, ROAD, SKY, street

ROLES = class_roles(CITY)
POLE = 17
VEGETATION = 21


@slowly
@given(scenes(), st.lists(stuff_operations(), min_size=8, max_size=8))
def test_stuff_operations_change_stuff_alone(scene: Scene, tried: list[Operation]) -> None:
    applied = 0
    for operation in tried:
        try:
            result = edit(scene, operation, taxonomy=CITY)
        except OperationSkipped:
            continue
        applied += 1
        changed = scene.label != result.label
        assert changed.any()
        names = {operation.of, operation.to} if isinstance(operation, RelabelRegion) else None
        if isinstance(operation, GrowRegion):
            names = {operation.of, operation.into}
        if isinstance(operation, Skyline):
            names = {operation.upper, operation.lower}
        ids = [CITY.class_names.index(name) for name in names or ()]
        assert ROLES.surface[ids].all()
        assert np.isin(scene.label[changed], ids).all()
        assert np.isin(result.label[changed], ids).all()
    assume(applied)


@slowly
@given(scenes(), st.integers(1, 6))
def test_growth_reaches_as_far_as_asked(scene: Scene, pixels_: int) -> None:
    operation = GrowRegion(of="building", into="road", pixels=pixels_)
    of, into = np.argwhere(scene.label == BUILDING), np.argwhere(scene.label == ROAD)
    expected = scene.label.copy()
    for row, column in into:
        if len(of) and ((of - [row, column]) ** 2).sum(axis=1).min() <= pixels_**2:
            expected[row, column] = BUILDING
    if (expected == scene.label).all():
        with pytest.raises(OperationSkipped, match="no building is near road"):
            edit(scene, operation, taxonomy=CITY)
        return
    np.testing.assert_array_equal(edit(scene, operation, taxonomy=CITY).label, expected)


def test_trees_become_a_building() -> None:
    scene = street()
    scene.label[8:16, :20] = scene.instance[8:16, :20] = VEGETATION
    scene.label[8:16, 40:50] = scene.instance[8:16, 40:50] = VEGETATION
    scene.label[15:19, 8:16], scene.instance[15:19, 8:16] = CAR, 26000
    one = edit(scene, RelabelRegion(of="vegetation", to="building", at=(9, 2)), taxonomy=CITY)
    assert (one.label[8:15, :20] == BUILDING).all()
    assert (one.label[8:16, 40:50] == VEGETATION).all()
    assert (one.instance == 26000).sum() == 32
    every = edit(scene, RelabelRegion(of="vegetation", to="building"), taxonomy=CITY)
    assert not (every.label == VEGETATION).any()
    with pytest.raises(OperationSkipped, match="no vegetation at row 0, column 0"):
        edit(scene, RelabelRegion(of="vegetation", to="building", at=(0, 0)), taxonomy=CITY)


def test_a_skyline_is_redrawn_along_straight_lines() -> None:
    scene = street()  # sky above row 8, building to row 16
    operation = Skyline(lower="building", rows=(4, 12))
    result = edit(scene, operation, taxonomy=CITY)
    for column in range(64):
        row = round(4 + 8 * column / 63)
        assert (result.label[:row, column] == SKY).all()
        assert (result.label[row:13, column] == BUILDING).all()
    # It cannot go below the building, nor above the picture.
    flooded = edit(scene, Skyline(lower="building", rows=(99,)), taxonomy=CITY)
    assert not (flooded.label == BUILDING).any()
    assert (flooded.label[:13, 20] == SKY).all()
    assert (flooded.label[16:, 2] == ROAD).all()


def test_a_skyline_of_bare_trees_leaves_no_streaks() -> None:
    scene = street()
    rng = np.random.default_rng(0)
    scene.label[8:16] = np.where(rng.random((8, 64)) < 0.7, VEGETATION, SKY)
    scene.label[2:16, 5] = POLE
    scene.instance[:16] = scene.label[:16]
    scene.label[8] = scene.instance[8] = VEGETATION
    result = edit(scene, Skyline(rows=(12,)), taxonomy=CITY)
    free = np.arange(64) != 5
    assert (result.label[:12, free] == SKY).all()
    np.testing.assert_array_equal(result.label[12:], scene.label[12:])
    risen = edit(scene, Skyline(rows=(4,)), taxonomy=CITY)
    assert (risen.label[4:9, free] == VEGETATION)[:, 6:40].all()
