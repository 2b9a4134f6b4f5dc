"""What a donor bank holds, class by class: numbers, and a picture of silhouettes."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from hdmodel.atomic import write_atomically
from pipeline.donors.bank import DonorBank, DonorIndex
from pipeline.indexing.record import BOTTOM, LEFT, RIGHT, TOP
from pipeline.scene import Photo

COLUMNS = 12
CELL = 88
"""Height and width of a silhouette's cell, in pixels."""
MARGIN, NAME_WIDTH = 16, 190
TITLE_SIZE, NAME_SIZE, NOTE_SIZE = 24, 18, 13
PAPER, INK, PALE = (255, 255, 255), (20, 20, 20), (95, 95, 95)
SHAPE, MADE_UP, IN_PART = (70, 90, 120), (95, 185, 235), (165, 172, 185)
CUT, HIDDEN = (205, 30, 30), (240, 150, 20)
HINT = (
    "Each to its own scale; below: height in pixels, completeness. Grey: not seen whole; "
    "red: cut by the border; orange: hidden; light blue: made up."
)


@dataclass(frozen=True, slots=True)
class ClassDonors:
    """The donors of one class."""

    class_id: int
    name: str
    donors: int
    whole: int
    """In one piece, not cut, and seen completely."""
    cut: int
    """Cut by the picture's border, or void that reaches it."""
    hidden: int
    """Hidden in part by something nearer."""
    completed: int
    """Made up in part, as something nearer hides that."""
    heights: tuple[int, int, int]
    """Least, median and largest height of the boxes, in pixels."""


def count_donors(bank: DonorBank, *, least: float = 0.0) -> list[ClassDonors]:
    """The donors by class; classes without any are left out.

    Args:
        bank: The bank.
        least: Completeness that donors must have to count.
    """
    index = bank.index.select(bank.index.completeness >= least)
    found = []
    for class_id in np.unique(index.classes).tolist():
        own = index.select(index.classes == class_id)
        least, median, most = (round(float(h)) for h in np.quantile(own.heights, (0, 0.5, 1)))
        found.append(
            ClassDonors(
                class_id=class_id,
                name=bank.taxonomy.class_names[class_id],
                donors=len(own),
                whole=int(own.whole.sum()),
                cut=int((own.cut_sides > 0).sum()),
                hidden=int((own.hidden_sides > 0).sum()),
                completed=int((own.completed > 0).sum()),
                heights=(least, median, most),
            )
        )
    return found


def write_donor_sheet(bank: DonorBank, to: Path, *, least: float = 0.0) -> None:
    """Write the picture of a bank as PNG; a file that exists is replaced."""
    buffer = io.BytesIO()
    Image.fromarray(draw_donor_sheet(bank, least=least)).save(buffer, "PNG")
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(to, buffer.getvalue())


def draw_donor_sheet(bank: DonorBank, *, least: float = 0.0) -> Photo:
    """A row of silhouettes per class, from the smallest to the largest donor, RGB uint8.

    Classes with more donors than there are columns show some evenly spread over their sizes.

    Args:
        bank: The bank.
        least: Completeness that donors must have to be shown.
    """
    classes = count_donors(bank, least=least)
    shown = sum(entry.donors for entry in classes)
    top, line = 2 * MARGIN + TITLE_SIZE + NOTE_SIZE, CELL + NOTE_SIZE + MARGIN
    size = (NAME_WIDTH + COLUMNS * (CELL + MARGIN), top + max(1, len(classes)) * line + MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN // 2), f"Donors: {shown}", INK, _font(TITLE_SIZE))
    pen.text((MARGIN, MARGIN + TITLE_SIZE), HINT, PALE, _font(NOTE_SIZE))
    for number, entry in enumerate(classes):
        y = top + number * line
        pen.text((MARGIN, y), entry.name, INK, _font(NAME_SIZE))
        for place, text in enumerate(
            (f"donors: {entry.donors}", f"whole: {entry.whole}", f"cut: {entry.cut}",
             f"hidden: {entry.hidden}", f"completed: {entry.completed}")
        ):  # fmt: skip
            spot = (MARGIN, y + NAME_SIZE + 6 + place * (NOTE_SIZE + 3))
            pen.text(spot, text, PALE, _font(NOTE_SIZE))
        for column, row in enumerate(_spread(bank.index, entry.class_id, least)):
            x = NAME_WIDTH + column * (CELL + MARGIN)
            sheet.paste(Image.fromarray(_silhouette(bank, row)), (x, y))
            note = f"{int(bank.index.heights[row])} px, {bank.index.completeness[row]:.2f}"
            pen.text((x, y + CELL + 1), note, PALE, _font(NOTE_SIZE))
    return np.asarray(sheet)


def _spread(index: DonorIndex, class_id: int, least: float) -> list[int]:
    """Rows of a class's donors in order of height, at most `COLUMNS`, spread evenly."""
    rows = np.flatnonzero((index.classes == class_id) & (index.completeness >= least))
    rows = rows[np.argsort(index.heights[rows], kind="stable")]
    shown = min(COLUMNS, len(rows))
    places = np.linspace(0, len(rows) - 1, shown).round().astype(np.intp)
    chosen: list[int] = rows[places].tolist()
    return chosen


def _silhouette(bank: DonorBank, row: int) -> Photo:
    """One donor in its cell, standing at its lower edge, with bars at sides that are incomplete."""
    index = bank.index
    key = index.names[index.scenes[row]], int(index.ids[row])
    mask, made_up = bank.cutout(*key).mask, bank.made_up(*key)
    inner = CELL - 8
    ratio = inner / max(mask.shape)
    tall, wide = (max(1, round(length * ratio)) for length in mask.shape)
    rows, columns = (
        (2 * np.arange(n) + 1) * length // (2 * n)
        for n, length in zip((tall, wide), mask.shape, strict=True)
    )
    cell = np.full((CELL, CELL, 3), PAPER, np.uint8)
    bottom, left = CELL - 4, 4 + (inner - wide) // 2
    part = cell[bottom - tall : bottom, left : left + wide]
    part[mask[rows[:, None], columns]] = SHAPE if index.whole[row] else IN_PART
    part[made_up[rows[:, None], columns]] = MADE_UP
    for sides, color in ((index.hidden_sides[row], HIDDEN), (index.cut_sides[row], CUT)):
        _mark(cell, int(sides), color, box=(bottom - tall, left, bottom, left + wide))
    return cell


def _mark(
    cell: Photo, sides: int, color: tuple[int, int, int], *, box: tuple[int, int, int, int]
) -> None:
    """Draw bars along sides of a box, just outside of it."""
    top, left, bottom, right = box
    bars: dict[int, tuple[slice, slice]] = {
        LEFT: (slice(top, bottom), slice(left - 3, left)),
        RIGHT: (slice(top, bottom), slice(right, right + 3)),
        TOP: (slice(top - 3, top), slice(left, right)),
        BOTTOM: (slice(bottom, bottom + 3), slice(left, right)),
    }
    paint: npt.NDArray[np.uint8] = np.array(color, np.uint8)
    for side, place in bars.items():
        if sides & side:
            cell[place] = paint


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
