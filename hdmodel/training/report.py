"""A page about a training: its curves, its pictures, and what they should look like.

One HTML file with everything inside; it needs no server and nothing from elsewhere.
"""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from hdmodel.atomic import write_atomically
from hdmodel.errors import InputError
from hdmodel.settings import read_yaml
from hdmodel.training import curves
from hdmodel.training.curves import Chart, Series, Stage
from hdmodel.training.folder import VALIDATION, TrainingFolder
from hdmodel.training.log import duration, read_metrics

PAGE = "report.html"
NOT_LOSSES = ("step", "stage", "learning_rate", "seconds_per_step", VALIDATION)
SHEETS = 3
"""How many of the newest sheets of pictures are shown, beside the first one."""
SHEET_BYTES = 330_000
"""The most that one of them may take as JPEG."""
BALANCE = {"lsgan": 0.25, "bce": math.log(2)}
"""A discriminator's loss per scale where it cannot tell at all."""

ADVICE = {
    "adversarial": "How sure the discriminator is that rendered photos are not real. It wanders; "
    "a steady climb means that the discriminator wins.",
    "feature_matching": "How differently the discriminator's layers see rendered and real photos. "
    "It should fall early in a stage. Later it may creep up, as the discriminator sees more.",
    "perceptual": "How differently an image classifier sees rendered and real photos. It should "
    "fall, then flatten.",
    "l1": "How far pixels are from the real photo's. It should fall, then flatten.",
    "discriminator": "How wrong the discriminator is on real and on rendered photos. Both should "
    "stay together; both near 0 means that it tells all apart and the generator learns little.",
    "pixel": "How far the pixel discriminator is from taking rendered pixels for their classes. It "
    "may rise while that learns faster than the generator.",
    "pixel_discriminator": "How wrong the pixel discriminator is: on real photos about their "
    "classes, on rendered ones that they are fake. Fake near 0 all along means that it has won.",
    "learning_rate": "Level, then down to 0 over the decay of a stage.",
    "seconds_per_step": "Level within a stage. A climb points at other work on the machine.",
    VALIDATION: "How far rendered pixels are from real ones, of 255, on scenes not trained on. It "
    "should fall. The best is that of the finest photos. Look at the pictures too: a blurred photo "
    "can score well.",
}
OTHER_ADVICE = "Less is better."


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart with its words."""

    title: str
    chart: Chart
    advice: str
    now: str
    """The newest value in words."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet of pictures, as the page holds it."""

    step: int
    uri: str
    width: int
    height: int


def write_report(out: Path, *, facts: Mapping[str, str] | None = None) -> Path:
    """Write `report.html` into the folder of a training, from what lies in it.

    Args:
        out: The output folder of a training, which may still be running.
        facts: What else the head of the page shall say, by name.

    Returns:
        The page.

    Raises:
        InputError: The folder holds no training.
        ConfigError: Its configuration is malformed.
    """
    folder = TrainingFolder(out)
    if not folder.config.is_file():
        raise InputError(f"{out}: holds no training, expected {folder.config.name} in it")
    record = read_yaml(folder.config)
    config = record.get("config") or {}
    rows = [row for row in read_metrics(folder.metrics) if row.get("stage")]
    stages = _stages(rows)
    page = _environment().get_template(PAGE.replace("report", "training_report"))
    text = page.render(
        title=out.absolute().name,
        facts=[*_facts(record, rows, stages), *(facts or {}).items()],
        stages=stages,
        losses=list(_loss_panels(rows, stages, config)),
        others=list(_other_panels(rows, stages, folder)),
        table=_table(rows, stages),
        sheets=_sheets(folder),
        size=curves,
    )
    path = out / PAGE
    write_atomically(path, text.encode())
    return path


def _stages(rows: Sequence[Mapping[str, str]]) -> list[Stage]:
    """The stages that have rows; each begins where the one before ends."""
    last: dict[str, int] = {}
    for row in rows:
        last[row["stage"]] = int(row["step"])
    first = 1
    stages = []
    for name, end in last.items():
        stages.append(Stage(name, first, end))
        first = end + 1
    return stages


def _series(rows: Sequence[Mapping[str, str]], name: str) -> Series:
    found = [(float(row["step"]), _number(row[name])) for row in rows if row.get(name)]
    pairs = np.array([pair for pair in found if math.isfinite(pair[1])]).reshape(-1, 2)
    return Series(name, pairs[:, 0], pairs[:, 1])


def _loss_names(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The columns that are losses, in their order, without those that are empty."""
    names = [name for name in (rows[0] if rows else ()) if name not in NOT_LOSSES]
    return [name for name in names if _series(rows, name).steps.size]


def _loss_panels(
    rows: Sequence[Mapping[str, str]], stages: Sequence[Stage], config: Mapping[str, Any]
) -> Iterator[Panel]:
    groups: dict[str, list[str]] = {}
    for name in _loss_names(rows):
        judge = name.removesuffix("_real").removesuffix("_fake")
        group = judge if judge.endswith("discriminator") else name
        groups.setdefault(group, []).append(name)
    for group, names in groups.items():
        series = [_series(rows, name) for name in names]
        shown = [
            Series(_words(one.name.removeprefix(f"{group}_")), one.steps, one.values)
            for one in series
        ]
        level = _balance(config) if group in ("adversarial", "discriminator") else None
        advice = ADVICE.get(group, OTHER_ADVICE)
        if level is not None:
            advice += f" Dotted: {level:.3g}, where it cannot tell at all."
        now = " / ".join(f"{one.values[-1]:.3g}" for one in series)
        yield Panel(_words(group), curves.draw(shown, stages, level=level), advice, now)


def _balance(config: Mapping[str, Any]) -> float | None:
    """The loss of a discriminator, over its scales, that cannot tell real photos from rendered."""
    per_scale = BALANCE.get(str(_look_up(config, "losses", "adversarial")))
    scales = _look_up(config, "discriminator", "scales")
    return per_scale * scales if per_scale and isinstance(scales, int) else None


def _other_panels(
    rows: Sequence[Mapping[str, str]], stages: Sequence[Stage], folder: TrainingFolder
) -> Iterator[Panel]:
    titles = {VALIDATION: "validation", "learning_rate": "learning rate"}
    titles["seconds_per_step"] = "seconds per step"
    for name, title in titles.items():
        series = _series(rows, name)
        if not series.steps.size:
            continue
        mark = None
        if name == VALIDATION and folder.best.exists():
            step = _number(folder.best.resolve().name.rpartition("-")[2])
            for value in series.values[series.steps == step]:
                mark = (step, value, f"best: {value:.3g} at step {step:,.0f}")
        scattered = name == "seconds_per_step"
        chart = curves.draw([series], stages, scattered=scattered, mark=mark)
        yield Panel(title, chart, ADVICE[name], f"{series.values[-1]:.3g}")


def _table(
    rows: Sequence[Mapping[str, str]], stages: Sequence[Stage]
) -> list[tuple[str, list[str]]]:
    """Each loss, and the validation error, at the end of each stage: means over its last tenth."""
    table = []
    for name in [*_loss_names(rows), VALIDATION]:
        series = _series(rows, name)
        ends = []
        for stage in stages:
            inside = (series.steps >= stage.first) & (series.steps <= stage.last)
            values = series.values[inside]
            tail = values[-max(1, values.size // 10) :] if name != VALIDATION else values[-1:]
            ends.append(f"{tail.mean():.4g}" if tail.size else "")
        if series.steps.size:
            table.append((_words(name.replace("_l1", " error")), ends))
    return table


def _facts(
    record: Mapping[str, Any], rows: Sequence[Mapping[str, str]], stages: Sequence[Stage]
) -> list[tuple[str, str]]:
    """What the head of the page says about the run."""
    planned = _look_up(record, "config", "stages") or []
    lengths = [_look_up(stage, "steps") for stage in planned]
    done = int(rows[-1]["step"]) if rows else 0
    steps = f"{done:,}"
    if all(isinstance(length, int) for length in lengths):
        steps += f" of {sum(lengths):,}"
    seconds = _series(rows, "seconds_per_step")
    spent = float((np.diff(seconds.steps, prepend=0) * seconds.values).sum())
    kind, root = (_look_up(record, "config", "dataset", key) for key in ("format", "root"))
    size = _look_up(record, "config", "dataset", "size")
    names = _look_up(record, "taxonomy", "class_names") or []
    architecture = _look_up(record, "config", "generator", "architecture")
    weights = _look_up(record, "config", "losses") or {}
    found = {
        "steps": steps,
        "time": duration(spent) if rows else None,
        "stages": f"{len(stages)} of {len(planned)} begun",
        "dataset": f"{root} ({kind})" if root else kind,
        "size": " x ".join(map(str, size)) if isinstance(size, list) else None,
        "classes": f"{_look_up(record, 'taxonomy', 'name')}, {len(names)}",
        "architecture": architecture,
        "losses": ", ".join(
            f"{_words(name)} {value}" for name, value in weights.items() if value not in (0, "none")
        ),
        "seed": _look_up(record, "config", "seed"),
    }
    return [(name, str(value)) for name, value in found.items() if value not in (None, "")]


def _sheets(folder: TrainingFolder) -> list[Sheet]:
    """The newest sheets of pictures, newest first, then the very first one."""
    found = folder.pictures.glob("step-*.png")
    paths = sorted(path for path in found if path.stem.removeprefix("step-").isdecimal())
    chosen = [*reversed(paths[-SHEETS:]), *paths[: max(0, min(1, len(paths) - SHEETS))]]
    sheets = []
    for path in chosen:
        try:
            with Image.open(path) as picture:
                data, size = encode(picture.convert("RGB"), most=SHEET_BYTES)
        except OSError:  # a kill may have cut it short
            continue
        uri = "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
        sheets.append(Sheet(int(path.stem.removeprefix("step-")), uri, *size))
    return sheets


def encode(picture: Image.Image, *, most: int) -> tuple[bytes, tuple[int, int]]:
    """Encode a picture as JPEG, made smaller until it fits.

    Args:
        picture: In RGB.
        most: How many bytes it may take; kept wherever 320 pixels of width allow it.

    Returns:
        The file's bytes; width and height in pixels.
    """
    for width in (1600, 1280, 1024, 800, 640, 480, 320):
        height = max(1, round(picture.height * width / picture.width))
        shown = picture if picture.width <= width else picture.resize((width, height))
        for quality in (88, 75):
            file = io.BytesIO()
            shown.save(file, "JPEG", quality=quality, optimize=True)
            if file.tell() <= most:
                return file.getvalue(), shown.size
    return file.getvalue(), shown.size


def _number(text: str) -> float:
    """A number that somebody may have edited: not a number where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _words(name: str) -> str:
    return name.replace("_", " ")


def _look_up(record: Any, *keys: str) -> Any:  # noqa: ANN401 - whatever YAML can hold
    """A value of a record that somebody may have edited: None where there is none."""
    for key in keys:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
