import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.donors.bank import FILES, INDEX, INFO, MASKS, TAXONOMY, DonorBank, DonorIndex
from pipeline.donors.writer import MIN_AREA, build_bank, new_bank, pack_scene
from pipeline.editing.cutout import OperationSkipped
from pipeline.errors import DatasetError, OutputError
from pipeline.fit import fit
from pipeline.indexing.record import BOTTOM, LEFT, RIGHT, SceneRecord, index_scene
from pipeline.scene import Scene
from pipeline.sources import DatasetConfig, open_source
from pipeline.taxonomy import Taxonomy
from tests.datasets import stem, write_cityscapes
from tests.edited_scenes import scenes
from tests.scenes import CAR, PERSON, street, with_cyclist

CITY = Taxonomy.load("cityscapes")
NOWHERE = DatasetConfig(root="/nowhere", format="cityscapes", split="val")
REAL = Path(__file__).parents[2] / "shared" / "data"


def write_bank(path: Path, found: Sequence[Scene]) -> DonorBank:
    with new_bank(path, dataset=NOWHERE, size=found[0].size, fit="resize", taxonomy=CITY) as writer:
        for scene in found:
            writer.add(pack_scene(index_scene(scene, CITY), scene.instance))
    return DonorBank.open(path)


def same_size(one: Scene, other: Scene) -> tuple[Scene, Scene]:
    height, width = (min(pair) for pair in zip(one.size, other.size, strict=True))
    first, second = (
        Scene(name, s.label[:height, :width], s.instance[:height, :width])
        for name, s in (("zebra", one), ("ant", other))
    )
    return first, second


@settings(deadline=None, max_examples=30)
@given(scenes(), scenes())
def test_a_bank_gives_back_every_shape(
    tmp_path_factory: pytest.TempPathFactory, one: Scene, other: Scene
) -> None:
    pair = same_size(one, other)
    bank = write_bank(tmp_path_factory.mktemp("donors") / "bank", pair)
    bank.check_masks()
    kept = set()
    for scene in pair:
        record = index_scene(scene, CITY)
        for position, instance in enumerate(record.ids.tolist()):
            points = np.argwhere(scene.instance == instance)
            if len(points) < MIN_AREA or record.ground[position] < 0:
                with pytest.raises((OperationSkipped, DatasetError)):
                    bank.cutout(scene.name, instance)
                continue
            kept.add((scene.name, instance))
            shape = bank.cutout(scene.name, instance)
            top, left = points.min(axis=0)
            assert (shape.top, shape.left) == (top, left)
            np.testing.assert_array_equal(np.argwhere(shape.mask) + np.array([top, left]), points)
    index = bank.index
    listed = [(index.names[s], i) for s, i in zip(index.scenes, index.ids.tolist(), strict=True)]
    assert set(listed) == kept
    assert len(listed) == len(kept) == bank.info.objects
    again = DonorIndex.of([index_scene(scene, CITY) for scene in pair], min_area=MIN_AREA)
    for field in fields(DonorIndex):
        np.testing.assert_array_equal(getattr(index, field.name), getattr(again, field.name))


@settings(deadline=None, max_examples=40)
@given(st.lists(scenes(), min_size=1, max_size=3), st.sampled_from([1, 8]))
def test_an_index_has_the_columns_of_the_records(found: list[Scene], min_area: int) -> None:
    records = [index_scene(scene, CITY) for scene in found]
    index = DonorIndex.of(records, min_area=min_area)
    rows = [
        (number, position)
        for number, record in enumerate(records)
        for position in range(len(record.ids))
        if record.ground[position] >= 0 and record.areas[position] >= min_area
    ]
    assert len(index) == len(rows)
    used = sorted({number for number, _ in rows})
    for place, (number, position) in enumerate(rows):
        record: SceneRecord = records[number]
        assert index.scenes[place] == used.index(number)
        assert index.names[index.scenes[place]] == record.name
        for name in (
            "ids", "areas", "ground", "cut_sides", "hidden_sides", "pieces", "companions",
            "partners", "obscured",
        ):  # fmt: skip
            assert getattr(index, name)[place] == getattr(record, name)[position]
            assert getattr(index, name).dtype == getattr(record, name).dtype
        assert index.boxes[place].tolist() == record.boxes[position].tolist()
        assert index.classes[place] == record.ids[position] // 1000
        assert index.heights[place] == record.boxes[position, 2] - record.boxes[position, 0]
        packed = index.silhouettes[place].tobytes()
        assert packed == record.silhouettes[position].tobytes()
        partner = index.partner_rows[place]
        listed = record.partners[position] in index.ids[index.scenes == index.scenes[place]]
        assert (partner >= 0) == listed
        if listed:
            assert index.ids[partner] == record.partners[position]
            assert index.scenes[partner] == index.scenes[place]
    chosen = index.select(index.whole)
    assert chosen.ids.tolist() == index.ids[index.whole].tolist()


def test_whole_donors_are_neither_cut_nor_hidden_nor_in_pieces() -> None:
    label = street(height=64, width=128).label
    instance = label.astype(np.int32)
    for number, (top, left, tall, wide) in enumerate(
        ((40, 0, 6, 9), (36, 30, 8, 12), (40, 40, 9, 14), (40, 80, 10, 20), (40, 108, 8, 9))
    ):
        box = (slice(top, top + tall), slice(left, left + wide))
        label[box], instance[box] = CAR, CAR * 1000 + 10 + number
    label[38:52, 89:91] = instance[38:52, 89:91] = 17  # a pole before the fourth
    index = DonorIndex.of([index_scene(Scene("made", label, instance), CITY)])
    made = index.select(index.ids >= CAR * 1000 + 10)
    assert made.cut_sides.tolist() == [LEFT, 0, 0, 0, 0]
    assert made.hidden_sides[1] & RIGHT
    assert made.pieces.tolist() == [1, 1, 1, 2, 1]
    assert made.whole.tolist() == [False, False, True, False, True]
    assert not (made.cut_sides & BOTTOM).any()


def test_a_bank_keeps_partners_and_completeness(tmp_path: Path) -> None:
    pair = (
        street("a", height=64, width=128),
        with_cyclist(street("b", height=64, width=128), 34, 40),
    )
    bank = write_bank(tmp_path / "bank", pair)
    index = bank.index
    at = {key: row for row, key in enumerate(index.keys)}
    rider, bicycle = at["b", 25000], at["b", 33000]
    assert index.partners[[rider, bicycle]].tolist() == [33000, 25000]
    assert index.partner_rows[[rider, bicycle]].tolist() == [bicycle, rider]
    assert (np.delete(index.partner_rows, [rider, bicycle]) == -1).all()
    fitted = DonorIndex.of([index_scene(scene, CITY) for scene in pair])
    assert index.completeness.tolist() == fitted.completeness.tolist()
    assert index.completeness[at["a", 26000]] == 1


def test_a_bank_of_a_dataset(tmp_path: Path) -> None:
    world = write_cityscapes(tmp_path / "world", scenes=4)
    config = DatasetConfig(root=str(world), format="cityscapes", split="val")
    bank = build_bank(tmp_path / "bank", config, size=(32, 64), mode="resize")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank", "world"]
    assert sorted(path.name for path in bank.path.iterdir()) == sorted(FILES)
    # Each scene has two cars and a person, and n more cars, the last of which covers others.
    assert bank.index.names == tuple(stem(n) for n in range(4))
    assert np.bincount(bank.index.scenes).tolist() == [3, 4, 5, 6]
    assert set(bank.index.classes.tolist()) == {CAR, PERSON}
    assert bank.cutout(stem(0), CAR * 1000).mask.shape == (4, 8)
    assert bank.open_source().read(stem(3)).size == (32, 64)
    again = build_bank(tmp_path / "again", config, size=(32, 64), mode="resize")
    for name in FILES:
        assert (bank.path / name).read_bytes() == (again.path / name).read_bytes()
    copy = tmp_path / "out" / "donors"
    bank.copy_to(copy)
    assert DonorBank.open(copy).sha256 == bank.sha256
    assert [path.name for path in copy.parent.iterdir()] == ["donors"]
    few = build_bank(tmp_path / "few", config, size=(32, 64), mode="resize", limit=2)
    assert few.index.names == (stem(0), stem(2))
    assert few.sha256 != bank.sha256


def test_a_dataset_without_objects_makes_an_empty_bank(tmp_path: Path) -> None:
    label = np.full((8, 9), 7, np.uint8)
    bank = write_bank(tmp_path / "bank", [Scene("bare", label, label.astype(np.int32))])
    assert len(bank.index) == 0
    bank.check_masks()
    with pytest.raises(DatasetError, match="nothing of scene 'bare', expected one of its 0"):
        bank.cutout("bare", 26000)


def test_nothing_is_left_of_a_bank_that_fails(tmp_path: Path) -> None:
    world = write_cityscapes(tmp_path / "world", scenes=3)
    (world / "gtFine/val/testville" / f"{stem(1)}_gtFine_labelIds.png").write_bytes(b"no")
    config = DatasetConfig(root=str(world), format="cityscapes", split="val")
    with pytest.raises(DatasetError, match=stem(1)):
        build_bank(tmp_path / "bank", config, size=(32, 64), mode="resize")
    assert [path.name for path in tmp_path.iterdir()] == ["world"]
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank" / "mine").touch()
    with pytest.raises(OutputError, match="expected a new or empty folder"):
        build_bank(tmp_path / "bank", config, size=(32, 64), mode="resize")


def test_unknown_donors(tmp_path: Path) -> None:
    bank = write_bank(tmp_path / "bank", [street()])
    with pytest.raises(DatasetError, match="nothing of scene 'other', expected one of its 1"):
        bank.cutout("other", 26000)
    for instance in (26002, 1000, 40000):
        with pytest.raises(OperationSkipped, match=f"no object {instance} of scene 'street'"):
            bank.cutout("street", instance)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["gone", "short", "changed"])
def test_damaged_banks_are_refused_in_one_line(tmp_path: Path, name: str, damage: str) -> None:
    bank = write_bank(tmp_path / "bank", [street()])
    path = bank.path / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "short":
        path.write_bytes(content[:-2])
    else:
        flipped = bytes([content[0] ^ 1]) + content[1:]
        path.write_bytes(content.replace(b"car", b"cat") if b"car" in content else flipped)
    if name == INFO and damage in ("short", "changed"):
        path.write_text(content.decode().replace("sha256: ", "sha256: 0"))
    if name == INDEX and damage == "changed":
        table = pq.read_table(io.BytesIO(content))
        areas = pa.array([area + 1 for area in table["area"].to_pylist()], pa.int32())
        pq.write_table(table.set_column(6, "area", areas), path)
    with pytest.raises(DatasetError, match="donor bank") as caught:
        DonorBank.open(bank.path).check_masks()
    assert "\n" not in str(caught.value)
    assert str(bank.path) in str(caught.value)


def test_other_folders_are_no_banks(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"not a donor bank, expected a folder with bank\.yaml"):
        DonorBank.open(tmp_path)
    (tmp_path / INFO).write_text(yaml.safe_dump({"donor_bank": 1}))
    with pytest.raises(DatasetError, match="not a whole donor bank of this version"):
        DonorBank.open(tmp_path)


def test_a_bank_must_fit_the_job(tmp_path: Path) -> None:
    bank = write_bank(tmp_path / "bank", [street()])
    bank.check_fits(size=(32, 64), taxonomy=CITY)
    with pytest.raises(DatasetError, match=r"scenes of 32x64, expected 64x128 .*--size 64x128"):
        bank.check_fits(size=(64, 128), taxonomy=CITY)
    with pytest.raises(DatasetError, match="taxonomy 'cityscapes', expected the classes of 'camv"):
        bank.check_fits(size=(32, 64), taxonomy=Taxonomy.load("camvid"))


@pytest.mark.parametrize(
    ("folder", "format_", "split", "instances"),
    [
        ("cityscapes_sample", "cityscapes", "val", None),
        ("camvid", "camvid", "val", "components"),
    ],
)
def test_real_scenes(
    tmp_path: Path, folder: str, format_: str, split: str, instances: str | None
) -> None:
    if not (REAL / folder).is_dir():
        pytest.skip(f"no {folder} in shared/data")
    config = DatasetConfig.parse(
        {"root": REAL / folder, "format": format_, "split": split, "instances": instances},
        origin="test",
    )
    bank = build_bank(tmp_path / "bank", config, size=(128, 256), mode="resize", limit=3)
    source = open_source(config)
    index = bank.index
    assert len(index) > 10
    assert index.whole.any()
    read = {
        name: fit(source.read(name, photo=False), (128, 256), "resize", taxonomy=source.taxonomy)
        for name in index.names
    }
    for scene, instance, area in zip(
        index.scenes, index.ids.tolist(), index.areas.tolist(), strict=True
    ):
        shape = bank.cutout(index.names[scene], instance)
        painted = np.zeros((128, 256), bool)
        top, left, bottom, right = shape.box
        painted[top:bottom, left:right] = shape.mask
        np.testing.assert_array_equal(painted, read[index.names[scene]].instance == instance)
        assert painted.sum() == area
    assert (bank.path / MASKS).stat().st_size < 128 * 256 * 3
    assert (bank.path / INDEX).is_file()
    assert (bank.path / TAXONOMY).is_file()
