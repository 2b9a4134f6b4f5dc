"""Which donors a policy lets in."""

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.donors.bank import DonorIndex
from pipeline.indexing.record import index_scene
from pipeline.planning.policy import Policy
from pipeline.planning.rules import LEAST_OF_CUT, Rules, eligible_donors
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.fake_placement import RowPlacer
from tests.scenes import BICYCLE, CAR, PERSON, RIDER, ROAD, street, with_cyclist

CITY = Taxonomy.load("cityscapes")
LOOSE = {"min_donor_area": 0}


def with_thing(scene: Scene, value: int, top: int, left: int, tall: int, wide: int) -> Scene:
    label, instance = scene.label.copy(), scene.instance.copy()
    box = np.s_[top : top + tall, left : left + wide]
    label[box], instance[box] = value // 1000 if value >= 1000 else value, value
    return Scene(scene.name, label, instance)


def bare(name: str = "a") -> Scene:
    label = np.full((128, 256), ROAD, np.uint8)
    return Scene(name, label, label.astype(np.int32))


def let_in(*scenes: Scene, min_area: int = 1, **constraints: object) -> set[int]:
    """The ids of the donors that are let in."""
    index = DonorIndex.of([index_scene(scene, CITY) for scene in scenes], min_area=min_area)
    policy = Policy.load({"constraints": {**LOOSE, **constraints}})
    return set(index.ids[eligible_donors(policy, index, taxonomy=CITY)].tolist())


def test_riders_bring_their_bicycles_which_are_no_donors_of_their_own() -> None:
    scene = with_thing(with_cyclist(bare(), 60, 40), 33005, 60, 120, 8, 12)
    assert let_in(scene) == {25000, 33005}


def test_a_rider_of_nothing_is_no_donor_where_most_ride() -> None:
    walker = with_thing(bare(), 25007, 60, 200, 17, 6)
    assert let_in(with_cyclist(walker, 60, 40)) == {25000}
    # Where a taxonomy's riders are seen without, they are donors as they are.
    assert let_in(walker) == {25007}
    many = with_thing(with_thing(walker, 25008, 60, 180, 17, 6), 25009, 60, 160, 17, 6)
    assert let_in(with_cyclist(many, 60, 40)) == {25000, 25007, 25008, 25009}


def test_a_rider_whose_bicycle_is_none_is_no_donor() -> None:
    many = bare()
    for number in range(3):
        many = with_thing(many, 25007 + number, 60, 160 + 20 * number, 17, 6)
    tiny = with_cyclist(many, 60, 40)
    label, instance = tiny.label.copy(), tiny.instance.copy()
    cut = (instance == 33000) & (np.arange(256) > 45)
    label[cut], instance[cut] = ROAD, ROAD
    bicycle = int((instance == 33000).sum())
    found = let_in(Scene("a", label, instance), min_area=bicycle + 1)
    assert found == {25007, 25008, 25009}


def test_a_rider_whose_bicycle_is_hidden_or_cut_is_no_donor() -> None:
    scene = with_cyclist(with_cyclist(bare(), 60, 40), 60, 140, number=1)
    assert let_in(scene) == {25000, 25001}
    assert let_in(with_thing(scene, 26000, 70, 50, 14, 30)) == {25001, 26000}
    assert let_in(with_cyclist(scene, 60, 243, number=2)) == {25000, 25001}


@pytest.mark.parametrize("protected", ["rider", "bicycle"])
def test_neither_of_two_that_are_one_is_let_in_if_one_is_protected(protected: str) -> None:
    scene = with_thing(with_cyclist(bare(), 60, 40), 26000, 20, 120, 8, 12)
    assert let_in(scene, protected=[protected]) == {26000}
    # Not even where the longer edge is shared with something else.
    beside = with_thing(with_cyclist(bare(), 60, 40), 24000, 58, 46, 14, 6)
    record = index_scene(beside, CITY)
    assert record.companions[record.ids == 25000] == PERSON
    assert record.partners[record.ids == 25000] == 33000
    assert 25000 not in let_in(beside, protected=[protected])


def test_donors_are_large_complete_and_in_one_piece() -> None:
    scene = street(height=128, width=256)
    assert let_in(scene) == {24000, 26000, 26001}
    assert let_in(scene, min_donor_area=60 / (128 * 256)) == {26001}
    behind = with_thing(scene, 26002, 66, 120, 10, 10)  # before two columns of 26001
    assert let_in(behind) == {24000, 26000, 26002}
    assert let_in(behind, min_completeness=0.2) == {24000, 26000, 26001, 26002}
    split = with_thing(scene, 17, 60, 134, 16, 1)  # a pole
    assert 26001 not in let_in(split, min_completeness=0)


def test_what_the_border_cuts_need_not_be_as_complete() -> None:
    scene = with_thing(bare(), 26000, 60, 0, 10, 20)
    index = DonorIndex.of([index_scene(scene, CITY)])
    assert LEAST_OF_CUT < index.completeness[0] < 0.9
    assert let_in(scene) == {26000}
    corner = with_thing(bare(), 26000, 0, 0, 10, 20)
    assert DonorIndex.of([index_scene(corner, CITY)]).completeness[0] < LEAST_OF_CUT
    assert let_in(corner) == set()


def test_rules_know_what_is_brought_and_how_many_donors_there_are() -> None:
    policy = Policy.load({"operations": {"paste": 1}, "constraints": LOOSE})
    scene = with_thing(with_cyclist(street(height=128, width=256), 80, 40), 33005, 100, 90, 8, 12)
    donors = DonorIndex.of([index_scene(scene, CITY)])
    eligible: npt.NDArray[np.bool_] = eligible_donors(policy, donors, taxonomy=CITY)
    rules = Rules.of(
        policy, donors=donors, eligible=eligible, placer=RowPlacer(donors), taxonomy=CITY
    )
    assert BICYCLE in rules.together[RIDER]
    counts = {class_id: int(rules.donor_counts[class_id]) for class_id in (PERSON, RIDER, CAR)}
    assert counts == {PERSON: 1, RIDER: 1, CAR: 2}
    assert rules.donor_counts[BICYCLE] == 1
    assert rules.donor_areas["street", 33000] == 96
