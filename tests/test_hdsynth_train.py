"""`hdsynth train`: from a shipped model to a checkpoint, and what it refuses."""

import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from hdmodel.checkpoint import load_generator, read_checkpoint_config
from hdmodel.errors import ConfigError
from hdmodel.losses import DiscriminatorLosses, GeneratorLosses
from hdmodel.train_config import TrainingData
from hdmodel.training import StepLosses
from hdsynth import training_progress
from hdsynth.commands.train import train
from hdsynth.training_progress import training_bar
from hdsynth.training_scenes import open_training_scenes
from pipeline.errors import DatasetError
from pipeline.sample_world import draw_scene, write_dataset
from pipeline.taxonomy import Taxonomy


def test_a_shipped_model_trains_on_the_sample_world(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        train, ["tiny", "--out", str(tmp_path / "run"), "--device", "cpu"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "hdsynth render --generator" in result.output
    checkpoint = read_checkpoint_config(tmp_path / "run" / "final")
    assert checkpoint.taxonomy.fingerprint == Taxonomy.load("cityscapes").fingerprint
    photo = load_generator(tmp_path / "run" / "final")(torch.zeros((1, 36, 64, 128)))
    assert photo.shape == (1, 3, 64, 128)


def test_world_scenes_are_those_of_the_training_city() -> None:
    data = TrainingData(size=(64, 128), scenes=3)
    scenes, _ = open_training_scenes(data, seed=5)
    drawn = draw_scene(5, 2, height=64, width=128)
    label, instance, photo = scenes[2]
    assert len(scenes) == 3
    assert (label == drawn.label).all()
    assert (instance == drawn.instance).all()
    assert (photo == drawn.photo).all()


def test_a_dataset_trains_at_the_size_asked_for(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", scenes=5, height=64, width=128)
    arguments = ["tiny", "--out", str(tmp_path / "run"), "--dataset", str(tmp_path / "data")]
    for assignment in ("dataset.format=cityscapes", "dataset.size=[48, 96]", "crop=[48, 64]"):
        arguments += ["--set", assignment]
    result = CliRunner().invoke(train, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert (tmp_path / "run" / "final" / "generator.safetensors").is_file()


def test_what_does_not_go_together_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.taxonomy is 'camvid', expected 'cityscapes'"):
        open_training_scenes(TrainingData(taxonomy="camvid"), seed=0)
    with pytest.raises(ConfigError, match=r"dataset\.root is missing"):
        open_training_scenes(TrainingData(format="cityscapes"), seed=0)
    with pytest.raises(ConfigError, match="did you mean 'cityscapes'"):
        open_training_scenes(TrainingData(format="cityscape", root=str(tmp_path)), seed=0)


def test_a_dataset_without_photos_cannot_be_trained_on(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", scenes=5, height=64, width=128)
    for photo in (tmp_path / "data").rglob("*leftImg8bit.png"):
        photo.unlink()
    data = TrainingData(format="cityscapes", root=str(tmp_path / "data"), size=(64, 128))
    with pytest.raises(DatasetError, match="no photos"):
        open_training_scenes(data, seed=0)


def losses(value: float) -> StepLosses:
    scalar = torch.tensor(value)
    return StepLosses(
        GeneratorLosses(scalar, 2 * scalar),
        DiscriminatorLosses(4 * scalar, 5 * scalar),
    )


def test_a_terminal_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "80")):
        monkeypatch.setenv(key, value)
    clock = iter([0.0, 10.0, 10.2, 14.0])
    monkeypatch.setattr(training_progress, "monotonic", lambda: next(clock))
    with training_bar(8) as progress:
        assert progress is not None
        progress(5, None)  # goes on from step 5
        progress(6, losses(9.0))  # too soon to be shown
        progress(7, losses(1.0))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "5/8" in shown
    assert "7/8 2.00 s/step adv 1.00 feat 2.00 D 4.00/5.00 left" in shown
    assert "9.00" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_without_a_terminal_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with training_bar(8) as progress:
        assert progress is None


def test_a_folder_that_would_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"which reads no folder.*dataset\.format=cityscapes"):
        open_training_scenes(TrainingData(root=str(tmp_path)), seed=0)


def test_classes_of_another_format_are_refused(tmp_path: Path) -> None:
    data = TrainingData(format="camvid", root=str(tmp_path), taxonomy="cityscapes")
    with pytest.raises(ConfigError, match=r"add --set dataset\.taxonomy=camvid"):
        open_training_scenes(data, seed=0)
