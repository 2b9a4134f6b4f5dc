import numpy as np
import numpy.typing as npt
import pytest

from pipeline.exemplars.catalogue import Catalogue
from pipeline.exemplars.things import draw_things
from pipeline.exemplars.whole import draw_photo
from pipeline.indexing.record import index_scene
from pipeline.scene import LabelMap, Photo, Scene
from pipeline.taxonomy import Taxonomy
from tests.scenes import CAR, ROAD, street

CITY = Taxonomy.load("cityscapes")
HEIGHT, WIDTH = 64, 96


def halves(rows: int) -> LabelMap:
    """Class 3 over class 7, whose first row is given."""
    label = np.full((HEIGHT, WIDTH), 3, np.uint8)
    label[rows:] = 7
    return label


def noise(seed: int, label: LabelMap) -> Photo:
    """Dark noise for class 3, bright noise for class 7."""
    rng = np.random.default_rng(seed)
    dark = rng.integers(0, 80, (*label.shape, 3), dtype=np.uint8)
    bright = rng.integers(170, 256, (*label.shape, 3), dtype=np.uint8)
    return np.where((label == 3)[..., None], dark, bright)


def nothing() -> tuple[Photo, npt.NDArray[np.bool_]]:
    return np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH), np.bool_)


def drawn(label: LabelMap, *exemplars: LabelMap, threads: int = 1, seed: int = 0) -> Photo:
    begun, given = nothing()
    made = draw_photo(
        label,
        [(noise(number, shown), shown) for number, shown in enumerate(exemplars)],
        begun=begun,
        given=given,
        seed=seed,
        threads=threads,
    )
    assert not made.missing.any()
    assert set(made.used) <= set(range(len(exemplars)))
    return made.photo


def test_the_photo_of_the_same_label_map_is_copied() -> None:
    label = halves(30)
    photo = drawn(label, label)
    same = (photo == noise(0, label)).all(axis=-1)
    assert same.mean() > 0.9


def test_classes_come_from_their_own_pixels_wherever_they_lie() -> None:
    photo = drawn(halves(20), halves(40), halves(10))
    assert photo[:20].max() < 80
    assert photo[20:].min() >= 170


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_byte(threads: int) -> None:
    arguments = (halves(20), halves(40), halves(10))
    np.testing.assert_array_equal(drawn(*arguments), drawn(*arguments, threads=threads))


def test_what_is_given_stays_and_what_nothing_shows_is_told() -> None:
    label = halves(30)
    label[50:60, 10:20] = 9
    begun, given = nothing()
    begun[5:15, 5:15] = (1, 200, 3)
    given[5:15, 5:15] = True
    shown = halves(30)
    made = draw_photo(label, [(noise(0, shown), shown)], begun=begun, given=given, seed=0)
    np.testing.assert_array_equal(made.photo[5:15, 5:15], begun[5:15, 5:15])
    np.testing.assert_array_equal(made.missing, label == 9)
    assert made.photo[made.missing].min() >= 170  # as the class around it


def coloured(name: str, color: tuple[int, int, int]) -> Scene:
    """The street of tests, with cars of one colour."""
    scene = street(name, height=64, width=128, photo=True)
    assert scene.photo is not None
    photo = scene.photo.copy()
    photo[scene.label == CAR] = color
    return Scene(name, scene.label, scene.instance, photo)


def test_things_are_whole_and_in_the_light_they_are_given() -> None:
    red, blue = coloured("red", (200, 10, 10)), coloured("blue", (10, 10, 200))
    scenes = {"red": red, "blue": blue}
    catalogue = Catalogue.of([index_scene(scene, CITY) for scene in scenes.values()])
    asked: list[str] = []

    def read(name: str) -> tuple[Scene, npt.NDArray[np.floating]]:
        asked.append(name)
        return scenes[name], np.ones(3)

    photo, given, sources = draw_things(red.instance, catalogue, read, without=("red",), seed=3)
    np.testing.assert_array_equal(given, red.instance >= 1000)
    assert sources == ("blue",)
    assert set(asked) == {"blue"}
    cars = red.label == CAR
    assert (photo[cars] == (10, 10, 200)).all()
    darker, _, _ = draw_things(
        red.instance, catalogue, lambda name: (scenes[name], np.full(3, 0.5)), without=(), seed=3
    )
    assert darker[cars].max() < 200


def test_a_thing_that_none_fits_is_left_to_the_field() -> None:
    scene = street("wide", height=64, width=128, photo=True)
    catalogue = Catalogue.of([index_scene(scene, CITY)])
    instance = np.full((64, 128), ROAD, np.int32)
    instance[0:60, 40:43] = CAR * 1000  # as no car is
    photo, given, sources = draw_things(
        instance, catalogue, lambda _: (scene, np.ones(3)), without=(), seed=0
    )
    assert not given.any()
    assert not photo.any()
    assert sources == ()
