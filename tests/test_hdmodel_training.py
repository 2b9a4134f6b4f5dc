"""The training loop: batches, determinism, going on, and that it learns at all."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

import configs
from hdmodel.architecture import DiscriminatorConfig, GeneratorConfig
from hdmodel.batches import RandomCrops, Sample, stack
from hdmodel.checkpoint import (
    TaxonomyRecord,
    generator_hash,
    load_generator,
    read_checkpoint_config,
)
from hdmodel.errors import CheckpointError, ConfigError, InputError
from hdmodel.generator import build_generator
from hdmodel.initialise import init_checkpoint
from hdmodel.train_config import TrainConfig, TrainingData, read_train_config
from hdmodel.training import StepLosses, Trainer, train

CPU = torch.device("cpu")
PALETTE = np.array([[0, 0, 0], [200, 40, 40], [40, 200, 40]], np.uint8)
TAXONOMY = TaxonomyRecord(
    name="toy", version=1, fingerprint="abc", class_names=("void", "red", "green")
)


class Squares:
    """Scenes whose photo is the colour of the label: something a generator can learn."""

    def __init__(self, count: int = 5, size: tuple[int, int] = (48, 64)) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        coarse = np.random.default_rng(index).integers(0, 3, (self.size[0] // 8, self.size[1] // 8))
        label = coarse.repeat(8, 0).repeat(8, 1).astype(np.uint8)
        return label, label.astype(np.int32), PALETTE[label]


def config(**changes: object) -> TrainConfig:
    keys: dict[str, object] = {
        "dataset": TrainingData(size=(48, 64)),
        "generator": GeneratorConfig(num_classes=3, base_channels=4, downsamplings=1, blocks=1),
        "discriminator": DiscriminatorConfig(base_channels=4, layers=2, scales=2),
        "steps": 4,
        "decay_from": 2,
        "batch": 2,
        "crop": (32, 40),
        "log_every": 2,
        "save_every": 2,
    }
    return TrainConfig(**(keys | changes))


def run(config: TrainConfig, out: Path) -> Path:
    return train(config, Squares(), taxonomy=TAXONOMY, palette=PALETTE, out=out, device=CPU)


def test_a_run_leaves_checkpoints_metrics_and_pictures(tmp_path: Path) -> None:
    final = run(config(steps=6, half_on_disk=True), tmp_path / "run")
    assert final == tmp_path / "run" / "final"
    assert read_checkpoint_config(final).training["step"] == 6
    assert load_file(final / "generator.safetensors")["head.conv.bias"].dtype == torch.float16
    assert load_generator(final)(torch.zeros((1, 4, 48, 64))).shape == (1, 3, 48, 64)
    assert sorted(p.name for p in (tmp_path / "run").glob("step-*")) == [
        "step-000004",
        "step-000006",
    ]
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    assert [float(row["learning_rate"]) for row in rows] == [2e-4, 1.2e-4, 4e-5]
    with Image.open(tmp_path / "run" / "samples" / "step-000006.png") as sheet:
        assert sheet.size == (3 * 64, 3 * 48)
        label, _, photo = Squares()[0]
        pixels = np.asarray(sheet)
    assert np.array_equal(pixels[:48, :64], PALETTE[label])
    assert np.array_equal(pixels[:48, 128:], photo)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    one, two = (run(config(), tmp_path / name) for name in ("one", "two"))
    other = run(config(seed=1), tmp_path / "other")
    assert generator_hash(one) == generator_hash(two)
    assert generator_hash(one) != generator_hash(other)


def test_going_on_is_like_never_stopping(tmp_path: Path) -> None:
    whole = run(config(steps=6, decay_from=6), tmp_path / "whole")
    first = run(config(steps=4, decay_from=4), tmp_path / "parts")
    assert generator_hash(first) != generator_hash(whole)
    second = run(config(steps=6, decay_from=6), tmp_path / "parts")
    assert generator_hash(second) == generator_hash(whole)
    with (tmp_path / "parts" / "metrics.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [2, 4, 6]


def test_another_configuration_does_not_go_on(tmp_path: Path) -> None:
    run(config(), tmp_path / "run")
    with pytest.raises(ConfigError, match="another batch, seed"):
        run(config(seed=3, batch=1), tmp_path / "run")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="is not empty and no training run"):
        run(config(), tmp_path / "foreign")


def test_damaged_state_is_refused(tmp_path: Path) -> None:
    run(config(), tmp_path / "run")
    state = tmp_path / "run" / "step-000004" / "discriminator.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"discriminator\.safetensors: damaged"):
        run(config(steps=5), tmp_path / "run")


def test_training_learns_the_colours() -> None:
    trainer = Trainer(config(steps=60, decay_from=60, seed=2), device=CPU)
    crops = RandomCrops(Squares(), crop=(32, 40), batch=2, seed=0)
    held_out = stack([Squares()[9]], device=CPU)
    before = (trainer.render(held_out) - held_out.photo_BCHW).abs().mean()
    for step in range(60):
        trainer.update(crops.batch(step, device=CPU), learning_rate=2e-3)
    after = (trainer.render(held_out) - held_out.photo_BCHW).abs().mean()
    assert after < before / 2


def test_one_update_is_two_separate_adversarial_steps() -> None:
    """The shared discriminator pass against the two losses differentiated one by one."""
    setting = config(autocast=False)
    trainer = Trainer(setting, device=CPU)
    twin = Trainer(setting, device=CPU)
    batch = RandomCrops(Squares(), crop=(32, 40), batch=2, seed=0).batch(0, device=CPU)

    inputs = twin.condition(batch)
    fake = twin.generator(inputs)
    on_fake = twin.discriminator(inputs, fake)
    on_real = twin.discriminator(inputs, batch.photo_BCHW)
    on_detached = twin.discriminator(inputs, fake.detach())
    g_loss = sum(((o.score_B1HW - 1) ** 2).mean() for o in on_fake)
    for a, b in zip(on_fake, on_real, strict=True):
        for x, y in zip(a.hidden, b.hidden, strict=True):
            g_loss = g_loss + 10 * 4 / 3 / 2 * F.l1_loss(x, y.detach())
    d_loss = sum((o.score_B1HW**2).mean() for o in on_detached)
    d_loss = (d_loss + sum(((o.score_B1HW - 1) ** 2).mean() for o in on_real)) / 2
    networks = (twin.generator, twin.discriminator)
    for network, loss in zip(networks, (g_loss, d_loss), strict=True):
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.999))
        gradients = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()

    losses = trainer.update(batch, learning_rate=1e-3)
    torch.testing.assert_close(losses.generator.total, g_loss)
    torch.testing.assert_close(losses.discriminator.total, d_loss)
    for ours, theirs in zip((trainer.generator, trainer.discriminator), networks, strict=True):
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            # Adam's first step only keeps the sign of a gradient, and that of a bias before an
            # instance norm is rounding noise around zero.
            if name.endswith("weight") or name in ("head.conv.bias",):
                torch.testing.assert_close(a, b, rtol=0, atol=2e-5)


def test_crops_come_from_the_samples_and_every_sample_is_seen() -> None:
    class Numbered:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Sample:
            pixels = np.arange(10 * 12).reshape(10, 12)
            photo = np.stack([pixels, pixels, pixels], -1).astype(np.uint8)
            return np.full((10, 12), index, np.uint8), pixels.astype(np.int32), photo

    crops = RandomCrops(Numbered(), crop=(4, 6), batch=2, seed=0)
    seen, mirrored, corners = Counter(), set(), set()
    for number in range(20):
        batch = crops.batch(number, device=CPU)
        for label, instance, photo in zip(
            batch.label_BHW, batch.instance_BHW, batch.photo_BCHW, strict=True
        ):
            seen[int(label[0, 0])] += 1
            step = int(instance[0, 1] - instance[0, 0])
            mirrored.add(step)
            window = instance if step == 1 else instance.flip(1)
            first = int(window[0, 0])
            corners.add(first)
            expected = first + 12 * torch.arange(4)[:, None] + torch.arange(6)
            assert torch.equal(window, expected.int())
            assert torch.equal(((photo[0] + 1) * 127.5).round().int(), instance)
    assert seen == {0: 10, 1: 10, 2: 10, 3: 10}
    assert mirrored == {1, -1}
    assert len(corners) > 15


def test_samples_smaller_than_the_crop_are_refused() -> None:
    crops = RandomCrops(Squares(size=(16, 64)), crop=(32, 40), batch=1, seed=0)
    with pytest.raises(InputError, match=r"of 16x64 pixels, expected at least the crop, 32x40"):
        crops.batch(0, device=CPU)


@pytest.mark.parametrize("name", configs.names("models"))
def test_every_shipped_model_can_be_built(name: str) -> None:
    shipped = read_train_config(configs.find("models", name))
    with torch.device("meta"):
        network = build_generator(shipped.generator)
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    sizes = {"pix2pixhd-global": 182.5, "pix2pixhd-local": 182.9, "pix2pixhd-demo": 4.4}
    assert millions == pytest.approx(sizes.get(name, millions), abs=0.06)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay_from": 9}, "decay_from is 9, expected at most 4"),
        ({"crop": [64, 64]}, "crop has height 64, expected at most 48"),
        ({"stepz": 1}, "unknown key 'stepz', did you mean 'steps'"),
        ({"generator": {"feature_channels": 3}}, "must be 0"),
        ({"generator": {"out_channels": 1}}, r"generator\.out_channels is 1, expected 3"),
        ({"crop": [4, 40], "discriminator": {"scales": 3}}, "4x40 pixels, expected at least 5 per"),
        ({"crop": [1, 1], "discriminator": {"scales": 1}}, "1x1 pixels, expected at least 2 per"),
        ({"seed": 2**63}, "seed: input should be less than 9223372036854775808"),
        ({"feature_matching": float("inf")}, "feature_matching: input should be a finite number"),
        ({"optimiser": {"learning_rate": float("inf")}}, "learning_rate: input should be a finite"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, object], message: str) -> None:
    plain = config().to_plain() | changes
    with pytest.raises(ConfigError, match=rf"run\.yaml: .*{message}"):
        TrainConfig.parse(plain, origin="run.yaml")


@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.parametrize(("scales", "side"), [(1, 2), (3, 5), (6, 33)])
def test_the_smallest_crops_allowed_can_be_judged(scales: int, side: int, layers: int) -> None:
    shape = DiscriminatorConfig(base_channels=2, layers=layers, scales=scales)
    trainer = Trainer(config(discriminator=shape, crop=(side, side)), device=CPU)
    batch = RandomCrops(Squares(), crop=(side, side), batch=1, seed=0).batch(0, device=CPU)
    assert trainer.update(batch, learning_rate=1e-3).discriminator.total.isfinite()


def test_progress_is_told_every_update(tmp_path: Path) -> None:
    told: list[tuple[int, bool]] = []

    def show(step: int, losses: StepLosses | None) -> None:
        told.append((step, losses is not None))

    keys = {"taxonomy": TAXONOMY, "palette": PALETTE, "out": tmp_path / "run", "device": CPU}
    train(config(steps=2), Squares(), **keys, progress=show)
    train(config(steps=4), Squares(), **keys, progress=show)
    assert told == [(0, False), (1, True), (2, True), (2, False), (3, True), (4, True)]


def test_untrained_checkpoints_depend_on_the_seed(tmp_path: Path) -> None:
    shape = read_train_config(configs.find("models", "tiny")).generator
    one, same, other = (
        init_checkpoint(shape, taxonomy=TAXONOMY, seed=seed, to=tmp_path / name)
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    assert read_checkpoint_config(one).generator.num_classes == 3
    assert generator_hash(one) == generator_hash(same)
    assert generator_hash(one) != generator_hash(other)
