"""Training scorers: what is learnt, resuming, and the command."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from eval.scorers.config import ScorerConfig, ScorerTraining
from eval.scorers.loading import load_scorer
from eval.scorers.loss import class_weights, cross_entropy
from eval.scorers.network import build_network
from eval.scorers.training import TrainIdSamples, class_names, learning_logits, train_scorer
from hdmodel.errors import ConfigError, InputError, TrainingError
from hdmodel.training.config import TrainingSet
from hdmodel.training.log import TrainingStatus, read_metrics
from hdsynth.cli import main
from pipeline.sample_world import write_dataset
from tests.test_eval_scorers_scorer import NETWORK, TOY
from tests.trainings import CPU, SIZE, Squares, SquareSets


class Stop(Exception):
    pass


def config(**changes: object) -> ScorerTraining:
    keys: dict[str, object] = {
        "dataset": TrainingSet(size=SIZE),
        "network": NETWORK,
        "initial": "none",
        "steps": 4,
        "batch": 2,
        "crop": (32, 32),
        "loaders": 0,
        "validation": 2,
        "log_every": 2,
        "save_every": 2,
        "autocast": False,
    }
    return ScorerTraining.parse(keys | changes, origin="test")


def run(
    config: ScorerTraining,
    out: Path,
    *,
    progress: Callable[[TrainingStatus], None] | None = None,
) -> ScorerConfig:
    return train_scorer(config, SquareSets(), taxonomy=TOY, out=out, device=CPU, progress=progress)


def test_it_learns_what_squares_look_like(tmp_path: Path) -> None:
    out = tmp_path / "scorer"
    unet = {"architecture": "unet", "options": {"encoder_depth": 2, "decoder_channels": [16, 16]}}
    learnt = run(config(network=unet, steps=30, learning_rate=1e-2, autocast=True), out)
    assert learnt.scores["acc_valid"] > 0.9
    losses = [float(row["loss"]) for row in read_metrics(out / "metrics.csv")]
    assert losses[-1] < losses[0] / 2
    assert not (out / "training.safetensors").exists()
    scorer = load_scorer(out, device="cpu")
    label, _, photo = Squares(1, SIZE, first=100)[0]
    right = (scorer.predict(photo[None])[0] == TOY.train_ids[label])[label > 0]
    assert right.mean() > 0.9
    assert scorer.describe()["scores"] == learnt.scores


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = run(config(steps=5, class_balance="log"), tmp_path / "whole")

    def stop(status: TrainingStatus) -> None:
        if status.step == 3:
            raise Stop

    with pytest.raises(Stop):
        run(config(steps=5, class_balance="log"), tmp_path / "parts", progress=stop)
    assert (tmp_path / "parts" / "training.safetensors").is_file()
    seen: list[int] = []
    parts = run(
        config(steps=5, class_balance="log"),
        tmp_path / "parts",
        progress=lambda status: seen.append(status.step),
    )
    assert seen == [2, 3, 4, 5]
    assert parts.sha256 == whole.sha256
    assert parts.scores == whole.scores
    steps = [row["step"] for row in read_metrics(tmp_path / "parts" / "metrics.csv")]
    assert steps == ["2", "4", "5"]
    again = run(config(steps=5, class_balance="log"), tmp_path / "parts")
    assert again.sha256 == whole.sha256


def test_another_training_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    run(config(steps=1), tmp_path / "scorer")
    with pytest.raises(ConfigError, match=r"(?s)holds another training.*config\.steps: was 1, now"):
        run(config(steps=2), tmp_path / "scorer")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ConfigError, match="is not empty and no training"):
        run(config(), tmp_path / "full")


def test_what_cannot_be_trained_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 5 scenes to train on, expected at least 6"):
        run(config(batch=6), tmp_path / "few")
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step"):
        run(config(steps=40, learning_rate=1e30), tmp_path / "wild")
    (tmp_path / "few").mkdir(exist_ok=True)
    run_out = tmp_path / "cut"

    def stop(status: TrainingStatus) -> None:
        if status.step == 3:
            raise Stop

    with pytest.raises(Stop):
        run(config(), run_out, progress=stop)
    (run_out / "training.safetensors").write_bytes(b"cut short")
    with pytest.raises(InputError, match="delete it to train from the start"):
        run(config(), run_out)


def test_what_a_network_cannot_learn_from_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch 1, crop 32x32: pspnet .*than 1 value per.*of 1"):
        run(config(batch=1), tmp_path / "one")
    small = {**NETWORK.to_plain(), "options": {**NETWORK.options, "upsampling": 1}}
    with pytest.raises(ConfigError, match=r"it gives \[2, 2, 4, 4\], not \[2, 2, 32, 32\]"):
        run(config(network=small), tmp_path / "small")
    vit = {"architecture": "dpt", "encoder": "tu-vit_tiny_patch16_224"}
    with pytest.raises(ConfigError, match=r"batch 2, crop 32x32: dpt on tu-vit.* cannot learn"):
        run(config(network=vit), tmp_path / "vit")
    assert not list(tmp_path.iterdir())


def test_crops_of_any_size_are_learnt_from(tmp_path: Path) -> None:
    unet = {"architecture": "unet", "options": {"encoder_depth": 2, "decoder_channels": [16, 16]}}
    learnt = run(config(network=unet, steps=2, crop=(30, 21)), tmp_path / "odd")
    assert np.isfinite(learnt.scores["acc_valid"])


@torch.no_grad()
def test_padding_has_no_loss() -> None:
    """As if the padding were there, and its labels ignored."""
    torch.manual_seed(0)
    network = build_network(NETWORK, num_classes=2).eval()  # without dropout
    photo = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 30, 21, 3), np.uint8))
    ids = torch.from_numpy(np.random.default_rng(1).integers(0, 2, (2, 30, 21)))
    found = cross_entropy(learning_logits(network, photo, config()), ids, weight=None)
    larger = np.pad(photo.numpy(), ((0, 0), (0, 2), (0, 11), (0, 0)), mode="edge")
    ignored = np.pad(ids.numpy(), ((0, 0), (0, 2), (0, 11)), constant_values=255)
    whole = network((torch.from_numpy(larger).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
    wanted = torch.nn.functional.cross_entropy(whole, torch.from_numpy(ignored), ignore_index=255)
    assert float(found) == pytest.approx(float(wanted), rel=1e-4)


def test_half_precision_on_disk(tmp_path: Path) -> None:
    run(config(steps=1), tmp_path / "full")
    run(config(steps=1, half_on_disk=True), tmp_path / "half")
    full, half = (
        (tmp_path / name / "scorer.safetensors").stat().st_size for name in ("full", "half")
    )
    assert half < 0.6 * full
    assert load_scorer(tmp_path / "half", device="cpu").predict(
        np.zeros((1, 8, 8, 3), np.uint8)
    ).shape == (1, 8, 8)


def test_cross_entropy_is_the_weighted_mean_over_valid_pixels() -> None:
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(size=(2, 3, 4, 5)).astype(np.float32))
    ids = torch.from_numpy(random.choice([0, 1, 2, 255], (2, 4, 5)))
    weight = torch.tensor([1.0, 2.0, 0.5])
    total, weights = 0.0, 0.0
    log_p = logits.log_softmax(1)
    for b, row, column in np.ndindex(2, 4, 5):
        if (k := int(ids[b, row, column])) != 255:
            total -= float(weight[k] * log_p[b, k, row, column])
            weights += float(weight[k])
    assert float(cross_entropy(logits, ids, weight=weight)) == pytest.approx(total / weights)
    plain = torch.nn.functional.cross_entropy(logits, ids, ignore_index=255)
    assert float(cross_entropy(logits, ids, weight=None)) == pytest.approx(float(plain))
    nothing = torch.full_like(ids, 255)
    assert float(cross_entropy(logits, nothing, weight=weight)) == 0.0


def test_rare_classes_weigh_more() -> None:
    samples = TrainIdSamples(Squares(5, SIZE), TOY)
    labels = np.concatenate([Squares(5, SIZE)[k][0].ravel() for k in range(5)])
    counts = np.array([(labels == 1).sum(), (labels == 2).sum()])
    wanted = 1 / np.log(1.02 + counts / counts.sum())
    np.testing.assert_allclose(class_weights(samples, 2), wanted / wanted.mean(), rtol=1e-6)
    ids, instance, photo = samples[0]
    assert set(np.unique(ids)) == {0, 1, 255}
    assert not instance.any()
    assert (photo == Squares(5, SIZE)[0][2]).all()


def test_names_of_train_ids() -> None:
    assert class_names(TOY) == ["red", "green"]


def command(*arguments: object) -> str:
    result = CliRunner().invoke(
        main, ["train-scorer", *map(str, arguments)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.output


SMALL = (
    *("--set", "network={architecture: pspnet, options: {encoder_depth: 3, psp_out_channels: 16}}"),
    *("--set", "initial=none", "--set", "steps=2", "--set", "batch=2", "--set", "crop=[32, 64]"),
    *("--set", "validation=2", "--set", "loaders=0", "--device", "cpu"),
)


def test_the_command_trains_on_the_sample_world(tmp_path: Path) -> None:
    world = ("--set", "dataset.scenes=3", "--set", "dataset.size=[64, 128]")
    output = command("sample-world", *SMALL, *world, "--out", tmp_path / "scorer")
    assert "on 2 held-out scenes" in output
    plain = yaml.safe_load((tmp_path / "scorer" / "scorer.yaml").read_text())
    assert plain["taxonomy"]["name"] == "cityscapes"
    assert plain["training"]["config"]["dataset"]["world_seed"] == 4711
    assert len(plain["scores"]["iou"]) == 19
    assert json.dumps(plain["scores"])  # None, not NaN, where a class is absent


def test_the_command_trains_on_a_dataset(tmp_path: Path) -> None:
    write_dataset(tmp_path / "world", scenes=5, height=64, width=128, val=2)
    files = ("--dataset", tmp_path / "world", "--format", "cityscapes", "--split", "train")
    size = ("--set", "dataset.size=[64, 128]", "--set", "dataset.validation_split=val")
    command("sample-world", *SMALL, *files, *size, "--out", tmp_path / "scorer")
    plain = yaml.safe_load((tmp_path / "scorer" / "scorer.yaml").read_text())
    assert plain["training"]["scenes"] == 3
    assert plain["training"]["config"]["dataset"]["format"] == "cityscapes"


def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    for arguments, message in (
        (("pspnett",), "scorer 'pspnett': no such file"),
        (("pspnet", "--set", "netwrk=1"), "unknown key 'netwrk', did you mean 'network'"),
        (("sample-world", "--set", "network.architecture=psp"), "'psp': unknown, did you mean"),
        (("sample-world", "--set", "initial=none.pth", "--set", "dataset.scenes=4"), "none.pth"),
    ):
        result = CliRunner().invoke(
            main, ["train-scorer", *arguments, "--out", str(tmp_path / "out"), "--device", "cpu"]
        )
        assert result.exit_code == 2, result.output
        assert message in result.output
