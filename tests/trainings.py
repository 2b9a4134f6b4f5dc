"""Small trainings for tests: scenes whose photo is the colour of the label, and tiny networks."""

from pathlib import Path

import numpy as np
import torch

from hdmodel.architecture import DiscriminatorConfig, EncoderConfig, GeneratorConfig
from hdmodel.checkpoint import TaxonomyRecord
from hdmodel.training.batches import Sample
from hdmodel.training.config import LossConfig, StageConfig, TrainConfig, TrainingSet
from hdmodel.training.loop import train

CPU = torch.device("cpu")
PALETTE = np.array([[0, 0, 0], [200, 40, 40], [40, 200, 40]], np.uint8)
TAXONOMY = TaxonomyRecord(
    name="toy", version=1, fingerprint="abc", class_names=("void", "red", "green")
)
SIZE = (48, 64)


class Squares:
    """Scenes of coloured squares: something a generator can learn."""

    def __init__(self, count: int = 5, size: tuple[int, int] = SIZE, first: int = 0) -> None:
        self.count, self.size, self.first = count, size, first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        random = np.random.default_rng(self.first + index)
        coarse = random.integers(0, 3, (self.size[0] // 8, self.size[1] // 8))
        label = coarse.repeat(8, 0).repeat(8, 1).astype(np.uint8)
        return label, label.astype(np.int32), PALETTE[label]


class SquareSets:
    """Training and validation scenes of squares."""

    def __init__(self, count: int = 5, validation: int = 2) -> None:
        self.count, self.held_out = count, validation

    def training(self, size: tuple[int, int]) -> Squares:
        return Squares(self.count, size)

    def validation(self, size: tuple[int, int]) -> Squares:
        return Squares(self.held_out, size, first=100)


def stage(**changes: object) -> StageConfig:
    keys: dict[str, object] = {"name": "all", "steps": 4, "decay_steps": 2, "batch": 2}
    return StageConfig(**(keys | changes))


def config(**changes: object) -> TrainConfig:
    """G1 alone for four updates; nothing runs beside the test."""
    keys: dict[str, object] = {
        "dataset": TrainingSet(size=SIZE),
        "generator": GeneratorConfig(num_classes=3, base_channels=4, downsamplings=1, blocks=1),
        "discriminator": DiscriminatorConfig(base_channels=4, layers=2, scales=2),
        "losses": LossConfig(),
        "stages": (stage(crop=(32, 40)),),
        "validation": 2,
        "loaders": 0,
        "log_every": 2,
        "picture_every": 4,
        "save_every": 2,
    }
    return TrainConfig(**(keys | changes))


def staged(**changes: object) -> TrainConfig:
    """Coarse to fine with an encoder and a running mean: all that a training can have."""
    keys: dict[str, object] = {
        "generator": GeneratorConfig(
            architecture="local",
            num_classes=3,
            feature_channels=3,
            base_channels=4,
            downsamplings=1,
            blocks=1,
            enhancers=1,
            enhancer_blocks=1,
        ),
        "encoder": EncoderConfig(base_channels=4, downsamplings=1),
        "average": 0.9,
        "stages": (
            stage(name="coarse", enhancers=0, steps=3, decay_steps=1),
            stage(name="enhance", frozen=True, steps=2, decay_steps=0),
            stage(name="joint", steps=3, crop=(40, 48)),
        ),
    }
    return config(**(keys | changes))


def run(config: TrainConfig, out: Path, **changes: object) -> Path:
    """Train on squares and return the final checkpoint."""
    keys: dict[str, object] = {"taxonomy": TAXONOMY, "palette": PALETTE, "device": CPU}
    return train(config, SquareSets(), out=out, **(keys | changes))
