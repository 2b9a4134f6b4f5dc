from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.editing.appearance import Appearance, look_at
from pipeline.editing.cutout import OperationSkipped
from pipeline.editing.object_state import free_id
from pipeline.editing.program import (
    ChangeClass,
    CropZoom,
    Drop,
    Flip,
    MirrorScene,
    Move,
    Operation,
    Paste,
    Replace,
)
from pipeline.scene import Scene, disagreements
from tests.edited_scenes import CITY, instance_operations, pixels, run, same_maps, scenes, slowly
from tests.scenes import CAR, ROAD, street


@slowly
@given(scenes(), scenes(name="b"), st.lists(instance_operations(), max_size=3), st.data())
def test_what_is_skipped_leaves_no_trace(
    scene: Scene, donor: Scene, edits: list[Operation], data: st.DataObject
) -> None:
    with_skips = run(scene, *edits, donors=[donor])
    skipped = {e.operation for e in with_skips.log if e.kind == "skipped"}
    kept = [e for position, e in enumerate(edits) if position not in skipped]
    if kept:
        without = run(scene, *kept, donors=[donor])
        same_maps(with_skips.scene, without.scene)
        assert with_skips.instances == without.instances
    else:
        np.testing.assert_array_equal(with_skips.scene.label, scene.label)


@slowly
@given(scenes(), scenes(name="b", fewest=1), instance_operations(), st.data())
def test_drop_after_a_paste_restores_the_scene(
    scene: Scene, donor: Scene, first: Operation, data: st.DataObject
) -> None:
    objects = sorted(pixels(donor.instance))
    assume(objects)
    paste = Paste(
        donor="b",
        donor_instance=data.draw(st.sampled_from(objects)),
        row=data.draw(st.integers(0, 24)),
        column=data.draw(st.integers(-4, 20)),
        scale=data.draw(st.sampled_from([0.5, 1.0, 2.0])),
    )
    before = run(scene, first, donors=[donor])
    pasted = run(scene, first, paste, donors=[donor])
    assume(not any(e.operation == 1 for e in pasted.log))
    # Its id while the program runs: the lowest of its class that the first edit left free.
    class_id = paste.donor_instance // 1000
    taken = {i for i in pixels(scene.instance) if i // 1000 == class_id}
    made = run(scene, first, donors=[donor])
    assume(len(made.instances) <= len(pixels(scene.instance)))
    assume(not isinstance(first, ChangeClass | Replace))  # the first one took a new id
    new = next(i for i in range(class_id * 1000, class_id * 1000 + 1000) if i not in taken)
    after = run(scene, first, paste, Drop(instance=new), donors=[donor])
    same_maps(after.scene, before.scene)


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


def test_an_object_hidden_before_a_crop_was_not_cropped() -> None:
    over = Paste(donor="other", donor_instance=26001, row=24, column=6, scale=2.0)
    crop = CropZoom(top=0, left=0, height=30, width=60)
    result = run(street(), over, crop, donors=[street("other")])
    assert 26000 not in {e.instance for e in result.log if e.kind == "cropped"}


def test_what_an_object_looks_like_is_measured_only_where_it_is_put(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def counted(*arguments: Any, **options: Any) -> Appearance:
        seen.append(arguments)
        return look_at(*arguments, **options)

    monkeypatch.setattr("pipeline.editing.canvas.look_at", counted)
    over = Paste(donor="other", donor_instance=26001, row=22, column=5)
    edits = (over, ChangeClass(instance=26001, to="bus"), Drop(instance=24000))
    made = run(street(photo=True), *edits, donors=[street("other")])
    assert len(made.instances) == 3
    assert seen == []
    run(street(photo=True), *edits, Flip(instance=26000), donors=[street("other")])
    assert len(seen) == 1


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
