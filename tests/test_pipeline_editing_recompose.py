from collections.abc import Callable, Sequence
from fractions import Fraction
from math import floor

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.editing.canvas import Canvas
from pipeline.editing.cutout import Cutout, OperationSkipped, cut_out, place
from pipeline.editing.object_state import ObjectState, free_id
from pipeline.editing.program import (
    ChangeClass,
    CropZoom,
    Drop,
    Duplicate,
    Flip,
    GrowRegion,
    Jitter,
    MirrorScene,
    Move,
    Operation,
    Paste,
    Program,
    RelabelRegion,
    Replace,
    Rescale,
    Skyline,
)
from pipeline.editing.recompose import Recomposed, donors_from, edit, recompose
from pipeline.errors import DatasetError
from pipeline.roles import class_roles
from pipeline.scene import InstanceMap, Scene, disagreements
from pipeline.taxonomy import Taxonomy
from tests.edited_scenes import FROZEN, instance_operations, operations, scenes, stuff_operations
from tests.scenes import BUILDING, CAR, PERSON, ROAD, SKY, street

CITY = Taxonomy.load("cityscapes")
ROLES = class_roles(CITY)
POLE, VEGETATION = 17, 21
slowly = settings(deadline=None, max_examples=60)


def run(
    scene: Scene,
    *edits: Operation,
    donors: Sequence[Scene] = (),
    min_visible_area: int = 0,
    min_visible_fraction: float = 0,
    protected: tuple[str, ...] = (),
) -> Recomposed:
    program = Program(
        scene=scene.name,
        operations=edits,
        min_visible_area=min_visible_area,
        min_visible_fraction=min_visible_fraction,
        protected=protected,
    )
    return recompose(program, scene, donors_from({d.name: d for d in donors}), taxonomy=CITY)


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


def window(array: npt.NDArray[np.generic], crop: CropZoom) -> npt.NDArray[np.generic]:
    """A crop enlarged to the whole array, pixel by pixel at pixel centres."""
    height, width = array.shape
    result = np.empty_like(array)
    for row, column in np.ndindex(height, width):
        y = crop.top + floor((row + Fraction(1, 2)) * Fraction(crop.height, height))
        x = crop.left + floor((column + Fraction(1, 2)) * Fraction(crop.width, width))
        result[row, column] = array[y, x]
    return result


def source_as_framed(result: Recomposed, scene: Scene, edits: Sequence[Operation]) -> Scene:
    """The source, mirrored and enlarged as the program did that was applied."""
    label, instance = scene.label, scene.instance
    skipped = {e.operation for e in result.log if e.kind == "skipped"}
    for position, operation in enumerate(edits):
        if position in skipped:
            continue
        if isinstance(operation, MirrorScene):
            label, instance = np.fliplr(label), np.fliplr(instance)
        if isinstance(operation, CropZoom):
            label, instance = window(label, operation), window(instance, operation)
    return Scene(name=scene.name, label=label, instance=instance)


@slowly
@given(
    scenes(),
    scenes(name="b"),
    st.lists(operations(), max_size=6),
    st.integers(0, 12),
    st.sampled_from([0, 0.3, 0.9]),
)
def test_whatever_the_program_the_result_is_sound(
    scene: Scene, donor: Scene, edits: list[Operation], min_area: int, min_fraction: float
) -> None:
    label, instance = scene.label.copy(), scene.instance.copy()
    result = run(
        scene,
        *edits,
        donors=[donor],
        min_visible_area=min_area,
        min_visible_fraction=min_fraction,
    )
    np.testing.assert_array_equal(scene.label, label)
    np.testing.assert_array_equal(scene.instance, instance)
    final = result.scene
    assert (final.name, final.size, final.photo) == (scene.name, scene.size, None)
    assert final.label.dtype == np.uint8
    assert final.instance.dtype == np.int32
    assert disagreements(final.label, final.instance, CITY) == 0

    framed = source_as_framed(result, scene, edits)
    void = np.isin(framed.label, FROZEN)
    np.testing.assert_array_equal(np.isin(final.label, FROZEN), void)
    np.testing.assert_array_equal(final.label[void], framed.label[void])

    measured = pixels(final.instance)
    assert {r.id: (r.area, r.box) for r in result.instances} == measured
    assert [r.id for r in result.instances] == sorted(measured)
    if edits:
        for class_id in {i // 1000 for i in measured}:
            numbers = [i % 1000 for i in sorted(measured) if i // 1000 == class_id]
            assert numbers == list(range(len(numbers)))
    source = pixels(instance)
    cropped = any(isinstance(e, CropZoom) for e in edits)
    for record in result.instances:
        assert record.class_name == CITY.class_names[record.class_id]
        assert record.class_id == record.id // 1000
        assert 0 < record.visible_fraction <= 1
        assert (record.donor is None) == (record.donor_instance is None)
        assert (record.origin == "pasted") == (record.donor == "b")
        assert (record.source_instance is None) == (record.origin == "pasted")
        if record.source_instance is not None:
            assert record.source_instance in source
        if record.origin == "source" and not cropped:
            assert record.source_instance is not None
            assert record.class_id == record.source_instance // 1000
            assert record.visible_fraction == record.area / source[record.source_instance][0]
        shrunk = record.origin != "source" or record.visible_fraction < 1
        enough = record.area >= min_area and record.visible_fraction >= min_fraction
        assert enough or not shrunk or any(e.kind == "kept_small" for e in result.log)


@slowly
@given(scenes(), scenes(name="b"), st.lists(operations(), max_size=6))
def test_every_changed_pixel_says_which_operation_changed_it(
    scene: Scene, donor: Scene, edits: list[Operation]
) -> None:
    result = run(scene, *edits, donors=[donor], min_visible_area=3)
    framed = source_as_framed(result, scene, edits)
    assert result.origin.shape == scene.size
    assert (result.origin[result.changed] > 0).all()
    untouched = result.origin == 0
    np.testing.assert_array_equal(result.scene.label[untouched], framed.label[untouched])
    skipped = {e.operation for e in result.log if e.kind == "skipped"}
    for number in np.unique(result.origin[~untouched]) - 1:
        if number == len(edits):
            assert any(e.kind == "removed_small" for e in result.log)
            continue
        assert number not in skipped
        assert not isinstance(edits[number], MirrorScene | CropZoom)


@slowly
@given(scenes(), scenes(name="b"), st.lists(operations(), max_size=4), st.data())
def test_protected_classes_never_grow(
    scene: Scene, donor: Scene, edits: list[Operation], data: st.DataObject
) -> None:
    edits = [e for e in edits if not isinstance(e, CropZoom)]
    names = data.draw(st.lists(st.sampled_from(["car", "person", "road", "building"]), max_size=2))
    result = run(scene, *edits, donors=[donor], protected=("no such class", *names))
    framed = source_as_framed(result, scene, edits)
    for name in names:
        class_id = CITY.class_names.index(name)
        now, before = result.scene.label == class_id, framed.label == class_id
        assert not (now & ~before).any()


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
    donors = donors_from({"b": donor})
    one = recompose(program, scene, donors, taxonomy=CITY)
    other = recompose(again, scene, donors, taxonomy=CITY)
    same_maps(one.scene, other.scene)
    np.testing.assert_array_equal(one.origin, other.origin)
    assert (one.instances, one.log) == (other.instances, other.log)


@slowly
@given(scenes(), scenes(name="b"), st.lists(instance_operations(), max_size=3), st.data())
def test_what_is_skipped_leaves_no_trace(
    scene: Scene, donor: Scene, edits: list[Operation], data: st.DataObject
) -> None:
    with_skips = run(scene, *edits, donors=[donor])
    skipped = {e.operation for e in with_skips.log if e.kind == "skipped"}
    kept = [e for position, e in enumerate(edits) if position not in skipped]
    if not kept:
        np.testing.assert_array_equal(with_skips.scene.label, scene.label)
        return
    without = run(scene, *kept, donors=[donor])
    same_maps(with_skips.scene, without.scene)
    assert with_skips.instances == without.instances


@slowly
@given(scenes())
def test_mirroring_twice_is_identity(scene: Scene) -> None:
    once = edit(scene, MirrorScene(), taxonomy=CITY)
    np.testing.assert_array_equal(once.instance, np.fliplr(scene.instance))
    np.testing.assert_array_equal(once.label, np.fliplr(scene.label))
    same_maps(edit(once, MirrorScene(), taxonomy=CITY), scene)
    assert not run(once, MirrorScene()).changed.any()


@slowly
@given(scenes(), st.data())
def test_drop_changes_exactly_the_pixels_of_the_object(scene: Scene, data: st.DataObject) -> None:
    objects = sorted(pixels(scene.instance))
    if not objects:
        return
    target = data.draw(st.sampled_from(objects))
    result = edit(scene, Drop(instance=target), taxonomy=CITY)
    changed = (scene.label != result.label) | (scene.instance != result.instance)
    np.testing.assert_array_equal(changed, scene.instance == target)
    assert not CITY.is_thing[result.label[changed]].any()


@slowly
@given(scenes(), scenes(name="b"), instance_operations(), st.data())
def test_drop_after_a_paste_restores_the_scene(
    scene: Scene, donor: Scene, first: Operation, data: st.DataObject
) -> None:
    objects = sorted(pixels(donor.instance))
    if not objects:
        return
    paste = Paste(
        donor="b",
        donor_instance=data.draw(st.sampled_from(objects)),
        row=data.draw(st.integers(0, 24)),
        column=data.draw(st.integers(-4, 20)),
        scale=data.draw(st.sampled_from([0.5, 1.0, 2.0])),
    )
    before = run(scene, first, donors=[donor])
    pasted = run(scene, first, paste, donors=[donor])
    if any(e.operation == 1 for e in pasted.log):
        return
    # Its id while the program runs: the lowest of its class that the first edit left free.
    class_id = paste.donor_instance // 1000
    taken = {i for i in pixels(scene.instance) if i // 1000 == class_id}
    made = run(scene, first, donors=[donor])
    if len(made.instances) > len(pixels(scene.instance)) or isinstance(first, ChangeClass):
        return  # the first one took a new id
    if isinstance(first, Replace):
        return
    new = next(i for i in range(class_id * 1000, class_id * 1000 + 1000) if i not in taken)
    after = run(scene, first, paste, Drop(instance=new), donors=[donor])
    same_maps(after.scene, before.scene)


@slowly
@given(scenes(), st.data())
def test_moving_by_nothing_is_identity(scene: Scene, data: st.DataObject) -> None:
    objects = sorted(pixels(scene.instance))
    if not objects:
        return
    target = data.draw(st.sampled_from(objects))
    same_maps(edit(scene, Move(instance=target, rows=0, columns=0), taxonomy=CITY), scene)


@slowly
@given(scenes(), st.data())
def test_an_edit_changes_nothing_but_where_its_object_was_and_is(
    scene: Scene, data: st.DataObject
) -> None:
    objects = sorted(pixels(scene.instance))
    if not objects:
        return
    target = data.draw(st.sampled_from(objects))
    operation = data.draw(instance_operations())
    if not hasattr(operation, "instance") or isinstance(operation, Replace | Paste):
        return
    operation = operation.model_copy(update={"instance": target})
    try:
        result = edit(scene, operation, taxonomy=CITY)
    except OperationSkipped:
        return
    changed = (scene.label != result.label) | (scene.instance != result.instance)
    was = scene.instance == target
    new = set(pixels(result.instance)) - set(pixels(scene.instance))
    now = np.isin(result.instance, [target, *new])
    assert not (changed & ~was & ~now).any()


def lowest_of_pole(scene: Scene, row: int, column: int, *, top: int, left: int) -> int:
    """The lowest row of the pole at a pixel, followed pixel by pixel.

    Looked at as the canvas does: from the top of the object that is put there on, and as far to
    each side as the visible part of it is wide.
    """
    height, width = scene.size
    first, last = max(left, 0), min(left + 4, width)
    first, last = max(first - (last - first), 0), min(last + (last - first), width)
    todo, found = [(row, column)], {(row, column)}
    while todo:
        y, x = todo.pop()
        for near in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
            inside = top <= near[0] < height and first <= near[1] < last
            if inside and near not in found and scene.label[near] == POLE:
                found.add(near)
                todo.append(near)
    return max(y for y, _ in found)


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
    mask[3, 0] = mask[0, 3] = True
    shape = Cutout(top, left, mask)
    contact = top + 3
    height, width = scene.size
    expected = scene.instance.copy()
    for row, column in zip(*np.nonzero(mask), strict=True):
        y, x = top + row, left + column
        if not (0 <= y < height and 0 <= x < width) or scene.label[y, x] in FROZEN:
            continue
        if scene.label[y, x] == POLE:
            lowest = lowest_of_pole(scene, y, x, top=max(top, 0), left=left)
        elif CITY.is_thing[scene.label[y, x]]:
            lowest = max(r for r, _ in np.argwhere(scene.instance == scene.instance[y, x]))
        else:
            lowest = -1
        if lowest <= contact:
            expected[y, x] = 26900
    canvas = Canvas(scene, roles=ROLES, protected=np.zeros(35, bool))
    state = ObjectState(box=shape.box, area=shape.area)
    if (expected == scene.instance).all():
        with pytest.raises(OperationSkipped, match=r"outside|hidden"):
            canvas.put(shape, 26900, state)
        return
    canvas.put(shape, 26900, state)
    np.testing.assert_array_equal(canvas.maps.instance, expected)
    np.testing.assert_array_equal(
        canvas.maps.label, np.where(expected == 26900, CAR, scene.label).astype(np.uint8)
    )


@slowly
@given(scenes(), stuff_operations())
def test_stuff_operations_change_stuff_alone(scene: Scene, operation: Operation) -> None:
    try:
        result = edit(scene, operation, taxonomy=CITY)
    except OperationSkipped:
        return
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
    assert set(records) == {24000, 26000, 26001}
    assert (records[24000].origin, records[24000].source_instance) == ("edited", 24000)
    assert records[24000].box == (14, 32, 22, 35)
    assert (records[26000].origin, records[26000].source_instance) == ("source", 26000)
    # 26002 while the program ran, as 26001 was dropped; numbered through at the end.
    pasted = records[26001]
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
    assert [r.source_instance for r in result.instances] == [24000, 24007, 26001]
    assert [r.id for r in result.instances] == [24000, 24001, 26000]
    (event,) = result.log
    assert (event.kind, event.instance) == ("removed_small", 26000)


@pytest.mark.parametrize(("minimum", "stays"), [(24, True), (25, False)])
def test_the_minimum_visible_area_itself_is_enough(minimum: int, stays: bool) -> None:
    # 24 of the car's 32 pixels stay visible, as above.
    result = run(street(), Move(instance=26000, rows=2, columns=26), min_visible_area=minimum)
    assert (26000 in {r.source_instance for r in result.instances}) is stays


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
    assert [r.source_instance for r in result.instances] == [24000, 26001, None]


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


def test_a_pole_stays_before_what_stands_further_up() -> None:
    scene = street()
    scene.label[5:24, 12] = scene.instance[5:24, 12] = POLE
    scene.label[5:9, 10:15] = scene.instance[5:9, 10:15] = 20  # a sign on it
    far = run(scene, Move(instance=26001, rows=-3, columns=-24))  # rows 17..22, columns 8..19
    assert (far.scene.label[17:23, 12] == POLE).all()
    near = run(scene, Move(instance=26001, rows=-2, columns=-24))  # rows 18..23
    assert (near.scene.label[18:24, 12] == CAR).all()
    assert (near.scene.label[5:18, 12] != CAR).all()


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


@pytest.mark.parametrize(
    ("operation", "box", "area"),
    [
        (Rescale(instance=26000, row=25, column=4, scale=1.5), (20, 4, 26, 16), 72),
        (Flip(instance=26000), (15, 8, 19, 16), 32),
        (Duplicate(instance=26000, row=28, column=1, scale=0.5), (27, 1, 29, 5), 8),
        (ChangeClass(instance=26000, to="bus"), (15, 8, 19, 16), 32),
    ],
)
def test_instance_operations_by_hand(operation: Operation, box: tuple[int, ...], area: int) -> None:
    result = run(street(), operation)
    (found,) = [r for r in result.instances if r.origin != "source"]
    assert (found.box, found.area, found.source_instance) == (box, area, 26000)
    assert found.class_name == ("bus" if isinstance(operation, ChangeClass) else "car")
    assert found.origin == ("duplicated" if isinstance(operation, Duplicate) else "edited")
    assert (result.origin == 1).any()


def test_a_replacement_stands_where_the_other_stood() -> None:
    # Half of car 26001 (6x12) at the feet and the middle of car 26000 (rows 15..18, columns 8..15).
    result = run(
        street(),
        Replace(instance=26000, donor="other", donor_instance=26001, scale=0.5),
        donors=[street("other")],
    )
    (found,) = [r for r in result.instances if r.origin == "pasted"]
    assert (found.box, found.donor, found.source_instance) == ((16, 9, 19, 15), "other", None)
    assert len(result.instances) == 3


def test_a_flip_mirrors_the_shape_in_its_box() -> None:
    scene = street()
    label, instance = scene.label.copy(), scene.instance.copy()
    label[15, 8:12] = instance[15, 8:12] = BUILDING  # a cabin at the right
    result = run(Scene(name="street", label=label, instance=instance), Flip(instance=26000))
    assert (result.scene.instance[15, 8:12] == 26000).all()
    assert (result.scene.label[15, 12:16] == BUILDING).all()


def test_bending_keeps_the_feet_and_stays_near_the_contour() -> None:
    scene = street(height=96, width=192)
    disk = np.hypot(*np.ogrid[-20:21, -20:21]) <= 20
    scene.label[50:91, 60:101][disk] = PERSON
    scene.instance[50:91, 60:101][disk] = 24007
    amplitude = 3.0
    shapes = set()
    for seed in range(40):
        result = edit(scene, Jitter(instance=24007, amplitude=amplitude, seed=seed), taxonomy=CITY)
        mask = result.instance == 24007
        shapes.add(mask.tobytes())
        radius = np.hypot(*(np.argwhere(mask) - [70, 80]).T)
        # Half a pixel along each axis is lost to rounding.
        assert radius.max() <= 20 + amplitude + 0.8
        inner = np.hypot(*np.ogrid[-70:26, -80:112]) <= 20 - amplitude - 0.8
        assert mask[inner].all()
        assert np.flatnonzero(mask.any(axis=1))[-1] == 90
    assert len(shapes) == 40


def test_a_crop_enlarges_and_takes_note_of_what_is_gone() -> None:
    crop = CropZoom(top=0, left=0, height=16, width=32)
    result = run(street(), crop)
    (found,) = result.instances
    # Car 26000 covers rows 15..18 and columns 8..15: one row is in the window, twice as large.
    # What the window cuts off is not hidden.
    assert (found.box, found.area, found.visible_fraction) == ((30, 16, 32, 32), 32, 1)
    assert [(e.kind, e.operation, e.instance) for e in result.log] == [
        ("cropped", 0, 24000),
        ("cropped", 0, 26001),
    ]
    assert not result.changed.any()
    assert (
        "out of the picture"
        in run(street(), CropZoom(top=30, left=0, height=9, width=9)).log[0].reason
    )


def test_too_small_a_part_of_an_object_is_taken_out() -> None:
    move = Move(instance=26000, rows=2, columns=26)  # 24 of its 32 pixels stay visible
    stays = run(street(), move, min_visible_fraction=0.75)
    assert 26000 in {r.source_instance for r in stays.instances}
    goes = run(street(), move, min_visible_fraction=0.76)
    assert 26000 not in {r.source_instance for r in goes.instances}
    assert goes.log[0].kind == "removed_small"
    # Where it had been put, the source is back; where it came from, the move filled the hole.
    np.testing.assert_array_equal(np.argwhere(goes.origin == 1), np.argwhere(goes.changed))
    assert goes.changed.sum() == 32


def test_dropping_what_was_pasted_brings_back_what_it_covered() -> None:
    scene, donors = street(), [street("other")]
    over_car = Paste(donor="other", donor_instance=26001, row=20, column=5)
    assert 26000 not in run(scene, over_car, donors=donors).scene.instance[15:19, 8:16]
    again = run(scene, over_car, Drop(instance=26002), donors=donors)
    same_maps(again.scene, scene)
    assert not again.origin.any()
    # If what it covered was taken away meanwhile, stuff fills its place.
    emptied = run(scene, over_car, Drop(instance=26001), Drop(instance=26002), donors=donors)
    assert len(emptied.instances) == 2
    assert disagreements(emptied.scene.label, emptied.scene.instance, CITY) == 0


def test_what_stood_behind_a_dropped_object_is_seen_whole() -> None:
    donors = [street("other")]
    front = Paste(donor="other", donor_instance=26001, row=30, column=20)  # rows 25..30
    back = Paste(donor="other", donor_instance=26001, row=27, column=26)  # behind its right half
    both = run(street(), front, back, donors=donors)
    hidden = {r.visible_fraction for r in both.instances if r.origin == "pasted"}
    assert hidden == {1.0, 1 - 3 * 6 / 72}
    again = run(street(), front, back, Drop(instance=26002), donors=donors)
    alone = run(street(), back, donors=donors)
    same_maps(again.scene, alone.scene)
    assert {r.visible_fraction for r in again.instances if r.origin == "pasted"} == {1.0}


def test_what_changed_its_class_under_a_paste_comes_back_whole() -> None:
    over = Paste(donor="other", donor_instance=26001, row=20, column=9)
    change = ChangeClass(instance=26000, to="bus")
    result = run(street(), over, change, Drop(instance=26002), donors=[street("other")])
    same_maps(result.scene, run(street(), change).scene)


def test_what_is_taken_out_at_the_end_hides_nothing() -> None:
    scene = street()
    # A car pasted over the person, itself hidden but for some pixels by a nearer crowd.
    label, instance = scene.label.copy(), scene.instance.copy()
    label[16:32, 44:52] = instance[16:32, 44:52] = CAR
    scene = Scene(name="street", label=label, instance=instance)
    paste = Paste(donor="other", donor_instance=26001, row=22, column=45, scale=0.9)
    seen = run(scene, paste, donors=[street("other")])
    (pasted,) = [r for r in seen.instances if r.origin == "pasted"]
    assert pasted.visible_fraction < 0.5
    result = run(scene, paste, donors=[street("other")], min_visible_fraction=0.5)
    assert [e.kind for e in result.log] == ["removed_small"]
    same_maps(result.scene, scene)


def test_an_object_hidden_before_a_crop_was_not_cropped() -> None:
    over = Paste(donor="other", donor_instance=26001, row=24, column=6, scale=2.0)
    crop = CropZoom(top=0, left=0, height=30, width=60)
    result = run(street(), over, crop, donors=[street("other")])
    assert 26000 not in {e.instance for e in result.log if e.kind == "cropped"}


@slowly
@given(scenes(), scenes(name="b"), st.data())
def test_a_paste_changes_nothing_but_where_the_object_is(
    scene: Scene, donor: Scene, data: st.DataObject
) -> None:
    objects = sorted(pixels(donor.instance))
    if not objects:
        return
    paste = Paste(
        donor="b",
        donor_instance=data.draw(st.sampled_from(objects)),
        row=data.draw(st.integers(0, 24)),
        column=data.draw(st.integers(-4, 20)),
    )
    operation: Operation = paste
    was = np.zeros(scene.size, bool)
    if (own := sorted(pixels(scene.instance))) and data.draw(st.booleans()):
        target = data.draw(st.sampled_from(own))
        operation = Replace(instance=target, donor="b", donor_instance=paste.donor_instance)
        was = scene.instance == target
    try:
        result = edit(scene, operation, taxonomy=CITY, donors=donors_from({"b": donor}))
    except OperationSkipped:
        return
    changed = (scene.label != result.label) | (scene.instance != result.instance)
    now = ~np.isin(result.instance, sorted(pixels(scene.instance))) & (result.instance >= 1000)
    assert not (changed & ~was & ~now).any()


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


@pytest.mark.parametrize(
    ("edit_", "reason"),
    [
        (ChangeClass(instance=26000, to="road"), "not a class of things"),
        (ChangeClass(instance=26000, to="dragon"), "no class 'dragon'"),
        (ChangeClass(instance=26000, to="car"), "a car already"),
        (RelabelRegion(of="static", to="road"), "not a class of stuff that can be edited"),
        (RelabelRegion(of="car", to="road"), "not a class of stuff"),
        (GrowRegion(of="wall", into="road", pixels=3), "no wall is near road"),
        (Skyline(rows=(3,)), "no sky meets vegetation"),
        (Flip(instance=26009), "no object 26009"),
    ],
)
def test_what_makes_no_sense_is_skipped(edit_: Operation, reason: str) -> None:
    (event,) = run(street(), edit_).log
    assert reason in event.reason


@pytest.mark.parametrize("make", [RelabelRegion, GrowRegion, Skyline])
def test_two_classes_must_differ(make: Callable[..., Operation]) -> None:
    names = {
        RelabelRegion: {"of": "road", "to": "road"},
        GrowRegion: {"of": "road", "into": "road", "pixels": 1},
        Skyline: {"upper": "road", "lower": "road", "rows": (1,)},
    }[make]
    with pytest.raises(ValueError, match="expected two classes, got 'road' twice"):
        make(**names)


def test_protected_objects_are_not_edited() -> None:
    scene = street()
    result = run(
        scene,
        Drop(instance=26000),
        Paste(donor="other", donor_instance=26001, row=30, column=3),
        donors=[street("other")],
        protected=("car",),
    )
    assert all("protected" in event.reason for event in result.log)
    assert len(result.log) == 2
    same_maps(result.scene, scene)


def test_four_thousand_objects() -> None:
    label = np.full((256, 512), ROAD, np.uint8)
    instance = label.astype(np.int32)
    classes = (24, 25, 26, 27)
    for number in range(4000):
        row, column = divmod(number, 128)
        spot = (slice(8 * row, 8 * row + 6), slice(4 * column, 4 * column + 3))
        label[spot] = classes[number % 4]
        instance[spot] = classes[number % 4] * 1000 + number // 4
    scene = Scene(name="street", label=label, instance=instance)
    result = run(
        scene,
        Drop(instance=26500),
        Move(instance=24003, rows=9, columns=2),
        Paste(donor="other", donor_instance=33000, row=90, column=7),
        Paste(donor="other", donor_instance=26000, row=90, column=70),
        Paste(donor="other", donor_instance=26000, row=90, column=70),
        MirrorScene(),
        donors=[street("other")],
    )
    assert "no object 33000" in result.log[0].reason
    # One car went, so there is room for one more: its id is taken until the program ends.
    assert [e.reason for e in result.log[1:3]] == ["class 26 has 1000 objects already"] * 2
    assert disagreements(result.scene.label, result.scene.instance, CITY) == 0
    cars = [r.id for r in result.instances if r.class_id == CAR]
    assert cars == list(range(26000, 26999))


def test_wrong_scenes_are_refused() -> None:
    with pytest.raises(DatasetError, match="edits scene 'x', got 'street'"):
        recompose(Program(scene="x"), street(), donors_from({}), taxonomy=CITY)
    with pytest.raises(DatasetError, match="donor scene 'other'"):
        run(street(), Paste(donor="other", donor_instance=26000, row=9, column=9))
