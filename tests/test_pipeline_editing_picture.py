"""Photos under edits: what keeps its pixels, what objects bring along, what has to be drawn."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.editing.cutout import cut_out
from pipeline.editing.exposure import SceneLight, exposure_gain
from pipeline.editing.picture import PixelSource
from pipeline.editing.pixels import dimmed, linear_light, with_gain, without_background
from pipeline.editing.program import (
    ChangeClass,
    CropZoom,
    Drop,
    Flip,
    MirrorScene,
    Move,
    Operation,
    Paste,
    Program,
    RelabelRegion,
)
from pipeline.editing.recompose import Recomposed, donors_from, recompose
from pipeline.editing.seams import find_seams, soften
from pipeline.editing.shade import Shade, lay_shade, measure_shade
from pipeline.scene import Scene
from tests.edited_scenes import CITY, operations, run, same_maps, scenes, slowly
from tests.scenes import CAR, ROAD, street


def photographed(scene: Scene, *, seed: int = 0) -> Scene:
    """The scene with a photo of noise: no two pixels are alike, so each tells where it is from."""
    photo = np.random.default_rng(seed).integers(0, 256, (*scene.size, 3), np.uint8)
    return Scene(scene.name, scene.label, scene.instance, photo)


def edited(scene: Scene, *operations: object, donor: Scene | None = None) -> Recomposed:
    program = Program(scene=scene.name, operations=operations)
    donors = donors_from({} if donor is None else {donor.name: donor})
    return recompose(program, scene, donors, taxonomy=CITY)


def test_without_edits_every_pixel_is_kept() -> None:
    scene = photographed(street())
    picture = edited(scene).picture
    assert picture is not None
    np.testing.assert_array_equal(picture.photo, scene.photo)
    assert not picture.source.any()


def test_a_scene_without_a_photo_has_no_picture() -> None:
    assert edited(street()).picture is None


@slowly
@given(scenes(), scenes(name="b"), st.lists(operations(), max_size=4))
def test_kept_pixels_are_those_of_the_source_and_maps_do_not_depend_on_photos(
    plain: Scene, donor: Scene, edits: list[Operation]
) -> None:
    assume(not any(isinstance(edit, MirrorScene | CropZoom) for edit in edits))
    scene = photographed(plain)
    made, without = run(scene, *edits, donors=[donor]), run(plain, *edits, donors=[donor])
    same_maps(made.scene, without.scene)
    np.testing.assert_array_equal(made.origin, without.origin)
    assert made.picture is not None
    kept = made.picture.source == PixelSource.KEPT
    np.testing.assert_array_equal(made.picture.photo[kept], scene.photo[kept])
    # What an operation put there is never passed off as kept.
    assert not kept[made.origin > 0].any()


@slowly
@given(scenes(), scenes(name="b"), st.lists(operations(), max_size=5))
def test_any_program_leaves_a_picture(plain: Scene, donor: Scene, edits: list[Operation]) -> None:
    scene, other = photographed(plain), photographed(donor, seed=1)
    made = run(scene, *edits, donors=[other])
    same_maps(made.scene, run(plain, *edits, donors=[donor]).scene)
    assert made.picture is not None
    assert made.picture.photo.shape == (*scene.size, 3)
    assert np.isin(made.picture.source, list(PixelSource)).all()


def test_a_moved_object_takes_its_pixels_along() -> None:
    scene = photographed(street(height=64, width=128))
    made = edited(scene, Move(instance=26000, rows=4, columns=30))
    assert made.picture is not None
    before = cut_out(scene.instance, 26000)
    rows, columns = np.nonzero(before.mask)
    old = scene.photo[rows + before.top, columns + before.left]
    new = made.picture.photo[rows + before.top + 4, columns + before.left + 30]
    np.testing.assert_array_equal(old, new)
    there = made.picture.source[rows + before.top + 4, columns + before.left + 30]
    assert (there == PixelSource.DONOR).all()
    hole = made.picture.source[rows + before.top, columns + before.left]
    assert (hole == PixelSource.HOLE).all()


def test_what_an_object_had_covered_comes_back() -> None:
    scene = photographed(street(height=64, width=128))
    away = edited(
        scene,
        Paste(donor="donor", donor_instance=26001, row=60, column=20),
        Drop(instance=26002),
        donor=photographed(street("donor", height=64, width=128), seed=1),
    )
    assert away.picture is not None
    np.testing.assert_array_equal(away.picture.photo, scene.photo)
    assert not away.picture.source.any()


def test_a_mirrored_scene_shows_the_mirrored_photo() -> None:
    scene = photographed(street(height=64, width=128))
    made = edited(scene, MirrorScene(), Flip(instance=26001))
    assert made.picture is not None
    kept = made.picture.source == PixelSource.KEPT
    np.testing.assert_array_equal(made.picture.photo[kept], scene.photo[:, ::-1][kept])
    # Mirrored twice, the car is as it was photographed.
    before = cut_out(scene.instance, 26001)
    width = scene.size[1]
    left = width - before.left - before.mask.shape[1]
    rows, columns = np.nonzero(before.mask)
    np.testing.assert_array_equal(
        made.picture.photo[rows + before.top, columns + left],
        scene.photo[rows + before.top, columns + before.left],
    )


def test_an_enlarged_scene_keeps_what_was_put_into_it() -> None:
    scene = photographed(street(height=64, width=128))
    made = edited(
        scene,
        Move(instance=26000, rows=2, columns=10),
        CropZoom(top=16, left=0, height=32, width=64),
    )
    assert made.picture is not None
    counts = np.bincount(made.picture.source.ravel(), minlength=256)
    assert counts[PixelSource.DONOR] > 0
    assert counts[PixelSource.HOLE] > 0


def test_an_object_of_another_class_and_new_regions_have_to_be_drawn() -> None:
    scene = photographed(street(height=64, width=128))
    bus = edited(scene, ChangeClass(instance=26001, to="bus")).picture
    assert bus is not None
    np.testing.assert_array_equal(bus.source == PixelSource.UNSEEN, scene.instance == 26001)
    trees = edited(scene, RelabelRegion(of="building", to="vegetation", at=None)).picture
    assert trees is not None
    np.testing.assert_array_equal(trees.source == PixelSource.HOLE, scene.label == 11)


def test_a_hole_takes_the_shadow_of_what_stood_there_along() -> None:
    scene = street(height=64, width=128)
    photo = np.full((64, 128, 3), 200, np.uint8)
    car = cut_out(scene.instance, 26001)
    _, left, bottom, right = car.box
    photo[bottom : bottom + 2, left:right] = 40  # its shadow on the road
    made = edited(Scene("street", scene.label, scene.instance, photo), Drop(instance=26001))
    assert made.picture is not None
    assert (made.picture.source[bottom, left + 2 : right - 2] == PixelSource.HOLE).all()
    assert (made.picture.source[bottom + 12 :, left:right] == PixelSource.KEPT).all()


def test_no_background_comes_along() -> None:
    mask = np.zeros((40, 60), np.bool_)
    mask[5:35, 10:50] = True
    photo = np.where(mask[..., None], np.uint8(200), np.uint8(0)).repeat(3, axis=-1)
    photo[5:35, [10, 49]] = 100  # a contour that is half background
    assert (without_background(photo, mask) == 200).all()


@given(st.integers(0, 255))
def test_light_is_that_of_srgb(value: int) -> None:
    share = value / 255
    expected = share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
    pixel = np.full((1, 3), value, np.uint8)
    assert linear_light(pixel)[0, 0] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(with_gain(pixel, np.ones(3)), pixel, atol=1)
    np.testing.assert_allclose(dimmed(pixel, np.ones(1, np.float32)), pixel, atol=1)


def test_exposure_brings_a_dark_scene_to_a_bright_one_within_bounds() -> None:
    scene = street(height=64, width=128)
    surface = np.zeros(CITY.num_classes, np.bool_)
    surface[[7, 11, 23]] = True

    def light(value: int) -> SceneLight:
        photo = np.full((64, 128, 3), value, np.uint8)
        return SceneLight.of(photo, scene.label, num_classes=CITY.num_classes)

    gain = exposure_gain(light(100), light(120), surface=surface)
    ratio = float(linear_light(np.uint8([120]))[0] / linear_light(np.uint8([100]))[0])
    np.testing.assert_allclose(gain, ratio, rtol=1e-5)
    np.testing.assert_allclose(exposure_gain(light(10), light(250), surface=surface), 2.0)
    nothing = np.zeros_like(surface)
    np.testing.assert_allclose(exposure_gain(light(10), light(250), surface=nothing), 1.0)


def test_a_measured_shadow_darkens_the_ground_where_the_object_is_put() -> None:
    scene = street(height=64, width=128)
    photo = np.full((64, 128, 3), 180, np.uint8)
    car = cut_out(scene.instance, 26001)
    _, left, bottom, right = car.box
    photo[bottom : bottom + 2, left:right] = 60
    ground = np.zeros(CITY.num_classes, np.bool_)
    ground[ROAD] = True
    shade = measure_shade(photo, scene.label, car.box, car.mask, ground=ground)
    assert shade.share[car.mask.shape[0], shade.margin + 5] < 0.7
    assert shade.share[:, 0].min() > 0.95  # nothing ends abruptly
    share = np.ones((64, 128), np.float32)
    lay_shade(share, shade, top=20, left=40, ground=np.ones((64, 128), np.bool_))
    np.testing.assert_array_equal(
        share[20 : 20 + shade.share.shape[0], 40 - shade.margin :][:, : shade.share.shape[1]],
        np.minimum(1, shade.share),
    )
    assert (share[:19] == 1).all()


def test_a_shade_is_scaled_and_mirrored_with_its_object() -> None:
    share = np.linspace(0.4, 1, 24 * 30, dtype=np.float32).reshape(24, 30)
    shade = Shade(share, margin=4)  # a box of 20 x 22
    assert shade.scaled((10, 11)).share.shape == (12, 15)
    np.testing.assert_array_equal(shade.mirrored().share[:, ::-1], share)


def brute_force(photo: npt.NDArray[np.uint8], row: int, column: int) -> list[int]:
    bell = np.outer([1, 2, 1], [1, 2, 1])
    padded = np.pad(photo.astype(int), ((1, 1), (1, 1), (0, 0)), mode="edge")
    part = padded[row : row + 3, column : column + 3]
    return [(int((part[..., c] * bell).sum()) + 8) // 16 for c in range(3)]


def test_seams_are_both_sides_of_contours_and_nothing_else_is_softened() -> None:
    scene = photographed(street())
    put = scene.instance == 26001
    seams = find_seams(scene.instance, put)
    expected = np.zeros_like(seams)
    for down, across in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        moved = np.roll(scene.instance, (down, across), (0, 1))
        moved_put = np.roll(put, (down, across), (0, 1))
        expected |= (moved != scene.instance) & (moved_put | put)
    np.testing.assert_array_equal(seams, expected)
    softened = soften(scene.photo, seams)
    np.testing.assert_array_equal(softened[~seams], scene.photo[~seams])
    for row, column in np.argwhere(seams)[::7]:
        assert softened[row, column].tolist() == brute_force(scene.photo, row, column)


def test_a_pasted_object_shows_its_own_photo() -> None:
    scene = photographed(street(height=64, width=128))
    donor = photographed(street("donor", height=64, width=128), seed=9)
    car = cut_out(donor.instance, 26001)
    made = edited(scene, Paste(donor="donor", donor_instance=26001, row=60, column=20), donor=donor)
    assert made.picture is not None
    drawn = made.picture.source == PixelSource.DONOR
    # Donors of whole scenes have no appearance here: whoever reads photos gives it to them.
    assert not drawn.any()
    assert (made.picture.source[made.scene.instance == CAR * 1000 + 2] == PixelSource.UNSEEN).all()
    assert car.appearance is None
