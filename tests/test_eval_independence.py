"""Scorers that share weights with a loss of the generator: told, and refused where asked."""

from pathlib import Path

import pytest
import yaml

from eval.errors import EvalError
from eval.prepare import EvalConfig
from eval.reports.gate import Gate
from eval.run import evaluate
from eval.scorers.config import ScorerConfig, read_scorer_config
from hdmodel.checkpoint import CONFIG_FILE
from pipeline.config import RenderConfig
from pipeline.run import render
from tests.datasets import write_checkpoint, write_cityscapes
from tests.fake_scorers import OpenColorScorer
from tests.test_hdsynth_eval import invoke

LITE = "tf_efficientnet_lite0"
SAME = OpenColorScorer(pretrained=frozenset({LITE, "resnet18"}), sha256="cd" * 32)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a generator whose training asked two networks of others."""
    folder = tmp_path_factory.mktemp("asked")
    world = write_cityscapes(folder / "world", height=32, width=64, photos=True)
    checkpoint = write_checkpoint(folder / "generator")
    plain = yaml.safe_load((checkpoint / CONFIG_FILE).read_text())
    plain["training"] = {"pretrained": ["vgg16", LITE]}
    (checkpoint / CONFIG_FILE).write_text(yaml.safe_dump(plain))
    job = {
        "dataset": {"root": str(world), "format": "cityscapes", "split": "val"},
        "samples": 4,
        "size": [32, 64],
        "recompose": {"policy": "none"},
        "generator": {"checkpoint": str(checkpoint), "device": "cpu"},
        "output": {"path": folder / "out", "shard_size": 2},
    }
    render(RenderConfig.parse(job, origin="test"))
    return folder / "out"


def config(out: Path, report: Path) -> EvalConfig:
    return EvalConfig(out=out, scorer=Path("s"), report=report)


def test_a_shared_network_is_told(out: Path, tmp_path: Path) -> None:
    told = evaluate(config(out, tmp_path / "r"), open_scorer=SAME)
    assert told.run.pretrained == ["vgg16", LITE]
    assert told.run.shared == [LITE]
    (warning,) = [line for line in told.warnings if LITE in line]
    assert "it is not independent" in warning
    page = (tmp_path / "r" / "report.md").read_text()
    assert f"| vgg16, {LITE}; the scorer began as {LITE} |" in page


def test_a_scorer_of_its_own_is_not(out: Path, tmp_path: Path) -> None:
    report = evaluate(
        config(out, tmp_path / "r"),
        open_scorer=OpenColorScorer(),
        gate=Gate(independent_scorer=True),
    )
    assert report.run.shared == []
    assert not [line for line in report.warnings if LITE in line]


def test_the_gate_refuses_before_anything_is_read(out: Path, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=f"began as {LITE}, which the training of the generator"):
        evaluate(config(out, tmp_path / "r"), open_scorer=SAME, gate=Gate(independent_scorer=True))
    assert not (tmp_path / "r").exists()


def test_the_option_asks_the_gate(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (out, "--scorer", "s", "--report", tmp_path / "r", "--device", "cpu")
    monkeypatch.setattr("tests.test_hdsynth_eval.load_color_scorer", lambda *_, **__: SAME("cpu"))
    refused = invoke(monkeypatch, *options, "--independent-scorer")
    assert refused.exit_code == 2, refused.output
    assert f"the scorer began as {LITE}" in refused.stderr
    assert invoke(monkeypatch, *options).exit_code == 0


@pytest.mark.parametrize(
    ("initial", "pretrained"),
    [("imagenet", {LITE}), ("none", set()), ("runs/earlier-scorer", {LITE})],
)
def test_a_scorers_record_says_how_it_began(initial: str, pretrained: set[str]) -> None:
    bundled = read_scorer_config(Path("configs/checkpoints/sample-world-scorer"))
    plain = bundled.to_plain()
    plain["network"]["encoder"] = f"tu-{LITE}"
    plain["training"]["config"]["initial"] = initial
    assert ScorerConfig.parse(plain, origin="test").pretrained == pretrained
