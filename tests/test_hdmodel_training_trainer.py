"""One update: the right gradients, accumulation, stages that take over, the running mean."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hdmodel.architecture import DiscriminatorConfig, EncoderConfig, GeneratorConfig
from hdmodel.conditioning import condition
from hdmodel.encoder import average_over_instances
from hdmodel.generator import LocalEnhancer
from hdmodel.training.batches import Batch, RandomBatches, stack
from hdmodel.training.config import LossConfig, TrainConfig
from hdmodel.training.trainer import Trainer
from tests.trainings import CPU, Squares, config, stage, staged


def first_batch(size: int = 2) -> Batch:
    return RandomBatches(Squares(), crop=(32, 40), batch=size, seed=(0,))[0].to(CPU)


def trainer(config: TrainConfig, number: int = 0) -> Trainer:
    return Trainer(config, config.stages[number], device=CPU)


def test_training_learns_the_colours() -> None:
    training = trainer(config(seed=2))
    batches = RandomBatches(Squares(), crop=(32, 40), batch=2, seed=(0,))
    held_out = stack([Squares()[9]]).to(CPU)
    before = (training.render(held_out) - held_out.photo_BCHW).abs().mean()
    for step in range(60):
        training.update(batches[step].to(CPU), step=step, learning_rate=2e-3)
    after = (training.render(held_out) - held_out.photo_BCHW).abs().mean()
    assert after < before / 2


def test_one_update_is_separate_adversarial_steps() -> None:
    """The shared discriminator pass against losses differentiated one by one, encoder included."""
    setting = config(
        autocast=False,
        generator=GeneratorConfig(
            num_classes=3, feature_channels=2, base_channels=4, downsamplings=1, blocks=1
        ),
        encoder=EncoderConfig(out_channels=2, base_channels=4, downsamplings=1),
    )
    training, twin = trainer(setting), trainer(setting)
    batch = first_batch()

    known = condition(batch.label_BHW, batch.instance_BHW, num_classes=3)
    assert twin.encoder is not None
    assert twin.discriminator is not None
    pixels = twin.encoder.encode_pixels(batch.photo_BCHW)
    features = average_over_instances(pixels, batch.instance_BHW)
    fake = twin.generator(torch.cat([known, features], dim=1))
    (on_fake,) = twin.discriminator(known, fake)
    (on_real,) = twin.discriminator(known, batch.photo_BCHW)
    (on_detached,) = twin.discriminator(known, fake.detach())
    g_loss = sum(((o.score_B1HW - 1) ** 2).mean() for o in on_fake)
    for a, b in zip(on_fake, on_real, strict=True):
        for x, y in zip(a.hidden, b.hidden, strict=True):
            g_loss = g_loss + 10 * 4 / 3 / 2 * F.l1_loss(x, y.detach())
    d_loss = sum((o.score_B1HW**2).mean() for o in on_detached)
    d_loss = (d_loss + sum(((o.score_B1HW - 1) ** 2).mean() for o in on_real)) / 2
    networks = [(twin.generator, g_loss), (twin.encoder, g_loss), (twin.discriminator, d_loss)]
    gradients = [
        torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
        for network, loss in networks
    ]
    for (network, _), values in zip(networks, gradients, strict=True):
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.999))
        for parameter, gradient in zip(network.parameters(), values, strict=True):
            parameter.grad = gradient
        optimiser.step()

    losses = training.update(batch, step=1, learning_rate=1e-3)
    torch.testing.assert_close(losses.generator.total, g_loss)
    torch.testing.assert_close(losses.discriminators["discriminator"].total, d_loss)
    assert training.encoder is not None
    assert training.discriminator is not None
    ours = (training.generator, training.encoder, training.discriminator)
    for own, (theirs, _) in zip(ours, networks, strict=True):
        for (name, a), b in zip(own.named_parameters(), theirs.parameters(), strict=True):
            # Adam's first step only keeps the sign of a gradient, and that of a bias before an
            # instance norm is rounding noise around zero.
            if name.endswith("weight") or name == "head.conv.bias":
                far = (a - b).abs() > 2e-5
                assert far.float().mean() < 0.01, name


def test_accumulation_gives_the_gradients_of_the_whole_batch() -> None:
    # Plain descent by gradients: Adam would hide their size.
    found = []
    for accumulate in (1, 2):
        setting = config(autocast=False, stages=(stage(batch=4, accumulate=accumulate),))
        training = trainer(setting)
        for name, weights in training._learning.items():
            training._optimisers[name] = torch.optim.SGD(weights, lr=1.0)
        losses = training.update(first_batch(4), step=1, learning_rate=0.01)
        found.append((dict(training.generator.named_parameters()), losses.terms))
    (whole, whole_losses), (parts, parts_losses) = found
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6)
    for name, loss in whole_losses.items():
        torch.testing.assert_close(parts_losses[name], loss, rtol=1e-4, atol=1e-6)


def test_recomputing_activations_changes_nothing() -> None:
    plain, frugal = (trainer(staged(recompute=recompute), 2) for recompute in (False, True))
    for training in (plain, frugal):
        training.update(first_batch(), step=1, learning_rate=1e-3)
    for a, b in zip(plain.generator.parameters(), frugal.generator.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("losses", "terms"),
    [
        (LossConfig(adversarial="none", feature_matching=0, l1=1), {"l1"}),
        (
            LossConfig(adversarial="bce", feature_matching=0, l1=100),
            {"adversarial", "l1", "discriminator_real", "discriminator_fake"},
        ),
        (
            LossConfig(),
            {"adversarial", "feature_matching", "discriminator_real", "discriminator_fake"},
        ),
    ],
)
def test_only_the_losses_that_are_on_are_there(losses: LossConfig, terms: set[str]) -> None:
    training = trainer(config(losses=losses))
    assert (training.discriminator is None) == (losses.adversarial == "none")
    before = [p.clone() for p in training.generator.parameters()]
    made = training.update(first_batch(), step=1, learning_rate=1e-3)
    assert set(made.terms) == terms
    assert any(
        not torch.equal(a, b) for a, b in zip(before, training.generator.parameters(), strict=True)
    )


def test_pix2pix_losses_are_cross_entropy_and_l1() -> None:
    losses = LossConfig(adversarial="bce", feature_matching=0, l1=100)
    training = trainer(config(losses=losses, autocast=False))
    batch = first_batch()
    known = condition(batch.label_BHW, batch.instance_BHW, num_classes=3)
    assert training.discriminator is not None
    with torch.no_grad():
        fake = training.generator(known)
        (on_fake,) = training.discriminator(known, fake)
        (on_real,) = training.discriminator(known, batch.photo_BCHW)
    made = training.update(batch, step=1, learning_rate=1e-3).terms
    sigmoid = [torch.sigmoid(o.score_B1HW) for o in on_fake]
    torch.testing.assert_close(made["adversarial"], sum(-s.log().mean() for s in sigmoid))
    torch.testing.assert_close(
        made["discriminator_fake"], sum(-(1 - s).log().mean() for s in sigmoid)
    )
    torch.testing.assert_close(
        made["discriminator_real"],
        sum(-torch.sigmoid(o.score_B1HW).log().mean() for o in on_real),
    )
    torch.testing.assert_close(made["l1"], 100 * (fake - batch.photo_BCHW).abs().mean())


def test_a_frozen_stage_moves_the_last_enhancer_and_the_head_alone() -> None:
    setting = staged()
    training = trainer(setting, 1)
    before = {
        name: value.clone()
        for network in (training.generator, training.encoder)
        for name, value in network.named_parameters(prefix=type(network).__name__)
    }
    training.update(first_batch(), step=1, learning_rate=1e-2)
    moved = {
        name
        for network in (training.generator, training.encoder)
        for name, value in network.named_parameters(prefix=type(network).__name__)
        if not torch.equal(value, before[name])
    }
    assert {name.split(".")[1] for name in moved} == {"enhancers", "head"}


def test_a_finer_stage_goes_on_with_what_the_coarser_one_learnt() -> None:
    setting = staged(average=0.0, discriminator=DiscriminatorConfig(base_channels=4, layers=2))
    coarse, fine, joint = (trainer(setting, number) for number in range(3))
    coarse.update(first_batch(), step=1, learning_rate=1e-2)
    fresh = [p.clone() for p in fine.discriminator.scales[0].parameters()]
    fine.take_over(coarse)
    assert isinstance(fine.generator, LocalEnhancer)
    same(fine.generator.trunk, coarse.generator.trunk)
    same(fine.encoder, coarse.encoder)
    same(fine.discriminator.scales[1], coarse.discriminator.scales[0])
    same(fine.discriminator.scales[2], coarse.discriminator.scales[1])
    for a, b in zip(fresh, fine.discriminator.scales[0].parameters(), strict=True):
        assert torch.equal(a, b)
    fine.update(first_batch(), step=2, learning_rate=1e-2)
    joint.take_over(fine)
    same(joint.generator, fine.generator)
    same(joint.discriminator, fine.discriminator)


def same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_running_mean_renders() -> None:
    training = trainer(config(average=0.9))
    mean = [p.detach().clone() for p in training.best_generator.parameters()]
    for update in range(1, 4):
        training.update(first_batch(), step=update, learning_rate=1e-2)
        decay = min(0.9, (1 + update) / (10 + update))
        now = training.generator.parameters()
        mean = [decay * m + (1 - decay) * p.detach() for m, p in zip(mean, now, strict=True)]
    for a, b in zip(training.best_generator.parameters(), mean, strict=True):
        torch.testing.assert_close(a, b)
    batch = first_batch()
    known = condition(batch.label_BHW, batch.instance_BHW, num_classes=3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(training.render(batch), training.best_generator(known))


def test_dropout_is_a_function_of_the_update() -> None:
    setting = config(
        generator=GeneratorConfig(
            architecture="unet", num_classes=3, base_channels=4, downsamplings=4
        )
    )
    first, again, other = (trainer(setting) for _ in range(3))
    torch.rand(7)
    first.update(first_batch(), step=5, learning_rate=1e-3)
    torch.rand(3)
    again.update(first_batch(), step=5, learning_rate=1e-3)
    other.update(first_batch(), step=6, learning_rate=1e-3)
    same(first.generator, again.generator)
    ours, theirs = (dict(t.generator.named_parameters()) for t in (first, other))
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.parametrize(("scales", "side"), [(1, 2), (3, 5), (6, 33)])
def test_the_smallest_crops_allowed_can_be_judged(scales: int, side: int, layers: int) -> None:
    shape = DiscriminatorConfig(base_channels=2, layers=layers, scales=scales)
    training = trainer(config(discriminator=shape, stages=(stage(crop=(side, side), batch=1),)))
    batch = RandomBatches(Squares(), crop=(side, side), batch=1, seed=(0,))[0].to(CPU)
    losses = training.update(batch, step=1, learning_rate=1e-3)
    assert losses.discriminators["discriminator"].total.isfinite()


def test_odd_sizes_train() -> None:
    training = trainer(staged(), 2)
    batch = RandomBatches(Squares(), crop=(33, 45), batch=2, seed=(0,))[0].to(CPU)
    losses = training.update(batch, step=1, learning_rate=1e-3)
    assert all(np.isfinite(term.item()) for term in losses.terms.values())
    assert training.render(batch).shape == (2, 3, 33, 45)
