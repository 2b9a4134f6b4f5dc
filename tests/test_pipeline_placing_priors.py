import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hdmodel.errors import ConfigError
from pipeline.errors import DatasetError, TaxonomyError
from pipeline.indexing.record import GRID, index_scene
from pipeline.placing.locations import ground_behind
from pipeline.placing.priors import Priors, read_priors
from pipeline.placing.spacing import hidden_shares, nearest_gaps, overlaps
from pipeline.taxonomy import Taxonomy
from tests.edited_scenes import scenes
from tests.scenes import CAR, PERSON, ROAD, street

CITY = Taxonomy.load("cityscapes")
TRAIN = 31
BUILDING, SIDEWALK = 11, 8


@pytest.fixture(scope="module")
def streets() -> Priors:
    return Priors.fit([index_scene(street(str(i)), CITY) for i in range(3)], CITY)


def test_counts_places_and_supports_of_known_scenes(streets: Priors) -> None:
    # Each scene: two cars and a person, all on road (see `street`).
    assert streets.content.scenes == 3
    assert streets.counts(CAR).mean == 2
    assert streets.counts(PERSON).quantiles == (1,) * 7
    assert streets.counts(TRAIN).mean == 0
    assert streets.support(CAR)[ROAD] > 0.9
    assert streets.support(CAR)[BUILDING] == 0
    assert streets.support(PERSON)[SIDEWALK] > 0
    # The person's feet: row 21 of 32, columns 52 to 54 of 64.
    (cell,) = (e.contacts for e in streets.content.classes if e.name == "person")
    assert cell == ((21 * 2, round(53.5 * 2), 3),)
    row, column = np.unravel_index(streets.location(PERSON).argmax(), GRID)
    assert abs(int(row) - 42) <= 1
    assert abs(int(column) - 107) <= 2


def test_locations_are_distributions(streets: Priors) -> None:
    for class_id in np.flatnonzero(CITY.is_thing):
        location = streets.location(int(class_id))
        assert location.sum() == pytest.approx(1)
        assert (location > 0).all()
        assert streets.support(int(class_id)).sum() == pytest.approx(1, abs=1e-3)


def test_what_a_taxonomy_does_not_say_comes_from_the_data() -> None:
    silent = CITY.model_copy(update={"support": {}})
    fitted = Priors.fit([index_scene(street(), silent)], silent)
    assert np.flatnonzero(fitted.support(CAR)).tolist() == [ROAD]


def test_a_file_says_all(streets: Priors, tmp_path: Path) -> None:
    path = tmp_path / "priors.json"
    streets.save(path)
    loaded = Priors.load(path, CITY)
    assert loaded.content == streets.content
    assert loaded.sha256 == streets.sha256
    assert (loaded.location(CAR) == streets.location(CAR)).all()
    record = index_scene(street(), CITY)
    assert loaded.view(record) == streets.view(record)
    # Readable: a line per key, and one for a list of numbers.
    assert max(map(len, path.read_text().splitlines())) < 200


def test_bad_files_are_named(streets: Priors, tmp_path: Path) -> None:
    path = tmp_path / "priors.json"
    with pytest.raises(DatasetError, match=r"priors.json: no such file; make it with"):
        read_priors(path)
    path.write_text("{")
    with pytest.raises(DatasetError, match="not a priors file"):
        read_priors(path)
    path.write_text("[]")
    with pytest.raises(DatasetError, match="holds a list"):
        read_priors(path)
    streets.save(path)
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"horizn": 1}))
    with pytest.raises(ConfigError, match="unknown key 'horizn', did you mean 'horizon'"):
        read_priors(path)
    path.write_text(json.dumps(whole | {"grid": [2, 3]}))
    with pytest.raises(DatasetError, match=r"grid: expected \(64, 128\), got \(2, 3\)"):
        read_priors(path)
    path.write_text(json.dumps(whole | {"classes": whole["classes"][1:]}))
    with pytest.raises(DatasetError, match="classes: expected"):
        Priors.load(path, CITY)
    path.write_text(json.dumps(whole | {"version": 1}))
    with pytest.raises(ConfigError, match=r"version.*2"):
        read_priors(path)
    whole["classes"][0]["support"]["rode"] = 0.5
    path.write_text(json.dumps(whole))
    with pytest.raises(DatasetError, match="unknown class 'rode'"):
        Priors.load(path, CITY)
    streets.save(path)
    with pytest.raises(TaxonomyError, match="fitted to taxonomy 'cityscapes'"):
        Priors.load(path, Taxonomy.load("camvid"))


@settings(deadline=None, max_examples=30)
@given(scenes())
def test_any_scene_can_be_fitted(scene: object) -> None:
    record = index_scene(scene, CITY)  # type: ignore[arg-type]
    fitted = Priors.fit([record, record], CITY)
    view = fitted.view(record)
    assert np.isfinite([view.horizon, view.spread]).all()
    for class_id in np.flatnonzero(CITY.is_thing):
        mean, sigma = fitted.log_height(
            int(class_id), np.arange(record.size[0] + 1.0), view, height=record.size[0]
        )
        assert np.isfinite(mean).all()
        assert (sigma > 0).all()
        assert fitted.counts(int(class_id)).mean == (record.classes == class_id).sum()


def test_no_scenes_can_be_fitted() -> None:
    fitted = Priors.fit([], CITY)
    assert fitted.counts(CAR).mean == 0
    assert fitted.location(CAR).sum() == pytest.approx(1)
    assert fitted.support(CAR)[ROAD] > 0


BOXES = hnp.arrays(np.int64, st.tuples(st.integers(1, 5), st.just(4)), elements=st.integers(0, 9))


def pixels(box: np.ndarray) -> np.ndarray:
    canvas = np.zeros((24, 24), np.bool_)
    canvas[box[0] : box[2], box[1] : box[3]] = True
    return canvas


@given(BOXES, BOXES)
def test_spacing_agrees_with_pixels(one: np.ndarray, other: np.ndarray) -> None:
    one, other = (
        np.concatenate([b[:, :2], b[:, :2] + 1 + b[:, 2:]], axis=1).astype(np.float64)
        for b in (one, other)
    )
    a, b = one.astype(int), other.astype(int)
    shared = [[(pixels(x) & pixels(y)).sum() for y in b] for x in a]
    assert overlaps(one, other).tolist() == shared
    hidden = [
        min(1, sum(shared[i][j] for j in range(len(b)) if b[j, 2] > x[2]) / pixels(x).sum())
        for i, x in enumerate(a)
    ]
    np.testing.assert_allclose(hidden_shares(one, other), hidden)
    gaps = []
    for x in a:
        near = [
            max(y[1] - x[3], x[1] - y[3]) / (x[3] - x[1])
            for y in b
            if (x != y).any() and abs(y[2] - x[2]) < 0.15 * x[2]
        ]
        gaps.append(min(near, default=np.nan))
    np.testing.assert_allclose(nearest_gaps(one, other, horizon=0.0), gaps)


@given(
    hnp.arrays(
        np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 4)
    )
)
def test_ground_behind_takes_the_nearest_stuff_of_the_row(grid: np.ndarray) -> None:
    things = np.array([False, False, False, True, True])
    found = ground_behind(grid, things)
    stuff = ~things[grid]
    if not stuff.any():
        assert (found == grid).all()
    assume(stuff.any())
    rows_with = np.flatnonzero(stuff.any(axis=1))
    for row, column in np.ndindex(grid.shape):
        below = rows_with[rows_with >= row]
        source = below[0] if len(below) else rows_with[-1]
        at = np.flatnonzero(stuff[source])
        distance = np.abs(at - column)
        nearest = {int(grid[source, c]) for c in at[distance == distance.min()]}
        assert int(found[row, column]) in nearest
