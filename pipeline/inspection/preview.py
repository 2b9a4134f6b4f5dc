"""A contact sheet of a run: source labels, edited labels and photo of some samples, as HTML.

The page needs no server and nothing from elsewhere: one HTML file and a folder of pictures.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdmodel.errors import HdsynthError
from pipeline.editing.recompose import Recomposed
from pipeline.errors import OutputError
from pipeline.inspection.beside import open_others, photo_kind
from pipeline.inspection.captions import Edit, describe
from pipeline.inspection.page import (
    IMAGES,
    PAGE,
    Picture,
    check_page_target,
    environment,
    page_folder,
    save_map,
    save_photo,
)
from pipeline.inspection.replay import Replayer
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import FAILED, digest
from pipeline.output.results import RunResults
from pipeline.pictures import draw_map, shrink, view_width
from pipeline.planning.plan import PlanRow, count_samples, count_shards
from pipeline.progress import progress_bar
from pipeline.taxonomy import Taxonomy

LEAST_WIDTH, MOST_WIDTH = 640, 1280
DOING = {"read": "read", "compose": "composed", "render": "rendered"}
NOT_COMPOSED = ("read", "compose")


@dataclass(frozen=True, slots=True)
class Card:
    """One sample on the page."""

    index: int
    scene: str
    shard: int
    edits: tuple[Edit, ...]
    applied: bool
    """Whether the edits were made: not where reading or composing failed."""
    consequences: tuple[str, ...]
    error: str | None
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """A class that the page shows."""

    name: str
    color: str
    share: float
    """Share of the pixels of the edited maps shown, 0..1."""


@dataclass(slots=True)
class _Shown:
    """Pixels per class of the maps drawn so far."""

    pixels: npt.NDArray[np.int64]
    labels: set[int] = field(default_factory=set)


def write_preview(
    path: str | Path, to: Path, *, samples: int = 24, beside: Sequence[Path] = ()
) -> Path:
    """Write a contact sheet of a run and return its page.

    Samples are taken evenly from all committed ones; up to a quarter of the places go to failed
    samples, if there are any. The source column needs the dataset: without it the page says so.

    Args:
        path: The output folder.
        to: A new or empty folder, or an earlier preview, which is replaced.
        samples: How many samples to show at most.
        beside: Output folders of runs with the same label maps, whose photos are shown as well.

    Raises:
        OutputError: A folder is not an output of hdsynth, has no committed sample yet or other
            label maps, or `to` holds something else.
    """
    results = RunResults(path)
    folder = results.folder
    target = to.resolve()
    check_page_target(target, entries={PAGE, IMAGES})
    rows = list(results.rows(("index", "status", "label_sha256", "instance_sha256")))
    if not rows:
        raise OutputError(f"{folder.root}: no shard is committed yet, there is nothing to show")
    chosen = choose_samples(
        [row["index"] for row in rows if row["status"] != FAILED],
        [row["index"] for row in rows if row["status"] == FAILED],
        count=samples,
    )
    others = open_others(beside, rows, first=results)
    taxonomy = results.taxonomy
    replayer, missing = _open_replayer(folder)
    shown = _Shown(np.zeros(taxonomy.num_classes, np.int64))
    with page_folder(target) as partial:
        cards = []
        with progress_bar("drawing samples", len(chosen)) as advance:
            for row in map(results.row, chosen):
                card = _card(row, results, taxonomy, replayer, missing, shown, partial)
                pictures = [other.picture(row, partial, width=MOST_WIDTH) for other in others]
                cards.append(replace(card, pictures=(*card.pictures, *pictures)))
                advance(len(cards))
        page = (
            environment()
            .get_template("preview.html")
            .render(
                title=folder.root.absolute().name,
                facts=_facts(results, rows),
                missing=missing,
                cards=cards,
                total=len(rows),
                legend=_legend(shown, taxonomy),
                has_changes=any(card.edits for card in cards),
            )
        )
        (partial / PAGE).write_text(page, encoding="utf-8")
    return to / PAGE


def choose_samples(good: Sequence[int], failed: Sequence[int], *, count: int) -> list[int]:
    """Sample numbers to show, sorted: spread evenly, a quarter of them failed ones at most.

    Args:
        good: Numbers of good samples.
        failed: Numbers of failed samples.
        count: How many to choose at most.
    """
    wanted = max(count // 4, count - len(good), 1)
    bad = _spread(failed, min(wanted, count))
    return sorted([*_spread(good, count - len(bad)), *bad])


def _spread(numbers: Sequence[int], count: int) -> list[int]:
    """At most `count` of the numbers, evenly spread, the first one among them."""
    if count >= len(numbers):
        return list(numbers)
    return [numbers[position * len(numbers) // count] for position in range(count)]


def _open_replayer(folder: OutputFolder) -> tuple[Replayer | None, str | None]:
    """The dataset of the run, or why it cannot be used any more."""
    try:
        return Replayer(folder.root), None
    except HdsynthError as error:
        return None, str(error)


def _card(
    row: dict[str, Any],
    results: RunResults,
    taxonomy: Taxonomy,
    replayer: Replayer | None,
    missing: str | None,
    shown: _Shown,
    to: Path,
) -> Card:
    index, kind = row["index"], row["error_kind"]
    edits, consequences = describe(
        json.loads(row["program"]), [json.loads(text) for text in row["events"]], taxonomy
    )
    source_picture, made = _source_picture(row, replayer, missing, taxonomy, shown, to)
    if kind in NOT_COMPOSED:
        edited_picture = Picture("edited labels", note="not made")
    else:
        edited_picture = _edited_picture(row, results, made, taxonomy, shown, to)
    return Card(
        index=index,
        scene=row["scene"],
        shard=row["shard"],
        edits=edits,
        applied=kind not in NOT_COMPOSED,
        consequences=consequences,
        error=f"failed while it was {DOING[kind]}: {row['error']}" if kind else None,
        pictures=(source_picture, edited_picture, _photo_picture(row, results, to)),
    )


def _source_picture(
    row: dict[str, Any],
    replayer: Replayer | None,
    missing: str | None,
    taxonomy: Taxonomy,
    shown: _Shown,
    to: Path,
) -> tuple[Picture, Recomposed | None]:
    """The picture of the source labels, and the sample made again to see what changed."""
    title = "source labels"
    if replayer is None:
        return Picture(title, note=f"the dataset cannot be read: {missing}"), None
    try:
        source = replayer.source(row["scene"])
    except HdsynthError as error:
        return Picture(title, note=str(error)), None
    try:
        made = replayer.compose(
            PlanRow(row["index"], row["shard"], row["scene"], row["variant"], 0, row["program"])
        )
    except Exception:  # noqa: BLE001 - a failed sample may fail again; its record says why
        made = None
    file = f"{IMAGES}/{row['index']:08d}-source.png"
    shown.labels.update(np.unique(source.label).tolist())
    width = view_width(source.size[1], least=LEAST_WIDTH, most=MOST_WIDTH)
    drawn = draw_map(source.label, source.instance, taxonomy.colors, width=width)
    alt = f"label map of scene {row['scene']}"
    return save_map(drawn, to, file, title=title, alt=alt), made


def _edited_picture(
    row: dict[str, Any],
    results: RunResults,
    made: Recomposed | None,
    taxonomy: Taxonomy,
    shown: _Shown,
    to: Path,
) -> Picture:
    title, index = "edited labels", row["index"]
    label, instance = (results.readable(name, index) for name in ("label", "instance"))
    if label is None or instance is None or int(label.max()) >= taxonomy.num_classes:
        return Picture(title, note="damaged, see hdsynth verify")
    if made is not None and digest(made.scene.instance) == row["instance_sha256"]:
        changed = made.changed
    else:
        # Without the source, at least what was brought in or moved can be told.
        new = [item["id"] for item in row["instances"] if item["origin"] != "source"]
        changed = np.isin(instance, new)
    counts = np.bincount(label.ravel(), minlength=taxonomy.num_classes)
    shown.pixels += counts
    shown.labels.update(np.flatnonzero(counts).tolist())
    file = f"{IMAGES}/{index:08d}-edited.png"
    width = view_width(label.shape[1], least=LEAST_WIDTH, most=MOST_WIDTH)
    drawn = draw_map(label, instance, taxonomy.colors, changed=changed, width=width)
    alt = f"edited label map of sample {index}"
    return save_map(drawn, to, file, title=title, alt=alt)


def _photo_picture(row: dict[str, Any], results: RunResults, to: Path) -> Picture:
    title, index = f"{photo_kind(results)} photo", row["index"]
    if row["status"] == FAILED:
        return Picture(title, note="not made")
    photo = results.readable("photo", index)
    if photo is None:
        return Picture(title, note="damaged, see hdsynth verify")
    file = f"{IMAGES}/{index:08d}-photo.jpg"
    alt = f"{title} of sample {index}"
    return save_photo(shrink(photo, width=MOST_WIDTH), to, file, title=title, alt=alt)


def _facts(results: RunResults, rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """What the head of the page says about the run."""
    folder, record, taxonomy = results.folder, results.record, results.taxonomy
    failed = sum(row["status"] == FAILED for row in rows)
    planned, shards = count_samples(folder.plan), count_shards(folder.plan)
    done = f"{len(rows) - failed:,} good" + (f", {failed:,} failed" if failed else "")
    if len(rows) < planned:
        done += f", {planned - len(rows):,} to come"
    height, width = results.store.size
    policy = _look_up(record, "config", "recompose", "policy")
    checkpoint = _look_up(record, "config", "generator", "checkpoint")
    hashed = _look_up(record, "identity", "generator_hash")
    style = _style_text(_look_up(record, "config", "style"))
    dataset, kind = (_look_up(record, "config", "dataset", key) for key in ("root", "format"))
    return [
        ("samples", done),
        ("size", f"{height} x {width}"),
        ("shards", f"{len(folder.committed()):,} of {shards:,}"),
        ("dataset", f"{dataset} ({kind})"),
        ("taxonomy", f"{taxonomy.name}, {taxonomy.num_classes} classes"),
        ("edits", str(policy.get("name") if isinstance(policy, dict) else policy)),
        (
            "generator",
            "none"
            if hashed is None
            else f"{Path(str(checkpoint)).name if checkpoint else 'bundled demo'} "
            f"({str(hashed)[:12]})",
        ),
        ("photos", str(_look_up(record, "config", "photo", "mode"))),
        *([("style", style)] if style else []),
        ("seed", str(_look_up(record, "config", "seed"))),
        ("fingerprint", str(record["fingerprint"])),
        ("hdsynth", str(_look_up(record, "versions", "hdsynth"))),
    ]


def _style_text(style: Any) -> str | None:  # noqa: ANN401 - whatever YAML can hold
    """How styles were chosen, such as `random, car 3`; None if that could not be told."""
    mode, fixed = _look_up(style, "mode"), _look_up(style, "fixed")
    if mode is None:
        return None
    chosen = sorted(fixed.items()) if isinstance(fixed, dict) else []
    return ", ".join([str(mode), *(f"{name} {number}" for name, number in chosen)])


def _look_up(record: Any, *keys: str) -> Any:  # noqa: ANN401 - whatever YAML can hold
    """A value of a record that somebody may have edited: None where there is none."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def _legend(shown: _Shown, taxonomy: Taxonomy) -> list[LegendEntry]:
    """The classes on the page, the largest first."""
    total = max(1, int(shown.pixels.sum()))
    entries = [
        LegendEntry(
            name=taxonomy.classes[class_id].name,
            color="#{:02x}{:02x}{:02x}".format(*taxonomy.classes[class_id].color),
            share=int(shown.pixels[class_id]) / total,
        )
        for class_id in sorted(shown.labels)
    ]
    return sorted(entries, key=lambda entry: -entry.share)
