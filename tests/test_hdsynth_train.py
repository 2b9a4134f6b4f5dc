"""`hdsynth train` and `hdsynth plan` of a training: from a shipped model to a checkpoint."""

import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

import configs
from hdmodel.checkpoint import load_generator, read_checkpoint_config
from hdmodel.errors import ConfigError
from hdmodel.generator import build_generator
from hdsynth.cli import main
from pipeline.errors import DatasetError, TaxonomyError
from pipeline.output.lock import lock_holder, locked
from pipeline.sample_world import draw_scene, write_dataset
from pipeline.sample_world.scene import VAL_START
from pipeline.taxonomy import Taxonomy
from pipeline.training.job import TrainJob, is_training, read_train_job
from pipeline.training.scenes import DatasetScenes, WorldScenes, open_training_scenes


def job(**dataset: object) -> TrainJob:
    plain = yaml.safe_load(configs.find("models", "tiny").read_text())
    plain["dataset"] = {"size": [64, 128], **dataset}
    return TrainJob.parse(plain, origin="test")


def opened(**dataset: object) -> WorldScenes | DatasetScenes:
    training = job(**dataset)
    return open_training_scenes(training.dataset, validation=training.validation)


def train(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["train", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["train", *map(str, arguments)])
    assert result.exit_code == 2, result.output
    return result.output


@pytest.fixture
def world(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "world", scenes=8, height=64, width=128, val=3)
    return tmp_path / "world"


def test_a_shipped_model_trains_on_the_sample_world(tmp_path: Path) -> None:
    output = train("tiny", "--out", tmp_path / "run", "--device", "cpu")
    assert "hdsynth render --generator" in output
    checkpoint = read_checkpoint_config(tmp_path / "run" / "final")
    assert checkpoint.taxonomy.fingerprint == Taxonomy.load("cityscapes").fingerprint
    photo = load_generator(tmp_path / "run" / "final")(torch.zeros((1, 36, 64, 128)))
    assert photo.shape == (1, 3, 64, 128)
    assert (tmp_path / "run" / "report.html").is_file()


def test_world_scenes_are_those_of_two_cities() -> None:
    sets = opened(format="sample-world", scenes=3, world_seed=5)
    for scenes, first in ((sets.training((64, 128)), 0), (sets.validation((64, 128)), VAL_START)):
        drawn = draw_scene(5, first + 1, height=64, width=128)
        label, instance, photo = scenes[1]
        assert (label == drawn.label).all()
        assert (instance == drawn.instance).all()
        assert (photo == drawn.photo).all()
    assert (len(sets.training((64, 128))), len(sets.validation((64, 128)))) == (3, 2)
    assert sets.training((32, 64))[0][2].shape == (32, 64, 3)


def test_a_dataset_trains_at_the_size_asked_for(tmp_path: Path, world: Path) -> None:
    train(
        *("tiny", "--out", tmp_path / "run", "--device", "cpu"),
        *("--dataset", world, "--format", "cityscapes", "--split", "train"),
        *("--set", "dataset.size=[48, 96]", "--set", "stages.0.crop=[48, 64]"),
    )
    record = read_checkpoint_config(tmp_path / "run" / "final").training["config"]
    assert record["dataset"]["size"] == [48, 96]
    assert record["stages"][0]["crop"] == [48, 64]


def test_validation_scenes_are_kept_from_training(world: Path) -> None:
    keys = {"root": str(world), "format": "cityscapes", "split": "train"}
    sets = opened(**keys)
    assert isinstance(sets, DatasetScenes)
    training, held_out = sets.training((64, 128)), sets.validation((64, 128))
    assert (len(training), len(held_out)) == (3, 2)
    photos = [photo.tobytes() for scenes in (training, held_out) for _, _, photo in (scenes[0],)]
    assert photos[0] != photos[1]
    split = opened(**keys, validation_split="val")
    assert (len(split.training((64, 128))), len(split.validation((64, 128)))) == (5, 2)
    drawn = draw_scene(0, VAL_START, height=64, width=128)
    assert np.array_equal(split.validation((64, 128))[0][2], drawn.photo)


def test_instances_may_be_components(world: Path) -> None:
    keys = {"root": str(world), "format": "cityscapes", "split": "train"}
    found = opened(**keys, instances="components").training((64, 128))
    none = opened(**keys, instances="none").training((64, 128))
    assert any((found[index][1] >= 1000).any() for index in range(3))
    assert not any((none[index][1] >= 1000).any() for index in range(3))


def test_what_does_not_go_together_is_named(tmp_path: Path, world: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'dataset\.root'"):
        job(format="sample-world", root=str(tmp_path))
    with pytest.raises(ConfigError, match=r"missing key 'dataset\.root'"):
        job(format="cityscapes")
    with pytest.raises(ConfigError, match="did you mean 'cityscapes'"):
        job(format="cityscape", root=str(tmp_path))
    with pytest.raises(DatasetError, match="no-such-folder"):
        opened(format="camvid", root=str(tmp_path / "no-such-folder"))
    with pytest.raises(TaxonomyError, match="needs a taxonomy"):
        opened(format="folders", root=str(world))


def test_a_dataset_without_photos_cannot_be_trained_on(tmp_path: Path, world: Path) -> None:
    for photo in world.rglob("*leftImg8bit.png"):
        photo.unlink()
    said = refused(
        *("tiny", "--out", tmp_path / "run", "--dataset", world, "--format", "cityscapes"),
        *("--split", "train"),
    )
    assert "the dataset has no photos in split 'train', expected some to train on" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages.0.batch=9", "has 4 scenes to train on, beside those kept .* expected at least 9"),
        ("stages.0.crop=[65, 64]", "crop has height 65, expected at most 64"),
        ("stages.0.stepz=3", "unknown key 'stages.0.stepz', did you mean 'steps'"),
        ("stages.7.steps=3", "'7' is no place in a list of 1"),
        ("stages.steps=3", "'steps' is no place in a list of 1"),
        ("losses.perceptual=10", "torchvision's cache"),
        ("vgg.weights=7", "unknown|no such file|valid string"),
    ],
)
def test_wrong_trainings_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, message: str
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    said = refused("tiny", "--out", tmp_path / "run", "--set", change)
    assert re.search(message, said), said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "plan"])
def test_a_dataset_for_a_training_of_the_sample_world_needs_its_format(
    tmp_path: Path, world: Path, command: str
) -> None:
    out = ("--out", str(tmp_path / "run")) if command == "train" else ()
    result = CliRunner().invoke(main, [command, "tiny", "--dataset", str(world), *out])
    assert result.exit_code == 2, result.output
    assert "--dataset needs --format" in result.stderr


def test_a_missing_validation_split_is_not_called_one_to_train_on(world: Path) -> None:
    for photo in world.rglob("val/**/*leftImg8bit.png"):
        photo.unlink()
    with pytest.raises(
        DatasetError, match=r"no photos in split 'val'.* to measure on .*null keeps"
    ):
        opened(format="cityscapes", root=str(world), split="train", validation_split="val")


def test_an_interrupted_training_says_what_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(job: object, *, out: Path, device: str) -> Path:
        raise KeyboardInterrupt

    train("tiny", "--out", tmp_path / "run", "--device", "cpu")
    monkeypatch.setattr("hdsynth.commands.train.run_training", interrupt)
    for folder, said in (("run", "step-0000004 is saved"), ("new", "nothing is saved yet")):
        result = CliRunner().invoke(main, ["train", "tiny", "--out", str(tmp_path / folder)])
        assert result.exit_code == 130
        assert f"{said}; the same command goes on from there" in result.stderr


def test_the_folder_of_a_training_is_not_taken_for_a_broken_run(tmp_path: Path) -> None:
    train("tiny", "--out", tmp_path / "run", "--device", "cpu")
    for command in (["status"], ["preview", "--to", str(tmp_path / "page")]):
        result = CliRunner().invoke(main, [command[0], str(tmp_path / "run"), *command[1:]])
        assert result.exit_code == 2
        assert "the folder of a training, expected an output of hdsynth render" in result.stderr


def test_a_change_is_refused_with_the_difference(tmp_path: Path) -> None:
    train("tiny", "--out", tmp_path / "run", "--device", "cpu")
    said = refused("tiny", "--out", tmp_path / "run", "--set", "seed=5")
    assert "config.seed: was 0, now 5" in said


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"):
        assert "another job is writing here" in refused("tiny", "--out", tmp_path / "run")


def test_a_child_does_not_keep_the_lock_of_a_training(tmp_path: Path) -> None:
    with locked(tmp_path):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,))
        child.start()
    try:
        deadline = time.monotonic() + 10
        while lock_holder(tmp_path)[0]:  # until the child has started
            assert time.monotonic() < deadline
        assert child.is_alive()
    finally:
        child.kill()
        child.join()


def test_torchrun_trains_with_two_processes(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", str(port), "-m", "hdsynth", "train", "tiny"]
    command += ["--out", str(tmp_path / "run"), "--device", "cpu", "--set", "stages.0.batch=2"]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained") == 1
    assert read_checkpoint_config(tmp_path / "run" / "final").training["step"] == 4


@pytest.mark.parametrize("name", configs.names("models"))
def test_every_shipped_model_can_be_built(name: str) -> None:
    shipped = read_train_job(configs.find("models", name))
    with torch.device("meta"):
        network = build_generator(shipped.generator)
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    sizes = {"pix2pixhd-global": 182.5, "pix2pixhd-local": 182.9, "pix2pixhd-demo": 6.9}
    assert millions == pytest.approx(sizes.get(name, millions), abs=0.1)
    assert is_training(name)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("no-instances", {"generator"}),
        ("no-feature-matching", {"losses"}),
        ("no-vgg", {"losses"}),
        ("single-discriminator", {"discriminator"}),
        ("unet", {"generator"}),
        ("crn", {"generator"}),
    ],
)
def test_comparisons_change_one_thing(name: str, keys: set[str]) -> None:
    whole, part = (
        read_train_job(configs.find("models", model)).to_plain()
        for model in ("pix2pixhd-global", f"pix2pixhd-{name}")
    )
    assert {key for key in whole if whole[key] != part[key]} == keys


def test_plan_says_what_a_training_would_do() -> None:
    result = CliRunner().invoke(main, ["plan", "tiny", "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert (said["scenes"], said["validation"], said["steps"]) == (4, 2, 4)
    (stage,) = said["stages"]
    assert (stage["name"], stage["crop"], stage["batch"]) == ("all", [64, 64], 1)
    assert said["memory_bytes"] == stage["memory_bytes"] > 2**29
    text = CliRunner().invoke(main, ["plan", "tiny"], catch_exceptions=False).output
    assert "4 updates of 1 x 64x64 cut from 64x128" in text


def test_plan_of_a_training_takes_no_options_of_a_render() -> None:
    result = CliRunner().invoke(main, ["plan", "tiny", "--samples", "3"])
    assert result.exit_code == 2
    assert "--samples does not go with a training" in result.output
    assert not is_training("cityscapes")
