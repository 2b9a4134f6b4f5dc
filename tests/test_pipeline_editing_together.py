"""A rider and a bicycle are edited, pasted and recorded as one."""

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.editing.program import (
    Drop,
    Duplicate,
    Flip,
    MirrorScene,
    Move,
    Operation,
    Paste,
    Program,
    Replace,
    Rescale,
)
from pipeline.editing.recompose import Recomposed, donors_from, recompose
from pipeline.scene import Scene
from tests.edited_scenes import CITY, run, same_maps
from tests.scenes import BICYCLE, RIDER, ROAD, street, with_cyclist

ONE, BOTH = 25000, {"instance": 25000, "along": (33000,)}
BRING = {"donor": "b", "donor_instance": 25000, "donor_along": (33000,)}
TOP, LEFT = 80, 60


def cyclist(name: str = "a") -> Scene:
    return with_cyclist(street(name, height=128, width=256), TOP, LEFT)


def bare() -> Scene:
    return street("a", height=128, width=256)


def pattern(scene: Scene, number: int = 0) -> npt.NDArray[np.uint8]:
    """The classes of a cyclist in the box around it, 0 for all else."""
    there = np.isin(scene.instance, [RIDER * 1000 + number, BICYCLE * 1000 + number])
    rows, columns = (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.where(there[box], scene.label[box], 0)


def corner(scene: Scene, number: int = 0) -> tuple[int, int]:
    """The lowest row and the leftmost column of a cyclist."""
    there = np.isin(scene.instance, [RIDER * 1000 + number, BICYCLE * 1000 + number])
    return int(np.flatnonzero(there.any(axis=1))[-1]), int(np.flatnonzero(there.any(axis=0))[0])


def records(result: Recomposed) -> dict[str, tuple[str, str | None, int | None, int | None, float]]:
    """What is recorded of the rider and the bicycle that edits put there."""
    return {
        r.class_name: (
            r.origin, r.donor, r.donor_instance, r.source_instance, r.visible_fraction
        )
        for r in result.instances
        if r.origin != "source"
    }  # fmt: skip


PATTERN = pattern(cyclist())
EDITED = {
    "rider": ("edited", None, None, 25000, 1.0),
    "bicycle": ("edited", None, None, 33000, 1.0),
}
PASTED = {
    "rider": ("pasted", "b", 25000, None, 1.0),
    "bicycle": ("pasted", "b", 33000, None, 1.0),
}


@pytest.mark.parametrize(
    ("operation", "expected", "at"),
    [
        (Move(**BOTH, rows=5, columns=-9), PATTERN, (TOP + 24, LEFT - 9)),
        (Flip(**BOTH), PATTERN[:, ::-1], (TOP + 19, LEFT)),
        (
            Rescale(**BOTH, row=120, column=150, scale=2),
            PATTERN.repeat(2, 0).repeat(2, 1),
            (120, 150),
        ),
    ],
)
def test_edited_as_one(
    operation: Operation, expected: npt.NDArray[np.uint8], at: tuple[int, int]
) -> None:
    result = run(cyclist(), operation)
    assert not result.log
    np.testing.assert_array_equal(pattern(result.scene), expected)
    assert corner(result.scene) == at
    assert records(result) == EDITED


@pytest.mark.parametrize("flip", [False, True])
def test_copied_as_one(flip: bool) -> None:
    source = cyclist()
    result = run(source, Duplicate(**BOTH, row=110, column=150, scale=2, flip=flip))
    np.testing.assert_array_equal(pattern(result.scene), PATTERN)
    turned = PATTERN[:, ::-1] if flip else PATTERN
    np.testing.assert_array_equal(pattern(result.scene, 1), turned.repeat(2, 0).repeat(2, 1))
    assert corner(result.scene, 1) == (110, 150)
    assert records(result) == {k: ("duplicated", *v[1:]) for k, v in EDITED.items()}


@pytest.mark.parametrize("flip", [False, True])
def test_pasted_as_one(flip: bool) -> None:
    paste = Paste(**BRING, row=110, column=150, flip=flip)
    result = run(bare(), paste, donors=[cyclist("b")])
    np.testing.assert_array_equal(pattern(result.scene), PATTERN[:, ::-1] if flip else PATTERN)
    assert corner(result.scene) == (110, 150)
    assert records(result) == PASTED


def test_replaced_as_one() -> None:
    # Car 26001 covers rows 68..73 and columns 128..139; the cyclist is 14 pixels wide.
    result = run(bare(), Replace(instance=26001, **BRING), donors=[cyclist("b")])
    np.testing.assert_array_equal(pattern(result.scene), PATTERN)
    assert corner(result.scene) == (73, 127)
    assert records(result) == PASTED
    # And a car in the place of the cyclist: nothing stays of either.
    source = cyclist()
    replace = Replace(**BOTH, donor="b", donor_instance=26001)
    result = run(source, replace, donors=[street("b", height=128, width=256)])
    assert not np.isin(result.scene.label, [RIDER, BICYCLE]).any()
    (car,) = [r for r in result.instances if r.origin == "pasted"]
    assert car.box == (TOP + 14, LEFT + 1, TOP + 20, LEFT + 13)


def test_dropped_as_one() -> None:
    source = cyclist()
    result = run(source, Drop(**BOTH))
    was = np.isin(source.label, [RIDER, BICYCLE])
    np.testing.assert_array_equal(result.changed, was)
    assert (result.scene.label[was] == ROAD).all()
    assert {r.class_name for r in result.instances} == {"car", "person"}


def test_the_rider_is_as_near_as_the_bicycle() -> None:
    """A car whose lower edge lies between the feet of both is covered by both."""
    # Car 26001 ends in row 73, the rider in row 72, and the bicycle in row 75.
    result = run(bare(), Paste(**BRING, row=75, column=128), donors=[cyclist("b")])
    assert {k: v[-1] for k, v in records(result).items()} == {"rider": 1, "bicycle": 1}
    alone = {**BRING, "donor_along": ()}
    result = run(bare(), Paste(**alone, row=72, column=128), donors=[cyclist("b")])
    assert records(result)["rider"][-1] < 1


@pytest.mark.parametrize(
    "operation",
    [
        Paste(**BRING, row=110, column=254),  # the bicycle would lie outside the picture
        Paste(**BRING, row=110, column=90, scale=0.05),
        Paste(**{**BRING, "donor_along": (33009,)}, row=110, column=90),
        Replace(instance=26001, **{**BRING, "donor_along": (33009,)}),
        Move(**BOTH, rows=0, columns=194),
        Rescale(**BOTH, row=110, column=254, scale=1.2),
        Duplicate(**BOTH, row=110, column=254),
        Drop(instance=25000, along=(33009,)),
        Flip(instance=25000, along=(33009,)),
    ],
)
def test_all_or_nothing(operation: Operation) -> None:
    source = cyclist()
    result = run(source, operation, donors=[cyclist("b")])
    assert [event.kind for event in result.log] == ["skipped"]
    same_maps(result.scene, source)
    assert {r.origin for r in result.instances} == {"source"}
    # Nor does it leave anything behind that later operations would stumble over.
    after = run(source, operation, Move(**BOTH, rows=3, columns=3), donors=[cyclist("b")])
    same_maps(after.scene, run(source, Move(**BOTH, rows=3, columns=3)).scene)


def test_what_goes_with_a_protected_object_stays() -> None:
    result = run(
        cyclist(),
        Move(**BOTH, rows=1, columns=1),
        Paste(**BRING, row=110, column=150),
        donors=[cyclist("b")],
        protected=("bicycle",),
    )
    assert all("protected" in event.reason for event in result.log)
    assert len(result.log) == 2
    same_maps(result.scene, cyclist())


def test_programs_are_replayed_exactly_from_their_json() -> None:
    program = Program(
        scene="a",
        operations=(
            MirrorScene(),
            Flip(**BOTH),
            Paste(**BRING, row=101, column=150, scale=1.37, flip=True),
            Duplicate(**BOTH, row=90, column=20, scale=0.8),
            Move(instance=25001, along=(33001,), rows=2, columns=-7),
            Drop(**BOTH),
        ),
    )
    again = Program.model_validate_json(program.model_dump_json())
    assert again == program
    donors = donors_from({"b": cyclist("b")})
    one, other = (recompose(p, cyclist(), donors, taxonomy=CITY) for p in (program, again))
    assert not one.log
    same_maps(one.scene, other.scene)
    assert one.instances == other.instances
    assert sum(r.class_id == BICYCLE for r in one.instances) == 2


def test_who_loses_one_loses_both() -> None:
    """A rider of whom only the bicycle is cut off by the border does not stay without it."""
    paste = Paste(**BRING, row=110, column=247)
    kept = records(run(bare(), paste, donors=[cyclist("b")]))
    least, most = sorted(kept[name][-1] for name in ("rider", "bicycle"))
    assert least < most
    program = Program(scene="a", min_visible_fraction=(least + most) / 2, operations=(paste,))
    donors = donors_from({"b": cyclist("b")})
    result = recompose(program, bare(), donors, taxonomy=CITY)
    assert not records(result)
    same_maps(result.scene, bare())
    assert [event.kind for event in result.log] == ["removed_small"] * 2
