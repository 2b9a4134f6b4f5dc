import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hdsynth.cli import main
from pipeline.output.folder import OutputFolder
from tests.eval_reports import make
from tests.fake_scorers import load_color_scorer
from tests.scored_runs import make_scored_run


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    return make_scored_run(tmp_path_factory.mktemp("scored"))


def invoke(monkeypatch: pytest.MonkeyPatch, *args: object) -> Result:
    monkeypatch.setattr("eval.run.load_scorer", load_color_scorer)
    monkeypatch.setattr("hdsynth.commands.eval.exit_on_interrupt", lambda _: None)
    return CliRunner().invoke(main, ["eval", *(str(arg) for arg in args)])


def test_scores_are_printed_and_the_folder_filled(
    out: OutputFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "r"
    result = invoke(monkeypatch, out.root, "--scorer", "s", "--report", folder, "--device", "cpu")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["rendered", "oracle", "ratio"]
    assert lines[1].startswith("mean IoU  ")
    assert "6 rendered and 3 real photos, protocol" in result.stdout
    assert result.stdout.rstrip().endswith("report.html")
    assert {p.name for p in folder.iterdir() if p.name[0] != "."} == {
        "counts", "images.parquet", "junit.xml", "report.html", "report.json", "report.md",
    }  # fmt: skip


def test_a_violated_rule_is_exit_code_3_and_a_line_each(
    out: OutputFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate.yaml"
    gate.write_text("mean_iou: 0.1\nclasses: {car: 0.999}\n")
    options = ("--scorer", "s", "--report", tmp_path / "r", "--device", "cpu", "--gate", gate)
    result = invoke(monkeypatch, out.root, *options, "--fail-under-oracle-ratio", 2, "--json")
    assert result.exit_code == 3, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("hdsynth: gate: ")]
    assert [line.split(": ")[2] for line in lines] == ["mean IoU / oracle", "IoU of car"]
    plain = json.loads(result.stdout)
    assert [rule["passed"] for rule in plain["gate"]] == [True, True, False, False]
    result = invoke(monkeypatch, out.root, *options[:-2], "--fail-under-miou", 0.1)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere", "--scorer", "s", "--report", "r"], "not an output of hdsynth render"),
        (["nowhere", "--report", "r"], "--scorer must be given"),
        (["one", "two", "--scorer", "s", "--report", "r"], "expected one OUT, got 2"),
        (["one", "--scorer", "s", "--report", "r", "--real", "x"], "--real needs --format"),
        (["one", "--scorer", "s", "--report", "r", "--fail-under-miou", "7"],
         "command line: mean_iou: input should be less than or equal to 1, got 7.0"),
        (["--compare", "nowhere"], "nowhere: no such report"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_exit_code_2(
    args: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(monkeypatch, *args)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_systems_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("a", 0.4), ("b", 0.6)):
        (tmp_path / name).mkdir()
        make(mean_iou=value).save(tmp_path / name)
    args = ("--compare", tmp_path / "a", f"mine={tmp_path / 'b'}", "--table")
    both = invoke(monkeypatch, *args, "both")
    assert both.exit_code == 0, both.output
    markdown = invoke(monkeypatch, *args, "markdown").stdout
    latex = invoke(monkeypatch, *args, "latex").stdout
    assert both.stdout == f"{markdown}\n{latex}"
    assert "| Mean IoU                     | 0.4000 | 0.6000 | 0.8000 |" in markdown
    assert r"Mean IoU & 0.4000 & \textbf{0.6000} & 0.8000 \\" in latex
