import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.editing.recompose import Event, InstanceRecord
from pipeline.errors import OutputError
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import (
    Failure,
    Record,
    StyleChoice,
    commit_manifest,
    digest,
    read_manifest,
    read_manifests,
)
from pipeline.output.summary import failed_shards, summarise


def record(index: int, shard: int = 0) -> Record:
    return Record(index=index, shard=shard, scene="s", variant=0, program="{}", seconds_render=0.5)


def test_a_manifest_survives_the_file(tmp_path: Path) -> None:
    car = InstanceRecord(
        26001, 26, "car", (1, 2, 3, 4), 4, 0.5, "pasted", donor="t", donor_instance=26007
    )
    choices = (
        StyleChoice(23, 23, "source", None, "s", (0.5, float(np.float32(0.1)))),
        StyleChoice(26001, 26, "mode", 3, None, ()),
    )
    event = Event("hidden", None, 26002, "covered")
    one = replace(record(3), instances=(car,), styles=choices, events=(event,))
    two = replace(record(4), failure=Failure("render", "no luck"))
    commit_manifest(tmp_path / "shard-00000.parquet", [one, two])
    rows = pq.read_table(tmp_path / "shard-00000.parquet").to_pylist()
    assert rows == read_manifest(tmp_path / "shard-00000.parquet")
    assert rows[0]["instances"] == [
        {"id": 26001, "class_id": 26, "class_name": "car", "top": 1, "left": 2, "bottom": 3,
         "right": 4, "area": 4, "visible_fraction": 0.5, "origin": "pasted", "donor": "t",
         "donor_instance": 26007, "source_instance": None, "style": "mode 3"}
    ]  # fmt: skip
    assert rows[0]["styles"] == [
        {"key": 23, "class_id": 23, "choice": "source", "mode": None, "scene": "s",
         "vector": [0.5, float(np.float32(0.1))]},
        {"key": 26001, "class_id": 26, "choice": "mode", "mode": 3, "scene": None, "vector": []},
    ]  # fmt: skip
    assert rows[0]["events"] == [
        '{"kind": "hidden", "operation": null, "instance": 26002, "reason": "covered"}'
    ]
    assert (rows[0]["error_kind"], rows[0]["error"]) == (None, None)
    assert rows[1]["styles"] == []
    assert rows[0]["status"] == "ok"
    assert (rows[1]["status"], rows[1]["error_kind"], rows[1]["error"]) == (
        "failed", "render", "no luck",
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000.parquet"]


def test_digests_are_sha256_of_the_elements() -> None:
    array = np.arange(24, dtype=np.int32).reshape(4, 6)
    expected = hashlib.sha256(array.astype("<i4").tobytes()).hexdigest()
    assert digest(array) == expected
    assert digest(np.asfortranarray(array)) == expected
    assert digest(array[:, ::2]) == hashlib.sha256(array[:, ::2].tobytes()).hexdigest()


def test_manifests_are_read_in_order_beyond_five_digits(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path)
    out.manifests.mkdir()
    for shard in (100000, 99999, 2):
        commit_manifest(out.manifest(shard), [record(shard, shard)])
    assert [row["index"] for row in read_manifests(out.manifests)] == [2, 99999, 100000]
    assert out.committed() == [2, 99999, 100000]


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "shard-00000.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(OutputError, match=r"shard-00000\.parquet: not a readable manifest"):
        read_manifest(tmp_path / "shard-00000.parquet")


def test_a_summary_adds_up_the_manifests(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path)
    out.manifests.mkdir()
    for shard in range(3):
        records = [record(2 * shard + i, shard) for i in range(2)]
        if shard == 1:
            records[0] = replace(records[0], failure=Failure("read", "gone"))
        commit_manifest(out.manifest(shard), records)
    summary = summarise(out, rendered={1, 2}, seconds=2.0)
    assert (summary.samples, summary.ok, summary.failed) == (6, 5, {"read": 1})
    assert (summary.shards, summary.shards_rendered, summary.photos_rendered) == (3, 2, 3)
    assert summary.photos_per_second == 1.5
    assert summary.generator_share == 1.0
    assert failed_shards(out) == [1]
