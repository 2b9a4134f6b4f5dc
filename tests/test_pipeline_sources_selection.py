from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import DatasetError
from pipeline.sources import DatasetConfig, open_source
from pipeline.training.job import TrainingDataset
from pipeline.training.scenes import DatasetScenes
from tests.datasets import stem, write_cityscapes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_cityscapes(folder, scenes=40, height=16, width=32, split="train", photos=True)
    return write_cityscapes(folder, scenes=3, height=16, width=32, photos=True)


def names(root: Path, **keys: Any) -> list[str]:
    plain = {"root": str(root), "format": "cityscapes", "split": "train", **keys}
    return [ref.name for ref in open_source(DatasetConfig.parse(plain, origin="test")).scenes]


def test_halves_share_no_scene_and_are_runs_of_sixteen(root: Path) -> None:
    first, second = names(root, half=1), names(root, half=2)
    assert first == [stem(k) for k in (*range(16), *range(32, 40))]
    assert second == [stem(k) for k in range(16, 32)]


def test_patterns_choose_scenes_and_leave_halves_as_they_are(root: Path) -> None:
    assert names(root, only="*_00000[1-3]_*") == [stem(k) for k in (1, 2, 3)]
    assert names(root, only=["*_000001_*", "*_000007_*"]) == [stem(1), stem(7)]
    assert names(root, without="*_00000?_*") == [stem(k) for k in range(10, 40)]
    assert names(root, only="*_00001?_*", without=["*_000013_*"], half=2) == [
        stem(k) for k in (16, 17, 18, 19)
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"only": "aachen*"}, r"only 'aachen\*' matches the name of no scene \(the first of 40"),
        ({"without": "aachen*"}, r"without 'aachen\*' matches the name of no scene"),
        ({"only": "*_000001_*", "half": 2}, "only, without and half leave none of 40 scenes"),
    ],
)
def test_what_leaves_nothing_is_refused(root: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        names(root, **keys)


def test_a_training_on_a_half_is_measured_on_the_whole_of_another_split(root: Path) -> None:
    plain = {"root": str(root), "format": "cityscapes", "split": "train", "half": 2}
    plain |= {"validation_split": "val", "size": [16, 32]}
    scenes = DatasetScenes(TrainingDataset.parse(plain, origin="test"), validation=9)
    assert scenes.training_names == tuple(stem(k) for k in range(16, 32))
    assert len(scenes.training((16, 32))) == 16
    assert len(scenes.validation((16, 32))) == 3
