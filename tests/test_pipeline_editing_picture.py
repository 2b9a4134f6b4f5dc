"""Photos under edits: what keeps its pixels, what objects bring along, what has to be drawn."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.editing.appearance import look_at
from pipeline.editing.boxes import Box, slices
from pipeline.editing.cutout import Cutout, cut_out
from pipeline.editing.exposure import (
    MOST_HAZE,
    REST,
    SceneLight,
    class_gains,
    exposure_gain,
    haze_between,
)
from pipeline.editing.picture import PixelSource
from pipeline.editing.pixels import dimmed, linear_light, with_gain, with_gains, without_background
from pipeline.editing.program import (
    ChangeClass,
    CropZoom,
    Drop,
    Duplicate,
    Flip,
    MirrorScene,
    Move,
    Operation,
    Paste,
    Program,
    RelabelRegion,
    Rescale,
)
from pipeline.editing.recompose import Recomposed, donors_from, recompose
from pipeline.editing.seams import find_seams, soften
from pipeline.editing.shade import Shade, lay_shade, measure_shade
from pipeline.scene import Photo, Scene
from tests.edited_scenes import CITY, operations, run, same_maps, scenes, slowly
from tests.scenes import ROAD, street


def photographed(scene: Scene, *, seed: int = 0) -> Scene:
    """The scene with a photo of noise: no two pixels are alike, so each tells where it is from."""
    photo = np.random.default_rng(seed).integers(0, 256, (*scene.size, 3), np.uint8)
    return Scene(scene.name, scene.label, scene.instance, photo)


def edited(scene: Scene, *operations: object, donor: Scene | None = None) -> Recomposed:
    """The scene after some operations; a donor with a photo gives its objects their pixels."""
    program = Program(scene=scene.name, operations=operations)
    shapes = donors_from({} if donor is None else {donor.name: donor})

    def donors(name: str, instance: int) -> Cutout:
        shape = shapes(name, instance)
        if donor is None or donor.photo is None:
            return shape
        ground = np.arange(CITY.num_classes) == ROAD
        seen = look_at(donor.photo, donor.label, shape.box, shape.mask, ground=ground)
        return replace(shape, appearance=seen)

    return recompose(program, scene, donors, taxonomy=CITY)


def pixels_of(shape: Cutout, *, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """A shape where it lies in a picture."""
    found = np.zeros(size, np.bool_)
    found[slices(shape.box)] = shape.mask
    return found


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


@pytest.mark.parametrize(
    "edit",
    [
        ChangeClass(instance=26001, to="bus"),
        RelabelRegion(of="building", to="vegetation"),
        Drop(instance=26001),
    ],
)
def test_kept_pixels_of_an_enlarged_scene_show_nothing_of_what_was_changed(edit: Operation) -> None:
    one = street(height=64, width=128)
    one.label[40:46, 76:90] = one.instance[40:46, 76:90] = 11  # a wall beside the car
    scene = photographed(one)
    lost = edited(scene, edit).origin > 0
    assert scene.photo is not None
    photo = np.where(lost[..., None], 255 - scene.photo, scene.photo)
    window = CropZoom(top=10, left=50, height=48, width=55)
    first, second = (
        edited(Scene("street", one.label, one.instance, shown), edit, window).picture
        for shown in (scene.photo, photo)
    )
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.source, second.source)
    kept = first.source == PixelSource.KEPT
    np.testing.assert_array_equal(first.photo[kept], second.photo[kept])
    assert kept.mean() > 0.4


def test_what_was_put_is_enlarged_with_its_whole_shape_its_colours_and_its_shade() -> None:
    scene, donor = photographed(street(height=64, width=128)), street(height=64, width=128)
    colour = np.full((64, 128, 3), 77, np.uint8)
    colour[donor.label == ROAD] = 190
    car = cut_out(donor.instance, 26001)
    _, left, bottom, right = car.box
    colour[bottom : bottom + 2, left:right] = 40  # its shadow
    donor = Scene("donor", donor.label, donor.instance, colour)
    paste = Paste(donor="donor", donor_instance=26001, row=50, column=24)
    window = CropZoom(top=20, left=20, height=32, width=64)
    made = edited(scene, paste, window, donor=donor)
    assert made.picture is not None
    ((instance, shape),) = made.placed
    assert shape.appearance is not None
    assert instance == 26002
    put = made.scene.instance == instance
    assert put.sum() == 4 * car.area
    np.testing.assert_array_equal(put, pixels_of(shape, size=scene.size))
    np.testing.assert_array_equal(made.picture.source == PixelSource.DONOR, put)
    assert (made.picture.photo[put] == 77).all()
    share = np.ones(scene.size, np.float32)
    ground = np.ones(scene.size, np.bool_)
    shade = shape.appearance.shade
    lay_shade(share, shade, top=shape.top, left=shape.left, ground=ground)
    assert share[shape.box[2] + 1, (shape.box[1] + shape.box[3]) // 2] < 0.7


def test_what_was_put_and_cut_by_an_enlarged_window_is_whole_from_then_on() -> None:
    scene = photographed(street(height=64, width=128))
    paste = Paste(donor="donor", donor_instance=26001, row=50, column=24)
    window = CropZoom(top=20, left=30, height=28, width=64)
    donor = photographed(street("donor", height=64, width=128), seed=1)
    made = edited(scene, paste, window, donor=donor)
    ((instance, shape),) = made.placed
    np.testing.assert_array_equal(
        made.scene.instance == instance, pixels_of(shape, size=scene.size)
    )
    assert [r.visible_fraction for r in made.instances if r.id == instance] == [1.0]


def test_what_was_hidden_of_an_object_before_a_window_was_enlarged_comes_back() -> None:
    scene, donor = street(height=64, width=128), street("donor", height=64, width=128)
    back = Paste(donor="donor", donor_instance=26001, row=50, column=24)
    front = Paste(donor="donor", donor_instance=26001, row=53, column=30)
    window = CropZoom(top=20, left=20, height=32, width=64)
    alone = edited(scene, back, window, donor=donor)
    again = edited(scene, back, front, window, Drop(instance=26003), donor=donor)
    assert (again.scene.instance == 26002).sum() == (alone.scene.instance == 26002).sum()
    assert [r.visible_fraction for r in again.instances if r.origin == "pasted"] == [1.0]
    both = edited(scene, back, front, window, donor=donor)
    assert [r.visible_fraction for r in both.instances if r.id == 26002] == [1 - 3 * 6 / 72]


def test_an_object_of_another_class_and_new_regions_have_to_be_drawn() -> None:
    scene = photographed(street(height=64, width=128))
    bus = edited(scene, ChangeClass(instance=26001, to="bus")).picture
    assert bus is not None
    np.testing.assert_array_equal(bus.source == PixelSource.UNSEEN, scene.instance == 26001)
    made = edited(scene, RelabelRegion(of="building", to="vegetation", at=None))
    assert made.picture is not None
    changed = made.scene.label != scene.label
    assert changed[scene.label == 11].all()
    np.testing.assert_array_equal(made.picture.source == PixelSource.HOLE, changed)


@pytest.mark.parametrize(
    "then",
    [
        [],
        [Move(instance=27000, rows=2, columns=9)],
        [Duplicate(instance=27000, row=60, column=20)],
        [CropZoom(top=16, left=48, height=40, width=60)],
        [CropZoom(top=16, left=48, height=40, width=60), Move(instance=27000, rows=2, columns=5)],
        [MirrorScene(), Rescale(instance=27000, row=60, column=30, scale=1.5)],
    ],
)
def test_what_was_made_another_class_has_to_be_drawn_wherever_it_goes(
    then: list[Operation],
) -> None:
    scene = photographed(street(height=64, width=128))
    made = edited(scene, ChangeClass(instance=26001, to="truck"), *then)
    assert made.picture is not None
    truck = made.scene.label == 27
    assert truck.any()
    assert (made.picture.source[truck] == PixelSource.UNSEEN).all()


def test_what_was_made_another_class_under_a_paste_has_to_be_drawn_when_that_goes() -> None:
    scene = photographed(street(height=64, width=128))
    made = edited(
        scene,
        Paste(donor="donor", donor_instance=24000, row=44, column=66),
        ChangeClass(instance=26001, to="truck"),
        Drop(instance=24001),
        donor=street("donor", height=64, width=128),
    )
    assert made.picture is not None
    truck = scene.instance == 26001
    np.testing.assert_array_equal(made.scene.label == 27, truck)
    np.testing.assert_array_equal(made.picture.source == PixelSource.UNSEEN, truck)
    np.testing.assert_array_equal(made.origin == 2, truck)


@pytest.mark.parametrize(
    "edits", [[Drop(instance=26001)], [ChangeClass(instance=26001, to="bus"), Drop(instance=28000)]]
)
def test_a_hole_takes_the_shadow_of_what_stood_there_along(edits: list[Operation]) -> None:
    scene = street(height=64, width=128)
    photo = np.full((64, 128, 3), 200, np.uint8)
    car = cut_out(scene.instance, 26001)
    _, left, bottom, right = car.box
    photo[bottom : bottom + 2, left:right] = 40  # its shadow on the road
    made = edited(Scene("street", scene.label, scene.instance, photo), *edits)
    assert made.picture is not None
    assert (made.picture.source[bottom, left + 2 : right - 2] == PixelSource.HOLE).all()
    assert (made.picture.source[bottom + 12 :, left:right] == PixelSource.KEPT).all()


def rimmed(box: Box, *, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A bright box before something dark, with a contour that is half of both."""
    photo = np.zeros((*size, 3), np.uint8)
    photo[slices(box)] = 100
    top, left, bottom, right = box
    photo[top + 1 : bottom - 1, left + 1 : right - 1] = 200
    return photo


def test_no_background_comes_along_on_any_side_of_a_tight_box() -> None:
    box = (5, 10, 35, 50)
    found = without_background(rimmed(box, size=(40, 60)), box, np.ones((30, 40), np.bool_))
    np.testing.assert_array_equal(found, np.full((30, 40, 3), 200))


@pytest.mark.parametrize("cut", range(4))
def test_the_border_of_the_picture_is_no_contour(cut: int) -> None:
    size = (30, 40)
    box = tuple(edge if side == cut else edge + (3, 3, -3, -3)[side]
                for side, edge in enumerate((0, 0, *size)))  # fmt: skip
    mask = np.ones(size, np.bool_)[slices(box)]
    photo = np.random.default_rng(cut).integers(0, 256, (*size, 3), np.uint8)
    found, own = without_background(photo, box, mask), photo[slices(box)]
    lines = (own[0], own[:, 0], own[-1], own[:, -1])
    found_lines = (found[0], found[:, 0], found[-1], found[:, -1])
    inner = slice(1, -1)  # corners lie on another side too
    for side in range(4):
        same = (found_lines[side][inner] == lines[side][inner]).all()
        assert same == (side == cut)


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


def test_classes_are_brought_to_each_others_means_within_bounds() -> None:
    scene = street(height=64, width=128)
    surface = np.zeros(CITY.num_classes, np.bool_)
    surface[[7, 11, 23]] = True

    def light(road: int, others: int) -> SceneLight:
        photo = np.full((64, 128, 3), others, np.uint8)
        photo[scene.label == 7] = road
        return SceneLight.of(photo, scene.label, num_classes=CITY.num_classes)

    gains = class_gains(light(100, 100), light(120, 100), surface=surface)
    ratio = float(linear_light(np.uint8([120]))[0] / linear_light(np.uint8([100]))[0])
    np.testing.assert_allclose(gains[7], ratio, rtol=1e-5)
    np.testing.assert_allclose(gains[23], 1, rtol=1e-5)
    strong = class_gains(light(60, 100), light(200, 100), surface=surface)
    np.testing.assert_allclose(strong[7], REST[1], rtol=1e-5)
    photo = np.full((2, 2, 3), 100, np.uint8)
    lit = with_gains(photo, np.array([[7, 7], [23, 26]]), gains)
    np.testing.assert_allclose(lit[0], 120, atol=1)
    np.testing.assert_allclose(lit[1], 100, atol=1)


@given(st.floats(0.01, MOST_HAZE))
def test_haze_that_was_added_is_taken_away(haze: float) -> None:
    clear = np.arange(60, 250, dtype=np.uint8)[:, None].repeat(3, axis=1)
    hazed = with_gain(clear, np.ones(3), haze=-haze / (1 - haze))
    assert (hazed >= clear).all()
    np.testing.assert_allclose(with_gain(hazed, np.ones(3), haze=haze), clear, atol=2)


def test_an_object_of_a_hazed_copy_of_a_scene_comes_back_clear() -> None:
    scene = street(height=64, width=128)
    surface = np.zeros(CITY.num_classes, np.bool_)
    surface[[7, 11, 23]] = True
    rng = np.random.default_rng(0)
    clear = rng.integers(0, 200, (64, 128, 3), dtype=np.uint8)
    hazed = with_gain(clear, np.ones(3), haze=-0.05 / 0.95)

    def light(photo: Photo) -> SceneLight:
        return SceneLight.of(photo, scene.label, num_classes=CITY.num_classes)

    haze = haze_between(light(hazed), light(clear))
    assert haze == pytest.approx(0.05, abs=0.005)
    gain = exposure_gain(light(hazed), light(clear), surface=surface, haze=haze)
    np.testing.assert_allclose(with_gain(hazed, gain, haze=haze), clear, atol=4)
    assert haze_between(light(clear), light(clear)) == 0
    np.testing.assert_allclose(exposure_gain(light(clear), light(clear), surface=surface), 1)
    white = np.full_like(clear, 250)
    assert haze_between(light(white), light(clear)) == MOST_HAZE


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


def test_a_pasted_object_that_brings_no_pixels_has_to_be_drawn() -> None:
    scene, donor = photographed(street(height=64, width=128)), street("donor", height=64, width=128)
    made = edited(scene, Paste(donor="donor", donor_instance=26001, row=60, column=20), donor=donor)
    assert made.picture is not None
    pasted = made.scene.instance == 26002
    np.testing.assert_array_equal(made.picture.source == PixelSource.UNSEEN, pasted)
    assert pasted.any()


def test_thin_parts_keep_their_own_colours() -> None:
    mask = np.zeros((40, 40), np.bool_)
    mask[:20, 10:30] = True  # a body on
    mask[20:, 14:16] = mask[20:, 24:26] = True  # two thin legs
    photo = np.full((60, 60, 3), 90, np.uint8)
    photo[10:30, 20:40] = 200
    photo[30:50, 24:26] = photo[30:50, 34:36] = 20
    seen = without_background(photo, (10, 10, 50, 50), mask)
    assert (seen[24:][mask[24:]] == 20).all()
    assert (seen[:18][mask[:18]] == 200).all()
