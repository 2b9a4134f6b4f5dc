from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from eval.errors import EvalError
from eval.mapping import ClassMapping
from eval.protocol import (
    PRESETS,
    ScoreProtocol,
    choose_protocol,
    differences,
    resize_map,
    resize_photo,
    scored_scene,
)
from pipeline.taxonomy import Taxonomy
from tests.scenes import street

CITY = Taxonomy.load("cityscapes")


def protocol(preset: str = "as-rendered", *, size: tuple[int, int] = (32, 64)) -> ScoreProtocol:
    assert preset in PRESETS
    return choose_protocol(
        preset,  # type: ignore[arg-type]
        rendered_size=size,
        input_size=None,
        fit_mode="resize",
        scorer="ab",
        scorer_dtype="float32",
        taxonomy=CITY,
        mapping=ClassMapping.between(CITY, CITY),
        split="val",
        rendered=6,
        real=3,
    )


def test_every_field_changes_the_id() -> None:
    plain = protocol()
    seen = {plain.id}
    for item in fields(ScoreProtocol):
        value = getattr(plain, item.name)
        if isinstance(value, int):
            other: object = value + 1
        elif isinstance(value, tuple):
            other = (*value[:-1], 77)
        else:
            other = f"{value}x"
        seen.add(replace(plain, **{item.name: other}).id)
    assert len(seen) == 1 + len(fields(ScoreProtocol))
    assert protocol().id == plain.id


def test_differences_name_the_keys() -> None:
    one, other = protocol(), replace(protocol(), real=500, score_size=(64, 128))
    assert differences(one.to_plain(), other.to_plain()) == [
        "score_size: 32x64 and 64x128",
        "real: 3 and 500",
    ]
    assert differences(one.to_plain(), one.to_plain()) == []


def test_the_spade_preset_scores_at_full_size_and_wants_its_own() -> None:
    assert protocol("spade-512", size=(256, 512)).score_size == (1024, 2048)
    with pytest.raises(EvalError, match="'spade-512' expects photos of 256x512, the run has 32x64"):
        protocol("spade-512")


def test_the_paper_preset_wants_real_photos_of_the_same_size() -> None:
    chosen = protocol("paper", size=(16, 32))
    with pytest.raises(EvalError, match=r"street: 32x64, but .* rendered photos have 16x32"):
        scored_scene(street(photo=True), chosen, CITY)
    same = street(photo=True, height=16, width=32)
    scored = scored_scene(same, chosen, CITY)
    np.testing.assert_array_equal(scored.label, same.label)


def test_real_photos_go_through_the_size_of_the_run() -> None:
    scene = street(photo=True)
    chosen = replace(protocol(size=(16, 32)), score_size=(32, 64), input_size=(32, 64))
    scored = scored_scene(scene, chosen, CITY)
    assert scene.photo is not None
    assert scored.photo is not None
    small = Image.fromarray(scene.photo).resize((32, 16), Image.Resampling.BICUBIC)
    expected = np.asarray(small.resize((64, 32), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(scored.photo, expected)
    np.testing.assert_array_equal(scored.label, scene.label[1::2, 1::2].repeat(2, 0).repeat(2, 1))


def test_a_scene_without_photo_is_refused() -> None:
    with pytest.raises(EvalError, match="street: has no photo"):
        scored_scene(street(), protocol(), CITY)


def test_maps_take_the_value_under_each_centre() -> None:
    values = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    np.testing.assert_array_equal(resize_map(values, (6, 8)), values.repeat(2, 1).repeat(2, 2))
    half = Fraction(1, 2)
    for y, row in enumerate(resize_map(values[0], (5, 7))):
        for x, value in enumerate(row):
            under = int((y + half) * 3 / 5), int((x + half) * 4 / 7)
            assert value == values[0][under]
    assert resize_map(values, (3, 4)) is values
    photo = np.zeros((3, 4, 3), np.uint8)
    assert resize_photo(photo, (3, 4)) is photo
