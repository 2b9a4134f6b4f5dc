"""Generators that are trained, rendered with and scored by the commands a user has.

A trial leaves a folder; what is in it is not made again, so that the same command goes on.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eval.scorers.config import bundled_scorer, read_scorer_config
from hdmodel.atomic import write_atomically
from pipeline.sample_world import write_dataset

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Data:
    """The scenes to train on, and those whose label maps are rendered and scored."""

    root: Path
    format: str
    train: str
    test: str
    size: tuple[int, int]
    instances: str = "files"
    settings: tuple[str, ...] = ()
    """Further keys of `dataset` in training, such as scenes to leave out."""
    samples: int = 100

    @property
    def of_training(self) -> list[str]:
        """Options of `hdsynth train`."""
        return [
            *self._options(self.train),
            *(part for key in self.settings for part in ("--set", f"dataset.{key}")),
            *("--set", f"dataset.size=[{self.size[0]}, {self.size[1]}]"),
            *("--set", f"dataset.validation_split={self.test}"),
        ]

    @property
    def of_rendering(self) -> list[str]:
        """Options of `hdsynth render`: every scene once, as it is."""
        return [
            *self._options(self.test),
            *("--size", f"{self.size[0]}x{self.size[1]}"),
            *("--samples", str(self.samples), "--policy", "none"),
        ]

    def _options(self, split: str) -> list[str]:
        return [
            *("--dataset", str(self.root), "--format", self.format, "--split", split),
            *("--instances", self.instances),
        ]


@dataclass(frozen=True, slots=True)
class Trial:
    """One training."""

    name: str
    model: str
    """A shipped model or a file."""
    settings: tuple[str, ...] = ()
    """Keys of it that are changed."""
    style: str | None = None
    """Whose styles objects have when they are rendered, of a generator with an encoder."""


@dataclass(frozen=True, slots=True)
class Score:
    """What one scorer reads in the photos of a trial."""

    trial: str
    scorer: str
    mean_iou: float
    oracle: float
    ratio: float
    low: float
    high: float
    accuracy: float
    """Of pixels, void counted as errors, as the paper does."""
    kernel: float
    iou: dict[str, float]


def run_trial(
    trial: Trial,
    data: Data,
    *,
    scorers: Sequence[Path],
    out: Path,
    input_size: str | None = None,
    independent: bool = True,
) -> list[Score]:
    """Train, render and score, as far as that is not done.

    Args:
        trial: What to train.
        data: On what.
        scorers: Folders of scorers.
        out: The folder of all trials.
        input_size: HxW at which scorers see photos; that of the photos if not given.
        independent: Whether scorers that share weights with a loss are refused.
    """
    folder = out / trial.name
    checkpoint, photos = folder / "training" / "final", folder / "photos"
    _claim(folder, {"trial": asdict(trial), "data": asdict(data), "input_size": input_size})
    if not (checkpoint / "config.yaml").is_file():
        settings = [part for key in trial.settings for part in ("--set", key)]
        hdsynth(
            *("train", trial.model, *data.of_training, *settings),
            *("--out", str(folder / "training")),
            log=folder / "training.log",
        )
    style = ["--style", trial.style] if trial.style else []
    hdsynth(
        *("render", *data.of_rendering, *style, "--generator", str(checkpoint)),
        *("--out", str(photos)),
        log=folder / "rendering.log",
    )
    scores = []
    for scorer in scorers:
        report = folder / f"scores-{scorer.name}-{read_scorer_config(scorer).sha256[:8]}"
        if not (report / "report.json").is_file():
            sized = ["--input-size", input_size] if input_size else []
            hdsynth(
                *("eval", str(photos), "--scorer", str(scorer), "--dtype", "bfloat16", *sized),
                *("--report", str(report), *(["--independent-scorer"] if independent else [])),
                log=folder / "scoring.log",
            )
        scores.append(_score(trial.name, scorer.name, report / "report.json"))
    return scores


def _claim(folder: Path, record: dict[str, Any]) -> None:
    """Remember what a folder is of.

    Raises:
        SystemExit: It is of something else.
    """
    file = folder / "trial.json"
    record = json.loads(json.dumps(record, default=str))
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(record, indent=1).encode())
    elif (before := json.loads(file.read_text(encoding="utf-8"))) != record:
        changed = [
            f"{group}.{key}"
            for group in ("trial", "data")
            for key in record[group]
            if before[group].get(key) != record[group][key]
        ]
        raise SystemExit(
            f"{folder}: holds a trial with other settings ({', '.join(changed) or 'input_size'}); "
            "expected the same ones, or another --out"
        )


def hdsynth(*arguments: str, log: Path) -> None:
    """Run a command of hdsynth in a process of its own.

    Raises:
        SystemExit: It failed; the message is the end of what it said.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        done = subprocess.run(
            [sys.executable, "-m", "hdsynth", *arguments],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        said = log.read_text(encoding="utf-8").splitlines()[-5:]
        raise SystemExit(
            f"hdsynth {' '.join(arguments)}: exit code {done.returncode}\n" + "\n".join(said)
        )


def _score(trial: str, scorer: str, file: Path) -> Score:
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    rendered, ratio = report["rendered"], report["ratio"]["mean_iou"]
    return Score(
        trial=trial,
        scorer=scorer,
        mean_iou=_number(rendered["scores"]["mean_iou"]["value"]),
        oracle=_number(report["oracle"]["scores"]["mean_iou"]["value"]),
        ratio=_number(ratio["value"]),
        low=_number(ratio["low"]),
        high=_number(ratio["high"]),
        accuracy=_number(rendered["scores"]["acc_void_as_error"]["value"]),
        kernel=_number((report["distances"] or {}).get("kernel")),
        iou={name: _number(each["value"]) for name, each in rendered["iou"].items()},
    )


def _number(value: float | None) -> float:
    """NaN where a report says nothing."""
    return float("nan") if value is None else value


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Say on the command line which scenes are used, and who scores."""
    parser.add_argument("--dataset", type=Path, help="photos, label and instance maps")
    parser.add_argument("--format", default="cityscapes")
    parser.add_argument("--split", default="train", help="to train on")
    parser.add_argument("--test-split", default="val", help="to render and score")
    parser.add_argument("--instances", default="files")
    parser.add_argument(
        "--dataset-set", action="append", default=[], metavar="KEY=VALUE", help="in training"
    )
    parser.add_argument("--size", default="192x256", metavar="HxW")
    parser.add_argument("--samples", type=int, default=100, help="of the test split")
    parser.add_argument("--scorer", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--input-size", metavar="HxW", help="at which scorers see photos")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of all models"
    )
    parser.add_argument("--only", action="append", default=[], metavar="TRIAL")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the same one goes on")
    parser.add_argument("--quick", action="store_true", help="tiny networks, a few updates")


def check_options(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, *, trials: Collection[str]
) -> None:
    """End with one line where something is missing or unknown.

    Args:
        parser: Says it.
        arguments: What it read.
        trials: The names that there are.
    """
    for name in ("dataset", "scorer", "out"):
        if not getattr(arguments, name):
            parser.error(f"--{name} must be given")
    if unknown := sorted(set(arguments.only) - set(trials)):
        parser.error(f"--only {unknown[0]}: expected one of {', '.join(trials)}")
    if not re.fullmatch(r"\d+x\d+", arguments.size):
        parser.error(f"--size {arguments.size}: expected HxW, such as 192x256")


def run_as_asked(
    parser: argparse.ArgumentParser,
    run: Callable[[Data, argparse.Namespace], None],
    *,
    trials: Collection[str],
    quick: Callable[[argparse.Namespace], None],
    scenes: int = 6,
) -> None:
    """Read the command line and run; with --quick on a few small scenes that are drawn for it.

    Args:
        parser: With the options of `add_data_options`.
        run: What to run, on which scenes.
        trials: The names that --only takes.
        quick: Makes options as small as can be, where --quick is given.
        scenes: How many are drawn then.
    """
    arguments = parser.parse_args()
    if not arguments.quick:
        check_options(parser, arguments, trials=trials)
        run(data_of(arguments), arguments)
        return
    with TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        write_dataset(world, scenes=scenes, height=64, width=128)
        arguments.scorer, arguments.out = [bundled_scorer()], Path(folder) / "out"
        quick(arguments)
        run(Data(world, "cityscapes", "train", "val", (64, 128), samples=1), arguments)


def data_of(arguments: argparse.Namespace) -> Data:
    """The scenes that the command line names."""
    height, width = (int(side) for side in arguments.size.split("x"))
    return Data(
        root=arguments.dataset,
        format=arguments.format,
        train=arguments.split,
        test=arguments.test_split,
        size=(height, width),
        instances=arguments.instances,
        settings=tuple(arguments.dataset_set),
        samples=arguments.samples,
    )
