"""Styles of objects in a render: chosen, recorded, and the same for every worker and shard."""

import json
import re
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image

from hdmodel.checkpoint import ENCODER_FILE, load_encoder, load_generator, read_checkpoint_config
from hdmodel.errors import CheckpointError, ConfigError, InputError
from hdmodel.styles import cluster_styles, load_styles, save_styles
from hdsynth.cli import main
from pipeline.editing.recompose import InstanceRecord
from pipeline.errors import DatasetError, OutputError
from pipeline.forecast import forecast
from pipeline.inspection.preview import write_preview
from pipeline.inspection.replay import replay
from pipeline.inspection.verify import verify
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import StyleChoice
from pipeline.prepare import prepare
from pipeline.run import render
from pipeline.sources import DatasetConfig, open_source
from pipeline.sources.reading import photo_reader
from pipeline.styles.style import Style, StyleMode
from pipeline.styles.stylist import StyleTable, Stylist, feature_channels
from tests.datasets import (
    instance_file,
    photo_file,
    stem,
    write_checkpoint,
    write_checkpoint_with_features,
    write_cityscapes,
)
from tests.scenes import BUILDING, CAR, PERSON, ROAD, SKY, street
from tests.test_pipeline_run import job, pixels, records

CLASSES, FEATURES, SCENES = 35, 3, 5
BUSY = {"policy": {"edits": [3, 5]}}
"""Edits enough that every kind of object occurs."""
CARS = {"red": (30, [0.9, -0.5, -0.5]), "blue": (10, [-0.5, -0.5, 0.9])}
"""How many cars of the style bank's training set look how."""


def add_bank(checkpoint: Path) -> Path:
    """A style bank in which cars are red or blue, and other classes look like their number."""
    features = [look for count, look in CARS.values() for _ in range(count)]
    class_ids = [CAR] * len(features)
    for class_id in (ROAD, BUILDING, SKY, PERSON):
        features += [[class_id / 100, 0, 0]] * 12
        class_ids += [class_id] * 12
    looks = np.array(features, np.float32)
    looks[::2, 0] += 0.001  # no two kinds of objects look quite the same
    looks[1::2, 0] -= 0.001
    bank = cluster_styles(
        looks,
        np.array(class_ids),
        np.full(len(features), 100),
        num_classes=CLASSES,
        categories=["all"] * CLASSES,
        modes=2,
        seed=0,
        encoder_sha256=read_checkpoint_config(checkpoint).sha256[ENCODER_FILE],
    )
    save_styles(checkpoint, bank)
    return checkpoint


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes(tmp_path_factory.mktemp("world"), scenes=SCENES, photos=True)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with an encoder and no style bank."""
    return write_checkpoint_with_features(tmp_path_factory.mktemp("bare") / "bare")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with an encoder and a style bank."""
    return add_bank(write_checkpoint_with_features(tmp_path_factory.mktemp("full") / "full"))


Runs = Callable[..., Path]


@pytest.fixture(scope="module")
def run(world: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Outputs of jobs in one style each, made once."""

    @lru_cache
    def output(style: str | None, *, workers: int = 1, shard_size: int = 4) -> Path:
        out = tmp_path_factory.mktemp("run") / "out"
        # Photos one by one, as a replay renders them.
        changes: dict[str, Any] = {"generator": {"batch_pixels": 1}, "recompose": BUSY}
        changes |= {"output": {"shard_size": shard_size}, "workers": workers}
        asked = None if style is None else yaml.safe_load(style)
        assert render(job(world, checkpoint, out, style=asked, **changes)).ok == 10
        return out

    return output


def looks_of_photo(world: Path, checkpoint: Path, number: int) -> dict[int, np.ndarray]:
    """Feature vectors of a scene's objects: the encoder's output, averaged mask by mask."""
    photo = np.asarray(Image.open(photo_file(world, number))).transpose(2, 0, 1)
    scaled = torch.from_numpy((photo / 127.5 - 1).astype(np.float32))[None]
    with torch.inference_mode():
        features = load_encoder(checkpoint).encode_pixels(scaled)[0].numpy().astype(np.float64)
    instance = np.asarray(Image.open(instance_file(world, number))).astype(np.int32)
    return {int(key): features[:, instance == key].mean(axis=1) for key in np.unique(instance)}


def number_of(scene: str) -> int:
    return next(number for number in range(SCENES) if stem(number) == scene)


def test_objects_keep_the_look_of_the_photo_they_come_from(
    world: Path, checkpoint: Path, run: Runs
) -> None:
    looks = [looks_of_photo(world, checkpoint, number) for number in range(SCENES)]
    instances = pixels(run("source"))["instance"]
    seen = set()
    for row in records(run("source")):
        objects = {item["id"]: item for item in row["instances"]}
        keys = [style["key"] for style in row["styles"]]
        assert keys == np.unique(instances[row["index"]]).tolist()
        for style in row["styles"]:
            item = objects.get(style["key"])
            scene, key, choice = row["scene"], style["key"], "source"
            if item is not None:
                seen.add(item["origin"])
                if item["origin"] == "pasted":
                    scene, key, choice = item["donor"], item["donor_instance"], "donor"
                else:
                    key = item["source_instance"]
                assert item["style"] == choice
                assert style["class_id"] == item["class_id"]
            assert (style["choice"], style["scene"], style["mode"]) == (choice, scene, None)
            expected = looks[number_of(scene)][key]
            np.testing.assert_allclose(style["vector"], expected, atol=1e-6)
    assert seen == {"source", "edited", "pasted"}
    # The looks are told apart: another scene's car would not have passed.
    assert np.abs(looks[0][26000] - looks[1][26000]).max() > 1e-3


@pytest.mark.parametrize("style", ["source", "random", "mean"])
def test_photos_are_rendered_from_the_recorded_vectors(
    checkpoint: Path, run: Runs, style: str
) -> None:
    arrays, network = pixels(run(style)), load_generator(checkpoint)
    for row in records(run(style))[:3]:
        label, instance = arrays["label"][row["index"]], arrays["instance"][row["index"]]
        features = np.zeros((FEATURES, *label.shape), np.float32)
        for item in row["styles"]:
            features[:, instance == item["key"]] = np.array(item["vector"])[:, None]
        one_hot = np.eye(CLASSES, dtype=np.float32)[label].transpose(2, 0, 1)
        padded = np.pad(instance, 1, mode="edge")
        boundary = np.zeros((1, *label.shape), np.float32)
        for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
            neighbour = padded[rows : rows + label.shape[0], columns : columns + label.shape[1]]
            boundary[0, neighbour != instance] = 1
        conditioning = torch.from_numpy(np.concatenate([one_hot, boundary, features])[None])
        photo = (network(conditioning)[0].permute(1, 2, 0).numpy() + 1) * 127.5
        assert np.abs(photo - arrays["photo"][row["index"]]).max() <= 1


def test_random_looks_do_not_depend_on_workers_or_shards(run: Runs) -> None:
    rows = records(run("random"))
    again = records(run("random", workers=2, shard_size=3))
    assert [row["styles"] for row in rows] == [row["styles"] for row in again]
    assert [row["instances"] for row in rows] == [row["instances"] for row in again]
    cars = [item["style"] for row in rows for item in row["instances"] if item["class_id"] == CAR]
    assert set(cars) == {"mode 0", "mode 1"}
    assert run("random") != run(None)
    assert [row["styles"] for row in records(run(None))] == [row["styles"] for row in rows]


def test_source_looks_do_not_depend_on_shards(run: Runs) -> None:
    again = records(run("source", shard_size=3))
    assert [row["styles"] for row in records(run("source"))] == [row["styles"] for row in again]


def test_looks_leave_the_maps_alone(world: Path, run: Runs, tmp_path: Path) -> None:
    plain = write_checkpoint(tmp_path / "plain")
    render(job(world, plain, tmp_path / "out", recompose=BUSY))
    expected = pixels(tmp_path / "out")
    rows = records(tmp_path / "out")
    assert all(row["styles"] == [] for row in rows)
    assert all(item["style"] is None for row in rows for item in row["instances"])
    for style in ("source", "random", "mean"):
        for name in ("label", "instance"):
            np.testing.assert_array_equal(pixels(run(style))[name], expected[name])
        assert [r["program"] for r in records(run(style))] == [r["program"] for r in rows]


def test_the_mean_and_fixed_modes_come_from_the_bank(run: Runs) -> None:
    red, blue = (np.array(look) for _, look in CARS.values())
    for row in records(run("mean")):
        for style in row["styles"]:
            assert (style["choice"], style["mode"], style["scene"]) == ("mean", None, None)
            known = {CAR: (30 * red + 10 * blue) / 40, SKY: [SKY / 100, 0, 0]}
            if style["class_id"] in known:
                np.testing.assert_allclose(style["vector"], known[style["class_id"]], atol=1e-6)
    for mode in ("mean", "random", "source"):
        for row in records(run(f"{{mode: {mode}, fixed: {{car: 1}}}}")):
            for style in row["styles"]:
                if style["class_id"] == CAR:
                    assert (style["choice"], style["mode"]) == ("mode", 1)
                    np.testing.assert_allclose(style["vector"], blue, atol=1e-6)
                elif mode == "mean":
                    assert style["choice"] == "mean"
            cars = [item for item in row["instances"] if item["class_id"] == CAR]
            assert {item["style"] for item in cars} <= {"mode 1"}


def assign(
    chooser: Stylist, instance: np.ndarray, *, index: int = 0, scene: str = "x"
) -> tuple[StyleChoice, ...]:
    ids = [i for i in np.unique(instance).tolist() if i >= 1000]
    objects = [
        InstanceRecord(i, i // 1000, "", (0, 0, 1, 1), 1, 1.0, "source", source_instance=i)
        for i in ids
    ]
    return chooser.assign_styles(instance, objects, scene=scene, index=index)


def stylist(world: Path, checkpoint: Path, mode: StyleMode, *, bank: bool = True) -> Stylist:
    dataset = DatasetConfig(root=str(world), format="cityscapes", split="val")
    source = open_source(dataset)
    encoder = read_checkpoint_config(checkpoint).sha256[ENCODER_FILE] if mode == "source" else None
    style = Style(
        mode,
        0,
        encoder_sha256=encoder,
        bank_sha256=load_styles(checkpoint).sha256 if bank else None,
    )
    read = photo_reader(source, source.taxonomy, size=(32, 64), mode="resize")
    return Stylist(style, checkpoint, read=read, device="cpu")


def test_an_objects_draw_depends_on_nothing_else(world: Path, checkpoint: Path) -> None:
    chooser = stylist(world, checkpoint, "random")
    full = street().instance
    fewer = np.where(full == 26000, ROAD, full)
    pairs = set()
    for index in range(20):
        many, few = assign(chooser, full, index=index), assign(chooser, fewer, index=index)
        assert tuple(choice for choice in many if choice.key != 26000) == few
        pairs.add(tuple(choice.mode for choice in many if choice.class_id == CAR))
    assert pairs == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_modes_are_drawn_as_often_as_they_occur(world: Path, checkpoint: Path) -> None:
    chooser = stylist(world, checkpoint, "random")
    instance = np.full((2, 2), 26000, np.int32)
    drawn = [assign(chooser, instance, index=index)[0].mode for index in range(400)]
    # 30 red and 10 blue cars; five standard deviations of 400 draws.
    assert abs(drawn.count(0) / 400 - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 400)


def test_what_no_photo_shows_takes_a_mean(world: Path, checkpoint: Path, bare: Path) -> None:
    instance = np.array([[SKY, 8]], np.int32)  # the scene has no sidewalk
    chooser = stylist(world, bare, "source", bank=False)
    sidewalk, sky = assign(chooser, instance, scene=stem(2))
    photo = np.asarray(Image.open(photo_file(world, 2))).transpose(2, 0, 1)
    scaled = torch.from_numpy((photo / 127.5 - 1).astype(np.float32))[None]
    everything = load_encoder(bare).encode_pixels(scaled)[0].mean(dim=(1, 2))
    assert (sidewalk.choice, sidewalk.scene) == ("fallback", stem(2))
    np.testing.assert_allclose(sidewalk.vector, everything.numpy(), atol=1e-6)
    assert sky.choice == "source"

    sidewalk, _ = assign(stylist(world, checkpoint, "source"), instance, scene=stem(2))
    assert sidewalk.choice == "mean"
    np.testing.assert_allclose(sidewalk.vector, load_styles(checkpoint).mean(8), atol=1e-6)


def test_feature_channels_give_every_pixel_its_objects_vector() -> None:
    instance = np.array([[[7, 7, 26001], [26000, 23, 7]], [[5, 5, 5], [5, 5, 9]]], np.int32)
    vectors = [
        {7: [1.0, 2], 23: [3, 4], 26000: [5, 6], 26001: [7, 8]},
        {5: [-1.0, -2], 9: [0, 1]},
    ]
    tables = [
        StyleTable.of([StyleChoice(k, 0, "mean", None, None, tuple(v)) for k, v in d.items()])
        for d in vectors
    ]
    channels = feature_channels(torch.from_numpy(instance), tables).numpy()
    for (b, row, column), key in np.ndenumerate(instance):
        assert channels[b, :, row, column].tolist() == vectors[b][int(key)]


def test_a_photo_that_broke_costs_its_samples_alone(bare: Path, tmp_path: Path) -> None:
    world = write_cityscapes(tmp_path / "world", scenes=SCENES, photos=True)
    out = tmp_path / "out"
    config = job(world, bare, out, style="source", recompose={"policy": "none"})
    broken = photo_file(world, 3)
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    summary = render(config)
    assert (summary.failed, summary.ok) == ({"read": 2}, 8)
    failed = [row for row in records(out) if row["status"] == "failed"]
    assert {row["scene"] for row in failed} == {stem(3)}
    assert all(broken.name in row["error"] for row in failed)
    assert not any(pixels(out)[name][failed[0]["index"]].any() for name in pixels(out))
    assert all(not row["instances"] and not row["styles"] for row in failed)
    assert verify(out).problems == ()
    report = replay(out, failed[0]["index"], to=tmp_path / "again")
    assert report.error is not None
    assert report.error.startswith("read: ")
    assert broken.name in report.error

    broken.write_bytes(content)
    assert replay(out, failed[0]["index"], to=tmp_path / "mended").error is None
    assert render(config, retry_failed=True).ok == 10


@pytest.mark.parametrize("style", ["source", "random", "{mode: mean, fixed: {car: 1}}"])
def test_samples_come_out_again_from_their_records(
    world: Path, checkpoint: Path, run: Runs, tmp_path: Path, style: str
) -> None:
    # The manifest is enough: no photos, no encoder and no bank are left.
    out, there = tmp_path / "out", tmp_path / "there"
    shutil.copytree(run(style), out)
    shutil.copytree(world, there / "world", ignore=shutil.ignore_patterns("leftImg8bit"))
    (there / "model").mkdir()
    for name in ("config.yaml", "generator.safetensors"):
        shutil.copy(checkpoint / name, there / "model" / name)
    written = yaml.safe_load((out / "config.yaml").read_text())
    written["config"]["dataset"]["root"] = str(there / "world")
    written["config"]["generator"]["checkpoint"] = str(there / "model")
    (out / "config.yaml").write_text(yaml.safe_dump(written))
    for index in (1, 4):
        report = replay(out, index, to=tmp_path / str(index))
        assert report.maps == "identical"
        assert report.photo is not None
        assert report.photo.identical
        told = json.loads((tmp_path / str(index) / "record.json").read_text())
        assert told["styles"] == records(out)[index]["styles"]


def test_another_generator_cannot_replay(run: Runs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(run("mean"), out)
    written = yaml.safe_load((out / "config.yaml").read_text())
    written["config"]["generator"]["checkpoint"] = str(write_checkpoint(tmp_path / "plain"))
    (out / "config.yaml").write_text(yaml.safe_dump(written))
    with pytest.raises(CheckpointError, match="reads 0 feature channels, expected 3"):
        replay(out, 0, to=tmp_path / "again")


def refuse(
    world: Path, checkpoint: Path, error: type[InputError], text: str, **changes: Any
) -> None:
    out = world.parent / "refused"
    with pytest.raises(error, match=text) as caught:
        render(job(world, checkpoint, out, **changes))
    assert not out.exists()
    assert "\n" not in str(caught.value)


def test_a_generator_without_features_cannot_be_told(world: Path, tmp_path: Path) -> None:
    plain = write_checkpoint(tmp_path / "plain")
    refuse(world, plain, ConfigError, "style: 'random'.*plain reads no features", style="random")
    assert prepare(job(world, plain, tmp_path / "out")).style is None


@pytest.mark.parametrize("style", [None, "random", "mean", {"mode": "source", "fixed": {"car": 0}}])
def test_a_missing_bank_is_told_with_the_command_that_makes_it(
    world: Path, bare: Path, style: object
) -> None:
    text = rf"no style bank.*hdsynth styles {bare} --dataset"
    refuse(world, bare, CheckpointError, text, style=style)


@pytest.mark.parametrize(
    ("fixed", "text"),
    [
        ({"kar": 0}, r"style\.fixed: unknown class 'kar', did you mean 'car'\? \(classes: .*sky"),
        ({"car": 2}, r"style\.fixed\.car: mode 2, expected 0\.\.1"),
    ],
)
def test_fixed_names_classes_and_modes_that_are_there(
    world: Path, checkpoint: Path, fixed: dict[str, int], text: str
) -> None:
    refuse(world, checkpoint, ConfigError, text, style={"fixed": fixed})


def test_a_bank_of_another_encoder_is_refused(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    other = write_checkpoint_with_features(tmp_path / "other", seed=7)
    add_bank(other)
    digests = read_checkpoint_config(other).sha256
    text = (other / "config.yaml").read_text()
    theirs = write_checkpoint_with_features(tmp_path / "theirs", seed=8)
    shutil.copy(theirs / ENCODER_FILE, other / ENCODER_FILE)
    new = read_checkpoint_config(theirs).sha256[ENCODER_FILE]
    (other / "config.yaml").write_text(text.replace(digests[ENCODER_FILE], new))
    refuse(world, other, CheckpointError, "another encoder", style="random")
    # The photos are encoded anew: an old bank does not matter.
    assert prepare(job(world, other, tmp_path / "out", style="source")).style is not None


def test_a_damaged_encoder_is_refused_before_anything_is_read(
    world: Path, bare: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bare, broken)
    weights = broken / ENCODER_FILE
    weights.write_bytes(weights.read_bytes()[:-1])
    refuse(world, broken, CheckpointError, r"encoder\.safetensors: damaged", style="source")


def test_a_checkpoint_that_changed_since_is_refused(
    world: Path, bare: Path, tmp_path: Path
) -> None:
    other = write_checkpoint_with_features(tmp_path / "other", seed=7)
    style = Style("source", 0, encoder_sha256=read_checkpoint_config(bare).sha256[ENCODER_FILE])
    with pytest.raises(CheckpointError, match="the encoder is another one than when the job was"):
        Stylist(style, other, read=None, device="cpu")


def test_source_needs_an_encoder_and_photos(world: Path, bare: Path, tmp_path: Path) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(bare, blind)
    config = yaml.safe_load((blind / "config.yaml").read_text())
    config["encoder"] = None
    (blind / "config.yaml").write_text(yaml.safe_dump(config))
    refuse(world, blind, CheckpointError, "no encoder, which style source", style="source")

    none = write_cityscapes(tmp_path / "none", scenes=SCENES)
    text = f"5 of 5 scenes have no photo.*such as {stem(0)}"
    refuse(none, bare, DatasetError, text, style="source")
    changes = {"dataset": {"photos": "none"}}
    refuse(world, bare, ConfigError, r"dataset\.photos: none", style="source", **changes)
    some = write_cityscapes(tmp_path / "some", scenes=SCENES, photos=True)
    photo_file(some, 3).unlink()
    text = f"1 of 5 scenes have no photo.*such as {stem(3)}"
    refuse(some, bare, DatasetError, text, style="source")


def test_the_style_is_part_of_the_job(
    world: Path, checkpoint: Path, bare: Path, run: Runs, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match=r"style\.mode: was 'random', now 'mean'"):
        render(job(world, checkpoint, run(None), style="mean", recompose=BUSY))
    one = {"batch_pixels": 1}
    again = job(world, checkpoint, run(None), style="random", recompose=BUSY, generator=one)
    assert render(again).shards_rendered == 0
    written = yaml.safe_load(OutputFolder(run(None)).config.read_text())
    assert written["config"]["style"] == {"mode": "random", "fixed": {}}

    digest = read_checkpoint_config(checkpoint).sha256[ENCODER_FILE]
    bank = load_styles(checkpoint).sha256
    for style, folder, encoder_sha256, bank_sha256 in (
        ("source", bare, digest, None),
        ("source", checkpoint, digest, None),
        ("mean", checkpoint, None, bank),
    ):
        identity = prepare(job(world, folder, tmp_path / "out", style=style)).identity["style"]
        expected = {"mode": style, "fixed": {}}
        digests = {"encoder_sha256": encoder_sha256, "bank_sha256": bank_sha256}
        assert identity == expected | digests
    plain = write_checkpoint(tmp_path / "plain")
    assert "style" not in prepare(job(world, plain, tmp_path / "out")).identity


def test_forecasts_and_previews_say_the_style(
    world: Path, checkpoint: Path, run: Runs, tmp_path: Path
) -> None:
    style = {"mode": "source", "fixed": {"car": 1}}
    told = forecast(job(world, checkpoint, tmp_path / "out", style=style))
    assert told.style == style
    assert "style      source: " in told.text()
    assert "always mode car 1" in told.text()
    size = {"size": [512, 1024], "generator": {"batch_pixels": 1}}
    memory = {
        mode: forecast(job(world, checkpoint, tmp_path / "out", style=mode, **size)).memory_bytes
        for mode in ("source", "mean")
    }
    assert memory["source"] > memory["mean"]
    plain = write_checkpoint(tmp_path / "plain")
    assert "\nstyle " not in forecast(job(world, plain, tmp_path / "out")).text()

    page = write_preview(run("{mode: mean, fixed: {car: 1}}"), tmp_path / "page", samples=1)
    text = page.read_text(encoding="utf-8")
    assert "<dt>style</dt><dd>mean, car 1</dd>" in re.sub(r"\s*\n\s*", "", text)


def test_the_command_takes_a_style(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    arguments = [
        *("--dataset", str(world), "--format", "cityscapes", "--split", "val"),
        *("--generator", str(checkpoint), "--samples", "3", "--size", "32x64"),
        *("--out", str(tmp_path / "out")),
    ]
    more = ["--style", "mean", "--set", "style.fixed.car=1"]
    result = CliRunner().invoke(main, ["plan", *arguments, *more, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["style"] == {"mode": "mean", "fixed": {"car": 1}}
    result = CliRunner().invoke(main, ["plan", *arguments, "--style", "randm"])
    assert result.exit_code == 2
    assert "style.mode: input should be 'source', 'random' or 'mean'" in result.stderr
