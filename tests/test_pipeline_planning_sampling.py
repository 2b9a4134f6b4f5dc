import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.donors.bank import DonorIndex
from pipeline.editing.program import (
    ChangeClass,
    CropZoom,
    Drop,
    Duplicate,
    Flip,
    Jitter,
    MirrorScene,
    Move,
    Paste,
    Program,
    RelabelRegion,
    Replace,
    Rescale,
)
from pipeline.editing.recompose import donors_from, edit, recompose
from pipeline.indexing.record import index_scene
from pipeline.placing.priors import Priors
from pipeline.planning.demands import Demands, Hidden
from pipeline.planning.policy import Policy
from pipeline.planning.sampling import Draft, Sampler, make_sampler
from pipeline.rng import sample_generator
from pipeline.roles import class_roles
from pipeline.scene import Scene, disagreements
from pipeline.taxonomy import Taxonomy
from tests.edited_scenes import scenes
from tests.real_scenes import SAMPLES, camvid_scenes, cityscapes_scenes
from tests.scenes import BICYCLE, BUILDING, CAR, PERSON, ROAD, street, with_cyclist

CITY = Taxonomy.load("cityscapes")
EVERYTHING = {
    "drop": 1, "move": 1, "rescale": 1, "flip": 1, "duplicate": 1, "paste": 1,
    "replace": {"weight": 1, "with": {"car": ["person", "bicycle"], "person": ["car"]}},
    "change_class": {"to": {"car": ["truck"], "person": ["rider"]}},
    "jitter": {"amplitude": 0.2},
    "relabel_region": {"pairs": [["building", "vegetation"], ["sidewalk", "parking"]]},
    "grow_region": {"pairs": [["road", "building"], ["vegetation", "sky"]], "pixels": [0, 0.2]},
    "skyline": {"lower": "building"},
}  # fmt: skip
LOOSE = {
    "min_edit_area": 0, "max_drop_area": 1, "min_donor_area": 0, "min_visible_area": 0,
    "min_visible_fraction": 0, "max_edits": 40,
}  # fmt: skip
EAGER = Policy.load(
    {
        "edits": [4, 8],
        "mirror": 0.5,
        "crop_zoom": {"probability": 0.3, "zoom": [1, 2]},
        "operations": EVERYTHING,
        "constraints": LOOSE,
    }
)
OBJECT_EDITS = (Drop, Move, Rescale, Flip, Duplicate, Replace, ChangeClass, Jitter)


def sampler(policy: Policy, dataset: Sequence[Scene], *, taxonomy: Taxonomy = CITY) -> Sampler:
    records = [index_scene(scene, taxonomy) for scene in dataset]
    return make_sampler(
        policy,
        records,
        donors=DonorIndex.of(records),
        priors=Priors.fit(records, taxonomy),
        taxonomy=taxonomy,
    )


def drafts(
    policy: Policy,
    dataset: Sequence[Scene],
    count: int,
    *,
    seed: int = 0,
    demands: Demands | None = None,
) -> list[Draft]:
    """Drafts of the first scene alone."""
    made = sampler(policy, dataset)
    record = index_scene(dataset[0], CITY)
    return [made.draft(record, sample_generator(seed, i), demands) for i in range(count)]


def only(operations: dict[str, object], **policy: object) -> Policy:
    return Policy.load({"operations": operations, "constraints": LOOSE, "edits": [3, 3]} | policy)


def operations(made: Sequence[Draft]) -> list[object]:
    return [operation for draft in made for operation in draft.program.operations]


@settings(deadline=None, max_examples=60)
@given(scenes(name="a"), scenes(name="b"), st.integers(0, 2**40))
def test_any_scenes_give_programs_that_run(one: Scene, other: Scene, seed: int) -> None:
    other = edit_size(other, one.size)
    (draft,) = drafts(EAGER, [one, other], 1, seed=seed)
    program = draft.program
    assert program == drafts(EAGER, [one, other], 1, seed=seed)[0].program
    assert program.scene == "a"
    assert set(program.donors) <= {"b"}
    edited = [o.instance for o in program.operations if isinstance(o, OBJECT_EDITS)]
    assert len(edited) == len(set(edited))
    result = recompose(program, one, donors_from({"b": other}), taxonomy=CITY)
    assert disagreements(result.scene.label, result.scene.instance, CITY) == 0
    assert not [e for e in result.log if "no object" in e.reason or "reaches out" in e.reason]


def edit_size(scene: Scene, size: tuple[int, int]) -> Scene:
    """The scene cut, or continued by repeating its border, to another size."""
    height, width = size
    rows, columns = (
        np.arange(length).clip(0, own - 1) for length, own in zip(size, scene.size, strict=True)
    )
    box = (rows[:, None], columns)
    assert scene.label[box].shape == (height, width)
    return Scene(name=scene.name, label=scene.label[box], instance=scene.instance[box])


def test_no_edits_means_an_empty_program() -> None:
    (draft,) = drafts(Policy.load("none"), [street()], 1)
    assert draft.program.operations == ()
    assert Counter(draft.tally.classes.tolist()) == {CAR: 2, PERSON: 1}
    assert draft.tally.visible.tolist() == [1, 1, 1]
    assert sorted(draft.tally.areas.tolist()) == [24, 32, 72]


def test_edits_differ_between_samples_and_seeds() -> None:
    dataset = [street("a"), street("b")]
    made = [d.program for s in range(4) for d in drafts(EAGER, dataset, 4, seed=s)]
    assert len(set(made)) > 12


def test_constraints_are_told_to_the_program() -> None:
    policy = Policy.load(
        {
            "edits": [0, 0],
            "constraints": {
                "min_visible_area": 0.01, "min_visible_fraction": 0.3, "protected": ["rider"],
            },
        }
    )  # fmt: skip
    (draft,) = drafts(policy, [street()], 1)
    assert draft.program == Program(
        scene="street", min_visible_area=20, min_visible_fraction=0.3, protected=("rider",)
    )


def test_kinds_are_drawn_by_weight() -> None:
    dataset = [street("a", height=64, width=128), street("b", height=64, width=128)]
    made = drafts(only({"drop": 1, "flip": 3}, edits=[1, 1]), dataset, 400)
    kinds = Counter(type(o) for o in operations(made))
    assert kinds[Flip] / (kinds[Drop] + kinds[Flip]) == pytest.approx(0.75, abs=0.06)
    assert set(kinds) == {Drop, Flip}


def test_only_objects_of_named_classes_are_edited() -> None:
    made = drafts(only({"flip": {"classes": ["person"]}}), [street()], 20)
    assert {o.instance for o in operations(made) if isinstance(o, Flip)} == {24000}
    dataset = [street("a", height=128, width=256), street("b", height=128, width=256)]
    made = drafts(only({"paste": {"classes": ["car", "no such"]}}), dataset, 40)
    pasted = {o.donor_instance // 1000 for o in operations(made) if isinstance(o, Paste)}
    assert pasted == {CAR}


def test_classes_change_as_named() -> None:
    named = {"shape": "own", "to": {"car": ["truck", "bus"], "tram": ["car"]}}
    policy = only({"change_class": named})
    changes = {
        (o.instance, o.to)
        for o in operations(drafts(policy, [street()], 60))
        if isinstance(o, ChangeClass)
    }
    assert changes == {(i, to) for i in (26000, 26001) for to in ("truck", "bus")}


def test_an_object_that_changes_its_class_gives_its_place_to_a_donor() -> None:
    dataset = [street(name, height=128, width=256) for name in "ab"]
    policy = only({"change_class": {"to": {"car": ["person"], "person": ["bus"]}}})
    made = drafts(policy, dataset, 40)
    found = operations(made)
    assert found
    for operation in found:
        assert isinstance(operation, Replace)
        assert operation.instance // 1000 == CAR  # of buses there is none
        assert (operation.donor, operation.donor_instance) == ("b", 24000)
    for draft in made:
        changed = len(draft.program.operations)
        assert draft.tally.count(CAR) == 2 - changed
        assert draft.tally.count(PERSON) == 1 + changed


def cyclists(name: str) -> Scene:
    """A street with two cyclists, and a bicycle that nobody rides."""
    scene = with_cyclist(street(name, height=128, width=256), 90, 40)
    scene = with_cyclist(scene, 80, 180, number=1)
    label, instance = scene.label.copy(), scene.instance.copy()
    box = np.s_[100:108, 110:122]
    label[box], instance[box] = BICYCLE, BICYCLE * 1000 + 2
    return Scene(name, label, instance)


RIDING = {25000: 33000, 25001: 33001}


def test_riders_and_their_bicycles_are_edited_as_one() -> None:
    dataset = [cyclists("a"), cyclists("b")]
    kinds = {kind: 1 for kind in ("drop", "move", "rescale", "flip", "duplicate", "paste")}
    policy = only({**kinds, "replace": 1}, edits=[5, 8], critic=False)
    seen = Counter[type]()
    donors = donors_from({"b": dataset[1]})
    for draft in drafts(policy, dataset, 60):
        result = recompose(draft.program, dataset[0], donors, taxonomy=CITY)
        for operation in draft.program.operations:
            if isinstance(operation, OBJECT_EDITS):
                assert not isinstance(operation, ChangeClass | Jitter)
                assert operation.instance not in RIDING.values()
                along = RIDING.get(operation.instance)
                assert operation.along == (() if along is None else (along,))
                seen[type(operation)] += along is not None
            if isinstance(operation, Paste | Replace):
                assert operation.donor_instance not in RIDING.values()
                along = RIDING.get(operation.donor_instance)
                assert operation.donor_along == (() if along is None else (along,))
                seen[Paste] += along is not None
        counts = Counter(i.class_name for i in result.instances)
        assert not [e for e in result.log if e.kind == "skipped"]
        # One bicycle in the scene and one of the donors are nobody's.
        assert counts["rider"] <= counts["bicycle"]
        assert counts["rider"] == draft.tally.count(25) or result.log
    assert {Drop, Move, Rescale, Flip, Duplicate, Replace, Paste} == {
        k for k, n in seen.items() if n
    }


@pytest.mark.parametrize("kind", ["drop", "paste", "duplicate", "replace", "change_class"])
def test_demands_bound_what_riders_bring_and_take_along(kind: str) -> None:
    dataset = [cyclists("a"), cyclists("b")]
    changes: dict[str, object] = {
        "replace": {"weight": 1, "with": {"car": ["rider"], "rider": ["car", "rider"]}},
        "change_class": {"to": {"car": ["rider"], "rider": ["person", "rider"]}},
    }
    policy = only({kind: changes.get(kind, 1)}, edits=[6, 6], critic=False)
    for draft in drafts(policy, dataset, 25, demands=Demands(bounds={BICYCLE: (3, 3)})):
        assert not draft.failures
        assert draft.tally.count(BICYCLE) == 3
    plain = only({"replace": 1}, edits=[6, 6], critic=False)
    for draft in drafts(plain, dataset, 25, demands=Demands(bounds={BICYCLE: (3, 3)})):
        for operation in draft.program.operations:
            assert not getattr(operation, "along", ())


def test_vehicles_are_not_mirrored_but_in_the_middle() -> None:
    dataset = [street(name, height=128, width=256) for name in "ab"]
    made = drafts(only({"flip": 1}), dataset, 30)
    # Car 26000 is seen on the left, 26001 in the middle, and people look alike from everywhere.
    assert {o.instance for o in operations(made) if isinstance(o, Flip)} == {24000, 26001}
    policy = only({"duplicate": 1, "paste": 1, "replace": 1}, edits=[6, 6])
    flips = {True: 0, False: 0}
    for operation in operations(drafts(policy, dataset, 60)):
        assert isinstance(operation, Duplicate | Paste | Replace)
        own = isinstance(operation, Duplicate)
        class_id = (operation.instance if own else operation.donor_instance) // 1000
        if class_id == CAR:
            assert not operation.flip
        else:
            flips[operation.flip] += 1
    assert min(flips.values()) > 10
    mirrored = drafts(policy.model_copy(update={"mirror": 1.0}), dataset, 60)
    for operation in operations(mirrored):
        if isinstance(operation, Paste | Replace) and operation.donor_instance // 1000 == CAR:
            assert operation.flip


def test_contours_bend_in_proportion() -> None:
    policy = only({"jitter": {"amplitude": 0.25, "classes": ["person"]}})
    bent = [o for o in operations(drafts(policy, [street()], 30)) if isinstance(o, Jitter)]
    assert len(bent) == 30
    assert all(0.5 * 2 - 0.01 <= o.amplitude <= 2.01 for o in bent)
    assert len({o.seed for o in bent}) == 30


def test_windows_keep_shape_and_lie_in_the_picture() -> None:
    policy = Policy.load({"edits": [0, 0], "crop_zoom": {"probability": 0.5, "zoom": [1.2, 2]}})
    made = drafts(policy, [street(height=96, width=192)], 100)
    windows = [o for o in operations(made) if isinstance(o, CropZoom)]
    assert 30 < len(windows) < 70
    for window in windows:
        assert 1.19 <= 96 / window.height <= 2.03
        assert abs(window.width - 2 * window.height) <= 1
        assert window.top + window.height <= 96
        assert window.left + window.width <= 192
    by_window = {d.program.operations[-1:]: len(d.tally.classes) for d in made}
    assert by_window.pop(()) == 3
    assert min(by_window.values()) < 3


def test_protected_objects_and_what_is_attached_to_them_stay() -> None:
    scene = street()
    label, instance = scene.label.copy(), scene.instance.copy()
    for instance_id, rows, columns in (
        (25000, slice(17, 22), slice(20, 23)),
        (33000, slice(22, 25), slice(19, 24)),
    ):
        label[rows, columns], instance[rows, columns] = instance_id // 1000, instance_id
    scene = Scene(name="rider", label=label, instance=instance)
    constraints = EAGER.constraints.model_copy(update={"protected": ("rider", "bicyclist")})
    policy = EAGER.model_copy(update={"constraints": constraints})
    made = drafts(policy, [scene, street("b")], 80)
    edited = {o.instance for o in operations(made) if isinstance(o, OBJECT_EDITS)}
    assert edited == {24000, 26000, 26001}
    made = drafts(policy, [street("b"), scene], 80)
    pasted = {o.donor_instance for o in operations(made) if isinstance(o, Paste | Replace)}
    assert pasted
    assert not pasted & {25000, 33000}


def test_objects_before_others_are_not_edited_freely_but_on_demand() -> None:
    scene = street()
    label, instance = scene.label.copy(), scene.instance.copy()
    label[18:24, 36:48], instance[18:24, 36:48] = CAR, 26002
    instance[20:26, 32:44] = 26001
    label[20:26, 32:44] = CAR
    scene = Scene(name="queue", label=label, instance=instance)
    freely = operations(drafts(only({"drop": 1}), [scene], 40))
    assert 26001 not in {o.instance for o in freely if isinstance(o, Drop)}
    none = Policy.load({"edits": [0, 0], "constraints": LOOSE})
    (draft,) = drafts(none, [scene], 1, demands=Demands(bounds={CAR: (0, 0)}))
    dropped = {o.instance for o in draft.program.operations if isinstance(o, Drop)}
    assert dropped == {26000, 26001, 26002}
    assert draft.tally.count(CAR) == 0


def test_demands_bound_what_free_edits_do() -> None:
    dataset = [street("a", height=128, width=256), street("b", height=128, width=256)]
    policy = only({"drop": 2, "paste": 1, "duplicate": 1}, edits=[6, 6])
    demands = Demands(bounds={CAR: (2, 2), PERSON: (2, 3)})
    for draft in drafts(policy, dataset, 30, demands=demands):
        assert draft.tally.count(CAR) == 2
        assert draft.failures or 2 <= draft.tally.count(PERSON) <= 3
        assert len(draft.program.operations) > 0


def test_regions_come_first_and_the_window_last() -> None:
    for draft in drafts(EAGER, [street("a"), street("b")], 60):
        kinds = [type(o) for o in draft.program.operations]
        if MirrorScene in kinds:
            assert kinds.index(MirrorScene) == 0
        if CropZoom in kinds:
            assert kinds.index(CropZoom) == len(kinds) - 1
        if RelabelRegion in kinds:
            assert kinds.index(RelabelRegion) <= (MirrorScene in kinds)


def test_objects_that_cover_others_are_seen_to_hide_them() -> None:
    dataset = [street("a", height=128, width=256), street("b", height=128, width=256)]
    policy = Policy.load({"edits": [0, 0], "constraints": LOOSE})
    demands = Demands(hidden=(Hidden(PERSON, 1, (0.2, 0.7)),))
    made = [d for d in drafts(policy, dataset, 40, demands=demands) if not d.failures]
    assert made
    for draft in made:
        hidden = 1 - draft.tally.visible[draft.tally.classes == PERSON]
        assert ((hidden >= 0.2) & (hidden <= 0.7)).any()
        result = recompose(draft.program, dataset[0], donors_from({"b": dataset[1]}), taxonomy=CITY)
        seen = [i.visible_fraction for i in result.instances if i.class_id == PERSON]
        assert min(seen) == pytest.approx(1 - hidden.max(), abs=0.1)


@pytest.mark.slow
def test_programs_are_sampled_in_a_few_milliseconds() -> None:
    dataset = [street(str(i), height=256, width=512) for i in range(20)]
    records = [index_scene(scene, CITY) for scene in dataset]
    made = sampler(Policy.load("light"), dataset * 150)
    start = time.process_time()
    for index in range(300):
        made.draft(records[index % 20], sample_generator(0, index))
    assert (time.process_time() - start) / 300 < 5e-3


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no real samples in ../shared/data")
@pytest.mark.parametrize("policy", ["light", "paper-edits"])
@pytest.mark.parametrize("name", ["cityscapes", "camvid"])
def test_real_scenes_are_edited_soundly(name: str, policy: str) -> None:
    taxonomy = Taxonomy.load(name)
    dataset = cityscapes_scenes((256, 512)) if name == "cityscapes" else camvid_scenes()
    made = sampler(Policy.load(policy), dataset, taxonomy=taxonomy)
    records = [index_scene(scene, taxonomy) for scene in dataset]
    roles = class_roles(taxonomy)
    frame = roles.frozen & ~roles.clutter
    donors = donors_from({scene.name: scene for scene in dataset})
    edits = skipped = 0
    planned, found = Counter[int](), Counter[int]()
    for index in range(2 * len(dataset)):
        source = dataset[index % len(dataset)]
        draft = made.draft(records[index % len(records)], sample_generator(0, index))
        program = draft.program
        result = recompose(program, source, donors, taxonomy=taxonomy)
        mirrored = program.operations[:1] == (MirrorScene(),)
        base = edit(source, MirrorScene(), taxonomy=taxonomy) if mirrored else source
        edits += len(program.operations) - mirrored
        skipped += sum(event.kind == "skipped" for event in result.log)
        planned.update(draft.tally.classes.tolist())
        found.update(i.class_id for i in result.instances)
        assert disagreements(result.scene.label, result.scene.instance, taxonomy) == 0
        np.testing.assert_array_equal(frame[result.scene.label], frame[base.label])
        clutter = [roles.clutter[scene.label] for scene in (result.scene, base)]
        assert result.changed[clutter[0] != clutter[1]].all()
    assert edits > 2 * len(dataset)
    assert skipped <= 0.02 * edits
    for class_id, count in planned.items():
        assert found[class_id] == pytest.approx(count, abs=max(2, 0.05 * count))


def test_surfaces_that_become_others_carry_what_those_carry() -> None:
    """A building that became road may be stood on."""
    dataset = [street("a", height=128, width=256), street("b", height=128, width=256)]
    policy = only(
        {"relabel_region": {"weight": 1, "pairs": [["road", "building"]]}, "paste": 1},
        edits=[8, 8],
    )
    label = dataset[0].label
    assert {ROAD, BUILDING} <= set(label.ravel().tolist())
    for draft in drafts(policy, dataset, 20):
        kinds = Counter(type(o) for o in draft.program.operations)
        assert not (kinds[RelabelRegion] and kinds[Paste])
