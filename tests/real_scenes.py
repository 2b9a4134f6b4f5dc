"""Scenes of the real samples, for tests that skip where there are none."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.scene import Scene, connected_instances
from pipeline.taxonomy import Taxonomy

SAMPLES = Path(__file__).parents[2] / "shared" / "data"


def cityscapes_scenes(size: tuple[int, int]) -> list[Scene]:
    """The Cityscapes sample, at a size."""
    folder = SAMPLES / "cityscapes_sample" / "gtFine" / "val"
    dataset = []
    for path in sorted(folder.glob("*/*_labelIds.png")):
        other = path.with_name(path.name.replace("labelIds", "instanceIds"))
        label, instance = (
            np.array(Image.open(p).resize(size[::-1], Image.Resampling.NEAREST))
            for p in (path, other)
        )
        dataset.append(
            Scene(name=path.stem, label=label.astype(np.uint8), instance=instance.astype(np.int32))
        )
    return dataset


def camvid_scenes() -> list[Scene]:
    """Every twelfth scene of CamVid val, objects by connected components."""
    taxonomy = Taxonomy.load("camvid")
    dataset = []
    for path in sorted((SAMPLES / "camvid" / "valannot").glob("*.png"))[::12]:
        label = np.array(Image.open(path)).astype(np.uint8)
        instance = connected_instances(label, taxonomy, min_area=20)
        dataset.append(Scene(name=path.stem, label=label, instance=instance))
    return dataset
