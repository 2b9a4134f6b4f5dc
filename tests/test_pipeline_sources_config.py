"""Sources: wrong splits, roots, keys and names, and what the errors say."""

from pathlib import Path

import numpy as np
import pytest

from hdmodel.errors import ConfigError, InputError
from pipeline.errors import DatasetError
from pipeline.sources import FORMATS, open_source
from tests.datasets import stem, write_cityscapes
from tests.sources import city, config, save


def test_wrong_splits(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=1, split="val")
    write_cityscapes(tmp_path, scenes=1, split="train")
    (tmp_path / "gtFine/test/berlin").mkdir(parents=True)
    (tmp_path / "gtFine/test/berlin/readme.txt").write_text("")
    with pytest.raises(DatasetError, match=r"no split 'vla'.*test, train, val; did you mean 'val'"):
        city(tmp_path, split="vla")
    with pytest.raises(DatasetError, match=r"split 'test' is empty.*readme\.txt.*test, train, val"):
        city(tmp_path, split="test")
    with pytest.raises(DatasetError, match="a split is needed; splits that exist: test, train"):
        city(tmp_path, split=None)


def test_wrong_roots(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nothing: no such folder"):
        city(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="found a file"):
        city(tmp_path / "file")
    with pytest.raises(DatasetError, match=r"splits that exist: none"):
        city(tmp_path)
    with pytest.raises(DatasetError, match="Protocol not known"):
        open_source(config("teleport://data", format="cityscapes", split="val"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"format": "cityscape"}, "unknown dataset format, did you mean 'cityscapes'"),
        ({"format": "cityscapes", "spilt": "val"}, "did you mean 'split'"),
        ({"format": "cityscapes", "instances": "file"}, "instances"),
        ({"format": "camvid", "instances": "files"}, "camvid' has no instance maps"),
        ({"format": "folders"}, "needs a taxonomy"),
        ({"format": "folders", "taxonomy": "camvit"}, "did you mean 'camvid'"),
        (
            {"format": "folders", "taxonomy": "camvid", "label_dir": "x", "split": "a"},
            "has no .split. in it",
        ),
    ],
)
def test_wrong_keys(tmp_path: Path, keys: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(config(tmp_path, **keys))


def test_formats_are_listed_when_unknown() -> None:
    with pytest.raises(ConfigError, match=", ".join(FORMATS)):
        config("x", format="pascal")


def test_ambiguous_names(tmp_path: Path) -> None:
    save(tmp_path / "labels/a.png", [[3]])
    save(tmp_path / "images/a.png", np.zeros((1, 1, 3)))
    save(tmp_path / "images/a.jpg", np.zeros((1, 1, 3)))
    with pytest.raises(DatasetError, match=r"images/a\.jpg and images/a\.png have the same name"):
        open_source(config(tmp_path, format="helen"))
    write_cityscapes(tmp_path, scenes=1)
    save(tmp_path / f"gtFine/val/elsewhere/{stem(0)}_gtFine_labelIds.png", np.zeros((2, 2)))
    with pytest.raises(DatasetError, match=f"would both be scene '{stem(0)}'"):
        city(tmp_path)


def test_own_folder_without_partners_is_an_error(tmp_path: Path) -> None:
    save(tmp_path / "labels/a.png", [[3]])
    with pytest.raises(DatasetError, match="photo_dir 'pictures' holds no file"):
        open_source(config(tmp_path, format="folders", taxonomy="camvid", photo_dir="pictures"))
