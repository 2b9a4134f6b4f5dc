"""Spots: twins, donors that serve, and what comes along."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.donors.bank import DonorIndex
from pipeline.editing.cutout import cut_out, place_together
from pipeline.editing.program import Paste, Replace
from pipeline.indexing.record import SceneRecord, index_scene
from pipeline.placing.placement import Limits, Placer
from pipeline.placing.priors import Priors
from pipeline.placing.spacing import moved_with, united
from pipeline.placing.spots import Spots
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.scenes import CAR, RIDER, ROAD, street, with_cyclist

CITY = Taxonomy.load("cityscapes")


def cyclists(name: str) -> Scene:
    scene = with_cyclist(street(name, height=128, width=256), 90, 40)
    return with_cyclist(scene, 80, 180, number=1)


SCENES = {name: cyclists(name) for name in "abc"}
RECORDS = [index_scene(scene, CITY) for scene in SCENES.values()]
DONORS = DonorIndex.of(RECORDS)
PRIORS = Priors.fit(RECORDS, CITY)


def placer(**limits: object) -> Placer:
    return Placer(PRIORS, DONORS, CITY, limits=Limits(**limits))  # type: ignore[arg-type]


def row_of(key: tuple[str, int]) -> int:
    return DONORS.keys.index(key)


@given(
    st.integers(1, 60), st.integers(1, 60), st.booleans(), st.integers(0, 59), st.integers(1, 20)
)
def test_boxes_move_with_the_one_around_them(
    tall: int, wide: int, flip: bool, left: int, factor: int
) -> None:
    around = np.array([10, 20, 10 + tall, 20 + wide])
    own = np.array([10, 20 + min(left, wide - 1), 10 + tall, 20 + wide])
    after = np.array([0, 0, factor * tall, factor * wide])
    moved = moved_with(own, around, after, flip=flip)
    first, end = factor * (own[1] - 20), factor * wide
    expected = (0, 0 if flip else first, factor * tall, end - first if flip else end)
    assert moved.tolist() == list(expected)
    assert moved_with(around, around, after, flip=flip).tolist() == after.tolist()
    both = united(own[None], around[None])[0]
    assert both.tolist() == around.tolist()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scale", [0.5, 0.83, 1.0, 1.4])
def test_parts_lie_where_recomposition_puts_them(scale: float, flip: bool) -> None:
    made = placer()
    shapes = [cut_out(SCENES["a"].instance, instance) for instance in (25000, 33000)]
    placed = place_together(shapes, row=110, column=70, scale=scale, flip=flip)
    spots = Spots.blank(1)
    spots.donors[0], spots.flips[0] = row_of(("a", 25000)), flip
    tall, wide = round(20 * scale), round(14 * scale)
    spots.boxes[0] = [111 - tall, 70, 111, 70 + wide]
    parts = made.spotter.parts(spots, 0)
    assert [int(DONORS.ids[row]) for row, _ in parts] == [25000, 33000]
    for (_, box), shape in zip(parts, placed, strict=True):
        assert np.abs(box - np.array(shape.box)).max() <= 1


def bare() -> SceneRecord:
    label = street(height=128, width=256).label.copy()
    label[64:] = ROAD
    return index_scene(Scene("bare", label, label.astype(np.int32)), CITY)


def test_pastes_enter_and_give_back_all_that_comes_along() -> None:
    made = placer()
    scene = made.planned(bare())
    pastes = [made.paste(scene, RIDER, np.random.default_rng(seed)) for seed in range(4)]
    found = [paste for paste in pastes if paste is not None]
    assert len(found) > 1
    for paste in found:
        assert paste.donor_along == (paste.donor_instance + 8000,)
    rows = {row_of((p.donor, i)) for p in found for i in (p.donor_instance, *p.donor_along)}
    assert scene.used == rows
    assert len(scene.others()) == 2 * len(found) == len(rows)  # none is used twice
    assert made.spotter.uses.sum() == len(rows)
    made.take_back(scene, found[-1])
    assert len(scene.others()) == 2 * len(found) - 2
    last = {
        row_of((found[-1].donor, i)) for i in (found[-1].donor_instance, *found[-1].donor_along)
    }
    assert scene.used == rows - last
    assert set(np.flatnonzero(made.spotter.uses).tolist()) == rows - last


def test_the_lower_edge_of_what_comes_along_is_that_of_the_paste() -> None:
    made = placer()
    for seed in range(8):
        scene = made.planned(bare())
        paste = made.paste(scene, RIDER, np.random.default_rng(seed))
        if isinstance(paste, Paste):
            rider, bicycle = scene.boxes[-2:]
            assert paste.row + 1 == bicycle[2] >= rider[2]
            assert paste.column == min(rider[1], bicycle[1])
            assert scene.class_ids[-2:].tolist() == [25, 33]


def test_replacements_take_all_out_and_bring_all() -> None:
    made = placer()
    scene = made.planned(RECORDS[0])
    (index,) = np.flatnonzero(scene.ids == 25000).tolist()
    new = made.replace(scene, index, RIDER, np.random.default_rng(1))
    assert isinstance(new, Replace)
    assert (new.instance, new.along) == (25000, (33000,))
    assert new.donor_along == (new.donor_instance + 8000,)
    assert not scene.present[np.isin(scene.ids, [25000, 33000])].any()
    assert scene.class_ids[-2:].tolist() == [25, 33]


def test_donors_of_the_scene_and_those_used_up_do_not_serve() -> None:
    made = placer(max_uses=2, min_area=0)
    scene = made.planned(RECORDS[0])
    cars = np.flatnonzero(DONORS.classes == CAR)
    scales = np.ones(len(cars))

    def serving() -> set[tuple[str, int]]:
        ok = made.spotter.serves(scene, cars, scales)
        return {DONORS.keys[row] for row in cars[ok].tolist()}

    everything = {(name, instance) for name in "bc" for instance in (26000, 26001)}
    assert {key for key in everything if key[1] == 26001} <= serving() <= everything
    before = serving()
    scene.used.add(row_of(("b", 26001)))
    assert serving() == before - {("b", 26001)}
    made.spotter.uses[row_of(("c", 26001))] = 2
    assert serving() == before - {("b", 26001), ("c", 26001)}
    made.release([row_of(("c", 26001))])
    assert serving() == before - {("b", 26001)}
    for scale, serves in ((0.49, False), (0.51, True), (1.49, True), (1.51, False)):
        scales[:] = scale
        assert (("c", 26001) in serving()) == serves


def shaped(name: str, *cars: np.ndarray) -> Scene:
    """A road with cars of some shapes."""
    label = np.full((128, 256), ROAD, np.uint8)
    label[:50] = 23
    instance = label.astype(np.int32)
    for number, mask in enumerate(cars):
        box = np.s_[90 : 90 + mask.shape[0], 20 + 70 * number : 20 + 70 * number + mask.shape[1]]
        label[box][mask], instance[box][mask] = CAR, CAR * 1000 + number
    return Scene(name, label, instance)


def test_look_alikes_are_known_and_avoided() -> None:
    ramp = np.tri(24, dtype=np.bool_)
    block = np.ones((24, 24), np.bool_)
    records = [
        index_scene(shaped(name, *shapes), CITY)
        for name, shapes in (("a", [ramp]), ("b", [ramp, block]), ("c", [ramp[:, ::-1], block]))
    ]
    donors = DonorIndex.of(records)
    made = Placer(Priors.fit(records, CITY), donors, CITY, limits=Limits(max_cover=1))
    ramps = donors.areas < 24 * 24
    chosen = []
    for seed in range(150):
        scene = made.planned(records[0])
        spots = made.spotter.draw(scene, CAR, np.random.default_rng(seed), count=64)
        passed = spots.ok
        np.testing.assert_array_equal(spots.twins[passed], ramps[spots.donors[passed]])
        paste = made.paste(scene, CAR, np.random.default_rng(seed))
        if paste is not None:
            row = donors.keys.index((paste.donor, paste.donor_instance))
            chosen.append(bool(ramps[row]))
    # Although one donor, that of the scene itself, is never used.
    assert len(chosen) > 75
    assert np.mean(chosen) < 0.25
