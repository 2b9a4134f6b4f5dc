"""The sample world as files, in the layout of Cityscapes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from hdmodel.errors import InputError
from pipeline.errors import OutputError
from pipeline.sample_world.scene import VAL_START, Drawn, draw_scene

Progress = Callable[[int, int], None]
"""Called after each scene with the number of scenes done and of all scenes."""


def write_scene(root: Path, split: str, drawn: Drawn) -> None:
    """Write photo (8-bit RGB), labelIds (8-bit) and instanceIds (16-bit) of a scene as PNG."""
    city = drawn.name.split("_")[0]
    gt = root / "gtFine" / split / city
    photos = root / "leftImg8bit" / split / city
    gt.mkdir(parents=True, exist_ok=True)
    photos.mkdir(parents=True, exist_ok=True)
    for path, pixels in (
        (photos / f"{drawn.name}_leftImg8bit.png", drawn.photo),
        (gt / f"{drawn.name}_gtFine_labelIds.png", drawn.label),
        (gt / f"{drawn.name}_gtFine_instanceIds.png", drawn.instance.astype(np.uint16)),
    ):
        Image.fromarray(pixels).save(path, compress_level=4)


def write_dataset(
    root: Path,
    *,
    scenes: int,
    height: int = 256,
    width: int = 512,
    seed: int = 0,
    val: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a dataset of so many scenes, height x width pixels, val of them for validation.

    Where val is not given, a fifth of the scenes (at least one, if there are two) is validation.
    The first scenes of each split are the same whatever the number of scenes.

    Raises:
        InputError: scenes or val is out of range.
        OutputError: a file cannot be written.
    """
    val = (max(1, scenes // 5) if scenes > 1 else 0) if val is None else val
    if not 1 <= scenes <= VAL_START:
        raise InputError(f"sample world: scenes is {scenes}, expected 1 to {VAL_START}")
    if not 0 <= val <= scenes:
        raise InputError(f"sample world: val is {val}, expected 0 to {scenes} (all scenes)")
    jobs = [("train", k) for k in range(scenes - val)]
    jobs += [("val", VAL_START + k) for k in range(val)]
    for done, (split, index) in enumerate(jobs, 1):
        drawn = draw_scene(seed, index, height=height, width=width)
        try:
            write_scene(root, split, drawn)
        except OSError as error:
            raise OutputError(f"{root}: cannot write scene {drawn.name}: {error}") from error
        if progress:
            progress(done, len(jobs))
