"""Reading a run: what is committed, and no lost or damaged file passes unseen."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from pipeline.errors import DatasetError, OutputError
from pipeline.output.folder import OutputFolder
from pipeline.output.results import RunResults
from pipeline.output.store import LostShardError, Store
from pipeline.reader import SyntheticDataset
from pipeline.sources import DatasetConfig, open_source
from tests.outputs import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    return make_run(tmp_path_factory.mktemp("run"), samples=6, shard_size=2, uncommitted=(2,))


@pytest.fixture
def own(run: OutputFolder, tmp_path: Path) -> OutputFolder:
    shutil.copytree(run.root.parent, tmp_path / "copy")
    return OutputFolder(tmp_path / "copy" / run.root.name)


def test_rows_and_pixels_are_those_that_pyarrow_and_zarr_read(run: OutputFolder) -> None:
    results = RunResults(run)
    assert results.committed() == [0, 1]
    rows = pq.read_table(run.manifests, columns=["index", "scene"]).to_pylist()
    assert sorted(results.rows(("index", "scene")), key=lambda row: row["index"]) == sorted(
        rows, key=lambda row: row["index"]
    )
    assert results.row(3)["index"] == 3
    group = zarr.open_group(run.data, mode="r")
    for name, found in zip(("photo", "label", "instance"), results.maps(3), strict=True):
        np.testing.assert_array_equal(found, group[name][3])


def test_a_sample_of_a_shard_that_is_not_committed_is_refused(run: OutputFolder) -> None:
    with pytest.raises(OutputError, match="sample 4 is not there yet, its shard 2 is not"):
        RunResults(run).row(4)


def read_by_class(out: OutputFolder) -> object:
    return RunResults(out).pixels("label", 2)


def read_by_store(out: OutputFolder) -> object:
    return Store(out.data).read("label", 2)


def read_by_torch(out: OutputFolder) -> object:
    return SyntheticDataset(out.root)[2]


def read_by_source(out: OutputFolder) -> object:
    source = open_source(DatasetConfig(root=str(out.root), format="zarr"))
    return source.read(source.scenes[2], photo=False)


@pytest.mark.parametrize("read", [read_by_class, read_by_store, read_by_torch, read_by_source])
def test_no_way_of_reading_takes_a_lost_shard_for_zeros(
    own: OutputFolder, read: Callable[[OutputFolder], object]
) -> None:
    assert read(own) is not None
    lost = own.data / "label/c/1/0/0"
    lost.unlink()
    assert not zarr.open_group(own.data, mode="r")["label"][2].any()  # as zarr reads it
    with pytest.raises((OutputError, DatasetError)) as error:
        read(own)
    assert "label/c/1/0/0" in str(error.value)
    with pytest.raises(OutputError, match=r"label/c/1/0/0: missing, though shard 1 is committed"):
        RunResults(own).check_files([0, 1])
    assert list(RunResults(own).lost_files([0, 1])) == [(1, lost)]
    assert RunResults(own).readable("label", 2) is None
    assert RunResults(own).readable("label", 1) is not None


def test_a_damaged_sample_is_named(own: OutputFolder) -> None:
    file = own.data / "photo/c/0/0/0/0"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(OutputError, match=r"data.zarr: sample 1 cannot be read .* hdsynth verify"):
        RunResults(own).pixels("photo", 1)


def test_the_store_keeps_its_arrays_to_itself(run: OutputFolder) -> None:
    store = Store(run.data)
    public = [getattr(store, name) for name in dir(store) if not name.startswith("_")]
    assert not any(isinstance(value, zarr.Array) for value in public)
    assert issubclass(LostShardError, OutputError)
