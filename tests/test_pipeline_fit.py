"""Fitting against the definition of nearest sampling, pixel by pixel."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import DatasetError, TaxonomyError
from pipeline.fit import FIT_MODES, FitMode, fit
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.scenes import street

CITY = Taxonomy.load("cityscapes")
HELEN = Taxonomy.load("helen")
sides = st.integers(1, 23)


def noise(height: int, width: int, *, photo: bool = False) -> Scene:
    rng = np.random.default_rng(height * 100 + width)
    label = rng.integers(1, 35, (height, width), np.uint8)
    instance = rng.integers(1, 34000, (height, width), np.int32)
    picture = rng.integers(0, 256, (height, width, 3), np.uint8) if photo else None
    return Scene("noise", label, instance, picture)


def source_pixel(target: int, source: int, scaled: int, offset: int) -> int | None:
    """The source pixel under the centre of a target pixel, in exact arithmetic."""
    place = target + offset
    if not 0 <= place < scaled:
        return None
    return int((place + Fraction(1, 2)) * source / scaled)


def expected_map(scene: Scene, size: tuple[int, int], scaled: tuple[int, int]) -> list[list[int]]:
    (height, width), (tall, wide) = scene.size, size
    rows = [source_pixel(i, height, scaled[0], (scaled[0] - tall) // 2) for i in range(tall)]
    columns = [source_pixel(i, width, scaled[1], (scaled[1] - wide) // 2) for i in range(wide)]
    return [
        [0 if r is None or c is None else int(scene.instance[r, c]) for c in columns] for r in rows
    ]


@given(height=sides, width=sides, tall=sides, wide=sides)
def test_resize_is_nearest(height: int, width: int, tall: int, wide: int) -> None:
    scene = noise(height, width)
    fitted = fit(scene, (tall, wide), "resize", CITY)
    assert fitted.instance.tolist() == expected_map(scene, (tall, wide), (tall, wide))
    assert fitted.label.dtype == np.uint8
    assert fitted.instance.dtype == np.int32


@given(height=sides, width=sides, tall=sides, wide=sides)
def test_scaled_modes_keep_the_aspect_ratio(height: int, width: int, tall: int, wide: int) -> None:
    scene = noise(height, width)
    ratios = Fraction(tall, height), Fraction(wide, width)
    for mode, ratio in (("resize_crop", max(ratios)), ("resize_pad", min(ratios))):
        scaled = tuple(max(1, int(side * ratio + Fraction(1, 2))) for side in (height, width))
        fitted = fit(scene, (tall, wide), mode, CITY)  # type: ignore[arg-type]
        assert fitted.size == (tall, wide)
        if scene.size != (tall, wide):
            assert fitted.instance.tolist() == expected_map(scene, (tall, wide), scaled)  # type: ignore[arg-type]


@given(height=sides, width=sides, tall=sides, wide=sides)
def test_unscaled_modes(height: int, width: int, tall: int, wide: int) -> None:
    scene = noise(height, width, photo=True)
    mode: FitMode
    for mode, fits in (
        ("crop", height >= tall and width >= wide),
        ("pad", height <= tall and width <= wide),
    ):
        if not fits:
            with pytest.raises(DatasetError, match=f"noise: {height}x{width} is"):
                fit(scene, (tall, wide), mode, CITY)
            continue
        fitted = fit(scene, (tall, wide), mode, CITY)
        assert fitted.instance.tolist() == expected_map(scene, (tall, wide), scene.size)
        top, left = abs(tall - height) // 2, abs(wide - width) // 2
        if mode == "pad":
            # Halves are rounded down on the side of the offset, so one more pixel lies before.
            top, left = -((height - tall) // 2), -((width - wide) // 2)
            shown = fitted.photo[top : top + height, left : left + width]  # type: ignore[index]
            np.testing.assert_array_equal(shown, scene.photo)
            assert fitted.photo.sum() == scene.photo.sum()  # type: ignore[union-attr]
        else:
            np.testing.assert_array_equal(
                fitted.photo,
                scene.photo[top : top + tall, left : left + wide],  # type: ignore[index]
            )


@pytest.mark.parametrize("mode", FIT_MODES)
def test_right_size_is_left_alone(mode: FitMode) -> None:
    scene = street(photo=True)
    assert fit(scene, scene.size, mode, HELEN) is scene


@pytest.mark.parametrize("mode", ["resize", "resize_crop", "resize_pad"])
@pytest.mark.parametrize("size", [(16, 32), (48, 48), (64, 128), (31, 97)])
def test_photo_follows_the_maps(mode: FitMode, size: tuple[int, int]) -> None:
    scene = street(height=128, width=256, photo=True)
    fitted = fit(scene, size, mode, CITY)
    assert fitted.photo is not None
    assert fitted.photo.shape == (*size, 3)
    # The photo is the coloured label map: away from edges it must equal the coloured result.
    same = np.abs(fitted.photo.astype(int) - CITY.colors[fitted.label]).max(axis=2) <= 1
    assert same.mean() > 0.5
    inner = np.ones(size, bool)
    for axis in (0, 1):
        for shift in (-3, -2, -1, 1, 2, 3):
            inner &= np.roll(fitted.label, shift, axis) == fitted.label
    inner[:3], inner[-3:], inner[:, :3], inner[:, -3:] = False, False, False, False
    assert same[inner].mean() > 0.97


def test_photo_is_antialiased() -> None:
    checker = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    photo = np.repeat(checker[..., None], 3, axis=2)
    label = np.zeros((64, 64), np.uint8)
    fitted = fit(Scene("checker", label, label.astype(np.int32), photo), (8, 8), "resize", CITY)
    assert fitted.photo is not None
    assert np.abs(fitted.photo.astype(int) - 127).max() < 12


def test_photo_resize_equals_pillow() -> None:
    scene = noise(40, 60, photo=True)
    fitted = fit(scene, (13, 27), "resize", CITY)
    expected = Image.fromarray(scene.photo).resize((27, 13), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(fitted.photo, np.asarray(expected))


def test_padding_is_void_and_black() -> None:
    camvid = Taxonomy.load("camvid")
    label = np.full((4, 4), 3, np.uint8)
    photo = np.full((4, 4, 3), 200, np.uint8)
    fitted = fit(Scene("s", label, label.astype(np.int32), photo), (4, 8), "resize_pad", camvid)
    expected = [[11, 11, 3, 3, 3, 3, 11, 11]] * 4
    assert fitted.label.tolist() == expected
    assert fitted.instance.tolist() == expected
    assert fitted.photo is not None
    assert (fitted.photo[:, 2:6] == 200).all()
    assert (fitted.photo[:, [0, 1, 6, 7]] == 0).all()


def test_padding_needs_a_void_class() -> None:
    scene = noise(4, 4)
    for mode in ("pad", "resize_pad"):
        with pytest.raises(TaxonomyError, match="'helen' has no void class"):
            fit(scene, (4, 8), mode, HELEN)  # type: ignore[arg-type]
    fit(scene, (8, 8), "resize_pad", HELEN)
