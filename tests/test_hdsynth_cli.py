"""The command line as a whole: start-up, errors, exit codes."""

import errno
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import hdsynth
from hdmodel.errors import CheckpointError
from hdsynth.cli import COMMANDS, main

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "apache_beam", "zarr", "numpy", "pyarrow", "pydantic", "rich", "PIL", "scipy")


def run_python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with our packages on its path, in a folder of the test's own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**env, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@click.command()
@click.argument("what")
def trouble(what: str) -> None:
    """Fail in the way asked for."""
    if what == "environment":
        click.echo(os.environ["PYTHONSAFEPATH"])
        return
    if what == "log":
        logging.getLogger("pipeline.run").info("shard 3 of 4")
        logging.getLogger("pipeline.run").warning("disk is slow")
        logging.getLogger("pipeline.run").debug("details")
        logging.getLogger("apache_beam.io").info("chatter")
        return
    raise {
        "input": CheckpointError("runs/x: no such checkpoint folder"),
        "disk": OSError(errno.ENOSPC, "No space left on device", "out/data.zarr"),
        "interrupt": KeyboardInterrupt(),
        "abort": click.Abort(),
        "usage": click.UsageError("give either this or that"),
        "bug": ZeroDivisionError("division by zero"),
    }[what]


@pytest.fixture
def with_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "trouble", f"{__name__}:trouble")


def test_help_is_fast_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from hdsynth.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "finally:\n"
        f"    print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    start = time.monotonic()
    done = run_python("-c", code, cwd=tmp_path)
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
    assert seconds < 10  # 0.1 s on an idle machine; without lazy imports it is far above


def test_help_lists_every_command_in_order() -> None:
    result = CliRunner().invoke(main, ["--help"])
    listing = result.stdout.split("Commands:")[1].splitlines()
    listed = [line.split()[0] for line in listing if re.match(r"  \S+  ", line)]
    assert listed == list(COMMANDS)
    assert result.exit_code == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_its_options(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert len(command.get_short_help_str(200)) > 20
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts[0]} has no help text"


def test_version() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"hdsynth {hdsynth.__version__}\n")


def test_unknown_command_names_the_nearest() -> None:
    result = CliRunner().invoke(main, ["confgis"])
    assert result.exit_code == 2
    assert "No such command 'confgis'. Did you mean 'configs'?" in result.stderr
    assert "Did you mean" not in CliRunner().invoke(main, ["zzz"]).stderr


@pytest.mark.usefixtures("with_trouble")
@pytest.mark.parametrize(
    ("what", "code", "text"),
    [
        ("input", 2, "hdsynth: error: runs/x: no such checkpoint folder\n"),
        ("disk", 2, "hdsynth: error: [Errno 28] No space left on device: 'out/data.zarr'\n"),
        ("interrupt", 130, "hdsynth: interrupted\n"),
        ("abort", 130, "hdsynth: interrupted\n"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(what: str, code: int, text: str) -> None:
    result = CliRunner().invoke(main, ["trouble", what])
    assert (result.exit_code, result.stderr, result.stdout) == (code, text, "")


@pytest.mark.usefixtures("with_trouble")
def test_wrong_usage_exits_with_2() -> None:
    result = CliRunner().invoke(main, ["trouble", "usage"])
    assert result.exit_code == 2
    assert "Error: give either this or that" in result.stderr


@pytest.mark.usefixtures("with_trouble")
def test_a_bug_shows_its_traceback_and_no_exit_code_of_ours() -> None:
    result = CliRunner().invoke(main, ["trouble", "bug"])
    assert result.exit_code == 70
    assert "a bug in hdsynth" in result.stderr
    assert "ZeroDivisionError: division by zero" in result.stderr


@pytest.mark.usefixtures("with_trouble")
def test_verbose_shows_where_an_error_arose() -> None:
    result = CliRunner().invoke(main, ["--verbose", "trouble", "input"])
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("hdsynth: error: runs/x: no such checkpoint folder\n")


@pytest.mark.usefixtures("with_trouble")
def test_log_lines_are_plain_and_beam_is_quiet() -> None:
    plain = CliRunner().invoke(main, ["trouble", "log"])
    assert plain.stderr == "shard 3 of 4\nwarning: disk is slow\n"
    verbose = CliRunner().invoke(main, ["-v", "trouble", "log"])
    assert "DEBUG pipeline.run: details" in verbose.stderr
    assert "chatter" not in verbose.stderr


@pytest.mark.usefixtures("with_trouble")
def test_worker_processes_will_not_import_from_the_working_folder() -> None:
    assert CliRunner().invoke(main, ["trouble", "environment"]).stdout == "1\n"


def test_a_module_of_the_users_that_shadows_ours_is_named_and_not_imported(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("open('imported', 'w')\n", encoding="utf-8")
    done = run_python("-m", "hdsynth", "configs", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("hdsynth: error: Python would import 'pipeline' from ")
    assert str(tmp_path / "pipeline.py") in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (tmp_path / "imported").exists()


def test_a_module_of_the_users_out_of_the_way_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("raise SystemExit(9)\n", encoding="utf-8")
    done = run_python("-m", "hdsynth", "configs", "taxonomies", cwd=tmp_path, PYTHONSAFEPATH="1")
    assert done.returncode == 0, done.stderr
    assert "cityscapes" in done.stdout


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "hdsynth").symlink_to(ROOT / "hdsynth")
    code = (
        "import sys\n"
        "sys.meta_path = [f for f in sys.meta_path if 'Editable' not in str(f)]\n"
        "from hdsynth.cli import main\n"
        "main(['--version'])"
    )
    done = run_python("-c", code, cwd=tmp_path, PYTHONPATH="")
    assert done.returncode == 2
    assert "package 'hdmodel' is missing from" in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as closed_pipe:
        done = subprocess.run(
            [sys.executable, "-m", "hdsynth", "configs", "taxonomies", "cityscapes"],
            cwd=ROOT,
            stdout=closed_pipe,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (141, b"")
