"""The pages of a report: Markdown, HTML with everything inside, and a CI job's summary."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader

from eval.job import EvalSpec
from eval.reports.gate import ratio
from eval.reports.pictures import Drawn, draw_extremes
from eval.reports.report import RecallRow, Report, RunRow, Score
from eval.scores import HEADLINE
from hdmodel.atomic import write_atomically

log = logging.getLogger("hdsynth.eval")

MARKDOWN, HTML = "report.md", "report.html"
SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
"""Names the file that a CI job page shows."""
NONE = "-"
TEMPLATES = Path(__file__).parent / "templates"
PROTOCOL_WORDS = {
    "preset": "protocol",
    "rendered_size": "rendered at",
    "input_size": "seen by the scorer at",
    "score_size": "compared at",
    "fit": "real photos fitted by",
    "photo_resampler": "photos resampled",
    "label_resampler": "maps resampled",
    "void_rule": "void",
    "scorer_dtype": "arithmetic",
    "taxonomy": "taxonomy",
    "split": "real split",
    "rendered": "rendered photos",
    "real": "real photos",
}


def write_pages(folder: Path, report: Report, spec: EvalSpec) -> None:
    """Write `report.md` and `report.html`, and append to the summary of a CI job, if there is one.

    A summary that cannot be written is no more than a warning.

    Args:
        folder: Where to.
        report: The report.
        spec: Where its photos are.
    """
    text = markdown(report)
    write_atomically(folder / MARKDOWN, text.encode())
    write_atomically(folder / HTML, html(report, draw_extremes(report, spec)).encode())
    if summary := os.environ.get(SUMMARY_VARIABLE):
        try:
            with Path(summary).open("a", encoding="utf-8") as stream:
                stream.write(text + "\n")
        except OSError as error:
            log.warning(
                "%s: %s: the summary cannot be written (%s)",
                SUMMARY_VARIABLE,
                summary,
                error.strerror,
            )


def markdown(report: Report) -> str:
    """The report as Markdown: scores, classes, objects, protocol."""
    environment = _environment(html=False)
    return environment.get_template("report.md").render(**_context(report)).strip() + "\n"


def html(report: Report, drawn: Sequence[Drawn]) -> str:
    """The report as a page that needs nothing else.

    Args:
        report: The report.
        drawn: Pictures of its best and worst photos.
    """
    environment = _environment(html=True)
    return environment.get_template("report.html").render(
        **_context(report),
        drawn=drawn,
        heat=[heat_map(report, side) for side in ("rendered", "oracle")],
    )


def heat_map(report: Report, side: str) -> dict[str, Any]:
    """A confusion matrix as shares of its rows.

    Args:
        report: The report.
        side: `rendered` or `oracle`.

    Returns:
        `title`, `names` of the columns and `rows` of a name and cells; a cell holds its share,
        0..1 or None, and its pixels.
    """
    counts = np.array(getattr(report, side).confusion)
    names = [row.name for row in report.classes]
    rows = []
    for name, line in zip(names, counts, strict=False):
        total = int(line.sum())
        cells = [{"share": int(v) / total if total else None, "pixels": int(v)} for v in line]
        rows.append({"name": name, "cells": cells})
    return {"title": side, "names": [*names, "none of these"], "rows": rows}


def class_rows(report: Report) -> list[dict[str, Any]]:
    """Per class: IoU of both sides, their ratio, boundary IoU and recall, and the colour."""
    recall = _recall(report.rendered.recall, "class")
    rows = []
    for c in report.classes:
        ours, theirs = report.rendered.iou[c.name], report.oracle.iou[c.name]
        rows.append(
            {
                "name": c.name,
                "color": "#{:02x}{:02x}{:02x}".format(*c.color),
                "rendered": ours,
                "oracle": theirs,
                "ratio": ratio(ours.value, theirs.value),
                "boundary": report.rendered.boundary_iou.get(c.name),
                "boundary_oracle": report.oracle.boundary_iou.get(c.name),
                "recall": recall.get(c.name),
            }
        )
    return rows


def _recall(rows: Sequence[RecallRow], by: str) -> dict[str, RecallRow]:
    return {row.group: row for row in rows if row.by == by}


def _context(report: Report) -> dict[str, Any]:
    return {
        "report": report,
        "headline": HEADLINE,
        "classes": class_rows(report),
        "protocol": [*protocol_rows(report.protocol), *_photo_rows(report.run)],
        "recall": _recall_rows(report),
        "failed": report.failed_rules,
    }


def protocol_rows(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a protocol fixes, in words."""
    rows = []
    for key, words in PROTOCOL_WORDS.items():
        value = protocol[key]
        shown = "x".join(str(v) for v in value) if isinstance(value, list) else str(value)
        rows.append((words, shown or NONE))
    return rows


def _photo_rows(run: RunRow) -> list[tuple[str, str]]:
    """What the photos are made of, beside what the generator drew, in words."""
    asked = []
    if run.pretrained:
        shared = f"; the scorer began as {', '.join(run.shared)}" if run.shared else ""
        words = ", ".join(run.pretrained) + shared
        asked = [("networks that the generator's losses asked", words)]
    if run.photo == "rendered":
        return asked
    seen = f", {run.exemplars_seen} of which the scorer learnt from"
    rows = [*asked, ("photos", run.photo), ("pixels copied from", f"{run.exemplars} scenes{seen}")]
    near = f"a scene itself, and {run.exclude_near} before and after it in order of names"
    return [*rows, ("never copied from", near)] if run.photo == "exemplar" else rows


def _recall_rows(report: Report) -> list[dict[str, Any]]:
    rows = []
    for by in ("all", "origin", "size", "pixels"):
        ours, theirs = (_recall(side.recall, by) for side in (report.rendered, report.oracle))
        for group in dict.fromkeys([*ours, *theirs]):
            words = f"{group} pixels" if by == "pixels" else group
            rows.append({"group": words, "rendered": ours.get(group), "oracle": theirs.get(group)})
    return rows


def _environment(*, html: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=html,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "range": interval_text}
    return environment


def number(value: float | None) -> str:
    """A score with four digits; a dash where there is none."""
    return NONE if value is None or math.isnan(value) else f"{value:.4f}"


def percent(value: float | None) -> str:
    """A share in percent; a dash where there is none."""
    return NONE if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def interval_text(score: Score) -> str:
    """The interval of a score."""
    if score.low is None or score.high is None:
        return NONE
    return f"{score.low:.4f} to {score.high:.4f}"
