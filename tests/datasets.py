"""Small datasets and checkpoints on disk for tests, written without our own writers."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hdmodel.architecture import EncoderConfig, GeneratorConfig
from hdmodel.checkpoint import save_checkpoint
from hdmodel.encoder import FeatureEncoder
from hdmodel.generator import build_generator
from hdmodel.layers import initialise
from pipeline.checkpoints import taxonomy_record
from pipeline.taxonomy import Taxonomy
from tests.scenes import CAR, street

CITY = "testville"


def stem(number: int) -> str:
    return f"{CITY}_{number:06d}_000019"


def label_file(root: Path, number: int, split: str = "val") -> Path:
    return root / "gtFine" / split / CITY / f"{stem(number)}_gtFine_labelIds.png"


def instance_file(root: Path, number: int, split: str = "val") -> Path:
    return root / "gtFine" / split / CITY / f"{stem(number)}_gtFine_instanceIds.png"


def photo_file(root: Path, number: int, split: str = "val") -> Path:
    return root / "leftImg8bit" / split / CITY / f"{stem(number)}_leftImg8bit.png"


def write_cityscapes(
    root: Path,
    *,
    scenes: int = 5,
    height: int = 32,
    width: int = 64,
    split: str = "val",
    photos: bool = False,
) -> Path:
    """A dataset in Cityscapes layout; scene n has n extra cars. Photos are smooth noise."""
    for number in range(scenes):
        scene = street(stem(number), height=height, width=width)
        label, instance = scene.label, scene.instance
        for extra in range(number):
            box = (slice(height - 6, height - 2), slice(2 + 7 * extra, 8 + 7 * extra))
            label[box] = CAR
            instance[box] = CAR * 1000 + 2 + extra
        path = label_file(root, number, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(label).save(path)
        Image.fromarray(instance.astype(np.uint16)).save(instance_file(root, number, split))
        if photos:
            coarse = np.random.default_rng(number).integers(0, 256, (6, 10, 3), dtype=np.uint8)
            path = photo_file(root, number, split)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return root


def write_checkpoint(path: Path, *, taxonomy: str = "cityscapes", seed: int = 0) -> Path:
    """An untrained generator of the smallest size."""
    classes = Taxonomy.load(taxonomy)
    config = GeneratorConfig(
        num_classes=classes.num_classes, base_channels=4, downsamplings=2, blocks=1
    )
    generator = build_generator(config)
    initialise(generator, torch.Generator().manual_seed(seed))
    return save_checkpoint(path, generator, taxonomy=taxonomy_record(classes))


def write_checkpoint_with_features(path: Path, *, seed: int = 0) -> Path:
    """An untrained generator that reads features, with its encoder, for Cityscapes classes."""
    classes = Taxonomy.load("cityscapes")
    config = GeneratorConfig(
        num_classes=classes.num_classes,
        feature_channels=3,
        base_channels=4,
        downsamplings=2,
        blocks=1,
    )
    generator = build_generator(config)
    encoder = FeatureEncoder(EncoderConfig(base_channels=4, downsamplings=2))
    for offset, network in enumerate((generator, encoder)):
        initialise(network, torch.Generator().manual_seed(seed + offset))
    return save_checkpoint(path, generator, encoder=encoder, taxonomy=taxonomy_record(classes))
