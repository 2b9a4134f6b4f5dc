"""The zarr group of a run: photo, label and instance; a chunk is a sample, a shard is a file.

Shape legend: N samples of the run, S samples per shard, H x W pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import ZstdCodec
from zarr.core.array_spec import ArrayConfigParams

from hdmodel.atomic import make_durable
from pipeline.errors import OutputError

ZSTD_LEVEL = 3
# Without this an all-zero shard is no file at all, and a lost file could not be told from it.
ARRAY_CONFIG: ArrayConfigParams = {"write_empty_chunks": True}


ARRAYS = ("photo", "label", "instance")
"""What every run has."""
ORIGIN = "origin"
"""What a run has if it is asked to."""

PathT = TypeVar("PathT", bound=PurePath)


@dataclass(frozen=True, slots=True, eq=False)
class ShardArrays:
    """The pixels of one shard (the last one of a run may hold fewer than S samples)."""

    photo: npt.NDArray[np.uint8]
    """RGB, uint8 [S, H, W, 3]."""
    label: npt.NDArray[np.unsignedinteger]
    """Class ids, uint8 or uint16 [S, H, W]."""
    instance: npt.NDArray[np.int32]
    """Instance ids in Cityscapes' encoding, int32 [S, H, W]."""
    origin: npt.NDArray[np.uint16] | None = None
    """Which operation put a pixel there, uint16 [S, H, W]; written by runs that keep it."""


def create_store(
    path: Path,
    *,
    samples: int,
    shard_size: int,
    size: tuple[int, int],
    label_dtype: np.dtype[np.unsignedinteger],
    attributes: Mapping[str, Any],
    origin: bool = False,
) -> None:
    """Create the whole group, metadata only; shards are files that come later.

    Args:
        path: The group's folder.
        samples: N.
        shard_size: S.
        size: H, W.
        label_dtype: dtype of the label array.
        attributes: JSON-compatible attributes of the group.
        origin: Whether to keep which operation put a pixel there.
    """
    height, width = size
    group = zarr.create_group(path, zarr_format=3, overwrite=True, attributes=dict(attributes))
    maps = {"label": label_dtype, "instance": np.dtype(np.int32)}
    if origin:
        maps[ORIGIN] = np.dtype(np.uint16)
    for name, inner, dtype, axes in (
        ("photo", (height, width, 3), np.dtype(np.uint8), ("sample", "y", "x", "rgb")),
        *((name, (height, width), dtype, ("sample", "y", "x")) for name, dtype in maps.items()),
    ):
        group.create_array(
            name,
            shape=(samples, *inner),
            shards=(shard_size, *inner),
            chunks=(1, *inner),
            dtype=dtype,
            compressors=ZstdCodec(level=ZSTD_LEVEL, checksum=True),
            fill_value=0,
            dimension_names=axes,
            config=ARRAY_CONFIG,
        )


def shard_file(data: PathT, array: str, shard: int) -> PathT:
    """The file of one shard of an array, as zarr's default chunk keys name it.

    Args:
        data: The zarr group's folder.
        array: The array's name.
        shard: The shard's number.
    """
    inner = ("0", "0", "0") if array == "photo" else ("0", "0")
    return data.joinpath(array, "c", str(shard), *inner)


class Store:
    """A run's zarr group, opened for reading or for writing whole shards."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        try:
            group = zarr.open_group(path, mode="r+" if writable else "r", zarr_format=3)
            self.attributes: dict[str, Any] = dict(group.attrs)
            self.photo = _array(group, "photo")
            self.label = _array(group, "label")
            self.instance = _array(group, "instance")
            self.origin = _array(group, ORIGIN) if ORIGIN in group else None
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise OutputError(f"{path}: not a zarr group of hdsynth ({error})") from None
        self.path = path
        self.samples: int = self.label.shape[0]
        self.size: tuple[int, int] = (self.label.shape[1], self.label.shape[2])
        assert self.label.shards is not None
        self.shard_size: int = self.label.shards[0]

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of the arrays that this run has."""
        return ARRAYS if self.origin is None else (*ARRAYS, ORIGIN)

    def shard_rows(self, shard: int) -> slice:
        """The sample numbers of a shard."""
        start = shard * self.shard_size
        return slice(start, min(start + self.shard_size, self.samples))

    def write_shard(self, shard: int, arrays: ShardArrays) -> None:
        """Write a shard as whole files; never call it for a part of one.

        Raises:
            ValueError: The arrays do not hold exactly the shard's samples.
        """
        rows = self.shard_rows(shard)
        if len(arrays.label) != rows.stop - rows.start:
            raise ValueError(f"shard {shard}: expected {rows}, got {len(arrays.label)} samples")
        self.photo[rows] = arrays.photo
        self.label[rows] = arrays.label
        self.instance[rows] = arrays.instance
        if self.origin is not None:
            assert arrays.origin is not None
            self.origin[rows] = arrays.origin
        for name in self.arrays:
            file = shard_file(self.path, name, shard)
            make_durable(file)
            make_durable(file.parent)


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{name} is not an array")
    return array.with_config(ARRAY_CONFIG)
