import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hdsynth.cli import main


@pytest.mark.slow
def test_the_demo_ends_with_scores_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = CliRunner().invoke(main, ["demo", "--out", str(tmp_path), "--samples", "4"])
    assert first.exit_code == 0, first.output
    assert "oracle" in first.output
    ratios = {}
    for mode in ("composite", "exemplar", "rendered"):
        for file in ("scores/report.html", "scores/junit.xml"):
            assert (tmp_path / mode / file).is_file()
        report = json.loads((tmp_path / mode / "scores" / "report.json").read_text())
        assert report["oracle"]["scores"]["mean_iou"]["value"] > 0.3
        ratios[mode] = report["ratio"]["mean_iou"]["value"]
    page = (tmp_path / "preview" / "index.html").read_text()
    for mode in ratios:
        assert page.count(f'alt="{mode} photo of sample ') == 4
    assert 0 < ratios["rendered"] < ratios["exemplar"] < ratios["composite"]
    again = CliRunner().invoke(main, ["demo", "--out", str(tmp_path), "--samples", "4"])
    assert again.exit_code == 0
    assert "nothing to do" in again.output
