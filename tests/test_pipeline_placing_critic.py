"""The critic learns from drawn scenes what places of objects have in common."""

from functools import cache

import numpy as np
import pytest

from pipeline.donors.bank import DonorIndex
from pipeline.indexing.record import SceneRecord, index_scene
from pipeline.placing.critic import BLOCK, FEWEST, Critic
from pipeline.placing.placement import Limits, Placer
from pipeline.placing.priors import Priors
from pipeline.planning.policy import Policy
from pipeline.planning.sampling import fit_critic
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.scenes import BICYCLE, CAR, PERSON, ROAD, SKY, with_cyclist

CITY = Taxonomy.load("cityscapes")
SIZE, HORIZON = (128, 256), 40
LIMITS = Limits()


def queue(seed: int) -> SceneRecord:
    """Four cars side by side, about as far away as each other, and a person."""
    rng = np.random.default_rng(seed)
    label = np.full(SIZE, SKY, np.uint8)
    label[HORIZON:] = ROAD
    instance = label.astype(np.int32)
    below = int(rng.integers(20, 80))
    rows = np.rint(below * rng.uniform(0.93, 1.07, 4)).astype(int).tolist()
    columns = rng.permutation(np.arange(8, 240, 32))[:4].tolist()
    things = [(CAR, left, down, 0.3) for left, down in zip(columns, rows, strict=True)]
    things.append((PERSON, int(rng.integers(10, 240)), int(rng.integers(20, 80)), 0.35))
    for number, (class_id, left, down, size) in enumerate(things):
        tall = max(3, round(size * down * float(rng.uniform(0.9, 1.1))))
        wide = tall if class_id == CAR else max(2, tall // 3)
        box = np.s_[HORIZON + down - tall : HORIZON + down, left : left + wide]
        if (instance[box] < 1000).all():
            label[box], instance[box] = class_id, class_id * 1000 + number
    return index_scene(Scene(f"queue {seed}", label, instance), CITY)


RECORDS = [queue(seed) for seed in range(40)]
DONORS = DonorIndex.of(RECORDS)
PRIORS = Priors.fit(RECORDS, CITY)


def fit(records: list[SceneRecord]) -> Critic:
    return Critic.fit(
        records, DONORS, PRIORS, CITY, limits=LIMITS, eligible=np.ones(len(DONORS), np.bool_)
    )


@cache
def critic() -> Critic:
    return fit(RECORDS)


def row_of(record: SceneRecord) -> float:
    return float(np.median(record.boxes[record.classes == CAR, 2]))


def off_the_row(judge: Critic | None) -> float:
    """How far from the row of the other cars one is put in scenes that nobody has seen."""
    placer = Placer(PRIORS, DONORS, CITY, limits=LIMITS, eligible=np.ones(len(DONORS), np.bool_))
    placer.critic = None if judge is None else judge.log_odds
    off = []
    for seed in range(100, 140):
        scene = placer.planned(queue(seed))
        paste = placer.paste(scene, CAR, np.random.default_rng(seed))
        if paste is not None:
            row = row_of(scene.record)
            off.append(abs(np.log((paste.row + 1 - HORIZON) / (row - HORIZON))))
    assert len(off) > 20
    return float(np.mean(off))


def test_an_obvious_rule_is_learnt_and_followed() -> None:
    assert critic().told[CAR] > 0.8
    with_critic, without = off_the_row(critic()), off_the_row(None)
    assert with_critic < 0.6 * without


def test_real_places_have_better_odds_than_others() -> None:
    placer = Placer(PRIORS, DONORS, CITY, limits=LIMITS)
    better = []
    for seed in range(200, 220):
        record = queue(seed)
        scene = placer.planned(record)
        for index in np.flatnonzero(record.classes == CAR).tolist():
            there = scene.boxes[index][None]
            nearer = there + np.array([25, 0, 25, 0])
            both = np.concatenate([there, nearer])
            odds = critic().log_odds(scene, both, CAR, without=(index,))
            better.append(odds[0] > odds[1])
    assert np.mean(better) > 0.85


def test_classes_of_which_few_are_seen_are_not_judged() -> None:
    assert sum(int((r.classes == PERSON).sum()) for r in RECORDS) < FEWEST
    assert set(critic().models) == set(critic().told) == {CAR}
    scene = Placer(PRIORS, DONORS, CITY, limits=LIMITS).planned(RECORDS[0])
    boxes = np.array([[60, 10, 90, 20], [60, 100, 90, 110]])
    assert critic().log_odds(scene, boxes, PERSON).tolist() == [0, 0]
    assert critic().log_odds(scene, boxes[:0], CAR).tolist() == []


@pytest.mark.parametrize("scenes", [1, BLOCK, 15])
def test_few_scenes_make_no_critic(scenes: int) -> None:
    found = fit(RECORDS[:scenes])
    assert found.models == {}
    assert found.told == {}


def test_a_critic_is_the_same_each_time() -> None:
    again = fit(RECORDS)
    assert again.told == critic().told
    scene = Placer(PRIORS, DONORS, CITY, limits=LIMITS).planned(RECORDS[3])
    rng = np.random.default_rng(0)
    lefts, bottoms = rng.integers(0, 240, 50), rng.integers(60, 120, 50)
    boxes = np.stack([bottoms - 10, lefts, bottoms, lefts + 10], axis=1)
    one, other = (c.log_odds(scene, boxes, CAR) for c in (critic(), again))
    assert one.tolist() == other.tolist()
    assert len(set(one.tolist())) > 1


def test_what_goes_along_is_not_judged_by_itself() -> None:
    """Bicycles with riders stand where riders do, and say nothing of those that stand alone."""
    label = np.full(SIZE, SKY, np.uint8)
    label[HORIZON:] = ROAD
    bare = Scene("bare", label, label.astype(np.int32))
    records = []
    for seed in range(45):
        scene = bare
        for number in range(4):
            scene = with_cyclist(scene, 50 + seed, 20 + 60 * number, number=number)
        records.append(index_scene(Scene(str(seed), scene.label, scene.instance), CITY))
    donors = DonorIndex.of(records)
    found = Critic.fit(
        records, donors, Priors.fit(records, CITY), CITY,
        limits=LIMITS, eligible=np.ones(len(donors), np.bool_),
    )  # fmt: skip
    assert BICYCLE not in found.models


@pytest.mark.parametrize(
    ("changes", "made"),
    [
        ({}, True),
        ({"critic": False}, False),
        ({"operations": {"drop": 1, "flip": 1}}, False),
        ({"operations": {"drop": 1}, "quotas": [{"class": "car", "at_least": 5}]}, True),
        ({"operations": {"change_class": {"to": {"car": ["truck"]}}}}, True),
    ],
)
def test_policies_that_place_nothing_need_none(changes: dict[str, object], made: bool) -> None:
    policy = Policy.load(
        {"operations": {"paste": 1}, "constraints": {"min_donor_area": 0}, **changes}
    )
    found = fit_critic(policy, RECORDS[:11], donors=DONORS, priors=PRIORS, taxonomy=CITY)
    assert (found is not None) == made
