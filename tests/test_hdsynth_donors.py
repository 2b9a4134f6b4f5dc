"""`hdsynth donors`: a donor bank of a dataset, and its picture."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from hdsynth.cli import main
from pipeline.donors.bank import DonorBank
from pipeline.donors.sheet import CELL, COLUMNS, CUT, HIDDEN, IN_PART, MARGIN, NAME_WIDTH, SHAPE
from tests.datasets import stem, write_cityscapes

CITY = ("--format", "cityscapes", "--split", "val", "--size", "32x64")


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["donors", *map(str, args)])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes(tmp_path_factory.mktemp("world"), scenes=4)


def test_build_and_show_agree(world: Path, tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    built = run("build", "--dataset", world, *CITY, "--to", bank, "--json")
    assert built.exit_code == 0, built.output
    report = json.loads(built.stdout)
    assert report["size"] == [32, 64]
    assert report["scenes"] == 4
    assert report["objects"] == 3 + 4 + 5 + 6
    # In each scene a car of 4 rows and a person of 8 stand free, one car of 6 rows further down;
    # the n-th scene has n more cars of 4 rows at the lower left.
    by_name = {entry["name"]: entry for entry in report["classes"]}
    assert by_name["person"]["donors"] == by_name["person"]["whole"] == 4
    assert by_name["person"]["heights"] == [8, 8, 8]
    assert by_name["car"]["donors"] == 14
    assert by_name["car"]["heights"] == [4, 4, 6]
    assert by_name["car"]["cut"] == 0
    sheet = tmp_path / "sheet.png"
    shown = run("show", bank, "--to", sheet, "--json")
    assert json.loads(shown.stdout) == report
    text = run("show", bank)
    assert "18 donors from 4 scenes of 32x64" in text.stdout
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape[1] == NAME_WIDTH + COLUMNS * (CELL + MARGIN)
    assert (pixels == SHAPE).all(axis=2).any()
    assert not (pixels == CUT).all(axis=2).any()


def test_a_sheet_marks_what_is_cut_and_hidden(tmp_path: Path) -> None:
    world = write_cityscapes(tmp_path / "world", scenes=1)
    for kind, scale in (("labelIds", 1), ("instanceIds", 1000)):
        path = world / "gtFine/val/testville" / f"{stem(0)}_gtFine_{kind}.png"
        ids = np.asarray(Image.open(path)).copy()
        ids[20:26, 0:8] = 26 * scale + (5 if scale > 1 else 0)  # cut at the left
        ids[22:30, 8:16] = 26 * scale + (6 if scale > 1 else 0)  # and hidden by this one
        Image.fromarray(ids).save(path)
    bank = tmp_path / "bank"
    built = run("build", "--dataset", world, *CITY, "--to", bank, "--json")
    car = next(c for c in json.loads(built.stdout)["classes"] if c["name"] == "car")
    assert (car["donors"], car["cut"]) == (4, 1)
    assert car["hidden"] >= 1
    sheet = tmp_path / "sheet.png"
    assert run("show", bank, "--to", sheet).exit_code == 0
    pixels = np.asarray(Image.open(sheet))
    assert (pixels == CUT).all(axis=2).any()
    assert (pixels == HIDDEN).all(axis=2).any()
    assert (pixels == IN_PART).all(axis=2).any()
    whole = run("show", bank, "--to", sheet, "--min-completeness", 0.9, "--json")
    kept = {c["name"]: c["donors"] for c in json.loads(whole.stdout)["classes"]}
    completeness, classes = (
        DonorBank.open(bank).index.completeness,
        DonorBank.open(bank).index.classes,
    )
    assert kept["car"] == np.count_nonzero(completeness[classes == 26] >= 0.9) < 4
    assert not (np.asarray(Image.open(sheet)) == IN_PART).all(axis=2).any()


def test_a_limit_spreads_over_the_scenes(world: Path, tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    assert run("build", "--dataset", world, *CITY, "--limit", 2, "--to", bank).exit_code == 0
    assert DonorBank.open(bank).index.names == (stem(0), stem(2))


def test_bad_input_is_one_line(world: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").touch()
    for args, words in (
        (("build", "--dataset", world, *CITY, "--to", full), "expected a new or empty folder"),
        (("build", "--dataset", tmp_path / "no", *CITY, "--to", tmp_path / "b"), "no"),
        (("build", "--dataset", world, *CITY, "--set", "labl=1", "--to", tmp_path / "b"), "labl"),
        (("show", full), "not a donor bank, expected a folder with bank.yaml"),
    ):
        result = run(*args)
        assert result.exit_code == 2, result.output
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert run("show", full, "--to", "sheet.jpg").exit_code == 2
    assert not (tmp_path / "b").exists()
