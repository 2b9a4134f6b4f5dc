"""Completeness tells whole donors from parts of them, and from several in one."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.donors.completeness import DOUBT, FEWEST, WHOLE, completeness
from pipeline.indexing.record import silhouette
from tests.scenes import CAR, PERSON

Mask = npt.NDArray[np.bool_]
SCENES = 24


def person(stride: int) -> Mask:
    """Head, body and two legs, the feet some pixels apart."""
    mask = np.zeros((64, 24), np.bool_)
    mask[:12, 8:16] = True
    mask[12:40, 4:20] = True
    mask[40:, 6 - stride : 11 - stride] = mask[40:, 13 + stride : 18 + stride] = True
    return mask


def car(cabin: int) -> Mask:
    """A body, with a cabin almost as long on it."""
    mask = np.ones((30, 60), np.bool_)
    mask[:10, :cabin] = mask[:10, -cabin:] = False
    return mask


def judged(
    shapes: Sequence[Mask],
    class_id: int,
    *,
    obscured: Sequence[float] | None = None,
    single: Sequence[bool] | None = None,
) -> npt.NDArray[np.float32]:
    """How complete shapes are, each in a scene of its own."""
    tight = []
    for mask in shapes:
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        tight.append(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    count = len(shapes)
    return completeness(
        classes=np.full(count, class_id),
        scenes=np.arange(count),
        boxes=np.array([(0, 0, *mask.shape) for mask in tight]),
        silhouettes=np.array([np.packbits(silhouette(mask).ravel()) for mask in tight]),
        obscured=np.array([0.0] * count if obscured is None else obscured, np.float32),
        single=np.array([True] * count if single is None else single),
        seen=np.ones(count, np.bool_),
    )


def test_a_torso_among_whole_people_is_not_whole() -> None:
    people = [person(k % 4) for k in range(SCENES)]
    found = judged([*people, person(1)[:36], person(2)[40:]], PERSON)
    assert (found[:SCENES] >= WHOLE).all()
    assert (found[SCENES:] < 0.75).all()


def test_people_seen_from_the_other_side_are_whole() -> None:
    bent = person(2)
    bent[16:30, 20:24] = True  # an arm
    found = judged([bent] * 12 + [bent[:, ::-1]], PERSON)
    assert (found >= WHOLE).all()


def test_two_cars_in_one_are_not_whole() -> None:
    cars = [car(k % 3) for k in range(SCENES)]
    double = np.zeros((45, 90), np.bool_)
    double[:30, :60], double[15:, 30:] = car(1), car(1)
    found = judged([*cars, double], CAR)
    assert (found[:SCENES] >= WHOLE).all()
    assert found[-1] < 0.75


def test_cut_donors_are_judged_by_whether_they_are_one() -> None:
    cars = [car(k % 3) for k in range(SCENES)]
    double = np.zeros((45, 90), np.bool_)
    double[:30, :60], double[15:, 30:] = car(1), car(1)
    found = judged(
        [*cars, car(1)[:, :25], double],
        CAR,
        obscured=[0.0] * SCENES + [0.25, 0.25],
        single=[True] * SCENES + [False, False],
    )
    assert found[SCENES:].tolist() == [0.75, 0]


def test_hidden_contours_count_for_themselves() -> None:
    people = [person(k % 4) for k in range(SCENES)]
    found = judged(people, PERSON, obscured=[0.0] * (SCENES - 2) + [0.1, 0.4])
    assert found[-2:] == pytest.approx([0.9, 0.6], abs=0.01)


@given(st.lists(st.floats(0, 1, width=16), min_size=1, max_size=FEWEST - 1))
def test_with_few_of_a_class_contours_alone_are_judged_strictly(obscured: list[float]) -> None:
    shapes = [person(0)] * len(obscured)
    found = judged(shapes, PERSON, obscured=obscured)
    assert found == pytest.approx([max(0.0, 1 - DOUBT * o) for o in obscured], abs=1e-3)
