from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.editing.appearance import Appearance
from pipeline.editing.cutout import Cutout, OperationSkipped, cut_out, place
from pipeline.editing.program import Jitter
from pipeline.editing.recompose import edit
from pipeline.editing.shade import Shade
from tests.edited_scenes import CITY, slowly
from tests.scenes import PERSON, street


@slowly
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.25, 0.8, 1.3, 3.1]), st.data())
def test_scaling_samples_at_pixel_centres(
    height: int, width: int, scale: float, data: st.DataObject
) -> None:
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    points = [
        (row, column)
        for row in range(tall)
        for column in range(wide)
        if mask[
            floor((row + Fraction(1, 2)) * Fraction(height, tall)),
            floor((column + Fraction(1, 2)) * Fraction(width, wide)),
        ]
    ]
    for flip in (False, True):
        source = Cutout(3, 4, mask[:, ::-1] if flip else mask)
        if not points:
            with pytest.raises(OperationSkipped, match="nothing is left"):
                place(source, row=20, column=7, scale=scale, flip=flip)
            continue
        placed = place(source, row=20, column=7, scale=scale, flip=flip)
        bottom, left = max(r for r, _ in points), min(c for _, c in points)
        assert {(r + 20 - bottom, c + 7 - left) for r, c in points} == {
            (placed.top + r, placed.left + c) for r, c in np.argwhere(placed.mask)
        }


def test_cut_out_is_tight() -> None:
    shape = cut_out(street().instance, 26000)
    assert (shape.top, shape.left, shape.mask.shape, shape.contact_row) == (15, 8, (4, 8), 18)


@slowly
@given(st.integers(-4, 9), st.integers(-4, 9), st.integers(1, 9), st.integers(1, 9), st.data())
def test_a_sampled_shape_is_that_of_the_sampled_picture(
    top: int, left: int, height: int, width: int, data: st.DataObject
) -> None:
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    whole = np.zeros((22, 22), np.int32)  # the picture with a margin that it does not show
    whole[top + 4 : top + 4 + height, left + 4 : left + 4 + width] = 26000 * mask
    lines = st.lists(st.integers(0, 9), min_size=1, max_size=14).map(sorted).map(np.array)
    rows, columns = data.draw(lines), data.draw(lines)
    picture = whole[4:14, 4:14][rows[:, None], columns]
    share = np.ones((height + 1, width + 2), np.float32)
    seen = Appearance(np.zeros((height, width, 3), np.uint8), Shade(share, margin=1))
    found = Cutout(top, left, mask, seen).sampled(rows, columns)
    if not picture.any():
        assert found is None
        return
    assert found is not None
    assert found.appearance is not None
    assert found.appearance.photo.shape[:2] == found.mask.shape
    expected = cut_out(picture, 26000)
    assert found.box == expected.box
    np.testing.assert_array_equal(found.mask, expected.mask)


def test_bending_keeps_the_feet_and_stays_near_the_contour() -> None:
    scene = street(height=96, width=192)
    disk = np.hypot(*np.ogrid[-20:21, -20:21]) <= 20
    scene.label[50:91, 60:101][disk] = PERSON
    scene.instance[50:91, 60:101][disk] = 24007
    amplitude = 3.0
    shapes = set()
    for seed in range(40):
        result = edit(scene, Jitter(instance=24007, amplitude=amplitude, seed=seed), taxonomy=CITY)
        mask = result.instance == 24007
        shapes.add(mask.tobytes())
        radius = np.hypot(*(np.argwhere(mask) - [70, 80]).T)
        # Half a pixel along each axis is lost to rounding.
        assert radius.max() <= 20 + amplitude + 0.8
        inner = np.hypot(*np.ogrid[-70:26, -80:112]) <= 20 - amplitude - 0.8
        assert mask[inner].all()
        assert np.flatnonzero(mask.any(axis=1))[-1] == 90
    assert len(shapes) == 40
