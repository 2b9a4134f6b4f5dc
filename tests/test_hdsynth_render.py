import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hdsynth.cli import main
from pipeline.output.folder import OutputFolder
from pipeline.planning.plan import write_plan
from tests.datasets import label_file, write_checkpoint, write_cityscapes
from tests.plans import read_plan


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_cityscapes(tmp_path / "world")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "tiny")


def arguments(world: Path, checkpoint: Path, out: Path, *more: str) -> list[str]:
    return [
        *("--dataset", str(world), "--format", "cityscapes", "--split", "val"),
        *("--generator", str(checkpoint), "--device", "cpu", "--set", "generator.dtype=float32"),
        *("--samples", "6", "--size", "32x64", "--shard-size", "2", "--out", str(out), *more),
    ]


def run(*command: str) -> Result:
    before = signal.getsignal(signal.SIGINT)
    try:
        return CliRunner().invoke(main, command)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_job_from_options(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    result = run("render", *arguments(world, checkpoint, tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "6 of 6 samples, 3 shards" in result.stdout
    assert "photos/s" in result.stdout
    assert f"hdsynth preview {tmp_path / 'out'}" in result.stdout
    again = run("render", *arguments(world, checkpoint, tmp_path / "out"))
    assert again.exit_code == 0
    assert "nothing to do" in again.stdout


def test_a_job_from_a_file_with_options_on_top(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (tmp_path / "job.yaml").write_text(
        f"""
        dataset: {{root: {world}, format: cityscapes, split: val}}
        samples: 100
        size: [32, 64]
        generator: {{checkpoint: {checkpoint}, dtype: float32}}
        output: {{path: {out}, shard_size: 4}}
        """
    )
    result = run("render", str(tmp_path / "job.yaml"), "--samples", "3", "--set", "seed=5")
    assert result.exit_code == 0, result.output
    rows = list(read_plan(OutputFolder(out).plan))
    assert len(rows) == 3
    assert {row.seed for row in rows} == {5}


def test_plan_writes_nothing(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("plan", *arguments(world, checkpoint, out))
    assert result.exit_code == 0, result.output
    assert "6 of 32x64, in 3 shards" in result.stdout
    as_json = json.loads(run("plan", *arguments(world, checkpoint, out, "--json")).stdout)
    assert as_json["samples"] == 6
    assert as_json["out"] == str(out)
    assert not out.exists()


def test_failed_samples_are_exit_code_1_until_they_are_mended(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    command = ("render", *arguments(world, checkpoint, tmp_path / "out", "--policy", "none"))
    assert run(*command).exit_code == 0
    for manifest in OutputFolder(tmp_path / "out").manifests.iterdir():
        manifest.unlink()
    content = label_file(world, 1).read_bytes()
    label_file(world, 1).write_bytes(content[:50])
    result = run(*command)
    assert result.exit_code == 1
    assert "failed: read" in result.stdout
    assert "--retry-failed" in result.stdout
    label_file(world, 1).write_bytes(content)
    assert run(*command).exit_code == 1
    assert run(*command, "--retry-failed").exit_code == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--format", "cityscape"], "did you mean 'cityscapes'"),
        (["--split", "tset"], "val"),
        (["--dataset", "nowhere"], "nowhere"),
        (["--generator", "nowhere"], "nowhere"),
        (["--size", "32*64"], "expected height x width"),
        (["--size", "8x8"], "expected 16 to 16384"),
        (["--samples", "0"], "samples"),
        (["--workers", "0"], "workers"),
        (["--policy", "lihgt"], "did you mean 'light'"),
        (["--fit", "squeeze"], "squeeze"),
        (["--device", "tpu"], "tpu"),
        (["--set", "generator.dtpye=float32"], "did you mean 'dtype'"),
        (["--set", "seed"], "key=value"),
        (["--taxonomy", "camvid"], "made for taxonomy 'cityscapes'"),
        (["--device", "gpu"], "expected auto, cpu, cuda or cuda:N"),
        (["--size", "1000000x1000000"], "16 to 16384"),
        (["--out", ""], "empty path"),
        (["--", "--no_such_option=1"], "no_such_option=1"),
        (["--", "--runner=NoSuchRunner"], "NoSuchRunner"),
        (["--", "--streaming_engine_typo"], "streaming_engine_typo"),
        (["--", "--direct_num_workers=2"], "--workers"),
        (["--", "--max_num_workers=x"], "max_num_workers"),
        (["--", "word"], "--name=value"),
        (
            ["--", "--runner=PortableRunner", "--job_endpoint=localhost:1"],
            "'localhost:1': does not answer",
        ),
        (["no-such-job.yaml"], "no-such-job.yaml: no such file"),
    ],
)
def test_wrong_commands_are_one_line_and_exit_code_2(
    world: Path, checkpoint: Path, tmp_path: Path, changes: list[str], message: str
) -> None:
    result = run("render", *arguments(world, checkpoint, tmp_path / "out", *changes))
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_must_be_given_is_named() -> None:
    result = run("render", "--dataset", "x")
    assert result.exit_code == 2
    assert "--format, --size, --out must be given" in result.stderr


def test_an_interrupt_is_exit_code_130_and_can_be_resumed(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [
        *("render", *arguments(world, checkpoint, out, "--set", "samples=3000")),
        *("--set", "generator.batch_pixels=1"),
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "hdsynth", *command], stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 180
        while not OutputFolder(out).committed():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        message = process.stderr.read()
    assert process.returncode == 130
    assert "run the same command again" in message
    assert "Traceback" not in message
    assert len(OutputFolder(out).committed()) < 1500
    status = json.loads(run("status", str(out), "--json").stdout)
    assert status["shards_planned"] == 1500


def as_version_1(program: str) -> str:
    """A program as earlier versions wrote it."""
    plain = json.loads(program)
    operations = [
        {k: v for k, v in operation.items() if k not in ("along", "donor_along", "seed")}
        for operation in plain["operations"]
    ]
    return json.dumps({**plain, "version": 1, "operations": operations})


def test_runs_of_earlier_versions_are_refused_in_one_line(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("render", *arguments(world, checkpoint, out, "--set", "recompose.policy=light"))
    assert run(*command).exit_code == 0
    folder = OutputFolder(out)
    rows = [replace(row, program=as_version_1(row.program)) for row in read_plan(folder.plan)]
    write_plan(folder.plan, rows, shard_size=2)
    folder.manifest(1).unlink()  # stopped before its second shard
    for again in (
        command,
        ("replay", str(out), "0", "--to", str(tmp_path / "sample")),
        ("replay", str(out), "0", "--to", str(tmp_path / "maps"), "--maps-only"),
    ):
        result = run(*again)
        assert result.exit_code == 2, result.output
        (line,) = result.stderr.strip().splitlines()[-1:]
        assert "the program of sample" in line, result.stderr
        assert "not one of this version of hdsynth (version: Input should be 2)" in line
        assert "render the job anew" in line
        assert "Traceback" not in result.output
