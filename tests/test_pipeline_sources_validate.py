"""Validation of small datasets with known faults, through Python and the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from hdsynth.commands.validate import validate as command
from pipeline.errors import DatasetError
from pipeline.sources import DatasetConfig, Source, open_source
from pipeline.sources.validate import inspect_scene, validate
from tests.datasets import instance_file, label_file, stem, write_cityscapes
from tests.scenes import CAR, PERSON


def city(root: Path, **keys: object) -> Source:
    data = {"root": root, "format": "cityscapes", "split": "val", **keys}
    return open_source(DatasetConfig.parse(data, origin="test"))


def spoil(root: Path) -> None:
    """Five scenes, three of them broken: a label value, a truncated file, a missing one."""
    write_cityscapes(root, scenes=5)
    with Image.open(label_file(root, 1)) as picture:
        label = np.array(picture)
    label[0, :7] = 99
    Image.fromarray(label).save(label_file(root, 1))
    path = instance_file(root, 2)
    path.write_bytes(path.read_bytes()[:80])
    instance_file(root, 3).unlink()


def test_good_dataset(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=4)
    report = validate(city(tmp_path))
    assert report.ok
    assert (report.scenes, report.photos) == (4, 0)
    assert report.warnings == ()
    assert report.sizes == ((32, 64, 4),)
    assert report.void_share == 0
    counts = {c.name: c for c in report.classes}
    labels = [np.array(Image.open(label_file(tmp_path, n))) for n in range(4)]
    assert counts["car"].pixels == sum(int((label == CAR).sum()) for label in labels)
    assert counts["car"].objects == sum(2 + n for n in range(4))
    assert counts["person"].objects == 4
    assert counts["road"].scenes == 4
    assert counts["road"].objects == 0
    assert len(report.absent) == 35 - len(counts)
    assert sum(c.pixels for c in report.classes) == 4 * 32 * 64


def test_every_fault_is_found(tmp_path: Path) -> None:
    spoil(tmp_path)
    steps: list[int] = []
    report = validate(city(tmp_path), progress=steps.append)
    assert not report.ok
    assert [(Path(e.file).name, e.kind) for e in report.errors] == [
        (label_file(tmp_path, 1).name, "value"),
        (instance_file(tmp_path, 2).name, "unreadable"),
        (label_file(tmp_path, 3).name, "missing"),
    ]
    assert report.errors[0].values == ((99, 7),)
    assert report.scenes == 5
    assert report.sizes == ((32, 64, 2),)
    assert steps == sorted(steps)
    assert steps[-1] == 5


def test_scenes_are_checked_by_name_or_ref(tmp_path: Path) -> None:
    spoil(tmp_path)
    source = city(tmp_path)
    assert not inspect_scene(source, stem(4)).errors
    assert inspect_scene(source, source.scenes[3]).errors
    with pytest.raises(DatasetError, match="'unknown'"):
        inspect_scene(source, "unknown")


def test_warnings(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=2)
    write_cityscapes(tmp_path / "large", scenes=3, height=64, width=128)
    for file in (label_file, instance_file):
        file(tmp_path / "large", 2).rename(file(tmp_path, 2))
    photos = tmp_path / "leftImg8bit/val/testville"
    photos.mkdir(parents=True)
    for number in (0, 8):
        Image.new("RGB", (64, 32)).save(photos / f"{stem(number)}_leftImg8bit.png")
    report = validate(city(tmp_path, instances="none"))
    assert report.ok
    assert report.sizes == ((32, 64, 2), (64, 128, 1))
    assert report.orphans == (f"leftImg8bit/val/testville/{stem(8)}_leftImg8bit.png",)
    text = "\n".join(report.warnings)
    assert "2 different sizes" in text
    assert "2 of 3 scenes have no photo" in text
    assert "1 file belongs to no label map" in text
    assert "all things are crowd" in text
    assert "no photo" not in "\n".join(validate(city(tmp_path), photos=False).warnings)


def test_void_share(tmp_path: Path) -> None:
    folder = tmp_path / "valannot"
    folder.mkdir()
    Image.fromarray(np.array([[3, 11], [11, 11]], np.uint8)).save(folder / "a.png")
    source = open_source(DatasetConfig(root=str(tmp_path), format="camvid", split="val"))
    assert validate(source).void_share == 0.75


def test_inspect_scene_counts(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=1)
    check = inspect_scene(city(tmp_path), stem(0))
    assert check.size == (32, 64)
    assert check.objects == {CAR: 2, PERSON: 1}
    assert check.pixels[PERSON] == 24
    assert check.pixels.total() == 32 * 64


def test_command_json(tmp_path: Path) -> None:
    spoil(tmp_path)
    arguments = [str(tmp_path), "--format", "cityscapes", "--split", "val", "--json"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    report = json.loads(result.stdout)
    assert not report["ok"]
    assert report["dataset"]["split"] == "val"
    assert report["errors"][0]["values"] == [{"value": 99, "pixels": 7}]
    assert {c["name"] for c in report["classes"]} >= {"car", "road"}


def test_command_table(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=2)
    arguments = [str(tmp_path), "--format", "cityscapes", "--split", "val"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert "result: ok" in result.stdout
    assert "car" in result.stdout
    assert "32x64 (2)" in result.stdout
    instance_file(tmp_path, 0).unlink()
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert f"error: {label_file(tmp_path, 0)}: has no instance map" in result.stdout


def test_command_own_folders(tmp_path: Path) -> None:
    folder = tmp_path / "masks/train"
    folder.mkdir(parents=True)
    Image.fromarray(np.array([[3, 8]], np.uint8)).save(folder / "a.png")
    arguments = [str(tmp_path), "--format", "folders", "--split", "train", "--taxonomy", "camvid"]
    arguments += ["--set", "label_dir=masks/{split}", "--json"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["sizes"] == [{"height": 1, "width": 2, "scenes": 1}]
