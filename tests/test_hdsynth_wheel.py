"""The built wheel: what a user installs."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("hdsynth", "hdmodel", "pipeline", "eval", "configs")


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a wheel built from a copy of the source tree."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "tests", "bench", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (ROOT / "pyproject.toml", ROOT / "LICENSE", *ROOT.glob("*.md")):
        shutil.copy(path, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run(
        [*command, str(source)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("hdsynth-*-py3-none-any.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def source_files(pattern: str) -> set[str]:
    files = (path for package in PACKAGES for path in (ROOT / package).rglob(pattern))
    return {path.relative_to(ROOT).as_posix() for path in files if path.is_file()}


@pytest.mark.parametrize("pattern", ["*.py", "*.yaml", "*.safetensors", "*.json", "templates/*"])
def test_the_wheel_holds_every_file_of_the_packages(pattern: str, wheel_names: set[str]) -> None:
    assert source_files(pattern) - wheel_names == set()


def test_the_wheel_is_typed_and_licensed(wheel_names: set[str]) -> None:
    assert {f"{name}/py.typed" for name in ("hdsynth", "hdmodel", "pipeline", "eval")} < wheel_names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel_names)


def test_the_wheel_holds_nothing_else(wheel_names: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert not [name for name in wheel_names if "__pycache__" in name or "test" in name]
