"""Sources: the Cityscapes layout, written with Pillow."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.errors import DatasetError
from pipeline.scene import disagreements, instances_of
from tests.datasets import instance_file, label_file, stem, write_cityscapes
from tests.scenes import CAR, PERSON, SKY
from tests.sources import CITY, city, edit, pixels, save


def test_cityscapes(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=3)
    save(tmp_path / f"leftImg8bit/val/testville/{stem(1)}_leftImg8bit.png", np.full((32, 64, 3), 9))
    source = city(tmp_path)
    assert [ref.name for ref in source.scenes] == [stem(0), stem(1), stem(2)]
    assert source.taxonomy.name == "cityscapes"
    assert source.orphans == ()
    for number in range(3):
        scene = source.read(stem(number))
        np.testing.assert_array_equal(scene.label, pixels(label_file(tmp_path, number)))
        np.testing.assert_array_equal(scene.instance, pixels(instance_file(tmp_path, number)))
        assert scene.label.dtype == np.uint8
        assert scene.instance.dtype == np.int32
        assert (scene.photo is not None) == (number == 1)
    assert source.read(source.scenes[1], photo=False).photo is None
    assert (source.read(stem(1)).photo == 9).all()
    with pytest.raises(DatasetError, match="'nowhere'"):
        source.read("nowhere")


def test_sources_are_small_and_pickle(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=2)
    source = city(tmp_path)
    data = pickle.dumps(source)
    assert len(data) < 20_000
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.read(stem(1)).label, source.read(stem(1)).label)


def test_crowds_stay_crowds(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=1)

    def make_crowd(values: npt.NDArray[np.int32]) -> None:
        values[values == CAR * 1000] = CAR
        values[values == SKY] = 0  # says nothing about the sky

    edit(instance_file(tmp_path, 0), make_crowd, np.uint16)
    scene = city(tmp_path).read(stem(0))
    assert set(np.unique(scene.instance[scene.label == CAR])) == {CAR, CAR * 1000 + 1}
    assert (scene.instance[scene.label == SKY] == SKY).all()


@pytest.mark.parametrize(("value", "dtype"), [(255, np.uint8), (65535, np.uint16)])
def test_license_plate(tmp_path: Path, value: int, dtype: type) -> None:
    write_cityscapes(tmp_path, scenes=1)

    def add_plate(values: npt.NDArray[np.int32]) -> None:
        values[20:22, 40:43] = value

    edit(label_file(tmp_path, 0), add_plate, dtype)
    edit(instance_file(tmp_path, 0), add_plate, np.uint16)
    scene = city(tmp_path).read(stem(0))
    assert (scene.label[20:22, 40:43] == 34).all()
    assert (scene.instance[20:22, 40:43] == 34).all()
    assert disagreements(scene.label, scene.instance, CITY) == 0


def test_missing_instance_map(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=2)
    instance_file(tmp_path, 0).unlink()
    source = city(tmp_path)
    with pytest.raises(DatasetError, match=r"000000_000019_gtFine_labelIds\.png: has no instance"):
        source.read(stem(0))
    source.read(stem(1))
    parts = city(tmp_path, instances="components").read(stem(0))
    assert {item.id for item in instances_of(parts.instance)} == {24000, 26000, 26001}
    large = city(tmp_path, instances="components", min_component_area=50).read(stem(0))
    assert {item.id for item in instances_of(large.instance)} == {26000}
    none = city(tmp_path, instances="none").read(stem(0))
    np.testing.assert_array_equal(none.instance, none.label)


@pytest.mark.parametrize("file", [label_file, instance_file])
def test_broken_files_are_named(tmp_path: Path, file: Callable[[Path, int], Path]) -> None:
    write_cityscapes(tmp_path, scenes=2)
    path = file(tmp_path, 0)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DatasetError, match=f"{path.name}: cannot be read"):
        city(tmp_path).read(stem(0))
    path.unlink()
    source = city(tmp_path)
    if file is label_file:
        assert [Path(orphan).name for orphan in source.orphans] == [instance_file(tmp_path, 0).name]


def test_unknown_label_values(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=1)

    def spoil(values: npt.NDArray[np.int32]) -> None:
        values[0, :3] = 77
        values[1, 0] = 200

    edit(label_file(tmp_path, 0), spoil, np.uint8)
    source = city(tmp_path)
    message = r"labelIds\.png: label values 77 \(3 pixels\), 200 \(1 pixel\): not in taxonomy 'city"
    with pytest.raises(DatasetError, match=message):
        source.read(stem(0))
    (problem,) = source.inspect(stem(0)).errors
    assert problem.kind == "value"
    assert problem.values == ((77, 3), (200, 1))
    assert "-1..33, 255, 65535" in problem.message


def test_sizes_must_agree(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=2)
    save(instance_file(tmp_path, 0), np.zeros((16, 64)), np.uint16)
    photo = save(
        tmp_path / f"leftImg8bit/val/testville/{stem(1)}_leftImg8bit.png", np.zeros((32, 60, 3))
    )
    source = city(tmp_path)
    with pytest.raises(DatasetError, match=r"instanceIds\.png: 16x64 pixels.*32x64"):
        source.read(stem(0))
    with pytest.raises(DatasetError, match=f"{photo.name}: 32x60 pixels"):
        source.read(stem(1))
    source.read(stem(1), photo=False)


def test_colour_labels_are_refused(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=1)
    save(label_file(tmp_path, 0), np.zeros((32, 64, 3)))
    with pytest.raises(DatasetError, match="got RGB"):
        city(tmp_path).read(stem(0))


def test_instances_on_another_class(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=2)

    def rename(values: npt.NDArray[np.int32]) -> None:
        values[values == CAR * 1000] = PERSON * 1000 + 5

    def shift(values: npt.NDArray[np.int32]) -> None:
        values[15, 7] = CAR * 1000  # one pixel left of the car, on the building

    edit(instance_file(tmp_path, 0), rename, np.uint16)
    edit(instance_file(tmp_path, 1), shift, np.uint16)
    source = city(tmp_path)
    message = "instance id 24005: 32 of its 32 pixels .*26 'car'.*expected 'person'"
    with pytest.raises(DatasetError, match=message):
        source.read(stem(0))
    reading = source.inspect(stem(1))
    (warning,) = reading.warnings
    assert "1 pixel of 1 instance id (mostly 26000)" in str(warning)
    assert warning.values == ((26000, 1),)
    assert reading.scene is not None
    assert reading.scene.instance[15, 7] == reading.scene.label[15, 7] != CAR
    assert disagreements(reading.scene.label, reading.scene.instance, CITY) == 0


def test_photo_modes(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=2)
    folder = tmp_path / "leftImg8bit/val/testville"
    save(folder / f"{stem(0)}_leftImg8bit.png", np.zeros((32, 64, 3)))
    save(folder / f"{stem(9)}_leftImg8bit.png", np.zeros((32, 64, 3)))
    source = city(tmp_path, photos="required")
    assert source.orphans == (f"leftImg8bit/val/testville/{stem(9)}_leftImg8bit.png",)
    source.read(stem(0))
    with pytest.raises(DatasetError, match="has no photo"):
        source.read(stem(1))
    assert city(tmp_path, photos="none").read(stem(0)).photo is None
    assert city(tmp_path, photos="none").orphans == ()


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    write_cityscapes(tmp_path / "real", scenes=1)
    (tmp_path / "top/gtFine/val").mkdir(parents=True)
    (tmp_path / "top/gtFine/val/testville").symlink_to(tmp_path / "real/gtFine/val/testville")
    assert [ref.name for ref in city(tmp_path / "top").scenes] == [stem(0)]


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, scenes=1)
    path = label_file(tmp_path, 0)
    path.with_name(f"._{path.name}").write_bytes(b"resource fork")
    source = city(tmp_path)
    assert [ref.name for ref in source.scenes] == [stem(0)]
    assert source.orphans == ()


def test_other_annotations_of_cityscapes(tmp_path: Path) -> None:
    save(tmp_path / "gtCoarse/train/x/x_000000_000000_gtCoarse_labelIds.png", np.full((4, 4), 7))
    source = city(
        tmp_path,
        split="train",
        label_dir="gtCoarse/{split}",
        label_suffix="_gtCoarse_labelIds.png",
        instances="none",
    )
    assert [ref.name for ref in source.scenes] == ["x_000000_000000"]
