"""Sources: datasets written with Pillow, zarr and pyarrow; decoding against plain loops."""

import os
import pickle
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import configs
from hdmodel.errors import ConfigError, InputError
from pipeline.errors import DatasetError, TaxonomyError
from pipeline.scene import disagreements, instances_of
from pipeline.sources import FORMATS, DatasetConfig, SceneRef, Source, open_source
from pipeline.sources.decoding import decode_indices, decode_instances
from pipeline.sources.validate import validate
from pipeline.taxonomy import Taxonomy
from tests.datasets import instance_file, label_file, stem, write_cityscapes
from tests.scenes import CAR, PERSON, ROAD, SKY

CITY = Taxonomy.load("cityscapes")
COCO = Taxonomy.load("coco_stuff")
SAMPLES = Path(__file__).parents[1] / "../shared/data"


def config(root: Path | str, **keys: object) -> DatasetConfig:
    return DatasetConfig.parse({"root": root, **keys}, origin="test")


def city(root: Path, **keys: object) -> Source:
    return open_source(config(root, format="cityscapes", **{"split": "val", **keys}))


def save(path: Path, values: npt.ArrayLike, dtype: type = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype)).save(path)
    return path


def pixels(path: Path) -> npt.NDArray[np.int32]:
    with Image.open(path) as picture:
        return np.array(picture).astype(np.int32)


def edit(path: Path, change: Callable[[npt.NDArray[np.int32]], None], dtype: type) -> None:
    values = pixels(path)
    change(values)
    save(path, values, dtype)


# Cityscapes


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


@pytest.mark.parametrize("number", [40_001, 2_000_000_000])
def test_instance_ids_of_no_class(number: int) -> None:
    label = np.full((3, 3), ROAD, np.uint8)
    values = np.full((3, 3), ROAD, np.int64)
    values[0, 0] = number
    _, errors, _ = decode_instances(values, label, CITY, file="i.png")
    assert str(number) in str(errors[0])


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


# What is not there


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


# Other layouts


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


def test_own_folder_without_partners_is_an_error(tmp_path: Path) -> None:
    save(tmp_path / "labels/a.png", [[3]])
    with pytest.raises(DatasetError, match="photo_dir 'pictures' holds no file"):
        open_source(config(tmp_path, format="folders", taxonomy="camvid", photo_dir="pictures"))


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


def test_other_filesystems() -> None:
    memory = fsspec.filesystem("memory")
    with memory.open("/ds/labels/train/a.png", "wb") as file:
        Image.fromarray(np.array([[10, 0]], np.uint8)).save(file, "PNG")
    source = open_source(config("memory://ds", format="helen", split="train"))
    assert pickle.loads(pickle.dumps(source)).read("a").label.tolist() == [[10, 0]]
    with pytest.raises(DatasetError, match=r"memory://ds: no split 'val'.*exist: train"):
        open_source(config("memory://ds", format="helen", split="val"))
    memory.rm("/ds", recursive=True)


# Decoding against plain loops

VALUES = st.sampled_from([0, 7, 23, 24, 26, 255, 7000, 24000, 26000, 26001, 26999, 40000, 65535])
SHAPE = (3, 4)


@given(
    label=hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 7, 24, 26, 34])),
    values=hnp.arrays(np.uint16, SHAPE, elements=VALUES),
)
def test_decode_instances_pixel_by_pixel(
    label: npt.NDArray[np.uint8], values: npt.NDArray[np.uint16]
) -> None:
    special = {255: 34, 65535: 34}
    wrong: Counter[int] = Counter()
    expected = []
    for class_id, value in zip(label.ravel().tolist(), values.ravel().tolist(), strict=True):
        named = special.get(value, value // 1000 if value >= 1000 else value)
        agrees = named == class_id
        wrong[value] += not agrees and value != 0
        single = agrees and value >= 1000 and class_id in (24, 26)
        expected.append(value if single else class_id)
    instance, errors, warnings = decode_instances(values, label, CITY, file="i.png")
    assert instance.ravel().tolist() == expected
    total = Counter(values.ravel().tolist())
    serious = {value for value in wrong if wrong[value] and 2 * wrong[value] >= total[value]}
    assert {error.values[0][0] for error in errors} == serious
    minor = {value: n for value, n in wrong.items() if n and value not in serious}
    assert {value: n for w in warnings for value, n in w.values} == minor


@given(data=st.data())
def test_decode_indices_object_by_object(data: st.DataObject) -> None:
    label = data.draw(hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 3, 4, 149])))
    label_values = np.where(label == 0, 255, label.astype(int) - 1).astype(np.uint8)
    index = data.draw(hnp.arrays(np.uint8, SHAPE, elements=st.integers(0, 4)))
    repeat = data.draw(hnp.arrays(np.bool_, SHAPE))
    index[repeat] = label_values[repeat]
    instance = decode_indices(index, label_values, label, COCO)
    pixels = list(zip(label.flat, index.flat, label_values.flat, instance.flat, strict=True))
    things = [(int(c), int(i), int(v)) for c, i, v, _ in pixels if 1 <= c <= 91]
    last = max((i for _, i, v in things if i != v), default=-1)
    areas = Counter((i, c) for c, i, v in things if not (i == v and i > last + 1))
    for class_id, number, value, got in pixels:
        c, i = int(class_id), int(number)
        mine = [(area, -other) for (j, other), area in areas.items() if j == i]
        crowd = i == value and i > last + 1
        main = not crowd and mine and max(mine) == (areas[i, c], -c)
        assert (got >= 1000) == (1 <= c <= 91 and bool(main))
        assert got // 1000 == c if got >= 1000 else got == c
    objects = {(int(i), int(got)) for _, i, _, got in pixels if got >= 1000}
    assert len({i for i, _ in objects}) == len(objects) == len({got for _, got in objects})


# Other filesystems


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


# Our own output


def write_output(root: Path) -> None:
    group = zarr.create_group(root / "data.zarr")
    label = np.full((4, 2, 3), ROAD, np.uint8)
    label[:, 0, 0] = CAR
    instance = label.astype(np.int32)
    instance[:, 0, 0] = CAR * 1000 + 2
    instance[3, 1, 1] = CAR * 1000
    for name, values in (
        ("label", label),
        ("instance", instance),
        ("photo", np.arange(72, dtype=np.uint8).reshape(4, 2, 3, 3)),
    ):
        inner = values.shape[1:]
        group.create_array(name, data=values, shards=(2, *inner), chunks=(1, *inner))
    (root / "manifest").mkdir()
    for shard, status in ((0, ["ok", "failed"]), (1, ["ok", "ok"])):
        rows = {"index": [2 * shard, 2 * shard + 1], "status": status}
        pq.write_table(pa.table(rows), root / f"manifest/shard-{shard:05d}.parquet")
    (root / "taxonomy.yaml").write_text(
        (configs.folder("taxonomies") / "cityscapes.yaml").read_text()
    )


def test_zarr(tmp_path: Path) -> None:
    write_output(tmp_path)
    source = open_source(config(tmp_path, format="zarr", taxonomy="cityscapes"))
    assert [ref.name for ref in source.scenes] == ["00000000", "00000002", "00000003"]
    assert source.orphans == ()
    scene = pickle.loads(pickle.dumps(source)).read("00000002")
    assert scene.label.tolist() == [[CAR, ROAD, ROAD], [ROAD] * 3]
    assert scene.instance.tolist() == [[CAR * 1000 + 2, ROAD, ROAD], [ROAD] * 3]
    assert scene.photo.ravel().tolist() == list(range(36, 54))
    assert source.read("00000002", photo=False).photo is None
    with pytest.raises(DatasetError, match=r"data\.zarr sample 3: 1 pixels whose instance"):
        source.read("00000003")
    with pytest.raises(DatasetError, match="no scene"):
        source.read("00000001")
    components = open_source(
        config(tmp_path, format="zarr", instances="components", min_component_area=1)
    )
    assert components.read("00000003").instance[0, 0] == CAR * 1000


@pytest.mark.parametrize("array", ["label", "instance", "photo"])
@pytest.mark.parametrize("loss", ["missing", "empty", "truncated"])
def test_a_lost_shard_is_no_void(tmp_path: Path, array: str, loss: str) -> None:
    write_output(tmp_path)
    lost = tmp_path / "data.zarr" / array / "c" / "1"
    shard = next(path for path in lost.rglob("*") if path.is_file())
    if loss == "missing":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[: 0 if loss == "empty" else -40])
    source = open_source(config(tmp_path, format="zarr"))
    assert source.inspect("00000000").scene is not None
    reading = source.inspect("00000002")
    assert reading.scene is None
    (error,) = reading.errors
    assert error.kind == "unreadable"
    assert f"{array} cannot be read" in error.message
    assert not validate(source).ok


def test_zarr_errors(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected an output of hdsynth render"):
        open_source(config(tmp_path, format="zarr"))
    write_output(tmp_path)
    with pytest.raises(TaxonomyError, match="made with taxonomy 'cityscapes'"):
        open_source(config(tmp_path, format="zarr", taxonomy="camvid"))
    with pytest.raises(DatasetError, match="has no splits"):
        open_source(config(tmp_path, format="zarr", split="val"))
    (tmp_path / "manifest/shard-00001.parquet").write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match=r"shard-00001\.parquet: not a manifest"):
        open_source(config(tmp_path, format="zarr"))
    for path in (tmp_path / "manifest").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="no finished samples"):
        open_source(config(tmp_path, format="zarr"))


# Real samples

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
