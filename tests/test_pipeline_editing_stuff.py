import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.editing.cutout import OperationSkipped
from pipeline.editing.program import GrowRegion, Operation, RelabelRegion, Skyline
from pipeline.editing.recompose import edit
from pipeline.roles import class_roles
from pipeline.scene import LabelMap, Scene
from tests.edited_scenes import CITY, run, same_maps, scenes, slowly, stuff_operations
from tests.scenes import BUILDING, CAR, ROAD, SIDEWALK, SKY, street

ROLES = class_roles(CITY)
WALL, FENCE, POLE = 12, 13, 17
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
        before, after = scene.label[changed], result.label[changed]
        assert not ROLES.upright[before].any()
        np.testing.assert_array_equal(result.label[changed], result.instance[changed])
        if isinstance(operation, RelabelRegion):
            of, to = (CITY.class_names.index(name) for name in (operation.of, operation.to))
            assert ROLES.surface[[of, to]].all()
            behind = {*before[before != of].tolist(), *after[after != to].tolist()}
            assert len(behind) <= 1
            assert ROLES.surface[list(behind)].all()
            continue
        names = (
            (operation.of, operation.into)
            if isinstance(operation, GrowRegion)
            else (operation.upper, operation.lower)
        )
        ids = [CITY.class_names.index(name) for name in names]
        assert ROLES.surface[ids].all()
        assert np.isin(before, ids).all()
        assert np.isin(after, ids).all()
    assume(applied)


@slowly
@given(scenes(), stuff_operations())
def test_the_same_operation_makes_the_same_maps(scene: Scene, operation: Operation) -> None:
    try:
        once = edit(scene, operation, taxonomy=CITY)
    except OperationSkipped:
        return
    same_maps(once, edit(scene, operation, taxonomy=CITY))


@slowly
@given(
    scenes(),
    st.permutations(["building", "vegetation", "road", "sidewalk", "sky"]),
    st.integers(1, 6),
    st.integers(0, 99),
)
def test_growth_is_connected_and_reaches_no_farther_than_asked(
    scene: Scene, names: list[str], pixels_: int, seed: int
) -> None:
    operation = GrowRegion(of=names[0], into=names[1], pixels=pixels_, seed=seed)
    of, into = (CITY.class_names.index(name) for name in names[:2])
    try:
        result = edit(scene, operation, taxonomy=CITY)
    except OperationSkipped:
        return
    changed = scene.label != result.label
    assert (scene.label[changed] == into).all()
    assert (result.label[changed] == of).all()
    distance = ndimage.distance_transform_edt(scene.label != of)
    assert distance[changed].max() <= pixels_ + 1
    parts, count = ndimage.label(result.label == of)
    old = np.unique(parts[scene.label == of])
    assert set(old.tolist()) >= set(range(1, count + 1))


def landscape(height: int = 200, width: int = 400) -> Scene:
    """Sky over road from row 120 on."""
    label = np.full((height, width), SKY, np.uint8)
    label[120:] = ROAD
    return Scene("landscape", label, label.astype(np.int32))


def put(scene: Scene, where: npt.NDArray[np.bool_] | tuple[slice, slice], value: int) -> None:
    scene.label[where] = scene.instance[where] = value


def tops(label: LabelMap, class_id: int, columns: slice) -> npt.NDArray[np.intp]:
    """The first row of a class in some columns."""
    found: npt.NDArray[np.intp] = (label[:, columns] == class_id).argmax(axis=0)
    return found


def straight_share(rows: npt.NDArray[np.intp]) -> float:
    """The share of a contour that straight pieces of at least 16 columns cover, to one pixel."""
    covered, start = 0, 0
    while start < len(rows):
        end = start + 1
        while end < len(rows):
            piece = rows[start : end + 1]
            line = np.linspace(piece[0], piece[-1], len(piece))
            if np.abs(line - piece).max() > 1:
                break
            end += 1
        covered += (end - start) if end - start >= 16 else 0
        start = end
    return covered / len(rows)


def crowned(scene: Scene, top: int, columns: slice) -> None:
    """Put trees with round crowns, from about `top` down to the road."""
    rows, at = np.indices(scene.size)
    trees = (rows >= top + 20) & (rows < 120) & (at >= columns.start) & (at < columns.stop)
    for middle in range(columns.start + 12, columns.stop - 11, 17):
        trees |= (rows - top - 18) ** 2 + (at - middle) ** 2 <= (12 + middle % 7) ** 2
    put(scene, trees & (rows < 120), VEGETATION)


def test_growth_of_trees_is_no_rim_of_one_width() -> None:
    scene = landscape()
    put(scene, (slice(80, 120), slice(100, 300)), VEGETATION)
    result = edit(scene, GrowRegion(of="vegetation", into="sky", pixels=12), taxonomy=CITY)
    rise = 80 - tops(result.label, VEGETATION, slice(110, 290))
    assert rise.min() >= 0
    assert rise.std() > 2
    assert straight_share(rise) < 0.5
    other = edit(scene, GrowRegion(of="vegetation", into="sky", pixels=12, seed=1), taxonomy=CITY)
    assert (other.label != result.label).any()


def test_trees_in_a_row_stay_apart() -> None:
    scene = landscape()
    for left in range(40, 360, 40):
        put(scene, (slice(70, 120), slice(left, left + 28)), VEGETATION)
    result = edit(scene, GrowRegion(of="vegetation", into="sky", pixels=14), taxonomy=CITY)
    assert ndimage.label(result.label == VEGETATION)[1] == 8
    assert (result.label != scene.label).sum() > 500


def test_growth_does_not_jump_over_a_fence() -> None:
    scene = landscape()
    put(scene, (slice(60, 120), slice(0, 200)), VEGETATION)
    put(scene, (slice(0, 120), slice(200, 203)), FENCE)
    result = edit(scene, GrowRegion(of="vegetation", into="sky", pixels=20), taxonomy=CITY)
    assert not (result.label[:, 203:] == VEGETATION).any()


def test_houses_grow_with_straight_edges() -> None:
    scene = landscape()
    put(scene, (slice(60, 120), slice(50, 350)), BUILDING)
    result = edit(scene, GrowRegion(of="building", into="sky", pixels=15), taxonomy=CITY)
    rise = 60 - tops(result.label, BUILDING, slice(50, 350))
    assert rise.max() == 15
    assert len(np.unique(rise)) > 1
    assert straight_share(rise) > 0.9


def test_ground_grows_with_straight_edges_in_perspective() -> None:
    scene = landscape()
    rows, columns = np.indices(scene.size)
    put(scene, (rows >= 120) & (columns < 2 * (rows - 120)), SIDEWALK)
    result = edit(scene, GrowRegion(of="sidewalk", into="road", pixels=40), taxonomy=CITY)
    edge = (result.label == SIDEWALK).sum(axis=1)[125:]
    slope, offset = np.polyfit(np.arange(len(edge)), edge, 1)
    assert slope > 2.1
    assert np.abs(offset + slope * np.arange(len(edge)) - edge).max() < 2
    np.testing.assert_allclose(edge[0] / edge[-1], 5 / 79, atol=0.03)  # to the same point


def test_trees_become_a_building() -> None:
    scene = street()
    scene.label[8:16, :20] = scene.instance[8:16, :20] = VEGETATION
    scene.label[8:16, 40:50] = scene.instance[8:16, 40:50] = VEGETATION
    scene.label[15:19, 8:16], scene.instance[15:19, 8:16] = CAR, 26000
    one = edit(scene, RelabelRegion(of="vegetation", to="building", at=(9, 2)), taxonomy=CITY)
    assert (one.label[10:15, :20] == BUILDING).all()
    assert (one.label[8:16, 40:50] == VEGETATION).all()
    assert (one.instance == 26000).sum() == 32
    every = edit(scene, RelabelRegion(of="vegetation", to="building"), taxonomy=CITY)
    assert not (every.label == VEGETATION).any()
    with pytest.raises(OperationSkipped, match="no vegetation at row 0, column 0"):
        edit(scene, RelabelRegion(of="vegetation", to="building", at=(0, 0)), taxonomy=CITY)


@pytest.mark.parametrize("seed", range(5))
def test_a_building_that_was_trees_has_roof_lines_and_upright_walls(seed: int) -> None:
    scene = landscape()
    crowned(scene, 40, slice(60, 340))
    assert straight_share(tops(scene.label, VEGETATION, slice(60, 340))) < 0.5
    operation = RelabelRegion(of="vegetation", to="building", seed=seed)
    result = edit(scene, operation, taxonomy=CITY)
    assert not (result.label == VEGETATION).any()
    there = np.flatnonzero((result.label == BUILDING).any(axis=0))
    top = tops(result.label, BUILDING, slice(there[0], there[-1] + 1))
    assert straight_share(top) > 0.9
    assert np.abs(np.median(top) - 45) < 12
    for column in (there[0], there[-1]):  # walls reach from the roof to the ground
        assert (
            result.label[tops(result.label, BUILDING, slice(column, column + 1))[0] : 120, column]
            == BUILDING
        ).all()
    assert np.isin(result.label[:120], [SKY, BUILDING]).all()
    assert (result.label[120:] == ROAD).all()


def test_a_fence_that_was_trees_is_low_and_straight() -> None:
    scene = landscape()
    crowned(scene, 30, slice(60, 340))
    result = edit(scene, RelabelRegion(of="vegetation", to="fence"), taxonomy=CITY)
    top = tops(result.label, FENCE, slice(80, 320))
    assert (120 - top <= 0.14 * 200).all()
    assert straight_share(top) == 1


@pytest.mark.parametrize("seed", range(5))
def test_trees_that_were_a_building_have_crowns(seed: int) -> None:
    scene = landscape()
    put(scene, (slice(40, 120), slice(60, 340)), BUILDING)
    operation = RelabelRegion(of="building", to="vegetation", seed=seed)
    result = edit(scene, operation, taxonomy=CITY)
    assert not (result.label == BUILDING).any()
    top = tops(result.label, VEGETATION, slice(80, 320))
    assert straight_share(top) < 0.5
    assert 1 < top.std() < 10
    assert abs(top.mean() - 40) < 8
    assert (result.label[60:119, 80:320] == VEGETATION).all()


def test_a_region_before_one_of_its_new_class_is_relabelled_as_it_is() -> None:
    scene = landscape()
    put(scene, (slice(20, 120), slice(0, 400)), BUILDING)
    crowned(scene, 50, slice(60, 340))
    result = edit(scene, RelabelRegion(of="vegetation", to="building"), taxonomy=CITY)
    assert (result.label[20:120] == BUILDING).all()


def test_what_is_protected_does_not_come_from_behind() -> None:
    scene = landscape()
    crowned(scene, 40, slice(60, 340))
    relabel = RelabelRegion(of="vegetation", to="building")
    result = run(scene, relabel, protected=("sky",)).scene
    np.testing.assert_array_equal(result.label == SKY, scene.label == SKY)


def test_a_line_of_roofs_is_redrawn_along_straight_lines() -> None:
    scene = landscape()
    put(scene, (slice(80, 120), slice(0, 400)), BUILDING)
    result = edit(scene, Skyline(lower="building", rows=(60, 100)), taxonomy=CITY)
    expected = np.rint(np.linspace(60, 100, 400))
    np.testing.assert_array_equal(tops(result.label, BUILDING, slice(0, 400)), expected)
    # It cannot go below the building, nor above the picture.
    flooded = edit(scene, Skyline(lower="building", rows=(999,)), taxonomy=CITY)
    assert not (flooded.label == BUILDING).any()
    assert (flooded.label[120:] == ROAD).all()


def test_a_line_of_trees_is_irregular_down_to_a_few_pixels() -> None:
    scene = landscape()
    put(scene, (slice(80, 120), slice(0, 400)), VEGETATION)
    result = edit(scene, Skyline(rows=(50,)), taxonomy=CITY)
    top = tops(result.label, VEGETATION, slice(0, 400))
    assert abs(top.mean() - 50) < 3
    assert straight_share(top) < 0.4
    for scale in (4, 16):
        assert np.abs(top[scale:] - top[:-scale]).mean() > 0.5
    assert np.abs(np.diff(top)).max() <= 3


@pytest.mark.parametrize(("lower", "value"), [("vegetation", VEGETATION), ("building", BUILDING)])
@pytest.mark.parametrize("row", [30, 110])
def test_a_sky_line_comes_back_to_where_it_was_beside_other_things(
    lower: str, value: int, row: int
) -> None:
    scene = landscape()
    put(scene, (slice(80, 120), slice(0, 400)), value)
    put(scene, (slice(0, 120), slice(180, 200)), WALL)
    put(scene, (slice(50, 120), slice(300, 320)), POLE)
    result = edit(scene, Skyline(lower=lower, rows=(row,)), taxonomy=CITY)
    top = tops(result.label, value, slice(0, 400))
    np.testing.assert_array_equal(result.label[:, 180:200], scene.label[:, 180:200])
    for beside in (179, 200):
        assert abs(top[beside] - 80) <= 3
    assert abs(top[90] - row) <= 12


def test_a_skyline_of_bare_trees_leaves_no_streaks() -> None:
    scene = landscape()
    rng = np.random.default_rng(0)
    bare = np.where(rng.random((40, 400)) < 0.7, VEGETATION, SKY)
    put(scene, (slice(80, 120), slice(0, 400)), 0)
    scene.label[80:120] = scene.instance[80:120] = bare
    put(scene, (slice(80, 81), slice(0, 400)), VEGETATION)
    put(scene, (slice(20, 120), slice(50, 52)), POLE)
    result = edit(scene, Skyline(rows=(100,)), taxonomy=CITY)
    free = ~np.isin(np.arange(400), (50, 51))
    assert (result.label[:95, free] == SKY).mean() > 0.99
    np.testing.assert_array_equal(result.label[110:], scene.label[110:])
    risen = edit(scene, Skyline(rows=(60,)), taxonomy=CITY)
    assert (risen.label[66:80, free] == VEGETATION).mean() > 0.99
    assert (risen.label[20:120, 50:52] == POLE).all()
