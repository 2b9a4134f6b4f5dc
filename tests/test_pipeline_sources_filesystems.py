"""Sources: the same scenes from archives, memory and folders however named."""

import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import DatasetError
from pipeline.sources import open_source
from pipeline.sources.validate import validate
from tests.datasets import instance_file, label_file, stem, write_cityscapes
from tests.scenes import CAR, ROAD
from tests.sources import config, pixels, save, write_output


def test_other_filesystems() -> None:
    memory = fsspec.filesystem("memory")
    with memory.open("/ds/labels/train/a.png", "wb") as file:
        Image.fromarray(np.array([[10, 0]], np.uint8)).save(file, "PNG")
    source = open_source(config("memory://ds", format="helen", split="train"))
    assert pickle.loads(pickle.dumps(source)).read("a").label.tolist() == [[10, 0]]
    with pytest.raises(DatasetError, match=r"memory://ds: no split 'val'.*exist: train"):
        open_source(config("memory://ds", format="helen", split="val"))
    memory.rm("/ds", recursive=True)


def as_zip(folder: Path) -> str:
    """The files as `world/...` in an archive."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as target:
        for path in folder.rglob("*"):
            target.write(path, Path("world") / path.relative_to(folder))
    return f"zip://world::{archive}"


def as_zip_top(folder: Path) -> str:
    """The files at the top of an archive."""
    archive = shutil.make_archive(str(folder), "zip", folder)
    return f"zip://::{archive}"


def as_memory(folder: Path) -> str:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/world", recursive=True)
    return "memory://world"


def as_memory_top(folder: Path) -> str:
    memory = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/{path.relative_to(folder)}", path.read_bytes())
    return "memory://"


def as_file_url(folder: Path) -> str:
    return folder.as_uri()


def as_relative_path(folder: Path) -> str:
    return os.path.relpath(folder)


def as_folder_with_slash(folder: Path) -> str:
    return f"{folder}/"


@pytest.fixture
def _empty_memory() -> Iterator[None]:
    yield
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture(
    params=[
        as_zip,
        as_zip_top,
        as_memory,
        as_memory_top,
        as_file_url,
        as_relative_path,
        as_folder_with_slash,
    ]
)
def place(request: pytest.FixtureRequest, _empty_memory: None) -> Callable[[Path], str]:
    """Puts a folder somewhere and says where."""
    chosen: Callable[[Path], str] = request.param
    return chosen


def test_scenes_are_the_same_on_every_filesystem(
    tmp_path: Path, place: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_cityscapes(tmp_path / "data", scenes=3)
    save(folder / f"leftImg8bit/val/testville/{stem(1)}_leftImg8bit.png", np.full((32, 64, 3), 9))
    save(folder / "gtFine/val/testville/.hidden_gtFine_labelIds.png", np.zeros((2, 2)))
    instance_file(folder, 2).write_bytes(b"")
    url = place(folder)
    source = open_source(config(url, format="cityscapes", split="val"))
    data = pickle.dumps(source)
    assert len(data) < 20_000
    monkeypatch.chdir("/")
    source = pickle.loads(data)
    assert [ref.name for ref in source.scenes] == [stem(0), stem(1), stem(2)]
    assert validate(source).scenes == 3  # by several threads
    for number in range(2):
        scene = source.read(stem(number))
        np.testing.assert_array_equal(scene.label, pixels(label_file(folder, number)))
        np.testing.assert_array_equal(scene.instance, pixels(instance_file(folder, number)))
        assert (scene.photo is not None) == (number == 1)
    (error,) = source.inspect(stem(2)).errors
    monkeypatch.chdir(tmp_path)
    with fsspec.open(error.file, "rb") as file:  # what the message names can be opened
        assert file.read() == b""
    with pytest.raises(DatasetError, match=r"no split 'vall'.*did you mean 'val'"):
        open_source(config(url, format="cityscapes", split="vall"))


def test_outputs_are_the_same_on_every_filesystem(
    tmp_path: Path, place: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    write_output(folder)
    shard = next(p for p in (folder / "data.zarr/photo/c/1").rglob("*") if p.is_file())
    shard.unlink()
    source = open_source(config(place(folder), format="zarr"))
    scene = pickle.loads(pickle.dumps(source)).read("00000000")
    assert scene.label.tolist() == [[CAR, ROAD, ROAD], [ROAD] * 3]
    assert scene.photo.ravel().tolist() == list(range(18))
    (error,) = source.inspect("00000002").errors
    assert "photo cannot be read, its shard is lost" in error.message


@pytest.mark.parametrize("url", ["zip://world::absent.zip", "zip://world::text.zip", "nosuch://x"])
def test_roots_that_cannot_be_opened(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(DatasetError, match=f"^{re.escape(url)}: "):
        open_source(config(url, format="camvid"))
