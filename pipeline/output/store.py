"""The zarr group of a run: photo, label and instance; a chunk is a sample, a shard is a file.

Shape legend: N samples of the run, S samples per shard, H x W pixels.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import ZstdCodec
from zarr.core.array_spec import ArrayConfigParams
from zarr.core.sync import sync
from zarr.storage import LocalStore

from hdmodel.atomic import make_durable
from pipeline.errors import OutputError

ZSTD_LEVEL = 3
# Without this an all-zero shard is no file at all, and a lost file could not be told from it.
ARRAY_CONFIG: ArrayConfigParams = {"write_empty_chunks": True}


ARRAYS = ("photo", "label", "instance")
"""What every run has."""
ORIGIN = "origin"
"""What a run has if it is asked to."""
PIXEL_SOURCE = "pixel_source"
"""What a run has whose photos are not all rendered."""


class LostShardError(OutputError):
    """The file of a committed shard is not there; zarr would read it as zeros."""


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
    pixel_source: npt.NDArray[np.uint8] | None = None
    """Where a pixel comes from, if not all are rendered, uint8 [S, H, W] (`PixelSource`)."""


def create_store(
    path: Path,
    *,
    samples: int,
    shard_size: int,
    size: tuple[int, int],
    label_dtype: np.dtype[np.unsignedinteger],
    attributes: Mapping[str, Any],
    origin: bool = False,
    pixel_source: bool = False,
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
        pixel_source: Whether to keep where pixels come from.
    """
    height, width = size
    group = zarr.create_group(path, zarr_format=3, overwrite=True, attributes=dict(attributes))
    maps = {"label": label_dtype, "instance": np.dtype(np.int32)}
    if origin:
        maps[ORIGIN] = np.dtype(np.uint16)
    if pixel_source:
        maps[PIXEL_SOURCE] = np.dtype(np.uint8)
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


class Store:
    """A run's zarr group, opened for reading samples or for writing whole shards.

    Zarr reads a shard whose file is gone as zeros. So the arrays themselves are not handed out:
    `read` is the way to the pixels, and looks for the file first.

    Args:
        group: The group's folder, or a mapping of its files.
        writable: Whether shards will be written.
        name: What messages call it; its path if not given.

    Raises:
        OutputError: It is not the zarr group of a run.
    """

    def __init__(
        self,
        group: Path | MutableMapping[str, bytes],
        *,
        writable: bool = False,
        name: str | None = None,
    ) -> None:
        try:
            opened = zarr.open_group(group, mode="r+" if writable else "r", zarr_format=3)
            self.attributes: dict[str, Any] = dict(opened.attrs)
            names = [*ARRAYS, *(name for name in (ORIGIN, PIXEL_SOURCE) if name in opened)]
            self._arrays = {name: _array(opened, name) for name in names}
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise OutputError(f"{name or group}: not a zarr group of hdsynth ({error})") from None
        label = self._arrays["label"]
        assert label.shards is not None
        self.samples: int = label.shape[0]
        self.size: tuple[int, int] = (label.shape[1], label.shape[2])
        self.shard_size: int = label.shards[0]

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of the arrays that this run has."""
        return tuple(self._arrays)

    @property
    def shards(self) -> int:
        """The number of shards."""
        return -(-self.samples // self.shard_size)

    def shard_rows(self, shard: int) -> slice:
        """The sample numbers of a shard."""
        start = shard * self.shard_size
        return slice(start, min(start + self.shard_size, self.samples))

    def file(self, name: str, shard: int) -> str:
        """The file that holds a shard of an array, relative to the group, by its chunk keys."""
        return shard_key(self._arrays[name], shard)

    def lost(self, shard: int) -> list[str]:
        """The files of a shard that are not there, relative to the group."""
        files = {name: self.file(name, shard) for name in self._arrays}
        return [file for name, file in files.items() if not self._is_there(name, file)]

    def read(self, name: str, index: int) -> npt.NDArray[Any]:
        """The pixels of one sample: [H, W], of photos [H, W, 3].

        Args:
            name: One of `arrays`.
            index: The sample's number.

        Raises:
            LostShardError: The file of its shard is not there.
            Exception: Whatever zarr's codecs raise for a damaged one.
        """
        file = self.file(name, index // self.shard_size)
        if not self._is_there(name, file):
            raise LostShardError(file)
        return np.asarray(self._arrays[name][index])

    def write_shard(self, shard: int, arrays: ShardArrays) -> None:
        """Write a shard as whole files; never call it for a part of one.

        Raises:
            ValueError: The arrays do not hold exactly the shard's samples.
        """
        rows = self.shard_rows(shard)
        if len(arrays.label) != rows.stop - rows.start:
            raise ValueError(f"shard {shard}: expected {rows}, got {len(arrays.label)} samples")
        for name, array in self._arrays.items():
            pixels = getattr(arrays, name)
            assert pixels is not None
            write_rows(array, shard, rows, pixels)

    def _is_there(self, name: str, file: str) -> bool:
        store = self._arrays[name].store_path.store
        if isinstance(store, LocalStore):
            return (store.root / file).is_file()
        return sync(store.exists(file))


def write_rows(array: zarr.Array[Any], shard: int, rows: slice, pixels: npt.NDArray[Any]) -> None:
    """Write all rows of a shard of a local array, and make its file durable."""
    array[rows] = pixels
    store = array.store_path.store
    assert isinstance(store, LocalStore)
    file = store.root / shard_key(array, shard)
    make_durable(file)
    make_durable(file.parent)


def shard_key(array: zarr.Array[Any], shard: int) -> str:
    """The file that holds a shard of an array, relative to its group."""
    chunk = array.metadata.encode_chunk_key((shard, *(0,) * (array.ndim - 1)))
    return f"{array.name.removeprefix('/')}/{chunk}"


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{name} is not an array")
    return array.with_config(ARRAY_CONFIG)
