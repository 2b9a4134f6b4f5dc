import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eval import pages
from eval.errors import EvalError
from eval.pages import heat_map, html, markdown
from eval.pictures import Drawn
from eval.report import ImageRow, check_comparable, read_report
from tests.eval_reports import make


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
    for text in ("0123456789ab", "75.0 %", "3 of 4", "street"):
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
    assert "**75.0 % of the oracle**" in text
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
