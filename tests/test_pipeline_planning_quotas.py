import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import OutputError
from pipeline.planning.quotas import (
    Quota,
    QuotaReport,
    Tally,
    Target,
    quota_lines,
    read_reports,
    with_achieved,
    write_reports,
)
from pipeline.taxonomy import Taxonomy

CITY = Taxonomy.load("cityscapes")
CAMVID = Taxonomy.load("camvid")
PERSON, RIDER, CAR, ROAD = 24, 25, 26, 7

objects = st.lists(
    st.tuples(
        st.sampled_from([PERSON, RIDER, CAR]), st.sampled_from([0.1, 0.5, 0.8, 1.0]),
        st.integers(1, 90),
    ),
    max_size=8,
)  # fmt: skip


def tally(found: list[tuple[int, float, int]], *, stuff: bool = False) -> Tally:
    classes, visible, areas = (np.array([o[k] for o in found]) for k in range(3))
    shares = np.full(CITY.num_classes, 0.01) if stuff else None
    return Tally(classes.astype(np.int64), visible.astype(float), areas.astype(float), 1000, shares)


def target(**quota: object) -> Target:
    (found,) = Quota.parse(quota, origin="test").targets(CITY)
    return found


@given(objects)
def test_samples_are_measured_as_by_hand(found: list[tuple[int, float, int]]) -> None:
    sample = tally(found)
    cars = [o for o in found if o[0] == CAR]
    hidden = [o for o in cars if 0.2 <= 1 - o[1] <= 0.6]
    for quota, value in (
        ({"class": "car", "at_least": 2, "in": 0.5}, len(cars) >= 2),
        ({"class": "car", "at_least": 1, "at_most": 3}, 1 <= len(cars) <= 3),
        ({"class": "car", "at_most": 0}, not cars),
        ({"class": "car", "times": 3}, len(cars)),
        ({"class": "car", "occluded": [0.2, 0.6], "in": 0.3}, len(hidden) >= 1),
        ({"class": "car", "occluded": [0.2, 0.6], "at_least": 2}, len(hidden) >= 2),
        ({"pixel_share": {"car": 0.1}}, sum(o[2] for o in cars) / 1000),
    ):
        assert target(**quota).measure(sample) == pytest.approx(float(value))


def test_stuff_is_measured_where_it_is_known() -> None:
    road = target(pixel_share={"road": 0.3})
    assert road.measure(tally([], stuff=True)) == 0.01
    assert math.isnan(road.measure(tally([])))
    assert target(pixel_share={"car": 0.3}).measure(tally([], stuff=True)) == 0


def test_the_first_alternative_that_exists_counts() -> None:
    quota = Quota.parse({"class": ["person", "pedestrian"], "at_least": 1}, origin="test")
    assert [t.class_name for t in quota.targets(CITY)] == ["person"]
    assert [t.class_name for t in quota.targets(CAMVID)] == ["pedestrian"]
    foreign = Quota.parse({"class": ["truck"], "at_least": 1}, origin="test")
    assert foreign.targets(CAMVID) == []
    assert foreign.foreign_text(CAMVID) == "truck: does not apply, camvid has no such class"


@pytest.mark.parametrize(
    ("quota", "text"),
    [
        ({"class": "rider", "at_least": 2, "in": 0.5}, "at least 2 rider in 50% of the samples"),
        ({"class": "rider", "at_most": 0}, "no rider in 100% of the samples"),
        ({"class": "rider", "at_least": 2, "at_most": 4}, "2 to 4 rider in 100% of the samples"),
        ({"class": "rider", "at_most": 4}, "at most 4 rider in 100% of the samples"),
        ({"class": "rider", "times": 1.5}, "rider: 1.5 times as many as in the source"),
        (
            {"class": "rider", "occluded": [0.2, 0.6], "in": 0.3},
            "at least 1 rider, hidden by 20% to 60%, in 30% of the samples",
        ),
        ({"pixel_share": {"rider": 0.025}}, "rider: 2.50% of the pixels"),
    ],
)
def test_targets_are_put_in_words(quota: dict[str, object], text: str) -> None:
    assert target(**quota).text() == text


def test_reports_survive_their_file(tmp_path: Path) -> None:
    one = target(**{"class": "rider", "occluded": [0.2, 0.6], "in": 0.3})
    reports = [
        QuotaReport(one, one.text(), source=0.0, forecast=0.25, reasons=("no place",)),
        QuotaReport(None, "truck: does not apply"),
    ]
    path = tmp_path / "quotas.json"
    write_reports(path, reports)
    assert read_reports(path) == reports
    assert [entry["met"] for entry in json.loads(path.read_text())] == [False, False]
    assert quota_lines(reports) == [
        f"{one.text()}: source 0.0%, forecast 25.0%",
        "  because: no place",
        "truck: does not apply",
    ]
    for content in ("[{}]", "{", "[1]"):
        path.write_text(content)
        with pytest.raises(OutputError, match="not a readable list of quotas"):
            read_reports(path)


def test_what_is_achieved_is_the_mean_over_samples() -> None:
    share, times, road = (
        target(**{"class": "car", "at_least": 2}),
        target(**{"class": "car", "times": 3}),
        target(pixel_share={"road": 0.3}),
    )
    reports = [
        QuotaReport(share, share.text()),
        QuotaReport(None, "truck: does not apply"),
        QuotaReport(times, times.text(), source_mean=0.5),
        QuotaReport(road, road.text()),
    ]
    samples = [tally([(CAR, 1.0, 5)] * count) for count in (0, 1, 2, 3)]
    found = with_achieved(reports, samples)
    assert [report.achieved for report in found] == [0.5, None, 3.0, None]
    assert [report.achieved for report in with_achieved(reports, [])] == [None] * 4


@pytest.mark.parametrize(
    "data",
    [
        {"class": "rider", "at_least": 2, "in": 0.5},
        {"class": ["person", "pedestrian"], "times": 3},
        {"class": "truck", "occluded": [0.2, 0.6], "in": 0.3},
        {"class": "car", "at_most": 0},
        {"pixel_share": {"bus": 0.02, "bicycle": 0.01}},
    ],
)
def test_quotas_survive_being_written(data: dict[str, object]) -> None:
    quota = Quota.parse(data, origin="a test")
    assert Quota.parse(quota.to_plain(), origin="a test") == quota
