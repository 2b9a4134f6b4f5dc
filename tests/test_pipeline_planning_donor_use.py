"""Runs use donors evenly, within their bounds, and plan the same each time."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.donors.bank import DonorIndex
from pipeline.editing.program import Drop, Paste, Program, Replace
from pipeline.indexing.record import SceneRecord, index_scene
from pipeline.placing.priors import Priors
from pipeline.planning.donor_use import DonorUse
from pipeline.planning.making import make_plan
from pipeline.planning.plan import Plan
from pipeline.planning.planner import plan_programs
from pipeline.planning.policy import Policy
from pipeline.planning.rules import eligible_donors
from pipeline.planning.sampling import make_sampler
from pipeline.sample_world import draw_scene
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy

CITY = Taxonomy.load("cityscapes")
PASTES = {
    "edits": [3, 3],
    "critic": False,
    "mirror": 0.5,
    "operations": {"paste": {"classes": ["person", "car"]}},
    "constraints": {"min_donor_area": 0.0005, "min_edit_area": 0.0003},
}
REDRAFTED = {
    "quotas": [
        {"class": "person", "occluded": [0.3, 0.7], "in": 0.5},
        {"class": "car", "at_least": 9, "in": 0.5},
    ]
}


@cache
def records() -> tuple[SceneRecord, ...]:
    drawn = (draw_scene(5, i, height=128, width=256) for i in range(16))
    return tuple(index_scene(Scene(d.name, d.label, d.instance), CITY) for d in drawn)


def plan(policy: dict[str, object], *, samples: int = 48, seed: int = 0) -> Plan:
    found = list(records())
    return make_plan(
        Policy.load(policy),
        found,
        donors=DonorIndex.of(found),
        priors=None,
        taxonomy=CITY,
        scenes=[record.name for record in found],
        samples=samples,
        shard_size=16,
        seed=seed,
    )


def programs(made: Plan) -> list[Program]:
    return [row.parsed_program() for row in made.rows]


def brought(program: Program) -> list[tuple[str, int]]:
    """The donors of a program, with what comes along."""
    return [
        (o.donor, instance)
        for o in program.operations
        if isinstance(o, Paste | Replace)
        for instance in (o.donor_instance, *o.donor_along)
    ]


def pastes(donors: dict[int, int]) -> list[Program]:
    paste = [
        Paste(donor="a", donor_instance=26000 + k, row=1, column=1)
        for k, count in donors.items()
        for _ in range(count)
    ]
    return [Program(scene="s", operations=(Drop(instance=26000), *paste))]


@given(st.dictionaries(st.integers(0, 9), st.integers(1, 8), min_size=1))
def test_gini_is_that_of_all_pairs(counts: dict[int, int]) -> None:
    use = DonorUse.of(pastes(counts))
    values = np.array(list(counts.values()))
    pairs = np.abs(values[:, None] - values).mean() / (2 * values.mean())
    assert use.gini == pytest.approx(pairs, abs=5e-4)
    assert (use.pastes, use.donors, use.most) == (values.sum(), len(values), values.max())


def test_use_in_words() -> None:
    assert DonorUse.of(pastes({})).text() == "none used"
    text = "2 used in 4 pastes, none more than 3 times (Gini 0.25)"
    assert DonorUse.of(pastes({0: 3, 1: 1})).text() == text


def test_donors_are_used_evenly() -> None:
    made = plan(PASTES)
    use = made.donor_use
    assert use.pastes > 80
    assert use.gini < 0.35
    uses = Counter(key for program in programs(made) for key in brought(program))
    donors = DonorIndex.of(list(records()))
    eligible = eligible_donors(Policy.load(PASTES), donors, taxonomy=CITY)
    for class_id in (24, 26):
        own = [key for key, ok in zip(donors.keys, eligible, strict=True)
               if ok and key[1] // 1000 == class_id]  # fmt: skip
        counts = [uses[key] for key in own]
        assert len(own) > 8
        assert np.mean(np.array(counts) > 0) > 0.6
        assert max(counts) <= 3 * np.mean(counts) + 2


def test_no_scene_gets_a_donor_twice() -> None:
    for program in programs(plan(PASTES | {"edits": [8, 8]}, samples=16)):
        keys = brought(program)
        assert len(keys) == len(set(keys))
        assert program.scene not in program.donors


@pytest.mark.parametrize("more", [{}, REDRAFTED])
def test_no_donor_is_used_more_often_than_allowed(more: dict[str, object]) -> None:
    constraints = {**PASTES["constraints"], "max_uses": 2}  # type: ignore[dict-item]
    made = plan(PASTES | more | {"constraints": constraints})
    uses = Counter(key for program in programs(made) for key in brought(program))
    assert uses
    assert max(uses.values()) <= 2
    assert made.donor_use.most <= 2


@pytest.mark.parametrize("more", [{}, REDRAFTED, {"critic": True}])
def test_a_plan_is_the_same_each_time(more: dict[str, object]) -> None:
    one, other = plan(PASTES | more), plan(PASTES | more)
    assert one.rows == other.rows
    assert one.donor_use == other.donor_use
    assert plan(PASTES | more, seed=1).rows != one.rows


def test_what_redrafts_gave_up_does_not_count_as_used() -> None:
    found = list(records())
    donors = DonorIndex.of(found)
    sampler = make_sampler(
        Policy.load(PASTES | REDRAFTED | {"mirror": 0}),
        found,
        donors=donors,
        priors=Priors.fit(found, CITY),
        taxonomy=CITY,
    )
    drafted: list[int] = []
    draft = sampler.draft

    def counted(*args: object, sample: int, **options: object) -> object:
        drafted.append(sample)
        return draft(*args, sample=sample, **options)  # type: ignore[arg-type]

    sampler.draft = counted  # type: ignore[method-assign, assignment]
    planned = plan_programs(
        sampler, {r.name: r for r in found}, [r.name for r in found], samples=48, seed=0
    )
    assert len(drafted) > 48  # some samples were asked for more
    uses = Counter(key for program in planned.programs for key in brought(program))
    counted_uses = sampler.rules.placer.spotter.uses
    assert {k: n for k, n in zip(donors.keys, counted_uses.tolist(), strict=True) if n} == uses
