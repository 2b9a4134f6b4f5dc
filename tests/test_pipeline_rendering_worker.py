import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.output.folder import OutputFolder
from pipeline.run import render
from tests.datasets import write_checkpoint, write_cityscapes
from tests.test_hdsynth_render import arguments
from tests.test_pipeline_run import assert_same_samples, job, wait_for_commit

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc"
)

SAMPLES = 400


def start(tmp_path: Path, world: Path, checkpoint: Path, out: Path) -> subprocess.Popen[str]:
    """A job of two worker processes, whose temporary files lie under the test's own folder."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "hdsynth", "render"),
            *arguments(world, checkpoint, out, "--workers", "2"),
            *("--set", f"samples={SAMPLES}", "--set", "output.shard_size=4"),
        ],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        text=True,
        stderr=subprocess.PIPE,
    )


def workers_below(folder: Path) -> list[int]:
    """Process numbers of running workers (not the shells around them) of a test's folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_text().split("\0")
            if "pipeline.rendering.worker" in words and words[-2].startswith(str(folder)):
                found.append(int(process.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def wait_for_no_workers(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while workers_below(folder):
        assert time.monotonic() < deadline, "workers outlive their driver"
        time.sleep(0.1)


def test_workers_end_with_a_killed_driver_and_the_run_goes_on(tmp_path: Path) -> None:
    world = write_cityscapes(tmp_path / "world")
    checkpoint = write_checkpoint(tmp_path / "tiny")
    out = tmp_path / "out"
    with start(tmp_path, world, checkpoint, out) as driver:
        wait_for_commit(out, driver)
        assert len(workers_below(tmp_path)) == 2
        driver.kill()
    wait_for_no_workers(tmp_path)
    assert len(OutputFolder(out).committed()) < SAMPLES // 4

    summary = render(job(world, checkpoint, out, samples=SAMPLES))
    assert summary.ok == SAMPLES
    calm = tmp_path / "calm"
    render(job(world, checkpoint, calm, samples=SAMPLES))
    assert_same_samples(out, calm)


def test_a_job_ends_when_one_of_its_workers_is_killed(tmp_path: Path) -> None:
    world = write_cityscapes(tmp_path / "world")
    checkpoint = write_checkpoint(tmp_path / "tiny")
    out = tmp_path / "out"
    with start(tmp_path, world, checkpoint, out) as driver:
        wait_for_commit(out, driver)
        os.kill(workers_below(tmp_path)[0], signal.SIGKILL)
        _, message = driver.communicate(timeout=60)
    assert driver.returncode == 2
    assert "a worker process died (exit status 137)" in message
    assert "run the same command again" in message
    wait_for_no_workers(tmp_path)
    assert render(job(world, checkpoint, out, samples=SAMPLES)).ok == SAMPLES


def test_an_interrupt_ends_workers_quietly(tmp_path: Path) -> None:
    world = write_cityscapes(tmp_path / "world")
    checkpoint = write_checkpoint(tmp_path / "tiny")
    out = tmp_path / "out"
    with start(tmp_path, world, checkpoint, out) as driver:
        wait_for_commit(out, driver)
        for worker in workers_below(tmp_path):  # a terminal interrupts the whole group
            os.kill(worker, signal.SIGINT)
        driver.send_signal(signal.SIGINT)
        _, message = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "Traceback" not in message
    wait_for_no_workers(tmp_path)
