"""A page of single edits of a run, with which a person judges whether each is believable.

Beside page and pictures, its folder holds a list of the edits (`edits.json`) and contact sheets,
for other tools and for who judges without a browser. What is said of them is `audit_marks.Marks`.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hdmodel.errors import InputError
from pipeline.editing.recompose import Recomposed
from pipeline.errors import DatasetError, OutputError
from pipeline.inspection.audit_crops import EditPictures, draw_edit
from pipeline.inspection.audit_edits import AppliedEdit, applied_edits, in_order_of_choice
from pipeline.inspection.audit_marks import (
    MOST_NOTE,
    NO_REASON,
    REASON_KEYS,
    Marks,
    check_marks,
    read_marks,
)
from pipeline.inspection.audit_sheets import SHEETS, SheetCard, write_sheets
from pipeline.inspection.files import json_text
from pipeline.inspection.page import IMAGES, PAGE, check_page_target, environment, page_folder
from pipeline.inspection.replay import Replayer
from pipeline.output.manifest import OK, digest
from pipeline.output.results import RunResults
from pipeline.planning.plan import PlanRow
from pipeline.progress import progress_bar

EDITS, MARKS = "edits.json", "marks.json"
ENTRIES = frozenset({PAGE, IMAGES, SHEETS, EDITS, MARKS})
VERSION = 1


@dataclass(frozen=True, slots=True)
class Card:
    """One edit on the page."""

    number: int
    """From 1, in the order of the page."""
    edit: AppliedEdit
    scene: str
    pictures: EditPictures

    def to_plain(self) -> dict[str, Any]:
        """What `edits.json` says of it."""
        names = ("before", "after", "objects", "photo", "scene", "strip")
        pictures = {name: getattr(self.pictures, name) for name in names}
        return {
            "number": self.number,
            **asdict(self.edit),
            "scene": self.scene,
            "crop": list(self.pictures.crop),
            "pictures": {name: picture and picture.file for name, picture in pictures.items()},
        }


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page that was written."""

    page: Path
    edits: int
    """How many it shows."""
    sheets: int
    kept_marks: int
    """How many marks of an earlier page of the same run in its folder were kept."""


def write_audit(path: str | Path, to: Path, *, edits: int) -> AuditPage:
    """Write a page of single edits of a run, and what goes with it.

    Edits are chosen evenly over kinds of operations and, within a kind, over the committed samples;
    a larger page of the same run shows those of a smaller one first. Skipped operations, those that
    frame the scene and those of which nothing can be seen are left out. Samples are composed again
    to see which operation put which pixel there, so it needs the dataset.

    Args:
        path: The output folder.
        to: A new or empty folder, or an earlier page, which is replaced. Its marks stay if the new
            page shows all edits that they are of.
        edits: How many edits to show at most.

    Raises:
        OutputError: The folder is not an output of hdsynth, has no edit to show, or lost pixels; or
            `to` holds something else, or marks that the new page cannot keep.
        DatasetError: The dataset is gone, or no longer gives the recorded maps.
    """
    results = RunResults(path)
    target = to.resolve()
    check_page_target(target, entries=ENTRIES)
    replayer = Replayer(results.folder.root)
    with page_folder(target) as partial:
        cards = []
        with progress_bar("drawing edits", edits) as advance:
            for card in _cards(results, replayer, to=partial):
                cards.append(card)
                advance(len(cards))
                if len(cards) == edits:
                    break
        if not cards:
            raise OutputError(f"{results.folder.root}: no edit of a committed sample can be seen")
        listing = {
            "version": VERSION,
            "fingerprint": str(results.record["fingerprint"]),
            "edits": [card.to_plain() for card in cards],
        }
        marks = _earlier_marks(target)
        if marks is not None:
            _check_kept(marks, listing, to)
            (partial / MARKS).write_text(json_text(marks.to_plain()), encoding="utf-8")
        sheets = write_sheets(partial, [_sheet_card(card) for card in cards])
        (partial / EDITS).write_text(json_text(listing), encoding="utf-8")
        (partial / PAGE).write_text(_page(results, cards, listing), encoding="utf-8")
    return AuditPage(to / PAGE, len(cards), len(sheets), len(marks.marks) if marks else 0)


def _cards(results: RunResults, replayer: Replayer, *, to: Path) -> Iterator[Card]:
    """The edits of a run that can be seen, drawn, in order of choice."""
    rows = (
        row for row in results.rows(("index", "status", "program", "events")) if row["status"] == OK
    )
    number = 1
    for edit in in_order_of_choice(applied_edits(rows, results.taxonomy)):
        row = results.row(edit.sample)
        made = _compose(row, replayer)
        photo = results.pixels("photo", edit.sample)
        colors = results.taxonomy.colors
        pictures = draw_edit(edit, made, photo, colors, number=number, to=to)
        if pictures is not None:
            yield Card(number, edit, row["scene"], pictures)
            number += 1


def _compose(row: dict[str, Any], replayer: Replayer) -> Recomposed:
    """The edited maps of a sample, made again.

    Raises:
        DatasetError: They are not those that the run recorded.
    """
    made = replayer.compose(
        PlanRow(row["index"], row["shard"], row["scene"], row["variant"], 0, row["program"])
    )
    hashes = digest(made.scene.label), digest(made.scene.instance)
    if hashes != (row["label_sha256"], row["instance_sha256"]):
        root = replayer.folder.root
        raise DatasetError(
            f"{replayer.config.dataset.root}: sample {row['index']} no longer comes out as "
            f"recorded; hdsynth replay {root} {row['index']} --to DIR says where it differs"
        )
    return made


def _earlier_marks(target: Path) -> Marks | None:
    path = target / MARKS
    return read_marks(path) if path.is_file() else None


def _check_kept(marks: Marks, listing: dict[str, Any], to: Path) -> None:
    """Refuse to make a page that would lose marks of an earlier one."""
    try:
        check_marks(marks, listing)
    except InputError as error:
        raise OutputError(
            f"{to / MARKS}: the new page cannot keep these marks ({error}); "
            "name another folder, or move the file away"
        ) from None


def _sheet_card(card: Card) -> SheetCard:
    title = f"{card.number}   {card.edit.caption}   (sample {card.edit.sample})"
    return SheetCard(title, str(card.pictures.strip.file))


def _page(results: RunResults, cards: list[Card], listing: dict[str, Any]) -> str:
    keys = ("number", "sample", "position", "op", "class_name")
    return (
        environment()
        .get_template("audit.html")
        .render(
            title=results.folder.root.absolute().name,
            cards=cards,
            reasons=REASON_KEYS,
            most_note=MOST_NOTE,
            data={
                "fingerprint": listing["fingerprint"],
                "edits": [{key: edit[key] for key in keys} for edit in listing["edits"]],
                "reasons": REASON_KEYS,
                "noReason": NO_REASON,
            },
        )
    )


def read_listing(folder: Path) -> dict[str, Any]:
    """What `edits.json` of a page holds."""
    listing: dict[str, Any] = json.loads((folder / EDITS).read_text(encoding="utf-8"))
    return listing
