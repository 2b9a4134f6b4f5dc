"""Margins: how far from the edge of its ground a place is, and where objects prefer to stand."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.donors.bank import DonorIndex
from pipeline.indexing.record import GRID, SceneRecord, index_scene
from pipeline.placing.locations import MARGINS, margins_of
from pipeline.placing.placement import Limits, Placer
from pipeline.placing.priors import Priors
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.scenes import CAR, PERSON, ROAD, SIDEWALK, SKY

CITY = Taxonomy.load("cityscapes")
SIZE = (128, 256)  # a cell is 2x2 pixels
EDGE = 200
"""The column at which the road ends."""
HORIZON = 40


def test_margins_are_distances_in_heights_of_the_camera() -> None:
    grid = np.full(GRID, ROAD)
    grid[:, 100:] = SIDEWALK
    found = margins_of(grid, 0.0, SIZE)
    # Row 31's centre lies 63 pixels below the horizon, so that the camera is as high as 31.5 cells.
    for column in range(GRID[1]):
        away = abs(column + 0.5 - 100) / 31.5
        assert found[31, column] == sum(away > margin for margin in MARGINS)
    # Farther off, the same distance in pixels is a larger one in truth.
    assert (np.diff(found[:, 96]) <= 0).all()
    assert found[4, 96] > found[40, 96]
    # What lies above the horizon is as far away as can be said.
    assert margins_of(grid, 100.0, SIZE)[3].tolist() == margins_of(grid, 100.0, SIZE)[20].tolist()


def test_the_border_of_the_picture_is_no_edge() -> None:
    assert (margins_of(np.full(GRID, ROAD), 0.0, SIZE) == len(MARGINS)).all()
    grid = np.full(GRID, ROAD)
    grid[:, :10] = SIDEWALK
    found = margins_of(grid, 0.0, SIZE)
    assert (found[40, 0:10] <= found[40, 5]).sum() >= 5
    assert found[40, -1] == found[40].max()


def road(seed: int, away: tuple[float, float]) -> SceneRecord:
    """A road that ends at some column, people at a distance from there, and a car.

    Distances are multiples of that from the horizon, as heights are.
    """
    rng = np.random.default_rng(seed)
    edge = int(rng.integers(130, 240))
    label = np.full(SIZE, SKY, np.uint8)
    label[HORIZON:] = ROAD
    label[HORIZON:, edge:] = SIDEWALK
    instance = label.astype(np.int32)
    for number, class_id in enumerate((PERSON, PERSON, PERSON, CAR)):
        below = int(rng.integers(30, 80))
        tall, wide = (below // 3, below // 8) if class_id == PERSON else (below // 4, below // 2)
        off = rng.uniform(*away) if class_id == PERSON else rng.uniform(0.5, 3)
        left = int(edge - off * below - wide / 2)
        box = np.s_[HORIZON + below - tall : HORIZON + below, max(left, 0) : left + wide]
        if left > 0 and (instance[box] < 1000).all():
            label[box], instance[box] = class_id, class_id * 1000 + number
    return index_scene(Scene(f"road {seed}", label, instance), CITY)


def distances(away: tuple[float, float]) -> npt.NDArray[np.float64]:
    """How far from the edge of the road people are put, learnt from people at some distance."""
    records = [road(seed, away) for seed in range(60)]
    placer = Placer(Priors.fit(records, CITY), DonorIndex.of(records), CITY, limits=Limits())
    label = np.full(SIZE, SKY, np.uint8)
    label[HORIZON:] = ROAD
    label[HORIZON:, EDGE:] = SIDEWALK
    bare = index_scene(Scene("bare", label, label.astype(np.int32)), CITY)
    rows, columns = placer.places.draw(placer.planned(bare), PERSON, np.random.default_rng(0), 4000)
    on_road = (columns < EDGE) & (rows > HORIZON + 20)
    found: npt.NDArray[np.float64] = (EDGE - columns[on_road]) / (rows[on_road] - HORIZON)
    return found


def test_people_who_keep_to_the_edge_are_put_there() -> None:
    near, far = distances((0.1, 0.3)), distances((1.7, 3))
    assert (near < MARGINS[0]).mean() > 0.5
    assert (far < MARGINS[0]).mean() < 0.1
    assert np.median(far) > 1.5


def test_ground_that_carries_none_of_the_category_carries_none() -> None:
    records = [road(seed, (0.2, 2)) for seed in range(12)]
    priors = Priors.fit(records, CITY)
    grounds = Counter(int(g) for r in records for g in r.ground[r.classes == PERSON])
    assert set(grounds) == {ROAD}
    assert priors.support(PERSON)[SIDEWALK] == 0
    assert priors.support(PERSON)[ROAD] == pytest.approx(1)
    assert priors.preference(PERSON)[SIDEWALK].tolist() == [0] * (len(MARGINS) + 1)
    # With few of them, what the taxonomy says is believed.
    few = Priors.fit(records[:2], CITY)
    assert few.support(PERSON)[SIDEWALK] > 0
