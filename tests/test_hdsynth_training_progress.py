"""The bar that follows a training on a terminal."""

import re

import pytest

from hdmodel.training.log import TrainingStatus
from hdsynth import training_progress
from hdsynth.training_progress import training_bar

LOSSES = {
    "adversarial": 1.0,
    "feature_matching": 2.04321,
    "discriminator_real": 0.25,
    "discriminator_fake": 0.5,
}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "80")):
        monkeypatch.setenv(key, value)


def tell(monkeypatch: pytest.MonkeyPatch, times: list[float], *statuses: TrainingStatus) -> None:
    clock = iter(times)
    monkeypatch.setattr(training_progress, "monotonic", lambda: next(clock))
    with training_bar() as progress:
        assert progress is not None
        for status in statuses:
            progress(status)


def seen(capsys: pytest.CaptureFixture[str]) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)


@pytest.mark.usefixtures("terminal")
def test_a_terminal_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unread() -> dict[str, float]:
        raise AssertionError("read, and a GPU waited for, without being shown")

    tell(
        monkeypatch,
        [0.0, 10.0, 10.2, 14.0],
        TrainingStatus(1005, 1008, "coarse", None),  # goes on from step 1005
        TrainingStatus(1006, 1008, "coarse", unread),
        TrainingStatus(1007, 1008, "joint", lambda: LOSSES),
    )
    shown = seen(capsys)
    assert re.search(r"joint +\S+ 1007/1008 2\.00 s/step \S+ left", shown)
    assert "adversarial 1, feature matching 2.04, discriminator 0.25/0.5" in shown
    assert max(map(len, re.split(r"[\r\n]", shown))) <= 80


@pytest.mark.usefixtures("terminal")
def test_the_last_step_is_shown_however_soon(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(
        monkeypatch,
        [0.0, 10.0, 10.1],
        TrainingStatus(0, 1, "all", None),
        TrainingStatus(1, 1, "all", lambda: {"l1": 0.125}),
    )
    shown = seen(capsys)
    assert "1/1 0.10 s/step" in shown
    assert "l1 0.125" in shown


@pytest.mark.usefixtures("terminal")
def test_many_losses_stay_on_their_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    many = {f"{letter * 9}_x": 1.0 for letter in "abcdefghijklmnop"}
    tell(
        monkeypatch,
        [0.0, 1.0, 3.0],
        TrainingStatus(0, 1, "all", None),
        TrainingStatus(1, 1, "all", lambda: many),
    )
    shown = seen(capsys)
    assert "aaaaaaaaa x 1, bbbbbbbbb x 1" in shown
    assert max(map(len, re.split(r"[\r\n]", shown))) <= 80


def test_without_a_terminal_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with training_bar() as progress:
        assert progress is None
