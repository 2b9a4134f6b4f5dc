from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import GeneratorSettings
from pipeline.rendering.generator import GeneratorSpec, open_generator, render_maps
from pipeline.rendering.windows import CELL, MARGIN, find_windows, render_missing
from tests.datasets import write_checkpoint
from tests.scenes import street

PLACES = st.lists(
    st.tuples(st.integers(0, 510), st.integers(0, 1020), st.integers(1, 60), st.integers(1, 60)),
    min_size=1,
    max_size=4,
)


@given(PLACES)
def test_windows_hold_what_is_missing_with_a_margin_and_share_nothing(
    places: list[tuple[int, int, int, int]],
) -> None:
    missing = np.zeros((512, 1024), np.bool_)
    for top, left, tall, wide in places:
        missing[top : top + tall, left : left + wide] = True
    counted = np.zeros(missing.shape, np.int32)
    boxes = find_windows(missing)
    for top, left, bottom, right in boxes:
        counted[top:bottom, left:right] += 1
        assert {top % CELL, left % CELL, bottom % CELL, right % CELL} == {0}
    assert counted.max() == 1
    for top, left, tall, wide in places:
        around = (
            slice(max(top - MARGIN, 0), top + tall + MARGIN),
            slice(max(left - MARGIN, 0), left + wide + MARGIN),
        )
        assert counted[around].all()


def test_where_windows_cover_most_the_picture_is_one() -> None:
    missing = np.zeros((256, 512), np.bool_)
    missing[40:200, 60:440] = True
    assert find_windows(missing) == [(0, 0, 256, 512)]


def test_tall_pictures_have_wider_margins() -> None:
    missing = np.zeros((1024, 2048), np.bool_)
    missing[512, 1024] = True
    assert find_windows(missing) == [(384, 896, 672, 1184)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


def test_only_windows_are_drawn_each_as_the_generator_draws_it(checkpoint: Path) -> None:
    scene = street(height=256, width=512)
    missing = np.zeros((256, 512), np.bool_)
    missing[100:110, 100:110] = True
    settings = GeneratorSettings(checkpoint=checkpoint, dtype="float32", device="cpu")
    with open_generator(GeneratorSpec(checkpoint, settings)) as generator:
        drawn = render_missing(scene.label, scene.instance, missing, generator, styles=None)
        top, left, bottom, right = (32, 32, 192, 192)
        part = render_maps(
            scene.label[None, top:bottom, left:right].copy(),
            scene.instance[None, top:bottom, left:right].copy(),
            generator,
        )[0]
    expected = np.zeros((256, 512), np.bool_)
    expected[top:bottom, left:right] = True
    np.testing.assert_array_equal(drawn.inside, expected)
    np.testing.assert_array_equal(drawn.photo[top:bottom, left:right], part)
    assert not drawn.photo[~expected].any()
