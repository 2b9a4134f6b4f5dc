import os
from pathlib import Path

import pytest

from hdmodel.atomic import temporary_name, write_atomically
from pipeline.errors import OutputError
from pipeline.output.folder import OutputFolder, fingerprint
from pipeline.output.lock import locked
from tests.processes import another_process

IDENTITY = {"samples": 4, "generator": {"dtype": "float32"}, "size": (8, 8)}


def started(root: Path) -> OutputFolder:
    out = OutputFolder(root)
    root.mkdir()
    out.write_config(IDENTITY, {"samples": 4}, {"hdsynth": "0"})
    return out


def test_the_same_job_is_recognised(tmp_path: Path) -> None:
    out = started(tmp_path / "out")
    out.check_same_job(IDENTITY)
    assert out.read_config()["fingerprint"] == fingerprint(IDENTITY)


def test_another_job_is_refused_with_what_differs(tmp_path: Path) -> None:
    out = started(tmp_path / "out")
    changed = {"samples": 4, "generator": {"dtype": "bfloat16"}, "size": (8, 8)}
    with pytest.raises(OutputError) as caught:
        out.check_same_job(changed)
    assert "generator.dtype: was 'float32', now 'bfloat16'" in str(caught.value)
    assert "samples" not in str(caught.value)
    assert "size" not in str(caught.value)


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"thesis\.tex"):
            OutputFolder(tmp_path).check_target(overwrite=overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_names_like_ours_do_not_make_a_folder_ours(tmp_path: Path) -> None:
    (tmp_path / "data.zarr").mkdir()
    with pytest.raises(OutputError, match=r"data\.zarr"):
        OutputFolder(tmp_path).check_target(overwrite=True)


def test_a_job_killed_before_its_config_was_written_can_start_again(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path)
    with locked(out.root):
        (tmp_path / "data.zarr").mkdir()
    out.check_target(overwrite=False)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="expected a folder, found a file"):
        OutputFolder(tmp_path / "out").check_target(overwrite=False)
    with pytest.raises(OutputError, match="is not a folder"):
        OutputFolder(tmp_path / "out/deeper").check_target(overwrite=False)


def test_unwritable_places_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Permissions do not bind the superuser, so the answer of the system is made up.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="not writable"):
        OutputFolder(tmp_path / "out").check_target(overwrite=False)
    with pytest.raises(OutputError, match="not writable"):
        OutputFolder(tmp_path).check_target(overwrite=False)


def test_only_one_process_holds_the_lock(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path)
    code = (
        "from pathlib import Path; from pipeline.output.lock import locked\n"
        f"with locked(Path({str(tmp_path)!r})):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with (
        another_process(code, says="held") as other,
        pytest.raises(OutputError, match=f"process {other.pid}"),
        locked(out.root),
    ):
        pytest.fail("two processes held the lock")
    with locked(out.root):
        pass


def test_leftovers_are_swept_and_nothing_else(tmp_path: Path) -> None:
    out = started(tmp_path / "out")
    out.manifests.mkdir()
    (out.data / "photo/c/0").mkdir(parents=True)
    leftovers = [
        out.root / temporary_name("plan.parquet"),
        out.manifests / temporary_name("shard-00001.parquet"),
        out.data / "photo/c/0/0.1234.partial",
    ]
    kept = [out.config, out.manifests / "shard-00000.parquet", out.data / "photo/c/0/0"]
    for path in (*leftovers, *kept[1:]):
        path.write_bytes(b"x")
    assert sorted(out.sweep()) == sorted(leftovers)
    assert not any(path.exists() for path in leftovers)
    assert all(path.exists() for path in kept)
    assert out.committed() == [0]


def test_an_atomic_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_config_of_somebody_else_does_not_make_a_folder_ours(tmp_path: Path) -> None:
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest/data.txt").write_text("precious")
    for content in ("a: 1", "config: [1]\nidentity: {}\nfingerprint: x\nversions: {}", "a: ["):
        (tmp_path / "config.yaml").write_text(content)
        for overwrite in (False, True):
            with pytest.raises(OutputError, match="not an output of hdsynth"):
                OutputFolder(tmp_path).check_target(overwrite=overwrite)
    assert (tmp_path / "manifest/data.txt").read_text() == "precious"


def test_files_that_look_temporary_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "movie.partial").write_text("half a film")
    with pytest.raises(OutputError, match=r"movie\.partial"):
        OutputFolder(tmp_path).check_target(overwrite=False)
    out = started(tmp_path / "out")
    kept = [out.root / "movie.partial", out.root / ".notes.tmp"]
    for path in kept:
        path.write_text("mine")
    (out.root / ".preview.0123.tmp").mkdir()
    assert out.sweep() == []
    assert all(path.exists() for path in kept)


def test_clearing_removes_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    out = started(tmp_path / "out")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("kept")
    out.data.symlink_to(elsewhere)
    out.clear()
    assert not out.data.is_symlink()
    assert (elsewhere / "file").read_text() == "kept"
