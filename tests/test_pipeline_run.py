import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr
from PIL import Image

from hdmodel.atomic import temporary_name
from hdmodel.errors import CheckpointError, ConfigError, InputError
from pipeline.config import RenderConfig
from pipeline.errors import DatasetError, OutputError, TaxonomyError
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import read_manifests
from pipeline.run import render
from pipeline.scene import disagreements
from pipeline.taxonomy import Taxonomy
from tests.datasets import instance_file, label_file, write_checkpoint, write_cityscapes
from tests.plans import read_plan

ROOT = Path(__file__).parent.parent
TIMES = {"seconds_read", "seconds_compose", "seconds_render", "seconds_write"}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


def job(world: Path, checkpoint: Path, out: Path, **changes: Any) -> RenderConfig:
    plain: dict[str, Any] = {
        "dataset": {"root": str(world), "format": "cityscapes", "split": "val"},
        "samples": 10,
        "size": [32, 64],
        "generator": {"checkpoint": checkpoint, "dtype": "float32", "device": "cpu"},
        "output": {"path": out, "shard_size": 4},
    }
    for key, value in changes.items():
        plain[key] = {**plain[key], **value} if isinstance(plain.get(key), dict) else value
    return RenderConfig.parse(plain, origin="test")


def pixels(out: Path) -> dict[str, np.ndarray]:
    group = zarr.open_group(out / "data.zarr", mode="r")
    return {name: np.asarray(group[name][:]) for name in ("photo", "label", "instance")}


def records(out: Path, *, without: set[str] = TIMES) -> list[dict[str, Any]]:
    rows = read_manifests(OutputFolder(out).manifests)
    return [{k: v for k, v in row.items() if k not in without} for row in rows]


def assert_same_samples(one: Path, other: Path) -> None:
    ours, theirs = pixels(one), pixels(other)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    assert [row.program for row in read_plan(one / "plan.parquet")] == [
        row.program for row in read_plan(other / "plan.parquet")
    ]


@pytest.fixture(scope="session")
def undisturbed(world: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    render(job(world, checkpoint, out))
    return out


def test_a_run_leaves_what_is_promised(undisturbed: Path) -> None:
    out = OutputFolder(undisturbed)
    rows = records(undisturbed)
    assert [row["index"] for row in rows] == list(range(10))
    assert [row["shard"] for row in rows] == [0] * 4 + [1] * 4 + [2] * 2
    assert {row["status"] for row in rows} == {"ok"}
    assert out.committed() == [0, 1, 2]
    arrays = pixels(undisturbed)
    assert arrays["photo"].shape == (10, 32, 64, 3)
    assert arrays["label"].dtype == np.uint8
    assert arrays["instance"].dtype == np.int32
    assert all(photo.std() > 0 for photo in arrays["photo"])
    taxonomy = out.read_taxonomy()
    assert taxonomy.fingerprint == Taxonomy.load("cityscapes").fingerprint
    for label, instance in zip(arrays["label"], arrays["instance"], strict=True):
        assert disagreements(label, instance, taxonomy) == 0
    assert not [path for path in undisturbed.rglob("*") if path.name.endswith((".tmp", ".partial"))]


def test_scenes_take_turns_and_edits_differ(undisturbed: Path) -> None:
    rows = records(undisturbed)
    assert len({row["scene"] for row in rows[:5]}) == 5
    assert [row["scene"] for row in rows[:5]] == [row["scene"] for row in rows[5:]]
    assert [row["variant"] for row in rows] == [0] * 5 + [1] * 5
    assert len({row["program"] for row in rows}) > 5


def test_manifest_instances_are_those_of_the_maps(undisturbed: Path) -> None:
    instances = pixels(undisturbed)["instance"]
    for row in records(undisturbed):
        instance = instances[row["index"]]
        assert {item["id"] for item in row["instances"]} == {
            int(value) for value in np.unique(instance) if value >= 1000
        }
        for item in row["instances"]:
            rows, columns = np.nonzero(instance == item["id"])
            assert item["area"] == len(rows)
            assert (item["top"], item["left"]) == (rows.min(), columns.min())
            assert (item["bottom"], item["right"]) == (rows.max() + 1, columns.max() + 1)


def test_the_same_command_again_does_nothing(
    world: Path, checkpoint: Path, undisturbed: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    summary = render(job(world, checkpoint, undisturbed))
    assert summary.shards_rendered == 0
    assert summary.ok == 10
    after = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    before.pop(undisturbed / ".hdsynth.lock")
    after.pop(undisturbed / ".hdsynth.lock")
    assert before == after


@pytest.mark.parametrize(("workers", "shard_size"), [(1, 16), (2, 4), (2, 3)])
def test_workers_and_shards_do_not_change_the_samples(
    world: Path, checkpoint: Path, undisturbed: Path, tmp_path: Path, workers: int, shard_size: int
) -> None:
    out = tmp_path / "out"
    summary = render(
        job(world, checkpoint, out, workers=workers, output={"path": out, "shard_size": shard_size})
    )
    assert summary.ok == 10
    ours, theirs = pixels(out), pixels(undisturbed)
    np.testing.assert_array_equal(ours["label"], theirs["label"])
    np.testing.assert_array_equal(ours["instance"], theirs["instance"])
    assert [r["program"] for r in records(out)] == [r["program"] for r in records(undisturbed)]
    # Another batch size or thread count may round differently.
    difference = np.abs(ours["photo"].astype(int) - theirs["photo"].astype(int))
    assert difference.max() <= 1


def test_seeds_make_different_runs(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    programs = []
    for seed in (0, 1):
        out = tmp_path / str(seed)
        render(job(world, checkpoint, out, seed=seed, samples=4))
        programs.append([row["program"] for row in records(out)])
    assert programs[0] != programs[1]


SCRIPT = """
import sys
from pathlib import Path
from tests.test_pipeline_run import job
from pipeline.rendering import handler
from pipeline.run import render
import time
original = handler.render_maps
def slow(*args, **options):
    time.sleep(0.15)
    return original(*args, **options)
handler.render_maps = slow
world, checkpoint, out = map(Path, sys.argv[1:])
render(job(world, checkpoint, out, generator={"batch_pixels": 1}))
"""


def start_slow_job(world: Path, checkpoint: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(world), str(checkpoint), str(out)],
        cwd=ROOT,
        text=True,
        stderr=subprocess.PIPE,
    )


def wait_for_commit(out: Path, process: subprocess.Popen[str], shards: int = 1) -> None:
    deadline = time.monotonic() + 180
    while len(OutputFolder(out).committed()) < shards:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_job_goes_on_to_the_same_samples(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    calm = tmp_path / "calm"
    render(job(world, checkpoint, calm, generator={"batch_pixels": 1}))
    out = tmp_path / "out"
    with start_slow_job(world, checkpoint, out) as process:
        wait_for_commit(out, process)
        process.kill()
    done = OutputFolder(out).committed()
    assert 0 < len(done) < 3
    (out / "manifest" / temporary_name("shard-00002.parquet")).write_bytes(b"half a manifest")
    summary = render(job(world, checkpoint, out, generator={"batch_pixels": 1}))
    assert summary.shards_rendered == 3 - len(done)
    assert_same_samples(out, calm)
    assert records(out) == records(calm)
    assert not list(out.rglob("*.tmp"))


def test_a_second_job_cannot_write_the_same_output(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with start_slow_job(world, checkpoint, out) as process:
        wait_for_commit(out, process)
        with pytest.raises(OutputError, match=f"process {process.pid}"):
            render(job(world, checkpoint, out, generator={"batch_pixels": 1}))
        process.kill()


def test_an_interrupt_leaves_a_resumable_run(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start_slow_job(world, checkpoint, out) as process:
        wait_for_commit(out, process)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "KeyboardInterrupt" in process.stderr.read()
    assert process.returncode != 0
    summary = render(job(world, checkpoint, out, generator={"batch_pixels": 1}))
    assert summary.ok == 10


def test_a_file_that_breaks_during_the_run_costs_its_samples_alone(
    checkpoint: Path, tmp_path: Path
) -> None:
    world = write_cityscapes(tmp_path / "world")
    out = tmp_path / "out"
    config = job(world, checkpoint, out, recompose={"policy": {"edits": [0, 0]}})
    render(config)
    good = pixels(out)
    for manifest in OutputFolder(out).manifests.iterdir():
        manifest.unlink()
    broken = label_file(world, 3)
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])

    summary = render(config)
    assert summary.failed == {"read": 2}
    assert summary.ok == 8
    failed = [row for row in records(out) if row["status"] == "failed"]
    assert {row["scene"] for row in failed} == {"testville_000003_000019"}
    assert all(broken.name in row["error"] for row in failed)
    ok = [row["index"] for row in records(out) if row["status"] == "ok"]
    np.testing.assert_array_equal(pixels(out)["label"][ok], good["label"][ok])

    assert render(config).failed == {"read": 2}  # without --retry-failed nothing is done again
    broken.write_bytes(content)
    summary = render(config, retry_failed=True)
    assert summary.ok == 10
    assert summary.failed == {}
    for name, array in pixels(out).items():
        np.testing.assert_array_equal(array, good[name])


def write_nothing(
    world: Path, checkpoint: Path, out: Path, error: type[InputError], text: str, **changes: object
) -> None:
    with pytest.raises(error, match=text) as caught:
        render(job(world, checkpoint, out, **changes))
    assert not out.exists()
    assert str(caught.value)


def test_a_truncated_file_is_found_before_anything_is_written(
    checkpoint: Path, tmp_path: Path
) -> None:
    world = write_cityscapes(tmp_path / "world")
    file = label_file(world, 2)
    file.write_bytes(file.read_bytes()[:60])
    write_nothing(world, checkpoint, tmp_path / "out", DatasetError, file.name)


def test_a_value_outside_the_taxonomy_is_found_first(checkpoint: Path, tmp_path: Path) -> None:
    world = write_cityscapes(tmp_path / "world")
    label = np.asarray(Image.open(label_file(world, 1))).copy()
    label[3, 5:8] = 77
    Image.fromarray(label).save(label_file(world, 1))
    write_nothing(
        world, checkpoint, tmp_path / "out", DatasetError, rf"{label_file(world, 1).name}.*77.*3"
    )


def test_a_missing_instance_map_is_found_first(checkpoint: Path, tmp_path: Path) -> None:
    world = write_cityscapes(tmp_path / "world")
    instance_file(world, 4).unlink()
    write_nothing(world, checkpoint, tmp_path / "out", DatasetError, "testville_000004.*instance")


def test_sizes_that_differ_are_found_first(checkpoint: Path, tmp_path: Path) -> None:
    world = write_cityscapes(tmp_path / "world")
    Image.fromarray(np.zeros((10, 10), np.uint16)).save(instance_file(world, 0))
    write_nothing(world, checkpoint, tmp_path / "out", DatasetError, "10")


def test_an_empty_split_is_refused(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    changes = {"dataset": {"split": "test"}}
    write_nothing(world, checkpoint, tmp_path / "out", DatasetError, "val", **changes)


def test_a_generator_of_other_classes_is_refused(world: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "camvid", taxonomy="camvid")
    write_nothing(world, other, tmp_path / "out", TaxonomyError, "camvid.*cityscapes")


def test_what_is_no_checkpoint_is_refused(world: Path, tmp_path: Path) -> None:
    write_nothing(world, tmp_path / "nothing", tmp_path / "out", CheckpointError, "nothing")


def test_a_device_that_is_not_here_is_refused(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    changes = {"generator": {"device": "cuda:7"}}
    write_nothing(world, checkpoint, tmp_path / "out", ConfigError, "cuda:7", **changes)


def test_a_changed_job_is_refused_with_what_changed(
    world: Path, checkpoint: Path, undisturbed: Path
) -> None:
    with pytest.raises(OutputError, match="seed: was 0, now 9"):
        render(job(world, checkpoint, undisturbed, seed=9))


def test_the_dataset_is_never_overwritten(world: Path, checkpoint: Path, undisturbed: Path) -> None:
    reread = {"root": str(undisturbed), "format": "zarr", "split": None}
    with pytest.raises(OutputError, match="holds the dataset"):
        render(job(world, checkpoint, undisturbed, dataset=reread), overwrite=True)
    with pytest.raises(OutputError, match="holds the dataset"):
        render(job(world, checkpoint, world.parent), overwrite=True)


def test_what_a_taxonomy_file_says_is_part_of_the_job(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    plain = Taxonomy.load("cityscapes").to_plain()
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(plain))
    config = job(world, checkpoint, tmp_path / "out", dataset={"taxonomy": str(file)})
    render(config)
    assert render(config).shards_rendered == 0
    plain["classes"][7]["values"], plain["classes"][8]["values"] = [8], [7]
    file.write_text(yaml.safe_dump(plain))
    with pytest.raises(OutputError, match="taxonomy: was"):
        render(config)


def test_a_lost_shard_file_is_rendered_again(
    world: Path, checkpoint: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    config = job(world, checkpoint, out)
    render(config)
    (out / "data.zarr/label/c/1/0/0").unlink()
    assert render(config).shards_rendered == 1
    assert_same_samples(out, undisturbed)
    shutil.rmtree(out / "manifest")
    assert render(config).shards_rendered == 3
    shutil.rmtree(out / "data.zarr")
    with pytest.raises(OutputError, match="not a zarr group"):
        render(config)


def test_what_is_doubtful_about_a_dataset_is_said(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = write_cityscapes(tmp_path / "world")
    label_file(world, 0).unlink()
    with caplog.at_level("INFO", "hdsynth"):
        render(job(world, checkpoint, tmp_path / "out", size=[64, 64], samples=2))
    assert "1 files belong to no label map" in caplog.text
    assert "scenes of 32x64 are brought to 64x64 by resize" in caplog.text
    assert "no scene has single objects" not in caplog.text
    with caplog.at_level("INFO", "hdsynth"):
        changes = {"dataset": {"instances": "none"}}
        render(job(world, checkpoint, tmp_path / "none", samples=2, **changes))
    assert "no scene has single objects" in caplog.text


def test_overwrite_starts_again(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    render(job(world, checkpoint, out, samples=4))
    summary = render(job(world, checkpoint, out, samples=2), overwrite=True)
    assert summary.samples == 2
    assert pixels(out)["label"].shape[0] == 2


@pytest.mark.skipif(os.name != "posix", reason="the job service is started as on Unix")
def test_a_portable_runner_makes_the_same_labels(
    world: Path, checkpoint: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "apache_beam.runners.portability.local_job_service_main",
            "--job_port",
            "0",
            "--port_file",
            str(tmp_path / "port"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    ) as service:
        try:
            deadline = time.monotonic() + 180
            port_file = tmp_path / "port"
            while not (port_file.exists() and port_file.read_text()):
                assert time.monotonic() < deadline
                assert service.poll() is None
                time.sleep(0.1)
            summary = render(
                job(world, checkpoint, out),
                beam_options=[
                    "--runner=PortableRunner",
                    f"--job_endpoint=localhost:{port_file.read_text()}",
                    "--environment_type=LOOPBACK",
                ],
            )
        finally:
            service.kill()
    assert summary.ok == 10
    np.testing.assert_array_equal(pixels(out)["label"], pixels(undisturbed)["label"])
