"""Which scenes of a dataset have a photo, and what is said of the others."""

from pathlib import Path

import pytest

from pipeline.errors import DatasetError
from pipeline.sources import DatasetConfig, Source, open_source
from pipeline.sources.photos import scenes_with_photos
from tests.datasets import stem, write_cityscapes

NONE = DatasetError("no photo at all")


def city(root: Path, *, photos: tuple[int, ...]) -> Source:
    write_cityscapes(root, scenes=3)
    for number in photos:
        photo = root / f"leftImg8bit/val/testville/{stem(number)}_leftImg8bit.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.touch()
    return open_source(DatasetConfig(root=str(root), format="cityscapes", split="val"))


def test_scenes_without_a_photo_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = city(tmp_path, photos=(2, 0))
    refs = scenes_with_photos(source, otherwise=NONE, where="the city")
    assert [ref.name for ref in refs] == [stem(0), stem(2)]
    assert caplog.messages == ["the city: 1 of 3 scenes have no photo"]


def test_nothing_is_said_where_all_have_one_or_nobody_asks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, part = city(tmp_path / "a", photos=(0, 1, 2)), city(tmp_path / "b", photos=(1,))
    assert len(scenes_with_photos(whole, otherwise=NONE, where="the city")) == 3
    assert len(scenes_with_photos(part, otherwise=NONE)) == 1
    assert caplog.messages == []


def test_a_dataset_without_photos_is_refused_in_the_words_of_who_asks(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no photo at all"):
        scenes_with_photos(city(tmp_path, photos=()), otherwise=NONE, where="the city")
