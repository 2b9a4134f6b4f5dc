from collections.abc import Sequence
from fractions import Fraction
from math import floor

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.editing.program import CropZoom, Drop, MirrorScene, Move, Operation, Paste, Program
from pipeline.editing.recompose import Recomposed, donors_from, recompose
from pipeline.errors import DatasetError
from pipeline.scene import Scene, disagreements
from tests.edited_scenes import (
    CITY,
    CLUTTER,
    FRAME,
    operations,
    pixels,
    run,
    same_maps,
    scenes,
    slowly,
)
from tests.scenes import CAR, PERSON, ROAD, street


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
    frame = np.isin(framed.label, FRAME)
    np.testing.assert_array_equal(np.isin(final.label, FRAME), frame)
    np.testing.assert_array_equal(final.label[frame], framed.label[frame])
    clutter = [np.where(np.isin(m, CLUTTER), m, -1) for m in (framed.label, final.label)]
    assert (result.origin > 0)[clutter[0] != clutter[1]].all()

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


def test_wrong_scenes_are_refused() -> None:
    with pytest.raises(DatasetError, match="edits scene 'x', got 'street'"):
        recompose(Program(scene="x"), street(), donors_from({}), taxonomy=CITY)
    with pytest.raises(DatasetError, match="donor scene 'other'"):
        run(street(), Paste(donor="other", donor_instance=26000, row=9, column=9))
