"""`hdsynth styles`: a style bank of a dataset, and its picture."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from PIL import Image
from scipy.cluster.vq import kmeans2

from hdmodel.checkpoint import load_encoder
from hdmodel.styles import load_styles
from hdmodel.training.log import TrainingStatus
from hdsynth.cli import main
from pipeline.scene import Scene
from pipeline.styles.bank import encoding_size
from pipeline.styles.sheet import MARGIN, MOST_ROWS, NAME_WIDTH, main_classes, view_of
from pipeline.taxonomy import Taxonomy
from tests import trainings
from tests.datasets import (
    instance_file,
    photo_file,
    stem,
    write_checkpoint,
    write_checkpoint_with_features,
    write_cityscapes,
)
from tests.scenes import BUILDING, CAR, PERSON, ROAD, SKY, street

SCENES = 5
CITY = ("--format", "cityscapes", "--split", "val", "--device", "cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes(tmp_path_factory.mktemp("world"), scenes=SCENES, photos=True)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint_with_features(tmp_path_factory.mktemp("bare") / "bare")


@pytest.fixture
def checkpoint(bare: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bare, tmp_path / "checkpoint"))


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def build(checkpoint: Path, world: Path, *args: str) -> dict[str, dict[str, object]]:
    """Make a bank; its report by class name."""
    result = run("styles", checkpoint, "--dataset", world, *CITY, "--json", *args)
    assert result.exit_code == 0, result.output
    return {row["name"]: row for row in json.loads(result.stdout)["classes"]}


def looks(world: Path, checkpoint: Path) -> list[tuple[int, int, np.ndarray]]:
    """Class id, pixels and features of every object, mask by mask."""
    encoder, found = load_encoder(checkpoint), []
    for number in range(SCENES):
        photo = np.asarray(Image.open(photo_file(world, number))).transpose(2, 0, 1)
        scaled = torch.from_numpy((photo / 127.5 - 1).astype(np.float32))[None]
        with torch.inference_mode():
            features = encoder.encode_pixels(scaled)[0].numpy().astype(np.float64)
        instance = np.asarray(Image.open(instance_file(world, number))).astype(int)
        for key in np.unique(instance).tolist():
            mask = instance == key
            class_id = key // 1000 if key >= 1000 else key
            found.append((class_id, int(mask.sum()), features[:, mask].mean(axis=1)))
    return found


def test_a_bank_holds_the_looks_of_the_dataset(checkpoint: Path, world: Path) -> None:
    rows = build(checkpoint, world, "--size", "32x64", "--min-area", "25")
    bank, found = load_styles(checkpoint), looks(world, checkpoint)
    for class_id in (ROAD, BUILDING, SKY, PERSON, CAR):
        own = [(pixels, vector) for other, pixels, vector in found if other == class_id]
        used = [vector for pixels, vector in own if pixels >= 25]
        if class_id == PERSON:  # all of 24 pixels
            assert not used
            used = [vector for _, vector in own]
        np.testing.assert_allclose(bank.mean(class_id), np.mean(used, axis=0), atol=1e-5)
        row = rows[Taxonomy.load("cityscapes").class_names[class_id]]
        assert (row["objects"], row["used_objects"]) == (len(own), len(used))
        assert row["pixels"] == sum(pixels for pixels, _ in own)
        assert len(bank.modes(class_id)) == max(1, len(used) // 3)
    # Two cars of each scene are larger than 25 pixels; the extra ones have 24.
    assert rows["car"]["used_objects"] == 2 * SCENES
    assert rows["car"]["objects"] == 2 * SCENES + 10
    # K-means of another library, started at the centres found, stays where it is.
    cars = np.array([v for other, pixels, v in found if other == CAR and pixels >= 25])
    centers, labels = kmeans2(cars, bank.modes(CAR).astype(np.float64), minit="matrix")
    np.testing.assert_allclose(bank.modes(CAR), centers, atol=1e-5)
    assert np.bincount(labels).tolist() == bank.mode_counts(CAR).tolist()
    assert rows["truck"]["fallback"] == "mean of car, category vehicle"
    np.testing.assert_array_equal(bank.modes(27)[0], bank.mean(CAR))


def test_batches_and_spelling_change_nothing(
    checkpoint: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(checkpoint, world, "--size", "32x64")
    first = load_styles(checkpoint)
    monkeypatch.setattr("pipeline.styles.bank.ENCODED_PIXELS", 1)
    options = ("--size", "32x64", "--dataset", world, *CITY)
    assert run("styles", *options, checkpoint).exit_code == 0
    np.testing.assert_allclose(load_styles(checkpoint).means, first.means, atol=1e-5)
    result = run("styles", "build", *options, checkpoint)
    assert result.exit_code == 0
    assert "no objects of truck, bus, caravan, trailer, train" in result.stdout
    assert "mean of car, category vehicle" in result.stdout
    assert "has a style bank now" in result.stdout


def test_size_and_dataset_keys_are_those_of_the_training(checkpoint: Path, world: Path) -> None:
    result = run("styles", checkpoint, "--dataset", world, *CITY)
    assert result.exit_code == 2
    assert "does not say at which size it was trained; give --size HxW" in result.stderr
    file = checkpoint / "config.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    trained = {"format": "cityscapes", "instances": "none", "size": [16, 32], "fit": "resize_crop"}
    config["training"] = {"config": {"dataset": trained}}
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    rows = build(checkpoint, world)
    provenance = load_styles(checkpoint).provenance
    assert (provenance["size"], provenance["fit"]) == ([16, 32], "resize_crop")
    assert provenance["scenes"] == SCENES
    # Without instances all cars of a scene are one object.
    assert rows["car"]["objects"] == SCENES
    rows = build(checkpoint, world, "--instances", "files", "--limit", "2")
    assert load_styles(checkpoint).provenance["scenes"] == 2
    # Scenes 0 and 2: two cars and four.
    assert rows["car"]["objects"] == 6


def test_a_checkpoint_of_a_coarse_stage_encodes_at_its_own_size(
    checkpoint: Path, world: Path
) -> None:
    # Two enhancers in the training, none in this checkpoint: a quarter of the height and width.
    file = checkpoint / "config.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    trained = {"format": "cityscapes", "size": [64, 128]}
    generator = {"architecture": "local", "enhancers": 2}
    config["training"] = {"config": {"dataset": trained, "generator": generator}}
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    rows = build(checkpoint, world)
    assert load_styles(checkpoint).provenance["size"] == [16, 32]
    assert sum(int(str(row["pixels"])) for row in rows.values()) == SCENES * 16 * 32
    build(checkpoint, world, "--size", "32x64")
    assert load_styles(checkpoint).provenance["size"] == [32, 64]


@pytest.mark.parametrize("subcommand", [[], ["show"]])
def test_help_tells_of_both(subcommand: list[str]) -> None:
    result = run("styles", *subcommand, "--help")
    assert result.exit_code == 0
    assert ("--to" in result.stdout) if subcommand else ("show" in result.stdout)


def test_bad_input_is_refused_before_anything_is_encoded(
    checkpoint: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*args: object, **kwargs: object) -> None:
        raise AssertionError("encoded something")

    monkeypatch.setattr("pipeline.styles.bank.encode_objects", encode)
    plain = write_checkpoint(tmp_path / "plain")
    bare_world = write_cityscapes(tmp_path / "bare_world", scenes=2)
    size = ("--size", "32x64")
    for args, message in (
        ((plain, "--dataset", world, *CITY, *size), "has no encoder, which a style bank is made"),
        ((tmp_path / "no", "--dataset", world, *CITY, *size), "no such checkpoint folder"),
        ((checkpoint, "--dataset", bare_world, *CITY, *size), "split 'val' has no photos"),
        (
            (checkpoint, "--dataset", world, *CITY, *size, "--set", "photos=none"),
            "dataset.photos: none",
        ),
        ((checkpoint, "--dataset", world, *CITY, *size, "--fit", "squeeze"), "fit: 'squeeze'"),
        (
            (checkpoint, "--dataset", world, *CITY, *size, "--taxonomy", "camvid"),
            "made for taxonomy 'cityscapes'",
        ),
        ((checkpoint, "--dataset", world, *CITY, *size, "--set", "colour=1"), "unknown key"),
    ):
        result = run("styles", *args)
        assert result.exit_code == 2, result.output
        assert message in result.stderr
        assert result.stderr.count("\n") == 1


def test_show_draws_a_row_per_class_and_a_column_per_mode(
    checkpoint: Path, world: Path, tmp_path: Path
) -> None:
    build(checkpoint, world, "--size", "32x64")
    picture = tmp_path / "new" / "styles.png"
    result = run(
        *("styles", "show", checkpoint, "--dataset", world, *CITY, "--size", "32x64"),
        *("--scene", stem(1), "--to", picture),
    )
    assert result.exit_code == 0, result.output
    assert stem(1) in result.stdout
    pixels = np.asarray(Image.open(picture))
    bank = load_styles(checkpoint)
    columns = max(3, len(bank.modes(CAR)))
    assert pixels.shape[1] == MARGIN + NAME_WIDTH + columns * (320 + MARGIN)
    # Cars come first, then the person; below the line with labels, photo and usual look.
    tall = 160
    line = tall + 26 + MARGIN
    cells = [
        pixels[-4 * line - line : -4 * line][:tall, MARGIN + NAME_WIDTH + k * (320 + MARGIN) :][
            :, :320
        ]
        for k in range(len(bank.modes(CAR)))
    ]
    assert len({cell.tobytes() for cell in cells}) == len(bank.modes(CAR)) > 1


def test_show_needs_no_dataset_for_classes_of_cityscapes(
    checkpoint: Path, world: Path, tmp_path: Path
) -> None:
    build(checkpoint, world, "--size", "32x64")
    picture = tmp_path / "styles.png"
    result = run("styles", "show", checkpoint, "--size", "32x64", "--to", picture)
    assert result.exit_code == 0, result.output
    again = picture.read_bytes()
    assert again.startswith(b"\x89PNG")
    assert run("styles", "show", checkpoint, "--size", "32x64", "--to", picture).exit_code == 0
    assert picture.read_bytes() == again


def test_show_refuses_what_it_cannot_show(checkpoint: Path, world: Path, tmp_path: Path) -> None:
    picture = tmp_path / "styles.png"
    to = ("--size", "32x64", "--to", picture)
    result = run("styles", "show", checkpoint, *to)
    assert (result.exit_code, "has no style bank; make one" in result.stderr) == (2, True)
    build(checkpoint, world, "--size", "32x64")
    for args, message in (
        ((*to, "--scene", "x"), "needs --dataset and --format"),
        ((*to, "--dataset", world, *CITY, "--scene", "x"), "no scene of that name"),
        (("--size", "32x64", "--to", tmp_path / "styles.jpg"), "ends in .png"),
        (("--to", picture), "give --size"),
    ):
        result = run("styles", "show", checkpoint, *args)
        assert result.exit_code == 2, result.output
        assert message in result.stderr
    assert not picture.exists()


def test_main_classes_are_the_largest_things_first(checkpoint: Path, world: Path) -> None:
    build(checkpoint, world, "--size", "32x64")
    bank, taxonomy = load_styles(checkpoint), Taxonomy.load("cityscapes")
    scene = street()
    assert main_classes(scene, bank, taxonomy) == [CAR, PERSON, ROAD, SKY, BUILDING]
    # Classes that the bank knows nothing of, and void ones, have no row.
    other = Scene("other", np.where(scene.label == CAR, 27, scene.label), scene.instance)
    assert main_classes(other, bank, taxonomy) == [PERSON, ROAD, SKY, BUILDING]
    assert MOST_ROWS == 8


def test_views_show_the_largest_object_of_a_class() -> None:
    taxonomy, scene = Taxonomy.load("cityscapes"), street(height=64, width=128)
    rows, columns = view_of(scene, CAR, taxonomy)
    shown = scene.instance[rows, columns]
    assert (shown == 26001).sum() == (scene.instance == 26001).sum()
    assert shown.shape == (round(64 / 3), round(128 / 3))
    assert view_of(scene, ROAD, taxonomy) == (slice(0, 64), slice(0, 128))
    # An object at the very edge is shown whole, and the view stays inside.
    label = np.full((60, 90), ROAD, np.uint8)
    instance = label.astype(np.int32)
    label[50:, 60:], instance[50:, 60:] = CAR, CAR * 1000
    rows, columns = view_of(Scene("edge", label, instance), CAR, taxonomy)
    assert (rows, columns) == (slice(30, 60), slice(45, 90))


def test_checkpoints_of_coarse_stages_are_encoded_at_their_own_size(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainings.run(trainings.staged(), tmp_path / "run", progress=interrupt)
    assert encoding_size(tmp_path / "run" / "last", None, None)[0] == (24, 32)
    trainings.run(trainings.staged(), tmp_path / "run")
    assert encoding_size(tmp_path / "run" / "last", None, None)[0] == (48, 64)


def interrupt(status: TrainingStatus) -> None:
    if status.step == 3:
        raise KeyboardInterrupt
