"""Whole trainings: what they leave, determinism, going on after any death, what stops them."""

import csv
import gc
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from hdmodel.architecture import GeneratorConfig
from hdmodel.checkpoint import (
    TaxonomyRecord,
    generator_hash,
    load_encoder,
    load_generator,
    read_checkpoint_config,
)
from hdmodel.errors import CheckpointError, ConfigError, InputError, TrainingError
from hdmodel.initialise import init_checkpoint
from hdmodel.styles import load_styles
from hdmodel.training import trainer as trainer_module
from hdmodel.training.log import TrainingStatus
from hdmodel.training.loop import train
from hdmodel.training.schedule import plan_stages
from hdmodel.training.trainer import Trainer
from tests.trainings import CPU, PALETTE, TAXONOMY, Squares, SquareSets, config, run, stage, staged


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def losses(out: Path) -> list[dict[str, str]]:
    """The rows without what depends on the clock."""
    return [{k: v for k, v in row.items() if k != "seconds_per_step"} for row in rows(out)]


def test_a_run_leaves_checkpoints_metrics_pictures_and_a_report(tmp_path: Path) -> None:
    out = tmp_path / "run"
    final = run(staged(half_on_disk=True), out)
    assert final == out / "final"
    assert read_checkpoint_config(final).training["step"] == 8
    assert load_file(final / "generator.safetensors")["head.conv.bias"].dtype == torch.float16
    assert load_generator(final)(torch.zeros((1, 7, 48, 64))).shape == (1, 3, 48, 64)
    photo, ids = torch.zeros((1, 3, 48, 64)), torch.zeros((1, 48, 64), dtype=torch.int32)
    assert load_encoder(final)(photo, ids).shape == (1, 3, 48, 64)
    assert (out / "last").resolve() == (out / "checkpoints" / "step-0000008").resolve()
    kept = {path.name for path in (out / "checkpoints").iterdir()}
    assert kept == {"step-0000008", (out / "best").resolve().name}
    assert [int(row["step"]) for row in rows(out)] == [2, 3, 4, 5, 6, 8]
    assert [row["stage"] for row in rows(out)] == [
        *("coarse", "coarse"),
        *("enhance", "enhance"),
        *("joint", "joint"),
    ]
    rates = [float(row["learning_rate"]) for row in rows(out)]
    # Each stage starts at the whole rate; its decay takes it linearly towards 0.
    assert rates == pytest.approx([2e-4, 1e-4, 2e-4, 2e-4, 2e-4, 2e-4 / 3])
    assert all(float(row["validation_l1"]) > 0 for row in rows(out))
    assert "</html>" in (out / "report.html").read_text()
    assert any((out / "tensorboard").iterdir())
    with Image.open(out / "samples" / "step-0000008.png") as sheet:
        assert sheet.width >= 3 * 64


def test_coarse_stages_leave_checkpoints_of_smaller_photos(tmp_path: Path) -> None:
    setting = staged()
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(setting, out, progress=interrupt_after(3))
    record = read_checkpoint_config(out / "last")
    assert (record.generator.architecture, record.generator.base_channels) == ("global", 8)
    assert record.training["stage"] == "coarse"


def interrupt_after(step: int):  # noqa: ANN201 - a progress function
    def progress(status: TrainingStatus) -> None:
        # The update after it, so that what the step itself leaves is there.
        if status.step == step + 1:
            raise KeyboardInterrupt

    return progress


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    one, two = (run(staged(), tmp_path / name) for name in ("one", "two"))
    other = run(staged(seed=1), tmp_path / "other")
    assert generator_hash(one) == generator_hash(two)
    assert losses(tmp_path / "one") == losses(tmp_path / "two")
    assert generator_hash(one) != generator_hash(other)


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 7])
def test_going_on_is_like_never_stopping(tmp_path: Path, stop: int) -> None:
    """Interrupted before the first save, in the middle and at the end of stages."""
    setting = staged(log_every=1)
    run(setting, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(setting, tmp_path / "parts", progress=interrupt_after(stop))
    run(setting, tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    for name in ("generator", "discriminator", "optimizer", "training", "encoder"):
        one, other = (
            load_file(tmp_path / run / "last" / f"{name}.safetensors") for run in ("parts", "whole")
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    best = [(tmp_path / run / "best").resolve().name for run in ("parts", "whole")]
    assert best[0] == best[1]


CHILD = """
from pathlib import Path
from tests.trainings import run, staged
run(staged(log_every=1, loaders=1), Path(sys.argv[1]))
"""


@pytest.mark.parametrize("files", [1, 4])
def test_killed_at_any_moment_it_goes_on(tmp_path: Path, files: int) -> None:
    """SIGKILL as soon as some files of a first checkpoint are there, be it whole or not."""
    out = tmp_path / "killed"
    child = subprocess.Popen(
        [sys.executable, "-c", f"import sys{CHILD}", str(out)], cwd=Path(__file__).parent.parent
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("checkpoints/*/*"))) < files and child.poll() is None:
        assert time.monotonic() < deadline
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    run(staged(log_every=1), out)
    run(staged(log_every=1), tmp_path / "whole")
    assert losses(out) == losses(tmp_path / "whole")
    assert generator_hash(out / "final") == generator_hash(tmp_path / "whole" / "final")
    assert not list((out / "checkpoints").glob(".*"))


def test_a_training_that_is_done_does_nothing_again(tmp_path: Path) -> None:
    run(config(), tmp_path / "run")
    before = rows(tmp_path / "run")
    bank = tmp_path / "run" / "final" / "styles.json"
    bank.touch()
    run(config(), tmp_path / "run")
    assert rows(tmp_path / "run") == before
    assert bank.exists()


def test_another_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(config(), out)
    changed = config(seed=3, stages=(stage(crop=(32, 40), batch=1),))
    with pytest.raises(ConfigError) as refused:
        run(changed, out)
    assert "config.seed: was 0, now 3" in str(refused.value)
    assert "config.stages.0.batch: was 2, now 1" in str(refused.value)
    assert "crop" not in str(refused.value)
    other = TaxonomyRecord.model_validate(TAXONOMY.to_plain() | {"fingerprint": "xyz"})
    with pytest.raises(ConfigError, match=r"taxonomy\.fingerprint: was 'abc', now 'xyz'"):
        run(config(), out, taxonomy=other)
    run(config(log_every=1, loaders=1, recompute=True), out)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="is not empty and no training"):
        run(config(), tmp_path / "foreign")


@pytest.mark.parametrize("name", ["discriminator", "optimizer", "generator", "training"])
def test_damaged_state_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(staged(), tmp_path / "run", progress=interrupt_after(2))
    state = tmp_path / "run" / "last" / f"{name}.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=rf"{name}\.safetensors: damaged"):
        run(staged(), tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_it_and_the_last_checkpoint_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    real = trainer_module.feature_matching

    def explode(*args: object, **keys: object) -> torch.Tensor:
        loss = real(*args, **keys)
        return loss * float("inf") if (out / "last").exists() else loss

    monkeypatch.setattr(trainer_module, "feature_matching", explode)
    with pytest.raises(TrainingError) as stopped:
        run(config(), out)
    assert "feature_matching is inf at step 3" in str(stopped.value)
    assert "step-0000002" in str(stopped.value)
    monkeypatch.undo()
    run(config(), out)
    run(config(), tmp_path / "whole")
    assert generator_hash(out / "final") == generator_hash(tmp_path / "whole" / "final")


def test_weights_that_are_not_finite_are_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    real = Trainer.update

    def break_discriminator(self: Trainer, *args: object, **keys: object) -> object:
        losses = real(self, *args, **keys)
        if keys["step"] == 4:
            assert self.discriminator is not None
            next(self.discriminator.parameters()).data.fill_(float("nan"))
        return losses

    monkeypatch.setattr(Trainer, "update", break_discriminator)
    with pytest.raises(TrainingError, match=r"no longer finite at step 4; the last good .*0000002"):
        run(config(), out)
    assert (out / "last").resolve().name == "step-0000002"
    monkeypatch.undo()
    run(config(), out)


def test_another_number_of_scenes_is_another_training(tmp_path: Path) -> None:
    keys = {"taxonomy": TAXONOMY, "palette": PALETTE, "out": tmp_path / "run", "device": CPU}
    train(config(), SquareSets(5), **keys)
    with pytest.raises(ConfigError, match="scenes: was 5, now 6"):
        train(config(), SquareSets(6), **keys)


def test_a_stage_lets_go_of_the_networks_of_the_one_before(tmp_path: Path) -> None:
    alive: dict[str, set[str]] = {}

    def count(status: TrainingStatus) -> None:
        gc.collect()
        trainers = [thing for thing in gc.get_objects() if type(thing) is Trainer]
        alive[status.stage] = {trainer.stage.name for trainer in trainers}

    run(staged(), tmp_path / "run", progress=count)
    assert alive == {name: {name} for name in ("coarse", "enhance", "joint")}


def test_leftovers_of_a_killed_start_are_swept(tmp_path: Path) -> None:
    out = tmp_path / "run"
    (out / "checkpoints" / ".step-0000002.abc.tmp").mkdir(parents=True)
    (out / ".abc.tmp").touch()
    (out / "checkpoints").rename(out / ".final.abc.tmp")
    run(config(), out)
    assert not [path for path in out.rglob(".*") if path.name.endswith(".tmp")]


FULL_DISK = """
import resource, signal
from pathlib import Path
from hdmodel.errors import HdsynthError
from tests.trainings import run, staged

def progress(status):
    if status.step == 3:  # after the first save: files may not grow any more
        limit = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    run(staged(log_every=8, picture_every=8), Path(sys.argv[1]), progress=progress)
except HdsynthError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (2000, "TrainingError .*run: cannot be written .*File too large.*; saved checkpoints are"),
        (30000, "CheckpointError .*step-0000003: cannot be written .*File too large"),
    ],
)
def test_a_full_disk_leaves_the_last_checkpoint_good(
    tmp_path: Path, limit: int, message: str
) -> None:
    out = tmp_path / "run"
    said = subprocess.run(
        [sys.executable, "-c", f"import sys{FULL_DISK}", str(out), str(limit)],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(message, said)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-0000002"]
    run(staged(), out)
    run(staged(), tmp_path / "whole")
    assert generator_hash(out / "final") == generator_hash(tmp_path / "whole" / "final")


def test_best_is_the_checkpoint_with_the_smallest_error(tmp_path: Path) -> None:
    steps = 12
    setting = config(stages=(stage(steps=steps, decay_steps=0),), save_every=1)
    out = tmp_path / "run"
    run(setting, out)
    errors = {int(row["step"]): float(row["validation_l1"]) for row in rows(out)}
    best = read_checkpoint_config(out / "best").training
    assert best["step"] == min(errors, key=lambda step: errors[step])
    batch = Squares(2, first=100)
    network = load_generator(out / "best", dtype="float32")
    assert best["validation_l1"] == pytest.approx(mean_error(network, batch), rel=0.05)


def mean_error(network: torch.nn.Module, scenes: Squares) -> float:
    """The mean absolute difference, computed from the label maps by hand."""
    differences = []
    for index in range(len(scenes)):
        label, _, photo = scenes[index]
        edges = np.zeros(label.shape, bool)
        for axis in (0, 1):
            step = np.diff(label.astype(int), axis=axis) != 0
            before, after = ([slice(None)] * 2 for _ in range(2))
            before[axis], after[axis] = slice(None, -1), slice(1, None)
            edges[tuple(before)] |= step
            edges[tuple(after)] |= step
        one_hot = np.eye(3, dtype=np.float32)[label].transpose(2, 0, 1)
        inputs = np.concatenate([one_hot, edges[None].astype(np.float32)])
        with torch.no_grad():
            fake = network(torch.from_numpy(inputs)[None])[0].permute(1, 2, 0).numpy()
        differences.append(np.abs((fake + 1) * 127.5 - photo).mean())
    return float(np.mean(differences))


def test_progress_is_told_every_update(tmp_path: Path) -> None:
    told: list[tuple[int, str, bool]] = []

    def show(status: TrainingStatus) -> None:
        told.append((status.step, status.stage, status.losses is not None))
        assert status.steps == 4

    run(config(), tmp_path / "run", progress=show)
    assert told == [(0, "all", False), *((step, "all", True) for step in range(1, 5))]


def test_epochs_become_updates() -> None:
    setting = config(
        stages=(
            stage(name="one", steps=None, decay_steps=None, epochs=10, decay_epochs=4, batch=2),
            stage(name="two", steps=7, decay_steps=0, batch=1),
        )
    )
    first, second = plan_stages(setting, scenes=5)
    assert (first.schedule.steps, first.schedule.decay_from) == (25, 15)
    assert (first.first, first.end, second.first, second.end) == (0, 25, 25, 32)
    factors = [first.schedule.learning_rate_factor(step) for step in (0, 14, 15, 24)]
    assert factors == pytest.approx([1, 1, 10 / 11, 1 / 11])


def test_too_few_scenes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "run"
    setting = config(stages=(stage(batch=6),))
    with pytest.raises(
        InputError, match=r"has 5 scenes to train on, beside .* expected at least 6, the ba"
    ):
        run(setting, out)
    assert not out.exists()


def test_without_validation_scenes_it_trains_all_the_same(tmp_path: Path) -> None:
    final = train(
        config(),
        SquareSets(validation=0),
        taxonomy=TAXONOMY,
        palette=PALETTE,
        out=tmp_path / "run",
        device=CPU,
    )
    assert read_checkpoint_config(final).training["step"] == 4
    assert (tmp_path / "run" / "best").resolve().name == "step-0000004"
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 1


def test_the_record_says_where_weights_come_from(tmp_path: Path) -> None:
    final = run(config(), tmp_path / "run")
    record = yaml.safe_load((final / "config.yaml").read_text())
    assert record["training"]["config"] == config().to_plain()
    assert record["training"]["torch"] == torch.__version__


def test_untrained_checkpoints_depend_on_the_seed(tmp_path: Path) -> None:
    shape = GeneratorConfig(num_classes=9, base_channels=4, downsamplings=2, blocks=1)
    one, same, other = (
        init_checkpoint(shape, taxonomy=TAXONOMY, seed=seed, to=tmp_path / name)
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    assert read_checkpoint_config(one).generator.num_classes == 3
    assert generator_hash(one) == generator_hash(same)
    assert generator_hash(one) != generator_hash(other)


def test_untrained_checkpoints_with_an_encoder_have_a_look_for_every_class(tmp_path: Path) -> None:
    shape = staged()
    checkpoint = init_checkpoint(
        shape.generator, encoder=shape.encoder, taxonomy=TAXONOMY, seed=0, to=tmp_path / "new"
    )
    bank = load_styles(checkpoint)
    looks = np.concatenate([bank.modes(class_id) for class_id in range(3)])
    assert looks.shape == (3, 3)
    assert len(np.unique(looks)) == 9
    assert np.abs(looks).max() <= 1
