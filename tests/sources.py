"""Datasets for tests of sources: their configurations, pictures and a small output of ours."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from PIL import Image

import configs
from pipeline.sources import DatasetConfig, Source, open_source
from pipeline.taxonomy import Taxonomy
from tests.scenes import CAR, ROAD

CITY = Taxonomy.load("cityscapes")


def config(root: Path | str, **keys: object) -> DatasetConfig:
    return DatasetConfig.parse({"root": root, **keys}, origin="test")


def city(root: Path, **keys: object) -> Source:
    return open_source(config(root, format="cityscapes", **{"split": "val", **keys}))


def save(path: Path, values: npt.ArrayLike, dtype: type = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype)).save(path)
    return path


def pixels(path: Path) -> npt.NDArray[np.int32]:
    with Image.open(path) as picture:
        return np.array(picture).astype(np.int32)


def edit(path: Path, change: Callable[[npt.NDArray[np.int32]], None], dtype: type) -> None:
    values = pixels(path)
    change(values)
    save(path, values, dtype)


def write_output(root: Path) -> None:
    group = zarr.create_group(root / "data.zarr")
    label = np.full((4, 2, 3), ROAD, np.uint8)
    label[:, 0, 0] = CAR
    instance = label.astype(np.int32)
    instance[:, 0, 0] = CAR * 1000 + 2
    instance[3, 1, 1] = CAR * 1000
    for name, values in (
        ("label", label),
        ("instance", instance),
        ("photo", np.arange(72, dtype=np.uint8).reshape(4, 2, 3, 3)),
    ):
        inner = values.shape[1:]
        group.create_array(name, data=values, shards=(2, *inner), chunks=(1, *inner))
    (root / "manifest").mkdir()
    for shard, status in ((0, ["ok", "failed"]), (1, ["ok", "ok"])):
        rows = {"index": [2 * shard, 2 * shard + 1], "status": status}
        pq.write_table(pa.table(rows), root / f"manifest/shard-{shard:05d}.parquet")
    (root / "taxonomy.yaml").write_text(
        (configs.folder("taxonomies") / "cityscapes.yaml").read_text()
    )
