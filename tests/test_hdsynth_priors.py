"""`hdsynth priors`: fitted to a dataset, and shown."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hdsynth.cli import main
from tests.datasets import write_cityscapes

CITY = ("--format", "cityscapes", "--split", "val", "--size", "32x64")


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["priors", *map(str, args)])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes(tmp_path_factory.mktemp("world"), scenes=4)


def test_fit_and_show_agree(world: Path, tmp_path: Path) -> None:
    path = tmp_path / "priors.json"
    fitted = run("fit", "--dataset", world, *CITY, "--to", path, "--json")
    assert fitted.exit_code == 0, fitted.output
    report = json.loads(fitted.stdout)
    assert report["scenes"] == 4
    by_name = {entry["name"]: entry for entry in report["classes"]}
    # Each scene has a person and two cars, and the n-th n cars more.
    assert by_name["person"]["objects"] == 4
    assert by_name["car"]["objects"] == 4 * 2 + 0 + 1 + 2 + 3
    assert by_name["car"]["count"]["mean"] == 3.5
    assert json.loads(run("show", path, "--json").stdout) == report
    text = run("show", path)
    assert "18 objects of 4 scenes" in text.stdout
    assert "no objects of rider, truck" in text.stdout


def test_limit_and_bad_names(world: Path, tmp_path: Path) -> None:
    path = tmp_path / "priors.json"
    run("fit", "--dataset", world, *CITY, "--to", path, "--limit", "2")
    assert json.loads(path.read_text())["scenes"] == 2
    wrong = run("fit", "--dataset", world, *CITY, "--to", tmp_path / "priors.txt")
    assert wrong.exit_code == 2
    assert "ends in .json" in wrong.output
    wrong = run("fit", "--dataset", world, *CITY, "--to", tmp_path / "no" / "priors.json")
    assert wrong.exit_code == 2
    assert "there is no folder" in wrong.output
    wrong = run("show", tmp_path / "other.json")
    assert wrong.exit_code == 2
    assert "no such file" in wrong.output
