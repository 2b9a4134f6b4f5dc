import time
from pathlib import Path

import numpy as np
import pytest
from edited_scenes import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scenes import CAR, ROAD, street

from pipeline.layout import index_scene
from pipeline.policy import MovePolicy, OperationWeights, Policy
from pipeline.program import Drop, MirrorScene, Move, Paste, Program
from pipeline.recompose import donors_from, edit, recompose
from pipeline.rng import sample_generator
from pipeline.roles import class_roles
from pipeline.sampling import DonorTable, sample_program
from pipeline.scene import Scene, connected_instances, disagreements
from pipeline.taxonomy import Taxonomy

CITY = Taxonomy.load("cityscapes")
LIGHT = Policy.load("light")
EAGER = Policy(
    edits=(3, 6), mirror_probability=0.5, min_edit_area=0.0, max_drop_area=1.0, min_donor_area=0.0
)
SAMPLES = Path(__file__).parents[2] / "shared" / "data"


def program_for(policy: Policy, dataset: list[Scene], index: int, *, seed: int = 0) -> Program:
    records = [index_scene(scene, CITY) for scene in dataset]
    donors = DonorTable.build(records, policy, taxonomy=CITY)
    record = records[index % len(records)]
    return sample_program(policy, record, donors, rng=sample_generator(seed, index))


@settings(deadline=None, max_examples=80)
@given(scenes(name="a"), scenes(name="b"), st.integers(0, 2**63))
def test_any_scenes_give_programs_that_run(one: Scene, other: Scene, seed: int) -> None:
    program = program_for(EAGER, [one, other], 0, seed=seed)
    assert program == program_for(EAGER, [one, other], 0, seed=seed)
    assert program.scene == "a"
    assert set(program.donors) <= {"b"}
    targets = [o.instance for o in program.operations if isinstance(o, Drop | Move)]
    assert len(targets) == len(set(targets))
    result = recompose(program, one, donors_from({"b": other}), taxonomy=CITY)
    assert disagreements(result.scene.label, result.scene.instance, CITY) == 0
    assert not [e for e in result.log if "no object" in e.reason or "outside" in e.reason]


def test_no_edits_means_an_empty_program() -> None:
    program = program_for(Policy.load("none"), [street()], 0)
    assert program.operations == ()


def test_edits_differ_between_samples_and_seeds() -> None:
    dataset = [street("a"), street("b")]
    programs = {program_for(EAGER, dataset, 2 * i, seed=s) for i in range(4) for s in range(4)}
    assert len(programs) > 12


def test_a_scene_without_objects_gets_pastes_alone() -> None:
    label = street().label.copy()
    label[np.isin(label, [24, 26])] = ROAD
    empty = Scene(name="empty", label=label, instance=label.astype(np.int32))
    programs = [program_for(EAGER, [empty, street()], 2 * i) for i in range(20)]
    kinds = {type(o) for p in programs for o in p.operations}
    assert kinds == {Paste, MirrorScene}
    alone = [program_for(EAGER, [empty], i) for i in range(10)]
    assert {type(o) for p in alone for o in p.operations} == {MirrorScene}


def test_pastes_stand_on_what_carries_them_and_keep_perspective() -> None:
    dataset = [street("a", height=128, width=256), street("b", height=128, width=256)]
    policy = Policy(edits=(2, 2), weights=OperationWeights(drop=0, move=0, paste=1))
    horizon = 0.42 * 128
    pastes = 0
    for index in range(0, 120, 2):
        for operation in program_for(policy, dataset, index).operations:
            assert isinstance(operation, Paste)
            pastes += 1
            donor = dataset[1].instance == operation.donor_instance
            contact = np.flatnonzero(donor.any(axis=1))[-1]
            expected = horizon + (contact - horizon) * operation.scale
            assert abs(operation.row - expected) <= 0.51
            assert 0.8 <= operation.scale <= 1.25
            wide = np.count_nonzero(donor.any(axis=0)) * operation.scale
            below = dataset[0].label[min(operation.row + 2, 127)]
            middle = int(operation.column + wide / 2)
            assert class_roles(CITY).support[operation.donor_instance // 1000, below[middle]]
    assert pastes > 60


def test_nothing_is_put_where_the_ego_vehicle_is() -> None:
    scene = street(height=128, width=256)
    label, instance = scene.label.copy(), scene.instance.copy()
    label[64:][label[64:] == ROAD] = 1
    instance[label == 1] = 1
    covered = Scene(name="covered", label=label, instance=instance)
    dataset = [covered, street("other", height=128, width=256)]
    policy = Policy(edits=(4, 4), weights=OperationWeights(drop=0, move=1, paste=1))
    assert not any(program_for(policy, dataset, 2 * i).operations for i in range(30))


def test_moves_stay_in_range_and_in_the_picture() -> None:
    scene = street(height=128, width=256)
    policy = Policy(
        edits=(2, 2),
        weights=OperationWeights(drop=0, move=1, paste=0),
        move=MovePolicy(columns=0.1, rows=0.02),
    )
    moves = [o for i in range(60) for o in program_for(policy, [scene], i).operations]
    assert len(moves) > 40
    for operation in moves:
        assert isinstance(operation, Move)
        assert abs(operation.columns) <= 26
        assert abs(operation.rows) <= 3


def test_protected_objects_and_what_is_attached_to_them_stay() -> None:
    scene = street()
    label, instance = scene.label.copy(), scene.instance.copy()
    for instance_id, rows, columns in (
        (25000, slice(17, 22), slice(20, 23)),
        (33000, slice(22, 25), slice(19, 24)),
    ):
        label[rows, columns], instance[rows, columns] = instance_id // 1000, instance_id
    scene = Scene(name="rider", label=label, instance=instance)
    policy = EAGER.model_copy(update={"protected": ("rider", "no such class")})
    records = [index_scene(scene, CITY)]
    donors = DonorTable.build(records, policy, taxonomy=CITY)
    assert not set(donors.ids.tolist()) & {25000, 33000}
    edited = {
        o.instance
        for i in range(60)
        for o in program_for(policy, [scene], i).operations
        if isinstance(o, Drop | Move)
    }
    assert edited == {24000, 26000, 26001}


def test_donors_are_whole_and_large_enough() -> None:
    scene = street()
    records = [index_scene(scene, CITY)]
    policy = EAGER.model_copy(update={"min_donor_area": 30 / (32 * 64)})
    donors = DonorTable.build(records, policy, taxonomy=CITY)
    assert donors.ids.tolist() == [26000, 26001]
    label, instance = scene.label[:, 8:].copy(), scene.instance[:, 8:].copy()
    cut = [index_scene(Scene(name="cut", label=label, instance=instance), CITY)]
    assert DonorTable.build(cut, policy, taxonomy=CITY).ids.tolist() == [26001]


def test_rare_classes_are_drawn_more_often_than_they_occur() -> None:
    records = [index_scene(street(str(i)), CITY) for i in range(50)]
    donors = DonorTable.build(records, EAGER, taxonomy=CITY)
    drawn = donors.ids[donors.draw(sample_generator(0, 0), 20_000)] // 1000
    share = np.mean(drawn == CAR)
    assert share == pytest.approx(np.sqrt(100) / (np.sqrt(100) + np.sqrt(50)), abs=0.02)


def test_ground_is_learned_where_the_taxonomy_says_nothing() -> None:
    silent = CITY.model_copy(update={"support": {}})
    donors = DonorTable.build([index_scene(street(), silent)], EAGER, taxonomy=silent)
    assert np.flatnonzero(donors.support[CAR]).tolist() == [ROAD]


@pytest.mark.slow
def test_programs_are_sampled_in_less_than_a_millisecond() -> None:
    records = [index_scene(street(str(i), height=256, width=512), CITY) for i in range(20)]
    donors = DonorTable.build(records * 150, LIGHT, taxonomy=CITY)
    start = time.perf_counter()
    for index in range(500):
        sample_program(LIGHT, records[index % 20], donors, rng=sample_generator(0, index))
    assert (time.perf_counter() - start) / 500 < 1e-3


def real_scenes(size: tuple[int, int]) -> tuple[Taxonomy, list[Scene]]:
    folder = SAMPLES / "cityscapes_sample" / "gtFine" / "val"
    dataset = []
    for path in sorted(folder.glob("*/*_labelIds.png")):
        other = path.with_name(path.name.replace("labelIds", "instanceIds"))
        label, instance = (
            np.array(Image.open(p).resize(size[::-1], Image.Resampling.NEAREST))
            for p in (path, other)
        )
        dataset.append(
            Scene(name=path.stem, label=label.astype(np.uint8), instance=instance.astype(np.int32))
        )
    return CITY, dataset


def camvid_scenes() -> tuple[Taxonomy, list[Scene]]:
    taxonomy = Taxonomy.load("camvid")
    dataset = []
    for path in sorted((SAMPLES / "camvid" / "valannot").glob("*.png"))[::12]:
        label = np.array(Image.open(path)).astype(np.uint8)
        instance = connected_instances(label, taxonomy, min_area=20)
        dataset.append(Scene(name=path.stem, label=label, instance=instance))
    return taxonomy, dataset


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no real samples in ../shared/data")
@pytest.mark.parametrize("name", ["cityscapes", "camvid"])
def test_real_scenes_are_edited_soundly(name: str) -> None:
    taxonomy, dataset = real_scenes((256, 512)) if name == "cityscapes" else camvid_scenes()
    records = [index_scene(scene, taxonomy) for scene in dataset]
    donors = DonorTable.build(records, LIGHT, taxonomy=taxonomy)
    frozen = class_roles(taxonomy).frozen
    by_name = {scene.name: scene for scene in dataset}
    edits = 0
    for index in range(3 * len(dataset)):
        source = dataset[index % len(dataset)]
        rng = sample_generator(0, index)
        program = sample_program(LIGHT, records[index % len(records)], donors, rng=rng)
        result = recompose(program, source, donors_from(by_name), taxonomy=taxonomy)
        mirrored = program.operations[:1] == (MirrorScene(),)
        base = edit(source, MirrorScene(), taxonomy=taxonomy) if mirrored else source
        edits += len(program.operations) - mirrored
        assert not [e for e in result.log if e.kind == "skipped"]
        assert disagreements(result.scene.label, result.scene.instance, taxonomy) == 0
        np.testing.assert_array_equal(frozen[result.scene.label], frozen[base.label])
        assert result.changed.any() == any(
            not isinstance(o, MirrorScene) for o in program.operations
        )
    assert edits > 3 * len(dataset)
