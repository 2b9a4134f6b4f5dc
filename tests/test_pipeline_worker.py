import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.output import OutputFolder
from pipeline.run import render
from tests.datasets import write_checkpoint, write_cityscapes
from tests.test_pipeline_run import assert_same_samples, job, wait_for_commit

ROOT = Path(__file__).parent.parent

SCRIPT = """
import sys
from pathlib import Path
from tests.test_pipeline_run import job
from pipeline.run import render
world, checkpoint, out = map(Path, sys.argv[1:])
render(job(world, checkpoint, out, samples=400, workers=2))
"""


def workers_of(driver: int) -> list[int]:
    """Process numbers of running workers that were started for a driver."""
    wanted = f"pipeline.worker\0{driver}\0"
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if wanted in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_workers_end_with_a_killed_driver_and_the_run_goes_on(tmp_path: Path) -> None:
    world = write_cityscapes(tmp_path / "world")
    checkpoint = write_checkpoint(tmp_path / "tiny")
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(world), str(checkpoint), str(out)],
        cwd=ROOT,
        text=True,
        stderr=subprocess.PIPE,
    ) as driver:
        wait_for_commit(out, driver)
        assert len(workers_of(driver.pid)) == 2
        driver.kill()
    deadline = time.monotonic() + 30
    while workers_of(driver.pid):
        assert time.monotonic() < deadline, "workers outlive their driver"
        time.sleep(0.1)
    assert len(OutputFolder(out).committed()) < 100

    summary = render(job(world, checkpoint, out, samples=400))
    assert summary.ok == 400
    calm = tmp_path / "calm"
    render(job(world, checkpoint, calm, samples=400))
    assert_same_samples(out, calm)
