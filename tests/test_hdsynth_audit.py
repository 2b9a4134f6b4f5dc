"""`hdsynth preview --audit` and `hdsynth audit`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hdsynth.cli import main
from pipeline.output.folder import OutputFolder
from tests.outputs import make_run

ROOT = Path(__file__).parent.parent


def run(*args: str | Path | int) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in args])


def write_marks(path: Path, *verdicts: tuple[str, str, str | None]) -> Path:
    """A file of marks of drops: class, verdict and reason of each."""
    marks = [
        {
            "sample": number,
            "position": 1,
            "op": "drop",
            "class_name": class_name,
            "verdict": verdict,
            "reason": reason,
            "note": "",
        }
        for number, (class_name, verdict, reason) in enumerate(verdicts)
    ]
    path.write_text(json.dumps({"version": 1, "fingerprint": f"of-{path.stem}", "marks": marks}))
    return path


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    return make_run(tmp_path_factory.mktemp("run"), samples=6)


def test_preview_audit_prints_the_page(out: OutputFolder, tmp_path: Path) -> None:
    result = run("preview", out.root, "--audit", 3, "--to", tmp_path / "page")
    assert result.exit_code == 0, result.output
    assert Path(result.stdout.strip()) == tmp_path / "page" / "index.html"
    assert len(json.loads((tmp_path / "page" / "edits.json").read_text())["edits"]) == 3
    assert "instead of" not in result.stderr


def test_preview_audit_says_when_there_are_fewer_edits(out: OutputFolder, tmp_path: Path) -> None:
    result = run("preview", out.root, "--audit", 9, "--to", tmp_path / "page")
    assert result.exit_code == 0
    assert "4 edits instead of 9: no more of them can be seen\n" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--audit", 3, "--samples", 5), "give either --samples or --audit"),
        (("--serve",), "--serve is for --audit N"),
        (("--audit", 0), "0 is not in the range"),
    ],
)
def test_options_that_do_not_go_together(
    out: OutputFolder, tmp_path: Path, arguments: tuple[str | int, ...], problem: str
) -> None:
    result = run("preview", out.root, "--to", tmp_path / "page", *arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert not (tmp_path / "page").exists()


def test_serving_ends_with_0_when_it_is_interrupted(out: OutputFolder, tmp_path: Path) -> None:
    page = tmp_path / "page"
    command = ("preview", out.root, "--audit", "1", "--to", page, "--serve")
    with subprocess.Popen(
        [sys.executable, "-m", "hdsynth", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        # Tests that run in the background would hand down that it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == str(page / "index.html")
            assert process.stdout.readline().startswith("http://127.0.0.1:")
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


def test_show_prints_rates_with_intervals(tmp_path: Path) -> None:
    marks = write_marks(
        tmp_path / "one.json",
        *[("car", "right", None)] * 8,
        ("car", "wrong", "odd fill"),
        ("person", "wrong", None),
    )
    lines = run("audit", "show", marks).stdout.splitlines()

    def cell(name: str) -> str:
        return next(line.split("│")[2].strip() for line in lines if line.startswith(f"│ {name} "))

    assert cell("all") == "8/10 80% (49-94%)"
    assert cell("car") == "8/9 89% (57-98%)"
    assert cell("person") == "0/1 0% (0-79%)"
    assert cell("odd fill") == "1/10 10% (2-40%)"
    assert cell("no reason given") == "1/10 10% (2-40%)"


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (
            [("person", "right", None)],
            {"all": "1/1 100% (21-100%)", "car": "-", "odd fill": "0/1 0% (0-79%)"},
        ),
        ([], {"all": "-", "car": "-", "odd fill": "-"}),
    ],
)
def test_show_puts_files_beside_each_other(
    tmp_path: Path, verdicts: list[tuple[str, str, str | None]], expected: dict[str, str]
) -> None:
    one = write_marks(tmp_path / "one.json", ("car", "wrong", "odd fill"))
    other = write_marks(tmp_path / "other.json", *verdicts)
    lines = run("audit", "show", one, other).stdout.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:4]] for line in lines if "│" in line]
    cells = {name: (first, second) for name, first, second in rows}
    assert cells["all"] == ("0/1 0% (0-79%)", expected["all"])
    assert cells["car"] == ("0/1 0% (0-79%)", expected["car"])
    assert cells["odd fill"] == ("1/1 100% (21-100%)", expected["odd fill"])


def test_show_as_json(tmp_path: Path) -> None:
    one = write_marks(tmp_path / "one.json", ("car", "wrong", "odd fill"))
    two = write_marks(tmp_path / "two.json")
    report = json.loads(run("audit", "show", one, two, "--json").stdout)
    first, second = report["files"]
    assert (first["marks"], first["fingerprint"]) == (str(one), "of-one")
    assert [(rate["group"], rate["name"]) for rate in first["rates"]] == [
        ("all", "all"),
        ("operation", "drop"),
        ("class", "car"),
        ("reason", "odd fill"),
    ]
    assert first["rates"][0] == {
        "group": "all",
        "name": "all",
        "count": 0,
        "judged": 1,
        "share": 0.0,
        "low": 0.0,
        "high": pytest.approx(0.7934, abs=1e-4),
    }
    assert second["rates"] == []


def test_show_names_what_are_no_marks_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"fingerprint": "a", "marks": [{"sample": 1}]}')
    good = write_marks(tmp_path / "good.json")
    for path, problem in (("bad.json", "missing key 'marks.0.op'"), ("no.json", "no such file")):
        result = run("audit", "show", good, tmp_path / path)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"hdsynth: error: {tmp_path / path}: ")
        assert problem in result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""
    assert run("audit", "show").exit_code == 2
