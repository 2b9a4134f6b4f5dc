"""Hidden parts of donors, made up from whole ones: shapes, banks, jobs."""

import json
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import pipeline.donors.completion as completion_module
import pipeline.threads as threads_module
from hdmodel.errors import ConfigError
from hdsynth.cli import main
from pipeline.config import PhotoConfig, RenderConfig
from pipeline.donors.alignment import Models, best_laid
from pipeline.donors.bank import FILES, DonorBank, DonorIndex
from pipeline.donors.completion import complete
from pipeline.donors.sheet import MADE_UP, count_donors, draw_donor_sheet
from pipeline.donors.surroundings import Surroundings, surroundings_of
from pipeline.donors.writer import build_bank
from pipeline.editing.program import Paste
from pipeline.forecast import forecast
from pipeline.indexing.record import index_scene
from pipeline.prepare import catalogue_of, collect_donors, plan_job, prepare
from pipeline.roles import class_roles
from pipeline.scene import Scene
from pipeline.sources import DatasetConfig
from pipeline.taxonomy import Taxonomy
from tests.datasets import instance_file, label_file, photo_file, stem
from tests.scenes import BUILDING, CAR, PERSON, ROAD, SKY

CITY = Taxonomy.load("cityscapes")
BICYCLE, RIDER, TRUCK, POLE = 33, 25, 27, 17
SIZE = (96, 192)
HIDDEN = 8
"""The number of the scene in which a truck hides a part of the car."""
HIDDEN_CAR = CAR * 1000

Mask = npt.NDArray[np.bool_]


def car(tall: int, wide: int) -> Mask:
    """A bonnet at the left, a cabin that slopes, and wheels."""
    y, x = ((np.arange(n) + 0.5) / n for n in (tall, wide))
    y, x = y[:, None], x[None]
    cabin = (y < 0.5) & (x > 0.55 - 0.4 * y) & (x < 0.85 + 0.1 * y)
    wheels = (np.abs(x - 0.2) < 0.1) | (np.abs(x - 0.8) < 0.1)
    shape: Mask = cabin | ((y >= 0.45) & (y < 0.85)) | ((y >= 0.85) & wheels)
    return shape


def empty(name: str) -> Scene:
    label = np.full(SIZE, BUILDING, np.uint8)
    label[:10], label[40:] = SKY, ROAD
    return Scene(name, label, label.astype(np.int32))


def put(scene: Scene, instance: int, mask: Mask, *, top: int, left: int) -> None:
    tall, wide = mask.shape
    box = (slice(top, top + tall), slice(left, left + wide))
    scene.label[box][mask] = instance // 1000
    scene.instance[box][mask] = instance


def street(number: int) -> Scene:
    """A car of its own size in each scene; in one of them a truck hides its right third."""
    scene = empty(stem(number))
    if number == HIDDEN:
        put(scene, HIDDEN_CAR, car(26, 48), top=40, left=30)
        put(scene, TRUCK * 1000, np.ones((50, 60), np.bool_), top=25, left=62)
    else:
        put(scene, HIDDEN_CAR, car(20 + number, 36 + 2 * number), top=44, left=20 + 3 * number)
    return scene


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    for number in range(HIDDEN + 1):
        scene = street(number)
        label_file(root, number).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.label).save(label_file(root, number))
        Image.fromarray(scene.instance.astype(np.uint16)).save(instance_file(root, number))
        photo_file(root, number).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(CITY.colors[scene.label]).save(photo_file(root, number))
    return root


def build(world: Path, to: Path, *, complete: bool) -> DonorBank:
    config = DatasetConfig(root=str(world), format="cityscapes", split="val")
    return build_bank(to, config, size=SIZE, mode="resize", complete=complete)


@pytest.fixture(scope="module")
def bank(world: Path, tmp_path_factory: pytest.TempPathFactory) -> DonorBank:
    return build(world, tmp_path_factory.mktemp("donors") / "bank", complete=True)


@pytest.fixture(scope="module")
def plain(world: Path, tmp_path_factory: pytest.TempPathFactory) -> DonorBank:
    return build(world, tmp_path_factory.mktemp("donors") / "plain", complete=False)


def hidden_by(whole: Mask, hiding: Mask) -> Surroundings:
    box = (0, 0, *whole.shape)
    return Surroundings(box, whole & ~hiding, hiding, ~whole & ~hiding)


def iou(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / (one | other).sum())


MODELS = Models.of([car(20 + n, 36 + 2 * n) for n in range(6)])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("side", ["left", "right", "below", "above"])
def test_a_hidden_part_is_made_up_as_in_whole_ones(side: str, mirrored: bool) -> None:
    shape = car(40, 73)[:, ::-1] if mirrored else car(40, 73)
    whole = np.pad(shape, ((40, 40), (80, 87)))
    hiding = np.zeros(whole.shape, np.bool_)
    strips: dict[str, tuple[slice, slice]] = {
        "left": (slice(30, 100), slice(40, 110)),
        "right": (slice(30, 100), slice(125, 200)),
        "below": (slice(66, 110), slice(70, 170)),
        "above": (slice(10, 52), slice(70, 170)),
    }
    hiding[strips[side]] = True
    around = hidden_by(whole, hiding)
    found = complete(around, MODELS)
    assert found.is_good
    assert not (found.made_up & ~hiding).any()
    assert iou(around.seen | found.made_up, whole) > 0.9 > 0.85 > iou(around.seen, whole)
    made_up = found.made_up.sum()
    assert found.share == pytest.approx(made_up / (made_up + around.seen.sum()))


def test_what_is_unlike_whole_ones_is_not_made_up() -> None:
    disk = np.hypot(*np.ogrid[-30:30, -30:30]) < 20  # no car
    whole = np.pad(disk, 30)
    hiding = np.zeros(whole.shape, np.bool_)
    hiding[40:, 62:] = True
    assert not complete(hidden_by(whole, hiding), MODELS).is_good


def test_the_overlap_is_that_of_what_is_known() -> None:
    whole = np.pad(car(40, 80), ((40, 40), (80, 80)))
    hiding = np.zeros(whole.shape, np.bool_)
    hiding[30:100, 130:200] = True
    around = hidden_by(whole, hiding)
    laid = best_laid(around, MODELS, count=3)
    assert [one.score for one in laid] == sorted((one.score for one in laid), reverse=True)
    for one in laid:
        known = ~hiding
        expected = (one.shape & whole & known).sum() / ((one.shape | whole) & known).sum()
        assert one.overlap == pytest.approx(expected)
        assert 0.9 < one.score <= one.overlap


def test_surroundings_tell_what_is_nearer() -> None:
    scene = empty("made")
    put(scene, CAR * 1000, np.ones((20, 30), np.bool_), top=40, left=60)
    put(scene, CAR * 1000 + 1, np.ones((10, 20), np.bool_), top=35, left=85)  # farther
    put(scene, TRUCK * 1000, np.ones((30, 10), np.bool_), top=35, left=50)  # nearer
    put(scene, PERSON * 1000, np.ones((25, 4), np.bool_), top=35, left=70)  # as near as the car
    scene.label[30:70, 80], scene.instance[30:70, 80] = POLE, POLE  # nearer
    scene.label[20:50, 84], scene.instance[20:50, 84] = POLE, POLE  # farther
    record = index_scene(scene, CITY)
    row = np.flatnonzero(record.ids == CAR * 1000)
    (found,) = surroundings_of(scene, record, row, roles=class_roles(CITY))
    top, left, bottom, right = found.box
    assert (top, left, bottom, right) == (20, 30, 80, 120)
    ids = scene.instance[top:bottom, left:right]
    np.testing.assert_array_equal(found.seen, ids == CAR * 1000)
    nearer = ids == TRUCK * 1000
    nearer[10:50, 50] = True
    np.testing.assert_array_equal(found.hiding, nearer)
    np.testing.assert_array_equal(found.free, ~found.seen & ~nearer)


def test_what_is_one_with_an_object_tells_nothing() -> None:
    scene = empty("made")
    put(scene, RIDER * 1000, np.ones((20, 10), np.bool_), top=35, left=60)
    put(scene, BICYCLE * 1000, np.ones((12, 30), np.bool_), top=50, left=50)
    record = index_scene(scene, CITY)
    assert record.partners.tolist() == [BICYCLE * 1000, RIDER * 1000]
    (found,) = surroundings_of(scene, record, np.array([0]), roles=class_roles(CITY))
    top, left, bottom, right = found.box
    bicycle = scene.instance[top:bottom, left:right] == BICYCLE * 1000
    np.testing.assert_array_equal(~(found.seen | found.hiding | found.free), bicycle)


@settings(deadline=None, max_examples=25)
@given(arrays(np.int8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)))
def test_surroundings_are_packed_and_unpacked(kinds: npt.NDArray[np.int8]) -> None:
    box = (5, 7, 5 + kinds.shape[0], 7 + kinds.shape[1])
    around = Surroundings(box, kinds == 0, kinds == 1, kinds == 2)
    again = around.packed().unpacked()
    assert again.box == box
    for name in ("seen", "hiding", "free"):
        np.testing.assert_array_equal(getattr(again, name), getattr(around, name))


def test_a_bank_with_completed_donors(bank: DonorBank, plain: DonorBank) -> None:
    bank.check_masks()
    index = bank.index
    row = index.keys.index((stem(HIDDEN), HIDDEN_CAR))
    assert np.flatnonzero(index.completed > 0).tolist() == [row]
    assert index.completed.dtype == np.float32
    assert index.whole[row]
    assert not plain.index.whole[row]
    assert (plain.index.completed == 0).all()
    shape, made_up = bank.cutout(stem(HIDDEN), HIDDEN_CAR), bank.made_up(stem(HIDDEN), HIDDEN_CAR)
    assert index.boxes[row].tolist() == list(shape.box)
    assert index.areas[row] == shape.mask.sum()
    assert index.completed[row] == pytest.approx(made_up.sum() / shape.mask.sum())
    assert index.hidden_sides[row] == 0
    whole = np.zeros(SIZE, np.bool_)
    whole[40:66, 30:78] = car(26, 48)
    top, left, bottom, right = shape.box
    found = np.zeros(SIZE, np.bool_)
    found[top:bottom, left:right] = shape.mask
    assert iou(found, whole) > 0.9
    scene = street(HIDDEN)
    truck = scene.instance[top:bottom, left:right] == TRUCK * 1000
    visible = scene.instance[top:bottom, left:right] == HIDDEN_CAR
    np.testing.assert_array_equal(shape.mask & ~made_up, visible)
    assert not (made_up & ~truck).any()
    before, seen = (b.seen(stem(HIDDEN), HIDDEN_CAR) for b in (plain, bank))
    assert seen.box == before.box == plain.cutout(stem(HIDDEN), HIDDEN_CAR).box
    np.testing.assert_array_equal(seen.mask, before.mask)


def test_other_donors_stay_as_they_are(bank: DonorBank, plain: DonorBank) -> None:
    others = np.flatnonzero(bank.index.completed == 0)
    for name in ("ids", "boxes", "areas", "silhouettes", "obscured", "completeness", "pieces"):
        np.testing.assert_array_equal(
            getattr(bank.index, name)[others], getattr(plain.index, name)[others]
        )
    for row in others.tolist():
        key = bank.index.keys[row]
        np.testing.assert_array_equal(bank.cutout(*key).mask, plain.cutout(*key).mask)
        np.testing.assert_array_equal(bank.seen(*key).mask, plain.cutout(*key).mask)
        assert not bank.made_up(*key).any()
    assert plain.info.donor_bank == bank.info.donor_bank == 2
    assert plain.sha256 != bank.sha256


def test_a_bank_does_not_depend_on_threads(
    world: Path, bank: DonorBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads_module, "MAX_THREADS", 1)
    again = build(world, tmp_path / "again", complete=True)
    assert sorted(path.name for path in again.path.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (again.path / name).read_bytes() == (bank.path / name).read_bytes()


def test_classes_with_enough_or_too_few_whole_ones_stay_as_they_are(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion_module, "ENOUGH", HIDDEN)
    assert (build(world, tmp_path / "enough", complete=True).index.completed == 0).all()
    monkeypatch.setattr(completion_module, "ENOUGH", HIDDEN + 1)
    monkeypatch.setattr(completion_module, "MODEL_AREA", 10_000)
    assert (build(world, tmp_path / "few", complete=True).index.completed == 0).all()


def test_only_seen_donors_leave_out_partners_of_completed_ones() -> None:
    scene = empty("made")
    put(scene, RIDER * 1000, np.ones((20, 10), np.bool_), top=35, left=60)
    put(scene, BICYCLE * 1000, np.ones((12, 30), np.bool_), top=50, left=50)
    put(scene, CAR * 1000, np.ones((12, 30), np.bool_), top=50, left=120)
    index = DonorIndex.of([index_scene(scene, CITY)])
    assert index.only_seen().ids.tolist() == index.ids.tolist()
    index.completed[index.ids == BICYCLE * 1000] = 0.25
    assert index.only_seen().ids.tolist() == [CAR * 1000]


def test_the_sheet_shows_what_is_made_up(bank: DonorBank, plain: DonorBank) -> None:
    counts = {entry.name: entry.completed for entry in count_donors(bank)}
    assert counts == {"car": 1, "truck": 0}
    assert (draw_donor_sheet(bank) == MADE_UP).all(axis=2).any()
    assert not (draw_donor_sheet(plain) == MADE_UP).all(axis=2).any()


def test_the_command_completes_and_counts(world: Path, tmp_path: Path) -> None:
    dataset = ["--dataset", str(world), "--format", "cityscapes", "--split", "val"]
    to = str(tmp_path / "bank")
    options = [*dataset, "--size", "96x192", "--to", to, "--complete", "--json"]
    built = CliRunner().invoke(main, ["donors", "build", *options])
    assert built.exit_code == 0, built.output
    classes = {entry["name"]: entry for entry in json.loads(built.stdout)["classes"]}
    assert (classes["car"]["completed"], classes["car"]["whole"]) == (1, HIDDEN + 1)
    shown = CliRunner().invoke(main, ["donors", "show", to])
    assert "completed" in shown.stdout


def job(world: Path, out: Path, **recompose: object) -> RenderConfig:
    return RenderConfig.parse(
        {
            "dataset": {"root": str(world), "format": "cityscapes", "split": "val"},
            "samples": 9,
            "size": list(SIZE),
            "recompose": {"policy": "none", **recompose},
            "output": {"path": str(out)},
        },
        origin="test",
    )


def test_a_job_completes_the_donors_of_its_own_scenes_alone(
    world: Path, bank: DonorBank, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="hdsynth donors build --complete"):
        prepare(job(world, tmp_path / "out", complete=True, donors=str(bank.path)))
    default, asked = (prepare(job(world, tmp_path, complete=flag)) for flag in (False, True))
    assert not default.completes_donors
    assert asked.completes_donors
    assert default.identity != asked.identity


def test_plans_use_completed_donors_unless_photos_are_copied(
    world: Path, bank: DonorBank, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    policy = {
        "edits": [3, 3],
        "critic": False,
        "operations": {"paste": {"classes": ["car"]}},
        "constraints": {"min_donor_area": 0, "min_edit_area": 0},
    }
    key = (stem(HIDDEN), HIDDEN_CAR)

    def pasted(name: str, **keys: object) -> set[tuple[str, int]]:
        config = job(world, tmp_path / name, policy=policy, donors=str(bank.path))
        prepared = prepare(config.model_copy(update=keys))
        records, found = collect_donors(prepared, tmp_path / "unused")
        catalogue = catalogue_of(prepared, records)
        plan = plan_job(prepared, records, catalogue, donors=found.index)
        operations = [o for row in plan.rows for o in row.parsed_program().operations]
        return {(o.donor, o.donor_instance) for o in operations if isinstance(o, Paste)}

    with caplog.at_level(logging.INFO, logger="hdsynth.render"):
        used = pasted("rendered", samples=40)
        assert key in used
        assert "completed donors" not in caplog.text
        copied = pasted("copied", samples=40, photo=PhotoConfig(mode="composite"))
        assert key not in copied
        assert len(copied) > 3
    assert "1 completed donors are not used: photos are copied" in caplog.text


def test_a_job_of_copied_photos_completes_nothing(
    world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = job(world, tmp_path / "out", complete=True)
    copied = config.model_copy(update={"photo": PhotoConfig(mode="composite")})
    assert not prepare(copied).completes_donors
    with caplog.at_level(logging.INFO, logger="hdsynth.render"):
        forecast(copied)
    assert "completed donors are not used: photos are copied" in caplog.text


def test_a_run_carries_its_completed_donors(world: Path, bank: DonorBank, tmp_path: Path) -> None:
    prepared = prepare(job(world, tmp_path / "out", complete=True))
    _, own = collect_donors(prepared, tmp_path / "donors")
    row = own.index.keys.index((stem(HIDDEN), HIDDEN_CAR))
    assert own.index.completed[row] == bank.index.completed.max() > 0
    own.copy_to(tmp_path / "copy")
    assert DonorBank.open(tmp_path / "copy").made_up(stem(HIDDEN), HIDDEN_CAR).any()
