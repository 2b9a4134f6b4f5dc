import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.errors import EvalError
from eval.prepare import EvalConfig
from eval.reports.gate import Gate
from eval.reports.report import read_report
from eval.run import evaluate
from hdmodel.errors import InputError
from pipeline.errors import OutputError
from pipeline.output.folder import OutputFolder
from pipeline.sources import DatasetConfig
from tests.datasets import photo_file
from tests.fake_scorers import OpenColorScorer
from tests.outputs import make_run
from tests.scored_runs import make_scored_run


def run(out: Path, report: Path, *, scorer: Any = OpenColorScorer(), **changes: Any) -> Any:  # noqa: ANN401, B008 - a frozen value
    keywords = {k: changes.pop(k) for k in ("gate", "baseline") if k in changes}
    config = replace(
        EvalConfig(out=out, scorer=Path("made"), report=report, device="cpu"), **changes
    )
    return evaluate(config, open_scorer=scorer, **keywords)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    return make_scored_run(tmp_path_factory.mktemp("scored"))


def test_failed_samples_are_left_out_only_if_asked(tmp_path: Path) -> None:
    out = make_scored_run(tmp_path, failed={1: "render", 4: "read"}, uncommitted={1})
    with pytest.raises(
        OutputError,
        match=r"of 6 samples 2 failed and 1 of 3 shards are not made yet; "
        r"failed samples: 1, 4 \(first: .*made up.*--exclude-failed",
    ):
        run(out.root, tmp_path / "r")
    report = run(out.root, tmp_path / "r", exclude_failed=True)
    assert (report.run.scored, report.run.excluded_samples, report.rendered.images) == (2, 4, 2)
    assert [(e.index, e.shard) for e in report.run.excluded] == [(1, 0), (4, 2), (None, 1)]
    assert "4 of 6 samples failed" in " ".join(report.warnings)
    assert "the rendered photos come from 2 scenes only" in " ".join(report.warnings)
    assert report.protocol["rendered"] == 2


def test_an_output_without_photos_and_no_output_are_refused(tmp_path: Path) -> None:
    out = make_run(tmp_path, samples=2, uncommitted={0})
    with pytest.raises(OutputError, match="no photo is rendered yet"):
        run(out.root, tmp_path / "r", exclude_failed=True)
    with pytest.raises(OutputError, match="not an output of hdsynth render"):
        run(tmp_path / "nowhere", tmp_path / "r")


def test_a_run_of_which_all_samples_failed_is_told_from_one_that_has_not_begun(
    tmp_path: Path,
) -> None:
    out = make_run(tmp_path, samples=4, failed={0: "render", 1: "read"}, uncommitted={1})
    for exclude in (False, True):
        with pytest.raises(
            OutputError,
            match=r"all 2 samples made so far failed, there is nothing to score "
            r"\(first: sample 0: .*made up",
        ):
            run(out.root, tmp_path / "r", exclude_failed=exclude)


def test_real_scenes_without_photos_are_reported(tmp_path: Path) -> None:
    out = make_scored_run(tmp_path)
    photo_file(tmp_path / "world", 1).unlink()
    report = run(out.root, tmp_path / "r")
    assert (report.real.photos, report.real.without_photo, report.oracle.images) == (2, 1, 2)
    assert "1 of 3 real scenes have no photo, and were left out" in report.warnings


def test_the_verdict_is_written_though_pages_or_summary_are_not(
    out: OutputFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "r"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "nowhere" / "summary.md"))
    gate = Gate.parse({"classes": {"car": 0.999}}, origin="test")
    report = run(out.root, folder, gate=gate)
    assert (folder / "report.html").is_file()
    assert "GITHUB_STEP_SUMMARY" in caplog.text
    assert "nowhere" in caplog.text
    assert read_report(folder) == report

    def stop(*_: object) -> None:
        raise EvalError("made up")

    monkeypatch.setattr("eval.run.write_pages", stop)
    gate = Gate.parse({"classes": {"car": 0.01}}, origin="test")
    with pytest.raises(EvalError, match="made up"):
        run(out.root, folder, gate=gate)
    assert read_report(folder).failed_rules == []
    assert 'failures="0"' in (folder / "junit.xml").read_text()


def test_an_old_verdict_does_not_outlive_an_evaluation_that_stops(
    out: OutputFolder, tmp_path: Path
) -> None:
    folder = tmp_path / "r"
    broken = OpenColorScorer(crop=1, sha256="cd" * 32)
    run(out.root, folder)
    with pytest.raises(EvalError, match="prediction has the shape"):
        run(out.root, folder, scorer=broken)
    assert not (folder / "report.json").exists()
    assert not (folder / "junit.xml").exists()
    # It stays where it is what the scores are to be held against.
    first = run(out.root, folder)
    shutil.rmtree(folder / "counts")
    with pytest.raises(EvalError, match="prediction has the shape"):
        run(out.root, folder, scorer=OpenColorScorer(crop=1), baseline=folder)
    assert read_report(folder) == first
    assert not (folder / "junit.xml").exists()


def test_real_photos_must_be_there(tmp_path: Path) -> None:
    out = make_run(tmp_path)
    with pytest.raises(EvalError, match=r"has no photos, .* name real photos with --real"):
        run(out.root, tmp_path / "r")
    real = DatasetConfig(root=str(tmp_path / "world"), format="cityscapes", split="val")
    with pytest.raises(EvalError, match=r"world, split 'val': has no photos, .*scored on$"):
        run(out.root, tmp_path / "r", real=real)
    assert not (tmp_path / "r").exists()


def test_real_photos_of_other_classes_are_refused(out: OutputFolder, tmp_path: Path) -> None:
    real = DatasetConfig(
        root=str(out.root.parent / "world"), format="cityscapes", split="val", taxonomy="camvid"
    )
    with pytest.raises(EvalError, match="taxonomy 'camvid', the run has 'cityscapes'"):
        run(out.root, tmp_path / "r", real=real)


def test_a_scorer_of_other_classes_is_refused(out: OutputFolder, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="no class in common"):
        run(out.root, tmp_path / "r", scorer=OpenColorScorer(taxonomy="helen"))


def test_a_real_photo_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    out = make_scored_run(tmp_path)
    photo_file(tmp_path / "world", 1).write_bytes(b"no image")
    with pytest.raises(
        EvalError, match=r"000001_000019_leftImg8bit\.png: cannot be read"
    ) as caught:
        run(out.root, tmp_path / "r")
    assert "\n" not in str(caught.value)
    assert "while running" not in str(caught.value)


def test_files_of_somebody_else_are_left_alone(out: OutputFolder, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(EvalError, match=r"holds 'thesis\.tex' and no report"):
        run(out.root, tmp_path)
    with pytest.raises(EvalError, match="found a file"):
        run(out.root, tmp_path / "thesis.tex")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_gate_is_judged_and_written(out: OutputFolder, tmp_path: Path) -> None:
    gate = Gate.parse({"mean_iou": 0.01, "classes": {"car": 0.999}}, origin="test")
    report = run(out.root, tmp_path / "r", gate=gate)
    assert [rule.rule for rule in report.failed_rules] == ["IoU of car"]
    assert read_report(tmp_path / "r") == report
    assert 'failures="1"' in (tmp_path / "r" / "junit.xml").read_text()
    with pytest.raises(EvalError, match=r"classes\.tram: not an evaluated class"):
        run(out.root, tmp_path / "x", gate=Gate.parse({"classes": {"tram": 0.1}}, origin="test"))


def test_a_baseline_of_another_protocol_is_refused_before_anything_is_read(
    out: OutputFolder, tmp_path: Path
) -> None:
    report = run(out.root, tmp_path / "r")
    same = run(out.root, tmp_path / "s", baseline=tmp_path / "r")
    assert [rule.passed for rule in same.gate] == [True] * 5
    data = json.loads((tmp_path / "r" / "report.json").read_text())
    data["protocol"]["real"], data["protocol_id"] = 500, "0" * 12
    (tmp_path / "old.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"cannot be compared; these differ:\n  real: 3 and 500"):
        run(out.root, tmp_path / "t", baseline=tmp_path / "old.json")
    assert not (tmp_path / "t").exists()
    assert report.gate == []
