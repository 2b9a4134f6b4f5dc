"""Shipped taxonomies against facts; encoding against a plain dictionary."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import configs
from hdmodel.errors import ConfigError
from pipeline.errors import TaxonomyError
from pipeline.taxonomy import ClassInfo, Taxonomy

SHIPPED = configs.names("taxonomies")
CITY = Taxonomy.load("cityscapes")
COCO = Taxonomy.load("coco_stuff")
TRAIN_NAMES = [
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
]  # fmt: skip


def small(*classes: dict[str, object]) -> dict[str, object]:
    return {"name": "small", "version": 1, "classes": list(classes)}


def plain_class(class_id: int, **more: object) -> dict[str, object]:
    return {"id": class_id, "name": f"class {class_id}", "color": [0, 0, class_id], **more}


def test_shipped_names() -> None:
    assert SHIPPED == ["ade20k", "camvid", "cityscapes", "coco_stuff", "helen", "nyu40"]


@pytest.mark.parametrize(
    ("name", "classes", "things", "scored"),
    [
        ("ade20k", 151, 100, 150),
        ("camvid", 12, 3, 11),
        ("cityscapes", 35, 10, 19),
        ("coco_stuff", 183, 91, 171),
        ("helen", 11, 0, 11),
        ("nyu40", 41, 37, 40),
    ],
)
def test_shipped_counts(name: str, classes: int, things: int, scored: int) -> None:
    taxonomy = Taxonomy.load(name)
    assert taxonomy.name == name
    assert taxonomy.num_classes == classes
    assert taxonomy.is_thing.sum() == things
    assert not taxonomy.is_thing[0]
    train_ids = [c.train_id for c in taxonomy.classes if c.train_id != 255]
    assert sorted(train_ids) == list(range(scored))
    for c in taxonomy.classes:
        assert bool(c.void) == (c.train_id == 255), c.name
        assert all(0 <= channel <= 255 for channel in c.color)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_support_is_things_on_stuff(name: str) -> None:
    taxonomy = Taxonomy.load(name)
    by_name = {c.name: c for c in taxonomy.classes}
    for thing, grounds in taxonomy.support.items():
        assert by_name[thing].is_thing
        assert grounds
        assert not any(by_name[ground].is_thing for ground in grounds)


@pytest.mark.parametrize(
    ("name", "class_id", "expected"),
    [
        ("ade20k", 1, "wall"),
        ("ade20k", 13, "person"),
        ("ade20k", 21, "car"),
        ("ade20k", 150, "flag"),
        ("camvid", 3, "road"),
        ("camvid", 11, "unlabelled"),
        ("cityscapes", 7, "road"),
        ("cityscapes", 34, "license plate"),
        ("coco_stuff", 1, "person"),
        ("coco_stuff", 90, "toothbrush"),
        ("coco_stuff", 92, "banner"),
        ("coco_stuff", 149, "road"),
        ("coco_stuff", 182, "wood"),
        ("helen", 10, "hair"),
        ("nyu40", 1, "wall"),
        ("nyu40", 40, "other prop"),
    ],
)
def test_shipped_names_of_ids(name: str, class_id: int, expected: str) -> None:
    assert Taxonomy.load(name).classes[class_id].name == expected


def test_cityscapes_train_ids() -> None:
    classes = [c for c in CITY.classes if c.train_id != 255]
    assert [c.name for c in sorted(classes, key=lambda c: c.train_id)] == TRAIN_NAMES


def test_coco_things_match_torchvision() -> None:
    from torchvision.models._meta import _COCO_CATEGORIES

    ours = COCO.classes
    for class_id, theirs in enumerate(_COCO_CATEGORIES):
        if class_id and theirs != "N/A":
            assert ours[class_id].name == theirs
            assert not ours[class_id].void
        else:
            assert ours[class_id].void


def test_file_values() -> None:
    label, unknown = COCO.encode(np.array([[0, 181, 255]], np.uint8))
    assert label.tolist() == [[1, 182, 0]]
    assert not unknown
    assert COCO.decode(label).tolist() == [[0, 181, 255]]
    for value, dtype in ((-1, np.int32), (255, np.uint8), (65535, np.uint16)):
        label, unknown = CITY.encode(np.array([[7, value]], dtype))
        assert label.tolist() == [[7, 34]]
        assert not unknown
    assert CITY.decode(label).tolist() == [[7, -1]]


@given(
    values=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.one_of(st.integers(0, 40), st.integers(0, 255)),
    )
)
def test_encode_equals_dictionary(values: npt.NDArray[np.integer]) -> None:
    known = {**{i: i for i in range(34)}, -1: 34, 255: 34, 65535: 34}
    label, unknown = CITY.encode(values)
    assert label.dtype == np.uint8
    assert label.tolist() == [[known.get(v, 0) for v in row] for row in values.tolist()]
    assert unknown == sorted(set(values.ravel().tolist()) - known.keys())


def test_encode_values_far_apart() -> None:
    label, unknown = Taxonomy.load("camvid").encode(np.array([[-(2**31), 3], [2**31 - 1, 11]]))
    assert label.tolist() == [[0, 3], [0, 11]]
    assert unknown == [-(2**31), 2**31 - 1]


@given(label=hnp.arrays(np.uint8, (4, 5), elements=st.integers(0, 182)))
def test_decode_then_encode_is_identity(label: npt.NDArray[np.uint8]) -> None:
    again, unknown = COCO.encode(COCO.decode(label))
    np.testing.assert_array_equal(again, label)
    assert not unknown


def test_large_taxonomies_use_16_bits() -> None:
    classes = [plain_class(i, color=[i % 256, i // 256, 0]) for i in range(300)]
    taxonomy = Taxonomy.parse(small(*classes), origin="test")
    label, _ = taxonomy.encode(np.array([[299]]))
    assert label.dtype == np.uint16
    assert label.tolist() == [[299]]


def test_fingerprint_is_about_meaning() -> None:
    base = Taxonomy.parse(small(plain_class(0), plain_class(1)), origin="test")
    recolored = Taxonomy.parse(small(plain_class(0), plain_class(1, color=[9, 9, 9])), origin="t")
    renamed = Taxonomy.parse(small(plain_class(0), plain_class(1, name="other")), origin="t")
    thing = Taxonomy.parse(small(plain_class(0), plain_class(1, is_thing=True)), origin="t")
    assert base.fingerprint == recolored.fingerprint
    assert len({base.fingerprint, renamed.fingerprint, thing.fingerprint}) == 3


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "at least one class"),
        ([plain_class(0), plain_class(2)], "without gaps"),
        ([plain_class(0), plain_class(1, name="class 0")], "unique"),
        ([plain_class(0, is_thing=True)], "class 0 cannot be a thing"),
        ([plain_class(0), plain_class(1, values=[0])], "file value 0"),
        ([plain_class(0, colour=[0, 0, 0])], "did you mean 'color'"),
        ([plain_class(0, color=[0, 256, 0])], r"classes\.0\.color\.1: .* equal to 255, got 256"),
        ([plain_class(0, color=[-1, 0, 0])], r"classes\.0\.color\.0: .* equal to 0, got -1"),
        ([plain_class(0, train_id=256)], "train_id: expected 0..255, where 255 is .*, got 256"),
        ([plain_class(0, train_id=-1)], "train_id: expected 0..255, where 255 is ignored"),
    ],
)
def test_malformed(classes: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Taxonomy.parse(small(*classes), origin="own.yaml")


def test_support_of_unknown_class() -> None:
    data = {**small(plain_class(0)), "support": {"class 0": ["lava"]}}
    with pytest.raises(ConfigError, match="'lava'"):
        Taxonomy.parse(data, origin="own.yaml")


def test_load_unknown_name_suggests() -> None:
    with pytest.raises(TaxonomyError, match="did you mean 'cityscapes'"):
        Taxonomy.load("cityscape")


def test_load_own_file(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(small(plain_class(0), plain_class(1))))
    assert Taxonomy.load(path).class_names == ["class 0", "class 1"]


def test_class_info_default_values() -> None:
    assert ClassInfo(id=3, name="x", color=(0, 0, 0)).file_values == (3,)


def test_void_may_be_the_frame_or_clutter_and_counts_as_void() -> None:
    classes = [
        plain_class(0, void="frame"),
        plain_class(1, void="clutter"),
        plain_class(2, void=True),
        plain_class(3),
    ]
    taxonomy = Taxonomy.parse(small(*classes), origin="test")
    assert taxonomy.is_void.tolist() == [True, True, True, False]
    plain = [plain_class(k, void=k < 3) for k in range(4)]
    assert taxonomy.fingerprint == Taxonomy.parse(small(*plain), origin="test").fingerprint
    with pytest.raises(ConfigError, match="void"):
        Taxonomy.parse(small(plain_class(0, void="rubbish")), origin="test")


@pytest.mark.parametrize(
    ("together", "message"),
    [
        ({"class 1": ["class 9"]}, "'class 9' is not a class of things"),
        ({"class 1": ["class 0"]}, "'class 0' is not a class of things"),
        ({"class 0": ["class 1"]}, "'class 0' is not a class of things"),
        ({"class 1": ["class 2"], "class 2": ["class 3"]}, "'class 2' goes with 'class 1'"),
        ({"class 1": ["class 1"]}, "'class 1' goes with 'class 1'"),
    ],
)
def test_what_is_one_is_checked(together: dict[str, list[str]], message: str) -> None:
    classes = [plain_class(0), *(plain_class(k, is_thing=True) for k in (1, 2, 3))]
    whole = {**small(*classes), "together": {"class 1": ["class 2", "class 3"]}}
    assert Taxonomy.parse(whole, origin="test").together == {"class 1": ("class 2", "class 3")}
    with pytest.raises(ConfigError, match=message):
        Taxonomy.parse({**whole, "together": together}, origin="test")


def test_riders_go_with_what_they_ride() -> None:
    assert set(CITY.together["rider"]) == {"bicycle", "motorcycle"}
