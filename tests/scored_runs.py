"""Runs whose photos a `ColorScorer` can read: the colours of their labels, with noise."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import zarr
from PIL import Image

from pipeline.output.folder import OutputFolder
from pipeline.taxonomy import Taxonomy
from tests.datasets import label_file, photo_file
from tests.outputs import SCENES, make_run

# Cars drawn in the colour of a bus, roads in that of a sidewalk.
MISTAKES = {(0, 0, 142): (0, 60, 100), (128, 64, 128): (244, 35, 232)}


def draw(label: np.ndarray, *, seed: int, share: float) -> np.ndarray:
    """A photo of a label map in which a share of the blocks has the colour of a mistake."""
    photo = Taxonomy.load("cityscapes").colors[label].copy()
    blocks = np.random.default_rng(seed).random((label.shape[0] // 8, label.shape[1] // 8)) < share
    spoilt = np.kron(blocks, np.ones((8, 8), np.bool_)).astype(np.bool_)
    for color, wrong in MISTAKES.items():
        photo[spoilt & (photo == color).all(axis=-1)] = wrong
    return photo


def make_scored_run(
    root: Path,
    *,
    samples: int = 6,
    failed: Mapping[int, str] | None = None,
    uncommitted: Collection[int] = (),
    share: float = 0.3,
) -> OutputFolder:
    """As `make_run`, with photos that can be read, and real photos in `world` beside it."""
    out = make_run(root, samples=samples, failed=failed, uncommitted=uncommitted)
    group = zarr.open_group(out.data, mode="r+")
    labels = np.asarray(group["label"][:])
    photos = np.stack([draw(labels[k], seed=k, share=share) for k in range(samples)])
    step = 2
    for start in range(0, samples, step):
        if start // step not in uncommitted:
            group["photo"][start : start + step] = photos[start : start + step]
    for number in range(SCENES):
        label = np.asarray(Image.open(label_file(root / "world", number)))
        path = photo_file(root / "world", number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(label, seed=100 + number, share=0.05)).save(path)
    return out
