import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.editing.layers import Border, Profile, match, paint

GROUND = np.array([True, True, False, False, False])
ROAD, PAVEMENT, HOUSE, TREE, SKY = range(5)


def profile(*layers: tuple[int, int]) -> Profile:
    """Layers as class and rows."""
    return Profile.of(np.repeat([c for c, _ in layers], [n for _, n in layers]), least=1)


def test_a_profile_is_runs_of_a_class() -> None:
    found = Profile.of(np.array([4, 4, 4, 2, 4, 2, 2, 0, 0]), least=2)
    assert found == Profile((4, 2, 0), (0, 5, 7, 9))


def test_thin_layers_inside_another_stay_only_where_both_sides_were_seen() -> None:
    found = profile((HOUSE, 9), (ROAD, 9), (PAVEMENT, 3), (ROAD, 9))
    unsure = np.zeros(30, bool)
    assert found.without_slivers(unsure, least=5) == found
    unsure[19] = True
    assert found.without_slivers(unsure, least=3) == found
    assert found.without_slivers(unsure, least=5) == Profile((HOUSE, ROAD), (0, 9, 30))


def test_layers_of_both_sides_reach_across() -> None:
    left, right = profile((SKY, 5), (HOUSE, 5), (ROAD, 9)), profile((SKY, 3), (HOUSE, 9), (ROAD, 7))
    assert match(left, right, ground=GROUND, width=10) == [
        Border(SKY, 0, 0),
        Border(HOUSE, 5, 3),
        Border(ROAD, 10, 12),
    ]


def test_what_one_side_alone_shows() -> None:
    left, right = profile((HOUSE, 9), (PAVEMENT, 4), (ROAD, 7)), profile((TREE, 8), (ROAD, 12))
    assert match(left, right, ground=GROUND, width=10) == [
        Border(HOUSE, 0, 0, -1),
        Border(TREE, 0, 0, 1),
        Border(PAVEMENT, 9, 8),
        Border(ROAD, 13, 8),
    ]


layers = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), min_size=1, max_size=6)


@given(layers, layers, st.integers(1, 40))
def test_a_hole_is_filled_with_what_is_beside_it(
    left: list[tuple[int, int]], right: list[tuple[int, int]], width: int
) -> None:
    height = 60
    sides = [profile(*side[:-1], (side[-1][0], height)) for side in (left, right)]
    sides = [Profile(side.classes, (*side.tops[:-1], height)) for side in sides]
    borders = match(*sides, ground=GROUND, width=width)
    assert {b.class_id for b in borders} <= {c for side in sides for c in side.classes}
    filled = paint(
        borders,
        (height, width),
        left=np.full(height, -1),
        right=np.full(height, width),
        split=width // 2,
        dtype=np.uint8,
    )
    assert filled.shape == (height, width)
    assert set(np.unique(filled)) <= {b.class_id for b in borders}


@given(layers, st.integers(1, 40))
def test_the_same_layers_at_both_sides_go_on_as_they_are(
    side: list[tuple[int, int]], width: int
) -> None:
    values = np.repeat([c for c, _ in side], [n for _, n in side])
    found = Profile.of(values, least=1)
    filled = paint(
        match(found, found, ground=GROUND, width=width),
        (len(values), width),
        left=np.full(len(values), -1),
        right=np.full(len(values), width),
        split=0,
        dtype=np.uint8,
    )
    np.testing.assert_array_equal(filled, np.repeat(values[:, None], width, axis=1))
