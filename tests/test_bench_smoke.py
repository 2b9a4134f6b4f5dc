"""Every benchmark runs, at tiny sizes, and prints the ratio it is there for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BENCHES = sorted((ROOT / "bench").glob("*.py"))
RATIO = {
    "faithful.py": r"precision \d\.\d+ \(\d+\.\d x chance\)",
    "holes.py": r"without labels +L1 \d+\.\d \(\d+\.\d\d of ours\)",
    "placement.py": r"ours covers -?\d+% of the way from uniform to real",
    "recompose.py": r"composing share of composing and rendering: \d+\.\d%",
    "sample_world.py": r"\d+\.\d\d x the goal",
}
"""What the comparison is called where it is no `ratio: 1.23`."""


@pytest.mark.parametrize("bench", BENCHES, ids=lambda path: path.name)
def test_the_benchmark_runs_and_prints_its_comparison(bench: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(bench), "--quick"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = RATIO.get(bench.name, r"ratio[^:\n]*: \d+\.\d+")
    assert re.search(expected, done.stdout), done.stdout
