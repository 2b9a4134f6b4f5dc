import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.editing.canvas import Canvas
from pipeline.editing.cutout import Cutout, OperationSkipped
from pipeline.editing.object_state import ObjectState
from pipeline.editing.program import Drop, Move
from pipeline.roles import class_roles
from pipeline.scene import Scene
from tests.edited_scenes import CITY, CLUTTER, FRAME, run, scenes, slowly
from tests.scenes import CAR, PERSON, ROAD, street

ROLES = class_roles(CITY)
POLE = 17


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
        if not (0 <= y < height and 0 <= x < width) or scene.label[y, x] in FRAME:
            continue
        if scene.label[y, x] in CLUTTER:
            # Clutter that goes straight on to below the contact row, or to the border, stays.
            if not np.isin(scene.label[y : max(contact, -1) + 2, x], CLUTTER).all():
                expected[y, x] = 26900
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


def with_stuff(class_id: int, *boxes: tuple[slice, slice]) -> Scene:
    """The street with stuff or void in some boxes."""
    scene = street()
    label, instance = scene.label.copy(), scene.instance.copy()
    for box in boxes:
        label[box] = instance[box] = class_id
    return Scene(name="street", label=label, instance=instance)


TO_THE_LEFT = Move(instance=26001, rows=0, columns=-24)  # rows 20..25, columns 8..19


@pytest.mark.parametrize(("class_id", "covered"), [(4, True), (0, True), (1, False), (3, False)])
def test_clutter_in_midair_is_covered_and_the_frame_is_not(class_id: int, covered: bool) -> None:
    patch = np.s_[21:24, 10:13]
    result = run(with_stuff(class_id, patch), TO_THE_LEFT)
    assert (result.scene.instance[patch] == 26001).all() == covered
    (car,) = [r for r in result.instances if r.id == 26001]
    assert car.visible_fraction == (1.0 if covered else 63 / 72)


@pytest.mark.parametrize(("last", "covered"), [(24, True), (25, True), (26, False), (31, False)])
def test_a_post_of_clutter_stays_before_what_stands_farther_up(last: int, covered: bool) -> None:
    post = np.s_[17 : last + 1, 12:13]
    result = run(with_stuff(4, post), TO_THE_LEFT)
    over = np.s_[20:26, 12]
    assert (result.scene.instance[over] == 26001).all() == covered
    assert (result.scene.label[over] == 4).any() != covered
    assert (result.scene.label[17:20, 12] == 4).all()


def test_clutter_goes_on_behind_what_stood_in_its_midst() -> None:
    around = np.s_[17:30, 28:50]
    scene = with_stuff(5, around)
    car = np.s_[20:26, 32:44]
    scene.label[car], scene.instance[car] = CAR, 26001
    result = run(scene, Drop(instance=26001))
    assert (result.scene.label[car] == 5).mean() > 0.5
    # Where there is only a little of it, as here, what stood before it uncovers the road.
    scene = with_stuff(5, np.s_[24:26, 44:46])
    result = run(scene, Drop(instance=26001))
    assert (result.scene.label[car] == ROAD).all()


def test_what_filled_its_hole_does_not_hide_an_object() -> None:
    scene = with_stuff(5, np.s_[17:32, 24:54])
    car = np.s_[20:26, 32:44]
    scene.label[car], scene.instance[car] = CAR, 26001
    result = run(scene, Move(instance=26001, rows=0, columns=2))
    (moved,) = [r for r in result.instances if r.id == 26001]
    # But for the two columns in which clutter of the scene goes on below it.
    assert moved.visible_fraction == 60 / 72
    assert (result.scene.label[20:26, 44:46] == 5).all()
