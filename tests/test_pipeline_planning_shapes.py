from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.editing.program import Duplicate, Flip, Operation, Paste
from pipeline.indexing.record import SceneRecord, index_scene
from pipeline.planning.shapes import Shapes
from pipeline.roles import class_roles
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.scenes import BUILDING, CAR, ROAD

CITY = Taxonomy.load("cityscapes")
ROLES = class_roles(CITY)
POLE, EGO = CITY.class_names.index("pole"), CITY.class_names.index("ego vehicle")
SIZE = (160, 320)

boxes = st.lists(
    st.tuples(st.integers(0, 90), st.integers(0, 220), st.integers(30, 60), st.integers(30, 90)),
    min_size=1,
    max_size=5,
)


def scene(*shapes: tuple[tuple[int, int], npt.NDArray[np.bool_]]) -> Scene:
    """A road with cars of given shapes at given places, side by side."""
    label = np.full(SIZE, ROAD, np.uint8)
    instance = label.astype(np.int32)
    for number, ((top, left), mask) in enumerate(shapes):
        box = np.s_[top : top + mask.shape[0], left : left + mask.shape[1]]
        label[box][mask], instance[box][mask] = CAR, CAR * 1000 + number
    return Scene("a", label, instance)


def record(made: Scene) -> SceneRecord:
    return index_scene(made, CITY)


def disc(tall: int, wide: int) -> npt.NDArray[np.bool_]:
    rows, columns = (np.arange(n) + 0.5 for n in (tall, wide))
    return ((rows[:, None] / tall - 0.5) ** 2 + (columns / wide - 0.5) ** 2) <= 0.25


def packed(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The silhouette that a record holds of a shape."""
    return record(scene(((0, 0), mask))).silhouettes[0]


def paste(donor: str, *, flip: bool = False) -> Paste:
    """A paste of the only object of a scene; where to is told by boxes."""
    return Paste(donor=donor, donor_instance=CAR * 1000, row=0, column=0, scale=1, flip=flip)


def hidden_pixels(
    places: list[tuple[int, int]], masks: list[npt.NDArray[np.bool_]]
) -> npt.NDArray[np.float64]:
    """The hidden part of each shape, pixel by pixel: lower ones and, of equals, later ones win."""
    owner = np.full(SIZE, -1)
    order = sorted(
        range(len(places)), key=lambda k: (places[k][0] + masks[k].shape[0], k)
    )  # the nearest is painted last
    for k in order:
        top, left = places[k]
        owner[top : top + masks[k].shape[0], left : left + masks[k].shape[1]][masks[k]] = k
    return np.array([1 - (owner == k).sum() / mask.sum() for k, mask in enumerate(masks)])


@given(boxes, st.booleans())
def test_hidden_parts_are_about_those_of_the_pixels(
    found: list[tuple[int, int, int, int]], solid: bool
) -> None:
    masks = [
        np.ones((tall, wide), np.bool_) if solid else disc(tall, wide) for _, _, tall, wide in found
    ]
    donors = {(str(k), CAR * 1000): packed(mask) for k, mask in enumerate(masks)}
    shapes = Shapes(record(scene()), donors, ROLES)
    for k in range(len(masks)):
        shapes.follow(paste(str(k)))
    at = np.array([(top, left, top + tall, left + wide) for top, left, tall, wide in found])
    everything = np.ones(len(at), np.bool_)
    estimated = shapes.hidden(at, everything, everything)
    exact = hidden_pixels([(top, left) for top, left, _, _ in found], masks)
    assert np.abs(estimated - exact).max() < 0.1
    assert not estimated[exact == 0].any() or not solid


@given(boxes, st.data())
def test_what_is_remembered_changes_nothing(
    found: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    """Looked at after each paste, and after objects moved or went, or only in the end."""
    donors = {("disc", CAR * 1000): packed(disc(40, 60))}
    at = np.array([(top, left, top + tall, left + wide) for top, left, tall, wide in found])
    one, other = (Shapes(record(scene()), donors, ROLES) for _ in range(2))
    present = np.ones(len(at), np.bool_)
    for count in range(1, len(at) + 1):
        one.follow(paste("disc"))
        other.follow(paste("disc"))
        one.hidden(at[:count], present[:count], present[:count])
    at = at + data.draw(st.sampled_from([0, 7]))
    shown = present.copy()
    shown[data.draw(st.integers(0, len(at) - 1))] = data.draw(st.booleans())
    expected = other.hidden(at, shown, present)
    np.testing.assert_array_equal(one.hidden(at, shown, present), expected)


def test_only_what_edits_did_counts() -> None:
    far, near = np.ones((40, 40), np.bool_), np.ones((40, 40), np.bool_)
    made = record(scene(((20, 20), far), ((40, 30), near)))
    shapes = Shapes(made, {}, ROLES)
    stayed = np.zeros(2, np.bool_)
    assert shapes.hidden(made.boxes, ~stayed, stayed).tolist() == [0, 0]
    shapes.follow(paste("unknown"))  # of which no shape is known: it counts as filling its box
    boxes = np.vstack([made.boxes, [60, 30, 100, 70]])
    fresh = np.array([False, False, True])
    part = shapes.hidden(boxes, np.ones(3, np.bool_), fresh)
    assert part.tolist() == pytest.approx([0, 0.5, 0], abs=0.07)
    # Taken away again it hides nothing.
    assert not shapes.hidden(boxes, ~fresh, fresh)[:2].any()


def test_shapes_are_mirrored_with_their_objects() -> None:
    half = np.ones((40, 40), np.bool_)
    half[:20, 20:] = False  # an L
    made = record(scene(((10, 10), half)))
    behind = np.array([[5, 30, 30, 50]])  # the empty corner

    def hidden(*edits: Operation, index: int = 0) -> float:
        """How much of the box behind the object at an index is hidden after some edits."""
        shapes = Shapes(made, {("l", CAR * 1000): packed(half)}, ROLES)
        for edit in edits:
            shapes.follow(edit)
        shapes.follow(paste("unknown"))
        boxes = np.vstack([*[made.boxes] * (index + 1), behind])
        present = np.ones(len(boxes), np.bool_)
        present[:index] = False
        return float(shapes.hidden(boxes, present, present)[-1])

    instance = int(made.ids[0])
    assert hidden() == 0
    assert hidden(Flip(instance=instance)) == pytest.approx(0.8, abs=0.07)
    copy = Duplicate(instance=instance, row=0, column=0, flip=True)
    assert hidden(copy, index=1) == pytest.approx(0.8, abs=0.07)
    assert hidden(paste("l"), index=1) == 0
    assert hidden(paste("l", flip=True), index=1) == pytest.approx(0.8, abs=0.07)


def test_void_and_nearer_poles_hide_what_is_put_behind_them() -> None:
    made = scene()
    label = made.label.copy()
    label[:, 100:110] = POLE  # down to the lower border
    label[:80, 150:160] = POLE  # ends above the feet of what is put there
    label[150:, :] = EGO
    label[60:100, 200:210] = EGO
    label[:40] = BUILDING
    void = record(replace(made, label=label, instance=label.astype(np.int32)))
    boxes = np.array([[60, 90, 100, 130], [60, 140, 100, 180], [60, 190, 100, 230]])
    shapes = Shapes(void, {}, ROLES)
    for _ in boxes:
        shapes.follow(paste("unknown"))
    fresh = np.ones(3, np.bool_)
    assert shapes.hidden(boxes, fresh, fresh).tolist() == pytest.approx([0.25, 0, 0.25], abs=0.07)
