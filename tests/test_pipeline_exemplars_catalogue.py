from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import OutputError
from pipeline.exemplars.catalogue import CELLS, Catalogue, cells_of, coarse_cells
from pipeline.indexing.record import SceneRecord, index_scene, silhouette, unpacked_silhouettes
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.scenes import BUILDING, CAR, PERSON, ROAD, SKY, street

CITY = Taxonomy.load("cityscapes")


def layered(name: str, *, sky: int, building: int = 0) -> Scene:
    """Rows of sky over rows of building over road, 64x128."""
    label = np.full((64, 128), ROAD, np.uint8)
    label[: sky + building] = BUILDING
    label[:sky] = SKY
    return Scene(name, label, label.astype(np.int32))


def record(scene: Scene) -> SceneRecord:
    return index_scene(scene, CITY)


def with_cars(name: str, *boxes: tuple[int, int, int, int]) -> Scene:
    """Cars (top, left, height, width) with a corner cut off, on a road of 64x128."""
    label = np.full((64, 128), ROAD, np.uint8)
    instance = label.astype(np.int32)
    for number, (top, left, tall, wide) in enumerate(boxes):
        mask = np.ones((tall, wide), np.bool_)
        mask[: tall // 2, : wide // 2] = False
        at = (slice(top, top + tall), slice(left, left + wide))
        label[at][mask] = CAR
        instance[at][mask] = CAR * 1000 + number
    return Scene(name, label, instance)


def car_shape(tall: int, wide: int) -> np.ndarray:
    mask = np.ones((tall, wide), np.bool_)
    mask[: tall // 2, : wide // 2] = False
    return mask


def test_a_saved_catalogue_is_read_as_it_was(tmp_path: Path) -> None:
    made = Catalogue.of([record(street("b")), record(layered("a", sky=8)), record(street("c"))])
    made.save(tmp_path / "exemplars.parquet")
    found = Catalogue.open(tmp_path / "exemplars.parquet")
    assert found.names == ("a", "b", "c")
    assert found.size == made.size
    for name in ("pixels", "cells", "scenes", "ids", "boxes", "silhouettes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
        assert getattr(found, name).dtype == getattr(made, name).dtype
    assert set(np.flatnonzero(found.classes())) == {ROAD, BUILDING, SKY, CAR, PERSON}
    assert set(np.flatnonzero(found.classes(without=("b", "c", "z")))) == {ROAD, SKY}


def test_a_catalogue_without_objects_is_read_too(tmp_path: Path) -> None:
    Catalogue.of([record(layered("a", sky=8))]).save(tmp_path / "exemplars.parquet")
    found = Catalogue.open(tmp_path / "exemplars.parquet")
    assert found.fitting(CAR, car_shape(4, 8), (0, 0, 4, 8), without=(), draw=0) is None
    assert found.showing(SKY, without=(), count=1) == ["a"]


def test_of_equally_alike_scenes_the_first_comes_first() -> None:
    catalogue = Catalogue.of([record(layered(name, sky=20)) for name in "abcdefg"])
    for sky in (10, 20, 30):
        cells = cells_of(layered("wanted", sky=sky, building=5).label)
        assert catalogue.alike(cells, without=(), count=1) == ["a"]


@pytest.mark.parametrize("content", [None, b"", b"PAR1"])
def test_what_is_no_catalogue_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "exemplars.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OutputError, match=r"exemplars\.parquet: not a readable catalogue"):
        Catalogue.open(path)


def test_cells_of_a_record_are_those_of_its_label_map() -> None:
    rng = np.random.default_rng(0)
    for size in ((64, 128), (240, 320), (33, 70)):
        label = rng.integers(0, 30, size).astype(np.uint8)
        scene = Scene("noise", label, label.astype(np.int32))
        cells = coarse_cells(record(scene).grid)
        assert cells.shape == CELLS
        np.testing.assert_array_equal(cells, cells_of(label))


def test_scenes_that_show_most_of_a_class_come_first() -> None:
    skies = (4, 40, 20, 30)
    found = Catalogue.of([record(layered(f"sky{rows}", sky=rows)) for rows in skies])
    assert found.showing(SKY, without=(), count=3) == ["sky40", "sky30", "sky20"]
    assert found.showing(SKY, without=("sky40",), count=1) == ["sky30"]
    assert found.showing(ROAD, without=(), count=4) == ["sky4", "sky20", "sky30", "sky40"]
    assert found.showing(BUILDING, without=(), count=3) == []


def test_a_class_that_few_pixels_show_is_found() -> None:
    tiny = with_cars("tiny", (51, 61, 3, 3))
    found = Catalogue.of([record(layered("none", sky=8)), record(tiny)])
    assert CAR not in found.cells
    assert found.showing(CAR, without=(), count=2) == ["tiny"]


def test_the_most_alike_comes_first_then_what_shows_the_rest() -> None:
    wanted = layered("wanted", sky=20, building=20)
    scenes = [
        layered("no-building", sky=20),
        layered("nearly", sky=8, building=32),
        layered("nearly-too", sky=7, building=33),
        layered("sky-alone", sky=60),
    ]
    catalogue = Catalogue.of([record(scene) for scene in scenes])
    cells = cells_of(wanted.label)
    assert catalogue.alike(cells, without=(), count=2) == ["nearly", "no-building"]
    assert catalogue.alike(cells, without=("nearly",), count=1) == ["nearly-too"]
    assert len(catalogue.alike(cells, without=(), count=9)) == 4


def test_near_scenes_are_those_beside_it_in_order_of_names() -> None:
    names = ("a1", "a3", "a5", "b1")
    catalogue = Catalogue.of([record(layered(name, sky=8)) for name in names])
    assert catalogue.near("a3", reach=0) == {"a3"}
    assert catalogue.near("a3", reach=1) == {"a1", "a3", "a5"}
    assert catalogue.near("a4", reach=1) == {"a3", "a4", "a5"}  # of another split
    assert catalogue.near("a0", reach=1) == {"a0", "a1"}
    assert catalogue.near("z", reach=2) == {"a5", "b1", "z"}


def test_silhouettes_are_the_halves_of_cells_and_mirror_with_their_record() -> None:
    mask = car_shape(20, 40)
    scene = with_cars("car", (10, 30, 20, 40))
    made = record(scene)
    expected = np.kron(np.array([[0, 1], [1, 1]], np.bool_), np.ones((8, 8), np.bool_))
    np.testing.assert_array_equal(silhouette(mask), expected)
    np.testing.assert_array_equal(unpacked_silhouettes(made.silhouettes), [expected])
    mirrored = made.mirrored()
    np.testing.assert_array_equal(unpacked_silhouettes(mirrored.silhouettes), [expected[:, ::-1]])


def test_the_object_of_the_same_shape_fits_and_is_mirrored_where_that_fits_better() -> None:
    catalogue = Catalogue.of(
        [
            record(with_cars("square", (20, 30, 20, 20))),
            record(with_cars("wide", (20, 30, 20, 40), (45, 80, 4, 8))),
        ]
    )
    box = (20, 30, 40, 70)
    fit = catalogue.fitting(CAR, car_shape(20, 40), box, without=(), draw=0)
    assert fit is not None
    assert (fit.scene, fit.instance, fit.mirrored) == ("wide", CAR * 1000, False)
    assert fit.agreement == pytest.approx(1)
    assert fit.box == box
    turned = catalogue.fitting(
        CAR, car_shape(20, 40)[:, ::-1], (20, 58, 40, 98), without=(), draw=0
    )
    assert turned is not None
    assert (turned.scene, turned.mirrored) == ("wide", True)
    other = catalogue.fitting(CAR, car_shape(20, 40), box, without=("wide",), draw=0)
    assert other is not None
    assert other.scene == "square"
    assert other.agreement < 0.8
    assert catalogue.fitting(PERSON, car_shape(8, 8), box, without=(), draw=0) is None


def test_objects_that_fit_equally_well_take_turns() -> None:
    twins = [record(with_cars(name, (20, 30, 20, 40))) for name in ("a", "b", "c")]
    catalogue = Catalogue.of(twins)
    found = {
        fit.scene
        for draw in range(6)
        if (
            fit := catalogue.fitting(
                CAR, car_shape(20, 40), (20, 30, 40, 70), without=(), draw=draw
            )
        )
    }
    assert found == {"a", "b", "c"}


def test_scenes_may_be_in_any_order() -> None:
    one, other = record(street("a")), record(street("b"))
    made = Catalogue.of([other, replace(one)])
    assert made.names == ("a", "b")
    assert made.scenes.tolist() == [0, 0, 0, 1, 1, 1]
