import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zarr
from click.testing import CliRunner

from hdmodel.atomic import temporary_name
from hdsynth.commands.output import verify as verify_command
from pipeline.errors import OutputError
from pipeline.inspection.verify import Problem, verify
from pipeline.output.folder import OutputFolder
from pipeline.output.lock import locked
from tests.outputs import make_run


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    return make_run(tmp_path_factory.mktemp("run"), samples=5, shard_size=2)


@pytest.fixture
def out(sound: OutputFolder, tmp_path: Path) -> OutputFolder:
    shutil.copytree(sound.root, tmp_path / "out")
    return OutputFolder(tmp_path / "out")


def shard_path(out: OutputFolder, array: str, shard: int) -> Path:
    return out.data / array / "c" / str(shard) / ("0/0/0" if array == "photo" else "0/0")


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def change_table(path: Path, column: str, change: Callable[[list], list]) -> None:
    table = pq.read_table(path)
    values = change(table.column(column).to_pylist())
    position = table.schema.get_field_index(column)
    field = table.schema.field(position)
    column_data = pa.array(values, field.type)
    pq.write_table(table.set_column(position, field, column_data), path)


def only(out: OutputFolder) -> Problem:
    (problem,) = verify(out.root).problems
    return problem


def test_a_sound_run_has_no_problem(sound: OutputFolder) -> None:
    report = verify(sound.root)
    assert report.problems == ()
    assert report.complete
    assert not report.damaged
    assert (report.shards_checked, report.samples_checked) == (3, 5)
    assert report.advice == []


@pytest.mark.parametrize("array", ["photo", "label", "instance"])
def test_any_flipped_byte_is_found_and_placed(out: OutputFolder, array: str) -> None:
    path = shard_path(out, array, 1)
    content = path.read_bytes()
    index = np.frombuffer(content[-(2 * 16 + 4) : -4], "<u8").reshape(2, 2)
    # Where each sample's chunk lies is said by the index at the end of the shard.
    rng = np.random.default_rng(0)
    for position in (0, 1):
        offset, length = (int(value) for value in index[position])
        for step in (0, length - 1, *rng.integers(0, length, 4)):
            path.write_bytes(content)
            flip(path, offset + int(step))
            problem = only(out)
            assert problem.kind in ("unreadable pixels", "hash differs")
            assert (problem.shard, problem.sample, problem.array) == (1, 2 + position, array)
            assert problem.path == path


def test_a_damaged_shard_index_is_one_problem(out: OutputFolder) -> None:
    path = shard_path(out, "photo", 0)
    flip(path, path.stat().st_size - 20)
    problem = only(out)
    assert (problem.kind, problem.shard, problem.sample) == ("unreadable pixels", 0, None)
    assert "none of its 2 samples" in problem.detail


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_a_truncated_shard_is_found(out: OutputFolder, keep: float) -> None:
    path = shard_path(out, "label", 2)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    problem = only(out)
    assert (problem.kind, problem.shard, problem.array) == ("unreadable pixels", 2, "label")


def test_pixels_rewritten_by_somebody_are_found(out: OutputFolder) -> None:
    group = zarr.open_group(out.data, mode="r+")
    group["photo"][3] = 7
    problem = only(out)
    assert (problem.kind, problem.sample, problem.array) == ("hash differs", 3, "photo")


def test_a_lost_shard_file_is_found(out: OutputFolder) -> None:
    path = shard_path(out, "instance", 1)
    path.unlink()
    problem = only(out)
    assert (problem.kind, problem.path, problem.shard) == ("missing file", path, 1)
    report = verify(out.root)
    assert report.damaged_shards == (1,)
    assert str(out.manifest(1)) in report.advice[0]


def test_damaged_donors_are_found(out: OutputFolder) -> None:
    path = out.donors / "masks.bin"
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    problem = only(out)
    assert (problem.kind, problem.path, problem.is_damage) == ("damaged donors", out.donors, True)


def test_an_unreadable_manifest_is_found(out: OutputFolder) -> None:
    out.manifest(2).write_bytes(out.manifest(2).read_bytes()[:50])
    problem = only(out)
    assert (problem.kind, problem.shard) == ("unreadable manifest", 2)


@pytest.mark.parametrize(
    ("column", "value", "sample"),
    [("index", 1, 0), ("scene", "elsewhere", 0), ("program", "{}", 0), ("variant", 9, 0)],
)
def test_a_manifest_that_is_not_the_plan_is_found(
    out: OutputFolder, column: str, value: object, sample: int
) -> None:
    change_table(out.manifest(0), column, lambda values: [value, *values[1:]])
    problem = only(out)
    assert (problem.kind, problem.sample) == ("manifest differs from plan", sample)
    assert column in problem.detail


def test_a_manifest_with_too_few_rows_is_found(out: OutputFolder) -> None:
    pq.write_table(pq.read_table(out.manifest(0)).slice(0, 1), out.manifest(0))
    assert "1 rows, planned are 2" in only(out).detail


def test_maps_that_disagree_are_found_though_their_hashes_fit(out: OutputFolder) -> None:
    group = zarr.open_group(out.data, mode="r+")
    instance = group["instance"][0]
    instance[5, 5:8] = 26007
    group["instance"][0] = instance
    text = hashlib.sha256(instance.tobytes()).hexdigest()
    change_table(out.manifest(0), "instance_sha256", lambda values: [text, *values[1:]])
    problem = only(out)
    assert (problem.kind, problem.sample) == ("label and instance disagree", 0)
    assert "3 of 2048 pixels" in problem.detail


def test_a_label_outside_the_taxonomy_is_found(out: OutputFolder) -> None:
    group = zarr.open_group(out.data, mode="r+")
    label = group["label"][0]
    label[0, 0] = 200
    group["label"][0] = label
    text = hashlib.sha256(label.tobytes()).hexdigest()
    change_table(out.manifest(0), "label_sha256", lambda values: [text, *values[1:]])
    assert "label 200" in only(out).detail


def test_files_of_different_runs_are_found(out: OutputFolder) -> None:
    record = yaml.safe_load(out.config.read_text())
    out.config.write_text(yaml.safe_dump(record | {"fingerprint": "0123456789abcdef"}))
    problem = only(out)
    assert (problem.kind, problem.shard) == ("metadata differ", None)
    taxonomy = yaml.safe_load(out.taxonomy.read_text())
    taxonomy["classes"][7]["name"] = "street"
    taxonomy["support"] = {}
    out.taxonomy.write_text(yaml.safe_dump(taxonomy))
    assert {p.path for p in verify(out.root).problems} == {out.data, out.taxonomy}


def test_unfinished_runs_are_incomplete_and_not_damaged(out: OutputFolder) -> None:
    out.manifest(1).unlink()
    (out.manifests / temporary_name("shard-00001.parquet")).write_bytes(b"half")
    (out.data / "photo" / "c" / "1" / "0" / "0" / "0.123.partial").write_bytes(b"half")
    report = verify(out.root)
    assert {p.kind for p in report.problems} == {"not committed", "leftover file"}
    assert len(report.problems) == 3
    assert not report.damaged
    assert not report.complete
    with locked(out.root):
        running = verify(out.root)
    assert running.running
    assert {p.kind for p in running.problems} == {"not committed"}


def test_a_folder_that_is_no_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not an output of hdsynth"):
        verify(tmp_path)


def test_the_command_tells_by_its_exit_code(out: OutputFolder, tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(verify_command, [*arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.stdout

    assert run(str(out.root))[0] == 0
    failed = make_run(tmp_path / "failed", failed={1: "render"})
    code, text = run(str(failed.root))
    assert code == 1
    assert "--retry-failed" in text
    out.manifest(1).unlink()
    code, text = run(str(out.root), "--json")
    assert code == 1
    assert not json.loads(text)["damaged"]
    flip(shard_path(out, "label", 0), 40)
    code, text = run(str(out.root), "--json")
    assert code == 2
    report = json.loads(text)
    assert report["damaged_shards"] == [0]
    (damage,) = [problem for problem in report["problems"] if problem["damage"]]
    assert (damage["shard"], damage["array"]) == (0, "label")
    code, text = run(str(out.root))
    assert code == 2
    assert f"rm {out.manifest(0)}" in text
    assert "label/c/0/0/0" in text


def test_a_shard_made_anew_as_advised_is_sound_again(
    out: OutputFolder, sound: OutputFolder
) -> None:
    flip(shard_path(out, "photo", 1), 40)
    (shard,) = verify(out.root).damaged_shards
    out.manifest(shard).unlink()
    assert not verify(out.root).damaged
    shutil.copy(shard_path(sound, "photo", 1), shard_path(out, "photo", 1))
    shutil.copy(sound.manifest(1), out.manifest(1))
    assert verify(out.root).complete
