import numpy as np
import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from pipeline.editing.cutout import OperationSkipped
from pipeline.editing.program import (
    ChangeClass,
    CropZoom,
    Drop,
    Duplicate,
    Flip,
    GrowRegion,
    MirrorScene,
    Move,
    Operation,
    Paste,
    RelabelRegion,
    Replace,
    Rescale,
    Skyline,
)
from pipeline.editing.recompose import donors_from, edit
from pipeline.scene import Scene
from tests.edited_scenes import CITY, instance_operations, pixels, run, same_maps, scenes, slowly
from tests.scenes import BUILDING, street


@slowly
@given(scenes())
def test_mirroring_twice_is_identity(scene: Scene) -> None:
    once = edit(scene, MirrorScene(), taxonomy=CITY)
    np.testing.assert_array_equal(once.instance, np.fliplr(scene.instance))
    np.testing.assert_array_equal(once.label, np.fliplr(scene.label))
    same_maps(edit(once, MirrorScene(), taxonomy=CITY), scene)
    assert not run(once, MirrorScene()).changed.any()


@slowly
@given(scenes(fewest=1), st.data())
def test_drop_changes_exactly_the_pixels_of_the_object(scene: Scene, data: st.DataObject) -> None:
    objects = sorted(pixels(scene.instance))
    assume(objects)
    target = data.draw(st.sampled_from(objects))
    result = edit(scene, Drop(instance=target), taxonomy=CITY)
    changed = (scene.label != result.label) | (scene.instance != result.instance)
    np.testing.assert_array_equal(changed, scene.instance == target)
    assert not CITY.is_thing[result.label[changed]].any()


@slowly
@given(scenes(fewest=1), st.data())
def test_moving_by_nothing_is_identity(scene: Scene, data: st.DataObject) -> None:
    objects = sorted(pixels(scene.instance))
    assume(objects)
    target = data.draw(st.sampled_from(objects))
    same_maps(edit(scene, Move(instance=target, rows=0, columns=0), taxonomy=CITY), scene)
    others = [instance for instance in objects if instance != target]
    if others:
        along = (data.draw(st.sampled_from(others)),)
        both = Move(instance=target, along=along, rows=0, columns=0)
        same_maps(edit(scene, both, taxonomy=CITY), scene)


@slowly
@given(scenes(fewest=1), st.data())
def test_an_edit_changes_nothing_but_where_its_object_was_and_is(
    scene: Scene, data: st.DataObject
) -> None:
    objects = sorted(pixels(scene.instance))
    assume(objects)
    target = data.draw(st.sampled_from(objects))
    operation = data.draw(instance_operations())
    assume(not isinstance(operation, Replace | Paste))
    operation = operation.model_copy(update={"instance": target})
    try:
        result = edit(scene, operation, taxonomy=CITY)
    except OperationSkipped:
        reject()
    changed = (scene.label != result.label) | (scene.instance != result.instance)
    was = scene.instance == target
    new = set(pixels(result.instance)) - set(pixels(scene.instance))
    now = np.isin(result.instance, [target, *new])
    assert not (changed & ~was & ~now).any()


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


@slowly
@given(scenes(), scenes(name="b", fewest=1), st.data())
def test_a_paste_changes_nothing_but_where_the_object_is(
    scene: Scene, donor: Scene, data: st.DataObject
) -> None:
    objects = sorted(pixels(donor.instance))
    assume(objects)
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
        reject()
    changed = (scene.label != result.label) | (scene.instance != result.instance)
    now = ~np.isin(result.instance, sorted(pixels(scene.instance))) & (result.instance >= 1000)
    assert not (changed & ~was & ~now).any()


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
