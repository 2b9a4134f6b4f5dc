from collections.abc import Sequence
from fractions import Fraction
from math import floor

import numpy as np
import numpy.typing as npt
import pytest
from edited_scenes import FROZEN, operations, scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import CAR, PERSON, ROAD, street

from pipeline.errors import DatasetError
from pipeline.program import Drop, MirrorScene, Move, Operation, Paste, Program
from pipeline.recompose import (
    Cutout,
    OperationSkipped,
    Recomposed,
    cut_out,
    drop,
    free_id,
    mirror,
    move,
    paste,
    place,
    recompose,
)
from pipeline.roles import class_roles
from pipeline.scene import InstanceMap, Scene, disagreements
from pipeline.taxonomy import Taxonomy

CITY = Taxonomy.load("cityscapes")
ROLES = class_roles(CITY)
slowly = settings(deadline=None, max_examples=60)


def run(
    scene: Scene, *edits: Operation, donors: Sequence[Scene] = (), min_visible_area: int = 0
) -> Recomposed:
    program = Program(scene=scene.name, operations=edits, min_visible_area=min_visible_area)
    return recompose(program, scene, {d.name: d for d in donors}, taxonomy=CITY)


def pixels(instance_map: InstanceMap) -> dict[int, tuple[int, tuple[int, int, int, int]]]:
    """Area and box of every object, counted pixel by pixel."""
    found: dict[int, list[tuple[int, int]]] = {}
    for (row, column), value in np.ndenumerate(instance_map):
        if value >= 1000:
            found.setdefault(int(value), []).append((row, column))
    return {
        key: (
            len(points),
            (
                min(r for r, _ in points),
                min(c for _, c in points),
                max(r for r, _ in points) + 1,
                max(c for _, c in points) + 1,
            ),
        )
        for key, points in found.items()
    }


def same_maps(one: Scene, other: Scene) -> None:
    np.testing.assert_array_equal(one.label, other.label)
    np.testing.assert_array_equal(one.instance, other.instance)


@slowly
@given(scenes(), scenes(name="b"), st.lists(operations(), max_size=5), st.integers(0, 12))
def test_whatever_the_program_the_result_is_sound(
    scene: Scene, donor: Scene, edits: list[Operation], min_area: int
) -> None:
    label, instance = scene.label.copy(), scene.instance.copy()
    result = run(scene, *edits, donors=[donor], min_visible_area=min_area)
    np.testing.assert_array_equal(scene.label, label)
    np.testing.assert_array_equal(scene.instance, instance)
    final = result.scene
    assert (final.name, final.size, final.photo) == (scene.name, scene.size, None)
    assert final.label.dtype == np.uint8
    assert final.instance.dtype == np.int32
    assert disagreements(final.label, final.instance, CITY) == 0

    mirrored = sum(isinstance(e, MirrorScene) for e in edits) % 2
    base_label = label[:, ::-1] if mirrored else label
    base_instance = instance[:, ::-1] if mirrored else instance
    changed = (base_label != final.label) | (base_instance != final.instance)
    np.testing.assert_array_equal(result.changed, changed)
    void = np.isin(base_label, FROZEN)
    np.testing.assert_array_equal(np.isin(final.label, FROZEN), void)
    np.testing.assert_array_equal(final.label[void], base_label[void])

    measured = pixels(final.instance)
    assert {r.id: (r.area, r.box) for r in result.instances} == measured
    assert [r.id for r in result.instances] == sorted(measured)
    source = pixels(instance)
    for record in result.instances:
        assert record.class_name == CITY.class_names[record.class_id]
        assert record.class_id == record.id // 1000
        assert 0 < record.visible_fraction <= 1
        if record.origin == "pasted":
            assert record.donor == "b"
            assert record.donor_instance is not None
            assert record.donor_instance // 1000 == record.class_id
            assert record.id not in source
        else:
            assert record.visible_fraction == record.area / source[record.id][0]
        shrunk = record.origin == "pasted" or record.visible_fraction < 1
        assert record.area >= min_area or not shrunk or _logged(result, "kept_small", record.id)


def _logged(result: Recomposed, kind: str, instance: int) -> bool:
    return any(e.kind == kind and e.instance == instance for e in result.log)


@slowly
@given(scenes(stuff=False), scenes(name="b", stuff=False), st.lists(operations(), max_size=4))
def test_scenes_without_stuff_work(scene: Scene, donor: Scene, edits: list[Operation]) -> None:
    result = run(scene, *edits, donors=[donor], min_visible_area=4)
    assert disagreements(result.scene.label, result.scene.instance, CITY) == 0
    if any(isinstance(e, Drop) and (scene.instance == e.instance).any() for e in edits[:1]):
        assert "no stuff" in result.log[0].reason


@slowly
@given(scenes(), scenes(name="b"), st.lists(operations(), max_size=4))
def test_json_gives_the_same_result_again(
    scene: Scene, donor: Scene, edits: list[Operation]
) -> None:
    program = Program(scene="a", operations=tuple(edits), min_visible_area=3)
    again = Program.model_validate_json(program.model_dump_json())
    one = recompose(program, scene, {"b": donor}, taxonomy=CITY)
    other = recompose(again, scene, lambda name: {"b": donor}[name], taxonomy=CITY)
    same_maps(one.scene, other.scene)
    assert (one.instances, one.log) == (other.instances, other.log)


@slowly
@given(scenes())
def test_mirroring_twice_is_identity(scene: Scene) -> None:
    same_maps(mirror(mirror(scene)), scene)
    np.testing.assert_array_equal(mirror(scene).instance, np.fliplr(scene.instance))
    assert not run(scene, MirrorScene()).changed.any()


@slowly
@given(scenes(), st.data())
def test_drop_changes_exactly_the_pixels_of_the_object(scene: Scene, data: st.DataObject) -> None:
    objects = sorted(pixels(scene.instance))
    if not objects:
        return
    target = data.draw(st.sampled_from(objects))
    result = drop(scene, target, roles=ROLES)
    changed = (scene.label != result.label) | (scene.instance != result.instance)
    np.testing.assert_array_equal(changed, scene.instance == target)
    assert not CITY.is_thing[result.label[changed]].any()


@slowly
@given(scenes(), st.data())
def test_moving_by_nothing_is_identity(scene: Scene, data: st.DataObject) -> None:
    objects = sorted(pixels(scene.instance))
    if not objects:
        return
    target = data.draw(st.sampled_from(objects))
    same_maps(move(scene, target, rows=0, columns=0, roles=ROLES), scene)


@slowly
@given(
    scenes(),
    st.integers(-4, 24),
    st.integers(-4, 24),
    st.integers(0, 2**16 - 1).map(lambda bits: np.array([bits >> k & 1 for k in range(16)]) > 0),
)
def test_paste_obeys_contact_rows_pixel_by_pixel(
    scene: Scene, top: int, left: int, bits: npt.NDArray[np.bool_]
) -> None:
    mask = bits.reshape(4, 4)
    mask[3, 0] = True
    shape = Cutout(top, left, mask)
    contact = top + 3
    height, width = scene.size
    expected = scene.instance.copy()
    for row, column in zip(*np.nonzero(mask), strict=True):
        y, x = top + row, left + column
        if not (0 <= y < height and 0 <= x < width) or scene.label[y, x] in FROZEN:
            continue
        under = scene.instance[y, x]
        lowest = max(r for r, _ in np.argwhere(scene.instance == under))
        if not CITY.is_thing[scene.label[y, x]] or lowest <= contact:
            expected[y, x] = 26900
    if (expected == scene.instance).all():
        with pytest.raises(OperationSkipped, match=r"outside|hidden"):
            paste(scene, shape, 26900, roles=ROLES)
        return
    result = paste(scene, shape, 26900, roles=ROLES)
    np.testing.assert_array_equal(result.instance, expected)
    np.testing.assert_array_equal(
        result.label, np.where(expected == 26900, CAR, scene.label).astype(np.uint8)
    )


@slowly
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.25, 0.8, 1.3, 3.1]), st.data())
def test_scaling_samples_at_pixel_centres(
    height: int, width: int, scale: float, data: st.DataObject
) -> None:
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    points = [
        (row, column)
        for row in range(tall)
        for column in range(wide)
        if mask[
            floor((row + Fraction(1, 2)) * Fraction(height, tall)),
            floor((column + Fraction(1, 2)) * Fraction(width, wide)),
        ]
    ]
    for flip in (False, True):
        source = Cutout(3, 4, mask[:, ::-1] if flip else mask)
        if not points:
            with pytest.raises(OperationSkipped, match="nothing is left"):
                place(source, row=20, column=7, scale=scale, flip=flip)
            continue
        placed = place(source, row=20, column=7, scale=scale, flip=flip)
        bottom, left = max(r for r, _ in points), min(c for _, c in points)
        assert {(r + 20 - bottom, c + 7 - left) for r, c in points} == {
            (placed.top + r, placed.left + c) for r, c in np.argwhere(placed.mask)
        }


def test_a_street_edited_by_hand() -> None:
    scene = street()
    result = run(
        scene,
        Drop(instance=26001),
        Move(instance=24000, rows=1, columns=-20),
        Paste(donor="other", donor_instance=26000, row=30, column=2, scale=2.0),
        donors=[street("other")],
    )
    records = {r.id: r for r in result.instances}
    assert set(records) == {24000, 26000, 26002}
    assert records[24000].origin == "moved"
    assert records[24000].box == (14, 32, 22, 35)
    # 26001 was dropped; its id is not given to the pasted car.
    pasted = records[26002]
    assert (pasted.origin, pasted.donor, pasted.donor_instance) == ("pasted", "other", 26000)
    assert pasted.box == (23, 2, 31, 18)
    assert (pasted.area, pasted.visible_fraction) == (8 * 16, 1.0)
    assert (result.scene.label[20:26, 32:44] == ROAD)[2:].all()
    assert result.log == ()


def test_a_lower_object_stays_in_front() -> None:
    scene = street()
    behind = run(scene, Move(instance=26000, rows=2, columns=26))
    records = {r.id: r for r in behind.instances}
    assert records[26001].visible_fraction == 1.0
    # Rows 17..20 and columns 34..41; car 26001 covers rows from 20 on.
    assert records[26000].area == 4 * 8 - 8
    assert records[26000].visible_fraction == 24 / 32
    before = run(scene, Move(instance=26000, rows=7, columns=26))
    records = {r.id: r for r in before.instances}
    assert records[26000].visible_fraction == 1.0
    assert records[26001].area == 6 * 12 - 4 * 8


def test_too_little_of_an_object_is_taken_out_but_small_source_objects_stay() -> None:
    scene = street()
    label, instance = scene.label.copy(), scene.instance.copy()
    label[30, 3], instance[30, 3] = PERSON, 24007
    scene = Scene(name="street", label=label, instance=instance)
    result = run(scene, Move(instance=26000, rows=3, columns=26), min_visible_area=20)
    assert [r.id for r in result.instances] == [24000, 24007, 26001]
    (event,) = result.log
    assert (event.kind, event.instance) == ("removed_small", 26000)
    assert not (result.scene.instance == 26000).any()


@pytest.mark.parametrize(("minimum", "stays"), [(24, True), (25, False)])
def test_the_minimum_visible_area_itself_is_enough(minimum: int, stays: bool) -> None:
    # 24 of the car's 32 pixels stay visible, as above.
    result = run(street(), Move(instance=26000, rows=2, columns=26), min_visible_area=minimum)
    assert (26000 in {r.id for r in result.instances}) is stays


def test_a_covered_object_is_logged() -> None:
    scene = street()
    # Car 26000 (4x8) goes where the pasted car (6x12, rows 21..26, columns 2..13) covers it.
    result = run(
        scene,
        Move(instance=26000, rows=7, columns=-4),
        Paste(donor="other", donor_instance=26001, row=26, column=2),
        donors=[street("other")],
    )
    (event,) = result.log
    assert (event.kind, event.operation, event.instance) == ("hidden", None, 26000)
    assert [r.id for r in result.instances] == [24000, 26001, 26002]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (Drop(instance=26009), "no object 26009"),
        (Move(instance=26009, rows=1, columns=1), "no object 26009"),
        (Move(instance=26000, rows=0, columns=500), "outside the picture"),
        (Move(instance=26000, rows=6, columns=26), "would be hidden"),
        (Paste(donor="other", donor_instance=33000, row=9, column=9), "no object 33000"),
        (Paste(donor="other", donor_instance=26000, row=-1, column=9), "outside the picture"),
    ],
)
def test_what_cannot_be_done_is_skipped_and_logged(edit: Operation, reason: str) -> None:
    scene = street()
    result = run(scene, edit, donors=[street("other")])
    (event,) = result.log
    assert (event.kind, event.operation) == ("skipped", 0)
    assert reason in event.reason
    same_maps(result.scene, scene)


def test_the_ego_vehicle_stays_on_top() -> None:
    scene = street()
    label, instance = scene.label.copy(), scene.instance.copy()
    label[28:], instance[28:] = 1, 1
    scene = Scene(name="street", label=label, instance=instance)
    result = run(scene, Move(instance=26001, rows=6, columns=0))
    assert (result.scene.label[28:] == 1).all()
    (record,) = [r for r in result.instances if r.id == 26001]
    assert record.visible_fraction == 2 / 6


def test_crowds_hide_what_stands_further_up() -> None:
    scene = street()
    label, instance = scene.label.copy(), scene.instance.copy()
    label[18:30, 20:30] = instance[18:30, 20:30] = PERSON
    scene = Scene(name="street", label=label, instance=instance)
    result = run(scene, Move(instance=26000, rows=2, columns=14))
    assert (result.scene.label[18:30, 20:30] == PERSON).all()


def test_one_pixel_objects_and_whole_picture_objects() -> None:
    label = np.full((6, 6), ROAD, np.uint8)
    label[2, 3] = CAR
    instance = np.where(label == CAR, 26000, label.astype(np.int32)).astype(np.int32)
    scene = Scene(name="dot", label=label, instance=instance)
    moved = run(scene, Move(instance=26000, rows=1, columns=-1))
    assert moved.scene.instance[3, 2] == 26000
    assert moved.scene.instance[2, 3] == ROAD
    full = Scene(
        name="full", label=np.full((6, 6), CAR, np.uint8), instance=np.full((6, 6), 26000, np.int32)
    )
    result = run(full, Drop(instance=26000), MirrorScene())
    assert "no stuff" in result.log[0].reason
    same_maps(result.scene, full)


def test_ids_run_out_at_a_thousand() -> None:
    assert free_id(26, {26000, 26002}) == 26001
    with pytest.raises(OperationSkipped, match="1000 objects"):
        free_id(26, range(26000, 27000))


def test_cut_out_is_tight() -> None:
    shape = cut_out(street().instance, 26000)
    assert (shape.top, shape.left, shape.mask.shape, shape.contact_row) == (15, 8, (4, 8), 18)


def test_wrong_scenes_are_refused() -> None:
    with pytest.raises(DatasetError, match="edits scene 'x', got 'street'"):
        recompose(Program(scene="x"), street(), {}, taxonomy=CITY)
    with pytest.raises(DatasetError, match="donor scene 'other'"):
        run(street(), Paste(donor="other", donor_instance=26000, row=9, column=9))
