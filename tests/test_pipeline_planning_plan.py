from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.editing.program import Drop, MirrorScene, Program
from pipeline.errors import OutputError
from pipeline.planning.plan import (
    PlanRow,
    assign_scene,
    check_programs,
    count_samples,
    count_shards,
    read_shard_plan,
    write_plan,
)
from tests.plans import read_plan


def rows(samples: int, shard_size: int) -> list[PlanRow]:
    program = Program(scene="s", operations=(MirrorScene(), Drop(instance=26001)))
    return [
        PlanRow(i, i // shard_size, "s", i, 2**62, program.model_dump_json())
        for i in range(samples)
    ]


def test_a_plan_survives_the_file(tmp_path: Path) -> None:
    written = rows(10, 4)
    write_plan(tmp_path / "plan.parquet", written, shard_size=4)
    assert list(read_plan(tmp_path / "plan.parquet")) == written
    assert read_shard_plan(tmp_path / "plan.parquet", 2) == written[8:]
    assert count_samples(tmp_path / "plan.parquet") == 10
    assert count_shards(tmp_path / "plan.parquet") == 3
    assert written[0].parsed_program().operations[1] == Drop(instance=26001)


def test_others_read_it_with_pyarrow(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.parquet", rows(5, 4), shard_size=4)
    table = pq.read_table(tmp_path / "plan.parquet")
    assert table.column("index").to_pylist() == [0, 1, 2, 3, 4]
    assert table.column_names == ["index", "shard", "scene", "variant", "seed", "program"]


def test_scenes_take_turns() -> None:
    assert [assign_scene(i, "abc") for i in range(5)] == [
        ("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1),
    ]  # fmt: skip


def test_a_shard_that_is_not_planned_is_refused(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.parquet", rows(5, 4), shard_size=4)
    with pytest.raises(OutputError, match="no shard 2"):
        read_shard_plan(tmp_path / "plan.parquet", 2)


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.parquet", rows(5, 4), shard_size=4)
    content = (tmp_path / "plan.parquet").read_bytes()
    (tmp_path / "plan.parquet").write_bytes(content[:-10])
    with pytest.raises(OutputError, match="not a readable plan"):
        count_shards(tmp_path / "plan.parquet")
    with pytest.raises(OutputError, match="not a readable plan"):
        read_shard_plan(tmp_path / "missing.parquet", 0)


@pytest.mark.parametrize(
    ("program", "where"),
    [
        ('{"version": 1, "scene": "s", "operations": []}', "version: Input should be 2"),
        ('{"version": 2, "scene": "s", "operations": [{"op": "vanish"}]}', "operations.0"),
        ("{", ": Invalid JSON"),
    ],
)
def test_programs_of_other_versions_are_refused(tmp_path: Path, program: str, where: str) -> None:
    path = tmp_path / "plan.parquet"
    write_plan(path, rows(5, 4), shard_size=4)
    check_programs(path)
    write_plan(path, [replace(row, program=program) for row in rows(5, 4)], shard_size=4)
    with pytest.raises(OutputError, match=rf"sample 0 is not .*{where}.*render the job anew"):
        check_programs(path)
