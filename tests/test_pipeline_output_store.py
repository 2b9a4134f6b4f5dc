from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.errors import OutputError
from pipeline.output.store import ShardArrays, Store, create_store


def make(path: Path, *, samples: int = 5, shard_size: int = 2, origin: bool = False) -> Store:
    create_store(
        path,
        samples=samples,
        shard_size=shard_size,
        size=(8, 12),
        label_dtype=np.dtype(np.uint8),
        attributes={"made_by": "a test"},
        origin=origin,
    )
    return Store(path, writable=True)


def arrays(samples: int, seed: int = 0) -> ShardArrays:
    rng = np.random.default_rng(seed)
    return ShardArrays(
        photo=rng.integers(0, 256, (samples, 8, 12, 3), np.uint8),
        label=rng.integers(0, 35, (samples, 8, 12), np.uint8),
        instance=rng.integers(0, 34000, (samples, 8, 12), np.int32),
        origin=rng.integers(0, 9, (samples, 8, 12), np.uint16),
    )


def test_plain_zarr_reads_what_was_written(tmp_path: Path) -> None:
    store = make(tmp_path / "data.zarr")
    first, last = arrays(2, 1), arrays(1, 2)
    store.write_shard(0, first)
    store.write_shard(2, last)
    group = zarr.open_group(tmp_path / "data.zarr", mode="r")
    np.testing.assert_array_equal(group["photo"][0:2], first.photo)
    np.testing.assert_array_equal(group["label"][4:5], last.label)
    np.testing.assert_array_equal(group["instance"][4:5], last.instance)
    assert not group["label"][2:4].any()
    assert group["photo"].shards == (2, 8, 12, 3)
    assert group["photo"].chunks == (1, 8, 12, 3)
    assert group.attrs["made_by"] == "a test"


def test_the_origin_of_pixels_is_kept_where_a_run_asks_for_it(tmp_path: Path) -> None:
    first = arrays(2, 1)
    make(tmp_path / "without.zarr").write_shard(0, first)
    store = make(tmp_path / "with.zarr", origin=True)
    store.write_shard(0, first)
    assert store.arrays == ("photo", "label", "instance", "origin")
    np.testing.assert_array_equal(
        zarr.open_group(tmp_path / "with.zarr", mode="r")["origin"][:2], first.origin
    )
    assert "origin" not in zarr.open_group(tmp_path / "without.zarr", mode="r")


def test_a_shard_is_one_file_per_array_even_if_all_zero(tmp_path: Path) -> None:
    store = make(tmp_path / "data.zarr")
    zeros = ShardArrays(
        np.zeros((2, 8, 12, 3), np.uint8),
        np.zeros((2, 8, 12), np.uint8),
        np.zeros((2, 8, 12), np.int32),
    )
    store.write_shard(1, zeros)
    assert (tmp_path / "data.zarr/photo/c/1/0/0/0").is_file()
    assert (tmp_path / "data.zarr/label/c/1/0/0").is_file()
    assert (tmp_path / "data.zarr/instance/c/1/0/0").is_file()


def test_every_flipped_byte_of_a_shard_is_noticed(tmp_path: Path) -> None:
    store = make(tmp_path / "data.zarr")
    written = arrays(2)
    store.write_shard(0, written)
    file = tmp_path / "data.zarr/label/c/0/0/0"
    good = file.read_bytes()
    for position in range(len(good)):
        file.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        try:
            store = Store(tmp_path / "data.zarr")
            read = np.stack([store.read("label", index) for index in (0, 1)])
        except (ValueError, RuntimeError):
            continue
        # A bit that the decoder ignores may flip, but never a pixel.
        np.testing.assert_array_equal(read, written.label)


def test_a_part_of_a_shard_is_refused(tmp_path: Path) -> None:
    store = make(tmp_path / "data.zarr")
    with pytest.raises(ValueError, match="shard 0"):
        store.write_shard(0, arrays(1))


def test_the_shape_of_a_run_is_read_back(tmp_path: Path) -> None:
    store = make(tmp_path / "data.zarr")
    assert (store.samples, store.shard_size, store.size) == (5, 2, (8, 12))
    assert store.shard_rows(2) == slice(4, 5)


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not a zarr group"):
        Store(tmp_path / "missing.zarr")
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(OutputError, match="not a zarr group of hdsynth"):
        Store(tmp_path / "other.zarr")
