"""Sources: the other layouts, written with Pillow; and samples of real datasets."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DatasetError
from pipeline.scene import disagreements
from pipeline.sources import SceneRef, open_source
from tests.sources import config, save

SAMPLES = Path(__file__).parents[1] / "../shared/data"


def test_camvid(tmp_path: Path) -> None:
    label = np.array([[0, 8, 8, 11], [3, 3, 3, 3]])
    save(tmp_path / "trainannot/b.png", label)
    save(tmp_path / "trainannot/a.png", label)
    save(tmp_path / "train/a.jpg", np.zeros((2, 4, 3)))
    source = open_source(config(tmp_path, format="camvid", split="train"))
    assert [(ref.name, ref.photo) for ref in source.scenes] == [("a", "train/a.jpg"), ("b", None)]
    scene = source.read("a")
    assert scene.label.tolist() == label.tolist()
    assert scene.instance.tolist() == label.tolist()
    with pytest.raises(DatasetError, match=r"splits that exist: train$"):
        open_source(config(tmp_path, format="camvid", split="val"))
    with pytest.raises(DatasetError, match="a split is needed; splits that exist: train"):
        open_source(config(tmp_path, format="camvid"))


def test_ade20k_with_and_without_splits(tmp_path: Path) -> None:
    save(tmp_path / "flat/annotations/a.png", [[0, 150]])
    save(tmp_path / "flat/images/a.jpg", np.zeros((1, 2, 3)))
    source = open_source(config(tmp_path / "flat", format="ade20k"))
    assert source.scenes == (SceneRef("a", "annotations/a.png", None, "images/a.jpg"),)
    with pytest.raises(DatasetError, match=r"splits that exist: none; .*leave split out"):
        open_source(config(tmp_path / "flat", format="ade20k", split="validation"))
    save(tmp_path / "full/annotations/validation/b.png", [[1]])
    save(tmp_path / "full/images/validation/b.jpg", np.zeros((1, 1, 3)))
    source = open_source(config(tmp_path / "full", format="ade20k", split="validation"))
    assert source.read("b").label.tolist() == [[1]]
    with pytest.raises(DatasetError, match="splits that exist: validation"):
        open_source(config(tmp_path / "full", format="ade20k"))


def test_coco_stuff(tmp_path: Path) -> None:
    save(tmp_path / "train_label/1.png", [[0, 0, 0, 148, 255, 2, 2]])
    save(tmp_path / "train_inst/1.png", [[0, 1, 1, 148, 255, 2, 0]])
    save(tmp_path / "train_img/1.jpg", np.zeros((1, 7, 3)))
    source = open_source(config(tmp_path, format="coco_stuff", split="train"))
    scene = source.read("1")
    assert scene.label.tolist() == [[1, 1, 1, 149, 0, 3, 3]]
    # Index 0 is the first person; its pixel on the car is a sliver, hence crowd.
    assert scene.instance.tolist() == [[1000, 1001, 1001, 149, 0, 3000, 3]]


def test_folders_of_your_own(tmp_path: Path) -> None:
    for sequence in ("s1", "s2"):
        save(tmp_path / f"data/{sequence}/0_label.png", np.full((2, 2), 26))
        save(tmp_path / f"data/{sequence}/0_inst.png", np.full((2, 2), 26003), np.uint16)
        save(tmp_path / f"data/{sequence}/0.png", np.zeros((2, 2, 3)))
    source = open_source(
        config(
            tmp_path,
            format="folders",
            taxonomy="cityscapes",
            label_dir="data",
            label_suffix="_label.png",
            instance_suffix="_inst.png",
            photo_dir="data",
            photo_suffix=[".png", ".jpg"],
        )
    )
    assert [ref.name for ref in source.scenes] == ["s1_0", "s2_0"]
    assert source.orphans == ()
    scene = source.read("s2_0")
    assert scene.instance.tolist() == [[26003, 26003], [26003, 26003]]
    assert scene.photo is not None


needs_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="the sample datasets (../shared/data) are not here"
)


@needs_samples
@pytest.mark.parametrize(
    ("folder", "keys", "scenes", "photos"),
    [
        ("cityscapes_sample", {"format": "cityscapes", "split": "train"}, 5, 5),
        ("cityscapes_sample", {"format": "cityscapes", "split": "val"}, 8, 0),
        ("camvid", {"format": "camvid", "split": "train", "instances": "components"}, 367, 367),
        ("camvid", {"format": "camvid", "split": "val"}, 101, 101),
        ("coco_stuff_sample", {"format": "coco_stuff", "split": "train"}, 13, 13),
        ("ade20k_sample", {"format": "ade20k"}, 3, 3),
    ],
)
def test_real_samples(folder: str, keys: dict[str, object], scenes: int, photos: int) -> None:
    source = open_source(config(SAMPLES / folder, **keys))
    assert len(source.scenes) == scenes
    assert sum(ref.photo is not None for ref in source.scenes) == photos
    assert source.orphans == ()
    reading = source.inspect(source.scenes[0])
    assert not reading.errors
    assert not reading.warnings
    assert reading.scene is not None
    assert disagreements(reading.scene.label, reading.scene.instance, source.taxonomy) == 0
