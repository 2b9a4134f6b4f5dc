import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from eval.confusion import VOID
from eval.measures.boundaries import band_width, boundary, boundary_counts

values = st.sampled_from([0, 1, 2, VOID])
shapes = st.tuples(st.integers(1, 9), st.integers(1, 11))


def erosion_boundary(mask: np.ndarray, width: int) -> np.ndarray:
    """As in the paper's code: pad with background, erode by 3x3 `width` times, subtract."""
    padded = np.pad(mask, width)
    eroded = ndimage.binary_erosion(padded, np.ones((3, 3)), iterations=width)
    return mask & ~eroded[width:-width, width:-width]


@given(
    shapes.flatmap(lambda s: st.tuples(*(arrays(np.uint8, s, elements=values) for _ in range(2)))),
    st.integers(1, 3),
)
def test_bands_are_what_erosion_takes_from_each_mask(
    pair: tuple[np.ndarray, np.ndarray], width: int
) -> None:
    target, prediction = pair
    counts = boundary_counts(target, prediction, classes=np.array([1, 2]), width=width)
    valid = target != VOID
    for place, k in enumerate((1, 2)):
        ours = erosion_boundary(target == k, width) & valid
        theirs = erosion_boundary((prediction == k) & valid, width)
        assert counts[0, place] == np.count_nonzero(ours & theirs)
        assert counts[1, place] == np.count_nonzero(ours | theirs)


@given(
    shapes.flatmap(lambda s: st.tuples(*(arrays(np.uint8, s, elements=values) for _ in range(2)))),
    st.integers(1, 3),
)
def test_what_is_right_wherever_it_is_scored_is_all_right(
    pair: tuple[np.ndarray, np.ndarray], width: int
) -> None:
    target, anything = pair
    prediction = np.where(target == VOID, anything, target)
    shared, union = boundary_counts(target, prediction, classes=np.arange(3), width=width)
    np.testing.assert_array_equal(shared, union)


def test_a_region_that_fills_the_image_has_its_edge_as_boundary() -> None:
    expected = np.ones((5, 6), np.bool_)
    expected[1:-1, 1:-1] = False
    for k in (0, VOID):
        np.testing.assert_array_equal(boundary(np.full((5, 6), k, np.uint8), 1), expected)


def test_the_band_is_a_share_of_the_diagonal() -> None:
    assert band_width((300, 400)) == 10
    assert band_width((4, 4)) == 1
