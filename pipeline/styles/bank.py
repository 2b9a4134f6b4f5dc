"""Making the style bank of a checkpoint from a dataset with photos.

Shape legend: B batch, F feature channels, N objects of all scenes, H x W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from hdmodel.architecture import GeneratorConfig
from hdmodel.checkpoint import (
    ENCODER_FILE,
    CheckpointConfig,
    load_encoder,
    read_checkpoint_config,
)
from hdmodel.encoder import FeatureEncoder, average_over_objects
from hdmodel.errors import CheckpointError, ConfigError
from hdmodel.photos import from_uint8
from hdmodel.styles import StyleBank, cluster_styles
from pipeline.checkpoints import choose_checkpoint
from pipeline.errors import DatasetError
from pipeline.fit import FIT_MODES, FitMode, fit, photos_per_batch
from pipeline.progress import progress_bar
from pipeline.scene import INSTANCES_PER_CLASS, Scene
from pipeline.sources import DatasetConfig, SceneRef, Source, open_source
from pipeline.sources.photos import scenes_with_photos
from pipeline.taxonomy import Taxonomy

ENCODED_PIXELS = 1 << 20
"""Pixels encoded at a time, unless one photo has more."""
READERS = 4


@dataclass(frozen=True, slots=True, eq=False)
class EncodedObjects:
    """The features of objects; stuff, and crowds, are one object per class and scene."""

    features: npt.NDArray[np.float32]
    """[N, F]."""
    class_ids: npt.NDArray[np.int64]
    """[N]."""
    pixels: npt.NDArray[np.int64]
    """Size of each object [N]."""
    crowds: npt.NDArray[np.bool_]
    """Which are several things that nothing tells apart [N]."""


def training_dataset(config: CheckpointConfig) -> dict[str, Any]:
    """What a checkpoint remembers of the dataset it was trained on; empty if nothing."""
    record: Any = config.training.get("config")
    dataset = record.get("dataset") if isinstance(record, Mapping) else None
    return dict(dataset) if isinstance(dataset, Mapping) else {}


def style_dataset(checkpoint: Path, given: Mapping[str, Any]) -> DatasetConfig:
    """The dataset that a style bank is made from.

    Keys that are not given are those of the training, if that read a dataset of the same format.

    Args:
        checkpoint: The checkpoint folder.
        given: Keys of a job's `dataset`.

    Raises:
        ConfigError: A key is unknown, missing or wrong.
        CheckpointError: It is not a checkpoint.
    """
    trained = training_dataset(read_checkpoint_config(checkpoint))
    data: dict[str, Any] = {}
    if trained.get("format") == given.get("format"):
        data = {
            key: value
            for key, value in trained.items()
            if key in DatasetConfig.model_fields and value is not None
        }
    return DatasetConfig.parse({**data, **given}, origin="command line")


def encoding_size(
    checkpoint: Path, size: tuple[int, int] | None, fit_mode: str | None
) -> tuple[tuple[int, int], FitMode]:
    """The size at which photos are encoded, and how they come to it: by default the training's.

    Raises:
        ConfigError: No size is given and the checkpoint does not remember one, or there is no such
            fit mode.
        CheckpointError: It is not a checkpoint.
    """
    trained = training_dataset(read_checkpoint_config(checkpoint))
    if size is None:
        if "size" not in trained:
            raise ConfigError(
                f"{checkpoint}: does not say at which size it was trained; give --size HxW"
            )
        size = _trained_size(checkpoint)
    fit_mode = fit_mode or trained.get("fit", "resize")
    if fit_mode not in FIT_MODES:
        raise ConfigError(f"fit: {fit_mode!r}, expected one of {', '.join(FIT_MODES)}")
    return size, cast(FitMode, fit_mode)


def _trained_size(checkpoint: Path) -> tuple[int, int]:
    """The size of the scenes of the stage that a checkpoint comes from."""
    config = read_checkpoint_config(checkpoint)
    height, width = training_dataset(config)["size"]
    trained = config.training["config"].get("generator", {})
    levels = GeneratorConfig.parse(trained, origin=str(checkpoint)).levels
    halvings = max(0, levels - config.generator.levels)
    return int(height) >> halvings, int(width) >> halvings


def make_style_bank(
    checkpoint: Path,
    dataset: DatasetConfig,
    *,
    size: tuple[int, int],
    fit_mode: FitMode,
    modes: int,
    min_area: int,
    seed: int,
    device: str,
    limit: int | None = None,
) -> StyleBank:
    """Encode every object of a dataset and cluster their features class by class.

    Args:
        checkpoint: Folder with the encoder.
        dataset: Scenes with photos; scenes without are left out.
        size: Height and width to which scenes are fitted.
        fit_mode: How they are fitted.
        modes: Most modes of a class.
        min_area: Pixels from which an object counts, see `cluster_styles`.
        seed: Of the clustering.
        device: Where photos are encoded.
        limit: Scenes to use at most, spread evenly; all if not given.

    Raises:
        CheckpointError: The checkpoint has no encoder, or cannot be read.
        DatasetError: The dataset has no photos, or a file of it cannot be used.
        TaxonomyError: The dataset's classes are not the checkpoint's.
    """
    config = read_checkpoint_config(checkpoint)
    _check_networks(config, checkpoint)
    if dataset.photos == "none":
        raise ConfigError("dataset.photos: none, but a style bank is made from photos; use auto")
    source = open_source(dataset)
    choose_checkpoint(checkpoint, source.taxonomy)
    where = f"{dataset.root}: " + (f"split {dataset.split!r}" if dataset.split else "the dataset")
    missing = DatasetError(f"{where} has no photos, expected some to take styles from")
    refs = scenes_with_photos(source, otherwise=missing, where=where)
    if limit is not None and limit < len(refs):
        refs = [refs[i * len(refs) // limit] for i in range(limit)]
    encoder = load_encoder(checkpoint, device=device, dtype=torch.float32)
    objects = encode_objects(encoder, source, refs, size=size, fit_mode=fit_mode)
    return cluster_styles(
        objects.features,
        objects.class_ids,
        objects.pixels,
        num_classes=source.taxonomy.num_classes,
        categories=[c.category for c in source.taxonomy.classes],
        encoder_sha256=config.sha256[ENCODER_FILE],
        seed=seed,
        modes=modes,
        min_area=min_area,
        crowds=objects.crowds,
        class_names=source.taxonomy.class_names,
        provenance={
            "dataset": {k: v for k, v in dataset.to_plain().items() if v is not None},
            "scenes": len(refs),
            "size": list(size),
            "fit": fit_mode,
        },
    )


def encode_objects(
    encoder: FeatureEncoder,
    source: Source,
    refs: Sequence[SceneRef],
    *,
    size: tuple[int, int],
    fit_mode: FitMode,
) -> EncodedObjects:
    """The features of every object of some scenes.

    Args:
        encoder: On the device to use.
        source: The dataset.
        refs: Scenes of it with photos, at least one.
        size: Height and width to which they are fitted.
        fit_mode: How they are fitted.

    Raises:
        DatasetError: A file cannot be used.
    """
    batch = photos_per_batch(ENCODED_PIXELS, size)
    found: list[EncodedObjects] = []
    done = 0
    with progress_bar("encoding scenes", len(refs)) as advance:
        for scenes in _read_ahead(source, refs, batch=batch, size=size, fit_mode=fit_mode):
            found.append(_encode(encoder, scenes, source.taxonomy))
            done += len(scenes)
            advance(done)
    return EncodedObjects(
        *(
            np.concatenate([getattr(part, name) for part in found])
            for name in ("features", "class_ids", "pixels", "crowds")
        )
    )


def _encode(encoder: FeatureEncoder, scenes: Sequence[Scene], taxonomy: Taxonomy) -> EncodedObjects:
    """The features of every object of scenes of one size; equal ids in two scenes are two."""
    device = encoder.head.conv.weight.device
    keys: list[npt.NDArray[np.int32]] = []
    places: list[npt.NDArray[np.intp]] = []
    pixels: list[npt.NDArray[np.intp]] = []
    objects: list[npt.NDArray[np.intp]] = []
    count = 0
    for number, scene in enumerate(scenes):
        own, first, inverse, areas = np.unique(
            scene.instance, return_index=True, return_inverse=True, return_counts=True
        )
        keys.append(own)
        places.append(number * scene.instance.size + first)
        pixels.append(areas)
        objects.append(inverse.reshape(scene.instance.shape) + count)
        count += len(own)
    photo_BHWC = torch.from_numpy(np.stack([s.photo for s in scenes if s.photo is not None]))
    object_BHW = torch.from_numpy(np.stack(objects)).to(device)
    with torch.inference_mode():
        photo_BCHW = from_uint8(photo_BHWC.to(device).permute(0, 3, 1, 2))
        pixels_BFHW = encoder.encode_pixels(photo_BCHW)
        means_BFHW = average_over_objects(pixels_BFHW, object_BHW, count=count)
        # Constant over each object: any of its pixels will do.
        place_N = torch.from_numpy(np.concatenate(places)).to(device)
        features_NF = means_BFHW.permute(0, 2, 3, 1).flatten(0, 2)[place_N]
    key = np.concatenate(keys).astype(np.int64)
    single = key >= INSTANCES_PER_CLASS
    class_ids = np.where(single, key // INSTANCES_PER_CLASS, key)
    return EncodedObjects(
        features=features_NF.cpu().numpy(),
        class_ids=class_ids,
        pixels=np.concatenate(pixels).astype(np.int64),
        crowds=~single & taxonomy.is_thing[class_ids],
    )


def _read_ahead(
    source: Source,
    refs: Sequence[SceneRef],
    *,
    batch: int,
    size: tuple[int, int],
    fit_mode: FitMode,
) -> Iterator[list[Scene]]:
    """Batches of fitted scenes; the next one is read while one is worked on."""
    batches = [refs[start : start + batch] for start in range(0, len(refs), batch)]
    read = partial(read_fitted, source, size=size, fit_mode=fit_mode)
    with ThreadPoolExecutor(READERS) as pool:
        coming = [pool.submit(read, ref) for ref in batches[0]]
        for following in [*batches[1:], ()]:
            scenes = [reading.result() for reading in coming]
            coming = [pool.submit(read, ref) for ref in following]
            yield scenes


def read_fitted(
    source: Source, ref: SceneRef, *, size: tuple[int, int], fit_mode: FitMode
) -> Scene:
    """Read a scene with its photo, at a size.

    Raises:
        DatasetError: A file cannot be used.
    """
    return fit(source.read(ref), size, fit_mode, source.taxonomy)


def _check_networks(config: CheckpointConfig, checkpoint: Path) -> None:
    if config.encoder is None:
        raise CheckpointError(
            f"{checkpoint}: the checkpoint has no encoder, which a style bank is made with "
            "(hdsynth train makes one where CONFIG has an encoder)"
        )
    wanted, found = config.generator.feature_channels, config.encoder.out_channels
    if found != wanted:
        raise CheckpointError(
            f"{checkpoint}: the encoder makes {found} feature channels, "
            f"expected {wanted} as the generator reads"
        )
