"""Pools choose donors by height, side and use."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.donors.bank import DonorIndex
from pipeline.indexing.record import LEFT, RIGHT, index_scene
from pipeline.placing.pools import DonorPools, Pool, Use
from pipeline.roles import class_roles
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.scenes import CAR, PERSON, ROAD

CITY = Taxonomy.load("cityscapes")
SIDED = class_roles(CITY).sided
SIZE = (64, 128)
# One left, one in the middle, one right; those that left, right and ego vehicle cut; one behind
# another.
BOXES = ((30, 20, 6, 8), (40, 60, 6, 8), (30, 90, 6, 8), (30, 0, 6, 8), (40, 120, 6, 8),
         (56, 60, 6, 8), (50, 20, 6, 8), (52, 26, 8, 6))  # fmt: skip


def scene(name: str, class_id: int) -> Scene:
    """A road with things of a class, and the ego vehicle below."""
    label = np.full(SIZE, ROAD, np.uint8)
    instance = label.astype(np.int32)
    for number, (top, left, tall, wide) in enumerate(BOXES):
        box = np.s_[top : top + tall, left : left + wide]
        label[box], instance[box] = class_id, class_id * 1000 + number
    label[62:, :67] = instance[62:, :67] = 1
    return Scene(name, label, instance)


DONORS = DonorIndex.of([index_scene(scene(n, c), CITY) for n, c in (("a", CAR), ("b", PERSON))])
POOLS = DonorPools(DONORS, sided=SIDED)


def members(class_id: int, use: Use, *, turned: bool = False) -> dict[int, bool]:
    """The numbers of the donors of a pool, and whether they must be mirrored."""
    pool = POOLS.get(class_id, use, turned=turned)
    if pool is None:
        return {}
    numbers = (DONORS.ids[pool.donors] % 1000).tolist()
    assert (DONORS.classes[pool.donors] == class_id).all()
    return dict(zip(numbers, pool.flips.tolist(), strict=True))


def test_what_is_cut_serves_at_the_border_that_cut_it() -> None:
    assert DONORS.cut_sides[DONORS.classes == CAR].tolist()[:5] == [0, 0, 0, LEFT, RIGHT]
    assert members(PERSON, "left") == {3: False, 4: True}
    assert members(PERSON, "right") == {3: True, 4: False}
    assert members(PERSON, "bottom") == {5: False}


def test_vehicles_are_mirrored_with_their_scene_alone() -> None:
    assert members(CAR, "left") == {3: False}
    assert members(CAR, "right") == {4: False}
    assert members(CAR, "left", turned=True) == {4: True}
    assert members(CAR, "right", turned=True) == {3: True}
    assert set(members(CAR, "whole").values()) == {False}
    assert set(members(CAR, "whole", turned=True).values()) == {True}
    assert members(PERSON, "whole", turned=True) == members(PERSON, "whole")


def test_what_something_nearer_hides_is_not_used() -> None:
    hidden = DONORS.ids[(DONORS.hidden_sides & RIGHT > 0) & (DONORS.classes == CAR)] % 1000
    assert 6 in hidden
    uses: tuple[Use, ...] = ("whole", "left", "right", "bottom")
    for class_id in (CAR, PERSON):
        used = set().union(*(members(class_id, use) for use in uses))
        assert {0, 1, 2, 3, 4, 7} <= used
        assert 6 not in used


def test_classes_without_donors_have_no_pools() -> None:
    assert POOLS.get(31, "whole") is None
    assert POOLS.get(CAR, "bottom", turned=True) is POOLS.get(CAR, "bottom", turned=True)


def pool(heights: npt.ArrayLike, centres: npt.ArrayLike) -> Pool:
    logs = np.log(np.asarray(heights, np.float64))
    count = len(logs)
    flips = np.zeros(count, np.bool_)
    return Pool(np.arange(count), logs, np.asarray(centres, np.float64), flips)


def choose(
    of: Pool,
    height: float,
    column: float,
    uses: npt.NDArray[np.int64],
    *,
    view: float = 4.0,
    barred: tuple[int, ...] = (),
) -> npt.NDArray[np.integer]:
    """Donors chosen for 200 equal places."""
    many = np.ones(200)
    flags = np.isin(np.arange(len(uses)), barred)
    return of.choose(
        np.log(height) * many, column * many, uses, flags, np.random.default_rng(0),
        scale=(0.4, 1.5), view=view,
    )  # fmt: skip


def test_donors_about_as_tall_are_chosen() -> None:
    heights = np.geomspace(4, 400, 100)
    found = choose(pool(heights, np.full(100, 0.5)), 60, 0.5, np.zeros(100, np.int64))
    assert len(set(found.tolist())) > 5
    assert (np.abs(np.log(60 / heights[found])) < 0.7).all()
    # As far as can be, none is scaled beyond the limits.
    found = choose(pool([10, 20, 90], [0.5] * 3), 40, 0.5, np.zeros(3, np.int64))
    assert set(found.tolist()) == {2}


def test_donors_seen_about_there_are_chosen_where_that_matters() -> None:
    of = pool([50] * 11, np.linspace(0, 1, 11))
    uses = np.zeros(11, np.int64)
    found = choose(of, 50, 0.1, uses)
    assert of.centres[found].max() <= 0.45
    assert len(set(choose(of, 50, 0.1, uses, view=0.0).tolist())) == 11


def alike(count: int) -> Pool:
    """Donors between which nothing but their use decides."""
    return pool([50] * count, [0.5] * count)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=12), st.data())
def test_what_is_used_more_than_most_waits(counts: list[int], data: st.DataObject) -> None:
    barred = tuple(data.draw(st.sets(st.integers(0, len(counts) - 1), max_size=len(counts) - 1)))
    found = choose(alike(len(counts)), 50, 0.5, np.array(counts), barred=barred)
    free = sorted(count for k, count in enumerate(counts) if k not in barred)
    allowed = {k for k, count in enumerate(counts)
               if k not in barred and count <= free[len(free) // 2]}  # fmt: skip
    assert set(found.tolist()) <= allowed


def test_what_is_used_less_is_preferred_but_does_not_keep_others_out() -> None:
    """It may be that it fits nowhere."""
    found = choose(alike(10), 50, 0.5, np.array([0, *[40] * 9]))
    times = np.bincount(found, minlength=10)
    assert times.min() > 0
    assert times[0] > 2 * times[1:].max()
    assert times[1:].sum() > 20


def test_the_barred_are_chosen_where_there_is_no_other() -> None:
    uses = np.array([3, 3, 3])
    assert set(choose(alike(3), 50, 0.5, uses, barred=(0, 1)).tolist()) == {2}
    assert set(choose(alike(3), 50, 0.5, uses, barred=(0, 1, 2)).tolist()) == {0, 1, 2}


@pytest.mark.parametrize("turned", [False, True])
def test_a_mirrored_donor_is_seen_on_the_other_side(turned: bool) -> None:
    found = POOLS.get(CAR, "whole", turned=turned)
    assert found is not None
    at = found.choose(
        np.full(100, np.log(6)), np.full(100, 0.2), np.zeros(len(DONORS), np.int64),
        np.zeros(len(DONORS), np.bool_), np.random.default_rng(0), scale=(0.4, 1.5), view=40.0,
    )  # fmt: skip
    lefts = DONORS.boxes[found.donors[at], 1]
    assert ((lefts > SIZE[1] / 2) == turned).all()
