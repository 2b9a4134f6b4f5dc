from fractions import Fraction
from math import floor

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.editing.appearance import Appearance
from pipeline.editing.cutout import (
    Cutout,
    OperationSkipped,
    cut_out,
    joint_box,
    place,
    place_together,
    stand_in,
    tight,
)
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


@slowly
@given(
    hnp.arrays(
        np.int8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 3)
    ),
    st.sampled_from([0.25, 0.8, 1.0, 1.3, 3.1]),
    st.booleans(),
)
def test_shapes_that_are_one_stay_together(
    parts: npt.NDArray[np.int8], scale: float, flip: bool
) -> None:
    """Laid together they are the parts of what all of them in one shape would be."""
    values = [value for value in (1, 2, 3) if (parts == value).any()]
    assume(values)
    shapes = [tight(parts == value, top=5, left=-3) for value in values]
    whole = tight(parts > 0, top=5, left=-3)
    assert whole is not None
    found = [shape for shape in shapes if shape is not None]
    at = {"row": 20, "column": 7, "scale": scale, "flip": flip}
    try:
        placed = place_together(found, **at)  # type: ignore[arg-type]
    except OperationSkipped:
        assert scale < 1  # nothing is left of one of them
        return
    expected = place(whole, **at)  # type: ignore[arg-type]
    pixels = [
        {(shape.top + r, shape.left + c) for r, c in np.argwhere(shape.mask)} for shape in placed
    ]
    assert sum(map(len, pixels)) == len(set().union(*pixels))
    assert set().union(*pixels) == {
        (expected.top + r, expected.left + c) for r, c in np.argwhere(expected.mask)
    }
    # All stand where the lowest of them does.
    assert joint_box(placed)[1:3] == (7, 21)
    assert {shape.contact_row for shape in placed} == {20}


@slowly
@given(st.integers(-9, 20), st.integers(1, 20), st.sampled_from([0.5, 1.0, 1.7]), st.booleans())
def test_stand_ins_stand_at_the_feet_and_the_middle(
    left: int, wide: int, scale: float, flip: bool
) -> None:
    body, wheel = Cutout(0, 4, np.ones((6, 3), np.bool_)), Cutout(4, 2, np.ones((4, 9), np.bool_))
    placed = stand_in([body, wheel], for_box=(3, left, 30, left + wide), scale=scale, flip=flip)
    _, first, bottom, end = joint_box(placed)
    assert bottom == 30
    assert abs((first + end) - (2 * left + wide)) <= 1


def test_mirroring_tightening_and_sampling_keep_the_common_contact_row() -> None:
    shape = Cutout(2, 3, np.pad(np.ones((4, 2), np.bool_), 1), reach=4)
    assert shape.contact_row == 11
    assert shape.mirrored().contact_row == 11
    inner = shape.tightened()
    assert inner is not None
    assert (inner.box, inner.contact_row) == ((3, 4, 7, 6), 11)
    doubled = inner.sampled(np.arange(40) // 2, np.arange(40) // 2)
    assert doubled is not None
    assert doubled.contact_row == 2 * (11 + 1) - 1
