"""Scorers that share weights with a loss of the generator: told, and refused where asked."""

from pathlib import Path

import pytest
import yaml

from eval.errors import EvalError
from eval.prepare import EvalConfig, shared_networks
from eval.run import evaluate
from eval.scorers.config import ScorerConfig, bundled_scorer, read_scorer_config
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


def config(out: Path, report: Path, *, strict: bool = False) -> EvalConfig:
    return EvalConfig(out=out, scorer=Path("s"), report=report, independent_scorer=strict)


def test_a_shared_network_is_told(out: Path, tmp_path: Path) -> None:
    told = evaluate(config(out, tmp_path / "r"), open_scorer=SAME)
    assert told.run.pretrained == ["vgg16", LITE]
    assert told.run.shared == [LITE]
    (warning,) = [line for line in told.warnings if LITE in line]
    assert "it is not independent" in warning
    page = (tmp_path / "r" / "report.md").read_text()
    assert f"| vgg16, {LITE}; the scorer began as {LITE} |" in page


def test_a_scorer_of_its_own_is_not(out: Path, tmp_path: Path) -> None:
    own = OpenColorScorer(pretrained=frozenset())
    report = evaluate(config(out, tmp_path / "r", strict=True), open_scorer=own)
    assert report.run.shared == []
    assert report.gate == []
    assert not [line for line in report.warnings if LITE in line]


def test_one_that_shares_is_refused_before_anything_is_read(out: Path, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=f"began as {LITE}, which the training of the generator"):
        evaluate(config(out, tmp_path / "r", strict=True), open_scorer=SAME)
    assert not (tmp_path / "r").exists()


def test_what_cannot_be_told_is_refused_as_well(out: Path, tmp_path: Path) -> None:
    unknown = OpenColorScorer(pretrained=None)
    with pytest.raises(EvalError, match=r"networks of others the scorer began with is not known"):
        evaluate(config(out, tmp_path / "r", strict=True), open_scorer=unknown)
    assert evaluate(config(out, tmp_path / "r"), open_scorer=unknown).run.shared is None


@pytest.mark.parametrize(
    ("asked", "began", "shared"),
    [
        (["a", "b"], {"b", "c"}, ["b"]),
        (["a"], {"c"}, []),
        ([], None, []),
        (None, set(), []),
        (None, {"a"}, None),
        (["a"], None, None),
    ],
)
def test_unknown_is_not_independent(
    asked: list[str] | None, began: set[str] | None, shared: list[str] | None
) -> None:
    assert shared_networks(asked, None if began is None else frozenset(began)) == shared


def test_the_option_asks_the_gate(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (out, "--scorer", "s", "--report", tmp_path / "r", "--device", "cpu")
    monkeypatch.setattr("tests.test_hdsynth_eval.load_color_scorer", lambda *_, **__: SAME("cpu"))
    refused = invoke(monkeypatch, *options, "--independent-scorer")
    assert refused.exit_code == 2, refused.output
    assert f"the scorer began as {LITE}" in refused.stderr


@pytest.mark.parametrize(
    ("initial", "pretrained"),
    [("imagenet", {LITE}), ("none", set()), ("runs/earlier-scorer", {LITE})],
)
@pytest.mark.parametrize("encoder", [f"tu-{LITE}", f"timm-{LITE}", f"tu-{LITE}.in1k"])
def test_a_scorers_record_says_how_it_began(
    initial: str, pretrained: set[str], encoder: str
) -> None:
    plain = read_scorer_config(bundled_scorer()).to_plain()
    plain["network"]["encoder"] = encoder
    plain["training"]["config"]["initial"] = initial
    assert ScorerConfig.parse(plain, origin="test").pretrained == pretrained
    del plain["training"]["config"]
    assert ScorerConfig.parse(plain, origin="test").pretrained is None
