import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from torch.utils.data import DataLoader

from pipeline.errors import OutputError
from pipeline.reader import SyntheticDataset
from pipeline.taxonomy import Taxonomy
from tests.datasets import stem
from tests.outputs import HEIGHT, WIDTH, make_run


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(
        tmp_path_factory.mktemp("run"),
        samples=9,
        shard_size=2,
        failed={1: "read", 4: "render"},
        uncommitted=(3,),
    )
    return run.root


def test_it_holds_the_committed_good_samples(out: Path) -> None:
    dataset = SyntheticDataset(out)
    items = [dataset[position] for position in range(len(dataset))]
    assert [item["index"] for item in items] == [0, 2, 3, 5, 8]
    assert [item["scene"] for item in items] == [stem(i % 3) for i in (0, 2, 3, 5, 8)]
    assert all(item["ok"] for item in items)
    group = zarr.open_group(out / "data.zarr", mode="r")
    for item in items:
        assert item["photo"].dtype == torch.uint8
        assert item["label"].dtype == torch.int64
        assert item["instance"].dtype == torch.int32
        assert item["photo"].shape == (3, HEIGHT, WIDTH)
        stored = np.moveaxis(group["photo"][item["index"]], -1, 0)
        np.testing.assert_array_equal(item["photo"].numpy(), stored)
        np.testing.assert_array_equal(item["label"].numpy(), group["label"][item["index"]])
        np.testing.assert_array_equal(item["instance"].numpy(), group["instance"][item["index"]])


def test_failed_samples_come_on_request(out: Path) -> None:
    dataset = SyntheticDataset(out, with_failed=True)
    assert [dataset[i]["index"] for i in range(len(dataset))] == [0, 1, 2, 3, 4, 5, 8]
    assert not dataset[1]["ok"]
    assert not dataset[1]["label"].any()
    assert not dataset[4]["ok"]
    assert dataset[4]["label"].any()
    assert not dataset[4]["photo"].any()


def test_train_ids_are_those_of_the_taxonomy(out: Path) -> None:
    label = SyntheticDataset(out)[0]["label"].numpy()
    train = SyntheticDataset(out, labels="train_id")[0]["label"].numpy()
    assert train.dtype == np.int64
    # Cityscapes: sky 23 -> 10, building 11 -> 2, road 7 -> 0, person 24 -> 11, car 26 -> 13.
    for class_id, train_id in ((23, 10), (11, 2), (7, 0), (24, 11), (26, 13)):
        assert (train[label == class_id] == train_id).all()
        assert (label == class_id).any()
    assert Taxonomy.load("cityscapes").classes[0].train_id == 255


def test_a_transform_makes_the_item(out: Path) -> None:
    dataset = SyntheticDataset(out, transform=lambda sample: sample["index"] * 10)
    assert [dataset[position] for position in range(len(dataset))] == [0, 20, 30, 50, 80]


def test_loader_workers_read_the_same(out: Path) -> None:
    dataset = SyntheticDataset(out)
    dataset[0]  # an open store must not travel to the workers
    batches = list(DataLoader(dataset, batch_size=2, num_workers=2, timeout=60))
    assert [batch["photo"].shape[0] for batch in batches] == [2, 2, 1]
    photos = torch.cat([batch["photo"] for batch in batches])
    for position in range(len(dataset)):
        assert torch.equal(photos[position], dataset[position]["photo"])


def test_a_pickled_dataset_reads_the_same(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out.parent)
    dataset = SyntheticDataset(out.name)
    data = pickle.dumps(dataset)
    monkeypatch.chdir("/")
    assert torch.equal(pickle.loads(data)[2]["instance"], SyntheticDataset(out)[2]["instance"])


def test_positions_follow_python(out: Path) -> None:
    dataset = SyntheticDataset(out)
    assert dataset[-1]["index"] == 8
    with pytest.raises(IndexError):
        dataset[5]


def test_wrong_folders_and_labels_are_named(tmp_path: Path, out: Path) -> None:
    with pytest.raises(OutputError, match="not an output of hdsynth"):
        SyntheticDataset(tmp_path)
    with pytest.raises(ValueError, match="'colour'"):
        SyntheticDataset(out, labels="colour")  # type: ignore[arg-type]


def test_lost_and_damaged_files_are_errors_and_not_zeros(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    dataset = SyntheticDataset(run.root)
    lost = run.data / "label" / "c" / "1" / "0" / "0"
    content = lost.read_bytes()
    lost.write_bytes(bytes([content[0] ^ 255, *content[1:]]))
    with pytest.raises(OutputError, match="sample 2 cannot be read"):
        dataset[2]
    lost.unlink()
    with pytest.raises(OutputError, match=r"label/c/1/0/0: missing, though shard 1"):
        SyntheticDataset(run.root)
