"""Scores of composites: apart by where pixels come from, and not under the paper's protocol."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from eval.errors import EvalError
from eval.prepare import EvalConfig
from eval.run import evaluate
from pipeline.output.manifest import PIXEL_SOURCES
from pipeline.run import render
from tests.datasets import stem, write_cityscapes
from tests.fake_scorers import OpenColorScorer
from tests.test_pipeline_rendering_composite import job


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    world = write_cityscapes(folder / "world", height=64, width=128, photos=True)
    render(job(world, folder / "out"))
    return folder / "out"


def test_scores_are_counted_apart(out: Path, tmp_path: Path) -> None:
    config = EvalConfig(out=out, scorer=Path("s"), report=tmp_path / "r", preset="as-rendered")
    report = evaluate(config, open_scorer=OpenColorScorer())
    rows = {row.source: row for row in report.rendered.pixel_sources}
    stored = np.asarray(zarr.open_group(out / "data.zarr", mode="r")["pixel_source"][:])
    for code, name in enumerate(PIXEL_SOURCES):
        share = float(np.mean(stored == code))
        assert (rows[name].share if name in rows else 0) == pytest.approx(share)
    # Right pixels of all sources together are those of all photos; no pixel is void here.
    assert report.rendered.void_share == 0
    right = sum((row.acc_valid or 0) * row.share for row in rows.values())
    assert right == pytest.approx(report.rendered.scores["acc_valid"].value)
    assert report.oracle.pixel_sources == []
    assert "Where pixels come from" in (tmp_path / "r" / "report.md").read_text()


def test_recall_is_told_by_where_most_pixels_of_an_object_come_from(
    out: Path, tmp_path: Path
) -> None:
    config = EvalConfig(out=out, scorer=Path("s"), report=tmp_path / "r", preset="as-rendered")
    report = evaluate(config, open_scorer=OpenColorScorer())
    group = zarr.open_group(out / "data.zarr", mode="r")
    instance, source = (np.asarray(group[name][:]) for name in ("instance", "pixel_source"))
    expected: dict[str, int] = {}
    for number in range(len(instance)):
        for thing in np.unique(instance[number][instance[number] >= 1000]):
            codes = np.bincount(source[number][instance[number] == thing], minlength=5)
            name = PIXEL_SOURCES[int(codes.argmax())]
            expected[name] = expected.get(name, 0) + 1
    rows = {row.group: row.objects for row in report.rendered.recall if row.by == "pixels"}
    assert rows == expected
    assert {"kept", "donor"} <= rows.keys()
    assert not [row for row in report.oracle.recall if row.by == "pixels" and row.group]
    assert "donor pixels" in (tmp_path / "r" / "report.md").read_text()


def test_the_papers_protocol_is_not_for_composites(out: Path, tmp_path: Path) -> None:
    config = EvalConfig(out=out, scorer=Path("s"), report=tmp_path / "r", preset="paper")
    with pytest.raises(EvalError, match=r"holds composites.*--protocol as-rendered"):
        evaluate(config, open_scorer=OpenColorScorer())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    world = write_cityscapes(folder / "world", height=64, width=128, photos=True)
    render(job(world, folder / "out", photo={"mode": "exemplar", "exclude_near": 1}))
    return folder / "out"


def test_exemplars_that_the_scorer_has_seen_are_told(drawn: Path, tmp_path: Path) -> None:
    config = EvalConfig(out=drawn, scorer=Path("s"), report=tmp_path / "r", preset="as-rendered")
    report = evaluate(config, open_scorer=OpenColorScorer())
    assert report.run.photo == "exemplar"
    assert (report.run.exemplars, report.run.exemplars_seen) == (5, 0)
    page = (tmp_path / "r" / "report.md").read_text()
    assert "| pixels copied from | 5 scenes, 0 of which the scorer learnt from |" in page
    assert "| never copied from | a scene itself, and 1 before and after it" in page
    assert not [line for line in report.warnings if "learnt" in line]
    names = {stem(number) for number in range(2)} | {"elsewhere"}
    seen = frozenset(names)
    told = evaluate(config, open_scorer=OpenColorScorer(seen=seen, sha256="cd" * 32))
    assert told.run.exemplars_seen == told.real.seen == 2
    warnings = " ".join(told.warnings)
    assert "the scorer learnt from 2 of the 5 scenes whose pixels the photos show" in warnings
    assert "the scorer learnt from 2 of the 5 real photos" in warnings


def test_the_papers_protocol_is_not_for_exemplars(drawn: Path, tmp_path: Path) -> None:
    config = EvalConfig(out=drawn, scorer=Path("s"), report=tmp_path / "r", preset="paper")
    with pytest.raises(EvalError, match=r"holds photos drawn from exemplars.*as-rendered"):
        evaluate(config, open_scorer=OpenColorScorer())
