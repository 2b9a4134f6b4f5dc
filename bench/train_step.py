"""One update of generator, encoder and discriminator, against a plain loop in the same run.

The plain loop below is how such trainings are usually written: float32, channels first, one pass
of the discriminator per question, one Python loop over the objects of each photo, memory as the C
library hands it out. Both start from the same weights and see the same batches. The plain one runs
in a process of its own, because the allocator cannot be tuned back.

    python bench/train_step.py
"""

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path
from statistics import mean, median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn

from hdmodel.architecture import DiscriminatorConfig, EncoderConfig, GeneratorConfig
from hdmodel.training.batches import RandomBatches, Sample
from hdmodel.training.config import StageConfig, TrainConfig, TrainingSet

CLASSES, FEATURES = 35, 3
TOLERANCE = 0.1
"""How far the feature matching losses may be apart, relative, as means of the last ten updates."""


def training(size: tuple[int, int], batch: int) -> TrainConfig:
    """The training that both run."""
    return TrainConfig(
        dataset=TrainingSet(size=size),
        generator=GeneratorConfig(
            num_classes=CLASSES,
            feature_channels=FEATURES,
            base_channels=32,
            downsamplings=3,
            blocks=6,
        ),
        encoder=EncoderConfig(out_channels=FEATURES, base_channels=16, downsamplings=3),
        discriminator=DiscriminatorConfig(base_channels=64, layers=3, scales=2),
        stages=(StageConfig(name="all", steps=1000, batch=batch),),
    )


class World:
    """Some scenes of the sample world."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Sample:
        from pipeline.sample_world import draw_scene

        drawn = draw_scene(0, index, height=self._size[0], width=self._size[1])
        return drawn.label, drawn.instance, drawn.photo


def conv_norm(conv: nn.Module) -> list[nn.Module]:
    """A layer as it is usually written."""
    return [conv, nn.InstanceNorm2d(conv.out_channels), nn.ReLU(True)]


class Residual(nn.Module):
    """A residual block as it is usually written."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            *(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)),
            nn.ReLU(True),
            *(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add what the block makes of x to x."""
        return x + self.conv_block(x)


def encoder_decoder(channels: int, base: int, levels: int, blocks: int) -> nn.Sequential:
    """Generator and encoder: down, residual blocks, up, tanh."""
    layers = [nn.ReflectionPad2d(3), *conv_norm(nn.Conv2d(channels, base, 7))]
    for level in range(levels):
        width = base << level
        layers += conv_norm(nn.Conv2d(width, 2 * width, 3, 2, 1))
    layers += [Residual(base << levels) for _ in range(blocks)]
    for level in reversed(range(levels)):
        width = base << level
        layers += conv_norm(nn.ConvTranspose2d(2 * width, width, 3, 2, 1, 1))
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(base, 3, 7), nn.Tanh())


class Discriminator(nn.Module):
    """The multi-scale discriminator as it is usually written."""

    def __init__(self, channels: int, base: int, layers: int, scales: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList()
        for _ in range(scales):
            widths = [min(base << layer, 512) for layer in range(layers + 1)]
            steps = [nn.Sequential(nn.Conv2d(channels, base, 4, 2, 2), nn.LeakyReLU(0.2, True))]
            for number in range(1, layers + 1):
                stride = 1 if number == layers else 2
                conv = nn.Conv2d(widths[number - 1], widths[number], 4, stride, 2)
                norm = nn.InstanceNorm2d(widths[number])
                steps.append(nn.Sequential(conv, norm, nn.LeakyReLU(0.2, True)))
            steps.append(nn.Sequential(nn.Conv2d(widths[-1], 1, 4, 1, 2)))
            self.scales.append(nn.ModuleList(steps))
        self.down = nn.AvgPool2d(3, 2, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """The features of every layer of every scale."""
        found = []
        for scale in self.scales:
            features, h = [], x
            for step in scale:
                h = step(h)
                features.append(h)
            found.append(features)
            x = self.down(x)
        return found


def same_weights(plain: nn.Module, ours: nn.Module) -> nn.Module:
    """Copy our weights into a plain network, whose layers come in the same order."""
    theirs = list(ours.parameters())
    with torch.no_grad():
        for target, source in zip(plain.parameters(), theirs, strict=True):
            target.copy_(source)
    return plain


def run_plain(size: tuple[int, int], batch: int, steps: int) -> tuple[list[float], list[float]]:
    """Seconds and feature matching loss of every update of the plain loop."""
    from hdmodel.training.trainer import Trainer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    config = training(size, batch)
    ours = Trainer(config, config.stages[0], device=torch.device("cpu"))
    g, e, d = config.generator, config.encoder, config.discriminator
    net_g = same_weights(
        encoder_decoder(g.in_channels, g.base_channels, g.downsamplings, g.blocks), ours.generator
    )
    net_e = same_weights(encoder_decoder(3, e.base_channels, e.downsamplings, 0), ours.encoder)
    net_d = same_weights(
        Discriminator(CLASSES + 1 + 3, d.base_channels, d.layers, d.scales), ours.discriminator
    )
    del ours
    opt_g = torch.optim.Adam([*net_g.parameters(), *net_e.parameters()], 2e-4, (0.5, 0.999))
    opt_d = torch.optim.Adam(net_d.parameters(), 2e-4, (0.5, 0.999))
    mse, l1 = nn.MSELoss(), nn.L1Loss()
    batches = RandomBatches(World(size), crop=size, batch=batch, seed=(0,), mirror=True)
    seconds, matching = [], []
    for number in range(steps):
        loaded = batches[number]
        started = time.perf_counter()
        label, inst = loaded.label_BHW.long(), loaded.instance_BHW
        real = loaded.photo_BCHW.float().contiguous() / 127.5 - 1
        one_hot = torch.zeros(len(label), CLASSES, *size).scatter_(1, label.unsqueeze(1), 1.0)
        edge = torch.zeros_like(inst, dtype=torch.bool)
        edge[:, :, 1:] |= inst[:, :, 1:] != inst[:, :, :-1]
        edge[:, :, :-1] |= inst[:, :, 1:] != inst[:, :, :-1]
        edge[:, 1:, :] |= inst[:, 1:, :] != inst[:, :-1, :]
        edge[:, :-1, :] |= inst[:, 1:, :] != inst[:, :-1, :]
        known = torch.cat([one_hot, edge.unsqueeze(1).float()], 1)
        raw = net_e(real)
        features = torch.zeros_like(raw)
        for sample in range(len(raw)):
            for ident in inst[sample].unique():
                mask = inst[sample] == ident
                value = raw[sample][:, mask].mean(1, keepdim=True)
                features[sample][:, mask] = value.expand(-1, int(mask.sum()))
        fake = net_g(torch.cat([known, features], 1))
        on_detached = net_d(torch.cat([known, fake.detach()], 1))
        on_real = net_d(torch.cat([known, real], 1))
        on_fake = net_d(torch.cat([known, fake], 1))
        loss_d = 0
        loss_gan = 0
        loss_fm = 0
        for a, b, c in zip(on_detached, on_real, on_fake, strict=True):
            loss_d = loss_d + mse(a[-1], torch.zeros_like(a[-1])) / 2
            loss_d = loss_d + mse(b[-1], torch.ones_like(b[-1])) / 2
            loss_gan = loss_gan + mse(c[-1], torch.ones_like(c[-1]))
            for x, y in zip(c[:-1], b[:-1], strict=True):
                loss_fm = loss_fm + 10 * 4 / (d.layers + 1) / d.scales * l1(x, y.detach())
        opt_g.zero_grad()
        (loss_gan + loss_fm).backward(retain_graph=False)
        opt_d.zero_grad()
        loss_d.backward()
        opt_g.step()
        opt_d.step()
        matching.append(loss_fm.item())
        seconds.append(time.perf_counter() - started)
    return seconds, matching


def run_ours(size: tuple[int, int], batch: int, steps: int) -> tuple[list[float], list[float]]:
    """Seconds and feature matching loss of every update of hdsynth."""
    from hdmodel.allocator import tune_allocator
    from hdmodel.training.trainer import Trainer

    tune_allocator()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    config = training(size, batch)
    trainer = Trainer(config, config.stages[0], device=torch.device("cpu"))
    batches = RandomBatches(World(size), crop=size, batch=batch, seed=(0,), mirror=True)
    seconds, matching = [], []
    for number in range(steps):
        loaded = batches[number]
        started = time.perf_counter()
        losses = trainer.update(loaded.to(trainer.device), step=number, learning_rate=2e-4)
        matching.append(losses.terms["feature_matching"].item())
        seconds.append(time.perf_counter() - started)
    return seconds, matching


def main() -> None:
    """Measure both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="256x512", help="HxW in pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.size, options.steps = "64x128", 2
    height, width = (int(part) for part in options.size.split("x"))
    found = {}
    for name, run in (("plain", run_plain), ("hdsynth", run_ours)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            arguments = ((height, width), options.batch, options.steps)
            found[name] = pool.apply(run, arguments)
        seconds, matching = found[name]
        print(
            f"{name}: {median(seconds[1:]):.3f} s per update of {options.batch} x "
            f"{height}x{width}, feature matching {matching[0]:.3f} at first, "
            f"{mean(matching[-10:]):.3f} at last",
            flush=True,
        )
    (plain, plain_losses), (ours, our_losses) = found["plain"], found["hdsynth"]
    apart = mean(our_losses[-10:]) / mean(plain_losses[-10:]) - 1
    print(f"losses apart after {options.steps} updates: {apart:+.1%} (expected within 10 %)")
    print(f"ratio: {median(plain[1:]) / median(ours[1:]):.2f}")
    if abs(apart) > TOLERANCE and not options.quick:
        sys.exit("the losses are further apart than they should be")


if __name__ == "__main__":
    main()
