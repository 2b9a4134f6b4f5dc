import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from eval.assembly import make_report, ratio_of_means
from eval.confusion import VOID
from eval.counts import SideCounts, commit_counts, count_image, read_counts
from eval.errors import EvalError
from eval.mapping import ClassMapping
from eval.protocol import ScoreProtocol
from eval.reports import pages
from eval.reports.pages import heat_map, html, markdown
from eval.reports.pictures import Drawn
from eval.reports.report import ImageRow, check_comparable, read_report
from pipeline.taxonomy import Taxonomy
from tests.eval_reports import make

CITY = Taxonomy.load("cityscapes")
MAPPING = ClassMapping.between(CITY, CITY)


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    report = make(iou={"road": 0.25, "car": None})
    path = report.save(tmp_path)
    assert path.name == "report.json"
    assert read_report(path) == read_report(tmp_path) == report
    plain = json.loads(path.read_text())
    assert (plain["schema_version"], plain["rendered"]["iou"]["car"]["value"]) == (1, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such report; hdsynth eval --report DIR writes one"),
        ("{", "not a readable report"),
        ("[]", "not a report of hdsynth eval"),
        ('{"schema_version": 2}', "schema version 2, expected 1; make it again"),
        ('{"schema_version": 1}', "missing key 'hdsynth'"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "report.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(EvalError, match=rf"report\.json: .*{re.escape(message)}"):
        read_report(file)


@pytest.mark.parametrize(
    "keys",
    [
        ("protocol", "score_size"),
        ("rendered", "scores", "mean_iou"),
        ("oracle", "iou", "car"),
        ("rendered", "class_accuracy", "road"),
        ("ratio", "acc_valid"),
        ("rendered", "scores", "mean_iou", "low"),
    ],
)
def test_a_report_that_lacks_something_is_refused(tmp_path: Path, keys: tuple[str, ...]) -> None:
    file = make().save(tmp_path)
    data = json.loads(file.read_text())
    inner = data
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    file.write_text(json.dumps(data))
    with pytest.raises(EvalError) as caught:
        read_report(file)
    assert str(caught.value) == f"{file}: missing key '{'.'.join(keys)}'"


def test_a_size_in_a_report_has_two_sides(tmp_path: Path) -> None:
    file = make().save(tmp_path)
    data = json.loads(file.read_text())
    data["protocol"]["score_size"] = [512]
    file.write_text(json.dumps(data))
    with pytest.raises(
        EvalError, match=r"json: protocol\.score_size: expected a height and a width, got \[512\]$"
    ):
        read_report(file)


def test_scores_of_other_protocols_are_not_compared() -> None:
    other = make(protocol={"score_size": [1024, 2048]}, protocol_id="ffffffffffff")
    check_comparable(make(), make(mean_iou=0.1), names=("a", "b"))
    with pytest.raises(EvalError) as caught:
        check_comparable(make(), other, names=("a", "b"))
    assert str(caught.value).splitlines() == [
        "a and b were scored under different protocols (0123456789ab, ffffffffffff) and cannot be "
        "compared; these differ:",
        "  score_size: 32x64 and 1024x2048",
    ]


def flat_side(folder: Path, name: str, pixels: list[tuple[int, int, int]]) -> SideCounts:
    """Four equal photos of as many scenes; `pixels` are target, prediction, how many."""
    counted = [
        count_image(
            k,
            f"scene {k}",
            np.concatenate([np.full((1, n), t, np.uint8) for t, _, n in pixels], axis=1),
            np.zeros((1, sum(n for _, _, n in pixels)), np.int32),
            np.concatenate([np.full((1, n), p, np.uint8) for _, p, n in pixels], axis=1),
            mapping=MAPPING,
            band=1,
            origins={},
            default_origin="source",
        )
        for k in range(4)
    ]
    file = folder / f"{name}.parquet"
    commit_counts(file, counted, fingerprint="f")
    return read_counts([file], num_classes=19, num_things=len(MAPPING.things))


def test_ratios_of_means_are_over_the_classes_present_on_both_sides(tmp_path: Path) -> None:
    # Road 0 and car 13 on both sides; buses 15, all missed, and persons 11 on one side each.
    rendered = flat_side(tmp_path, "rendered", [(0, 0, 40), (0, VOID, 10), (13, 13, 8), (15, 0, 5)])
    real = flat_side(tmp_path, "real", [(0, 0, 50), (13, 13, 6), (13, VOID, 4), (11, 11, 9)])
    plain = make()
    protocol = ScoreProtocol(
        **{
            key: tuple(value) if isinstance(value, list) else value
            for key, value in plain.protocol.items()
        }
    )
    report = make_report(
        rendered,
        real,
        mapping=MAPPING,
        protocol=protocol,
        scorer={},
        run=plain.run,
        real_row=plain.real.model_copy(update={"without_photo": 2}),
        version="0",
        replicates=20,
    )
    # Road: 40 of 50 labelled and 5 more predicted; cars: all 8. Real: all roads, 6 of 10 cars.
    iou = (40 / 55 + 1) / (1 + 6 / 10)
    accuracy = (40 / 50 + 1) / (1 + 6 / 10)
    for name, expected in (("mean_iou", iou), ("mean_class_accuracy", accuracy)):
        score = report.ratio[name]
        # Equal photos: each draw of scenes gives the same.
        assert [score.value, score.low, score.high] == pytest.approx([expected] * 3), name
    assert report.rendered.scores["mean_iou"].value == pytest.approx((40 / 55 + 1 + 0) / 3)
    for name in ("mean IoU", "mean class accuracy"):
        warning = (
            f"present on one side only, and left out of the ratio of {name}: "
            "bus (rendered only), person (real only)"
        )
        assert warning in report.warnings
    assert "2 of 5 real scenes have no photo, and were left out" in report.warnings


def test_each_replicate_has_classes_of_its_own() -> None:
    nan = float("nan")
    part = np.array([[0.2, 0.4, nan], [0.2, nan, 0.5], [nan, nan, 0.5]])
    whole = np.array([[0.4, 0.8, 0.1], [0.8, 0.1, nan], [0.3, 0.3, nan]])
    found = ratio_of_means(part, whole)
    np.testing.assert_allclose(found, [0.3 / 0.6, 0.2 / 0.8, nan])


class Links(HTMLParser):
    """What a page loads, and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_from_elsewhere() -> None:
    row = ImageRow(index=3, scene="<b>street</b>", acc_valid=0.5, mean_iou=None)
    url = "data:image/png;base64,AAAA"
    drawn = Drawn("rendered", "worst", row, url, url, url, url)
    page = html(make(iou={"road": 0.25, "car": None}), [drawn])
    links = Links()
    links.feed(page)
    assert links.loaded == [url] * 4
    assert links.open == []
    assert "<b>street</b>" not in page
    for text in ("0123456789ab", "27.8 %", "3 of 4", "street"):
        assert text in page, text


def test_the_heat_map_holds_shares_of_rows() -> None:
    heat = heat_map(make(), "rendered")
    assert [row["name"] for row in heat["rows"]] == ["road", "car"]
    assert [cell["share"] for cell in heat["rows"][0]["cells"]] == [40 / 45, 5 / 45, 0]


def test_markdown_has_whole_tables() -> None:
    text = markdown(make(iou={"road": 0.25, "car": None}))
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 5
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
    assert "**27.8 % of the oracle**" in text
    assert "\n\n\n" not in text


def test_a_ci_job_gets_a_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "draw_extremes", lambda *_: [])
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    pages.write_pages(tmp_path, make(), None)  # type: ignore[arg-type] # only pictures need it
    text = summary.read_text()
    assert text.startswith("before\n## Scores of out")
    assert text == "before\n" + (tmp_path / "report.md").read_text() + "\n"
