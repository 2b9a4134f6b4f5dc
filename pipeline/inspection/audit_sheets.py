"""Contact sheets of the crops of edits, for who looks at pictures without a browser."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SHEETS = "sheets"
CARDS = 12
"""On a sheet."""
GAP, TITLE_HEIGHT, TITLE_SIZE = 20, 26, 17
MOST_WIDTH = 1900
"""Of a sheet, in pixels, if more than one card lies beside another."""
PAPER, INK = (255, 255, 255), (20, 20, 20)


@dataclass(frozen=True, slots=True)
class SheetCard:
    """One edit on a sheet."""

    title: str
    file: str
    """The picture of its crops, as a path in the folder of the page."""


def write_sheets(to: Path, cards: Sequence[SheetCard]) -> list[Path]:
    """Write the crops of edits as numbered PNG files; returns their paths.

    Args:
        to: The folder of the page, which holds the crops.
        cards: The edits.
    """
    (to / SHEETS).mkdir()
    paths = []
    for start in range(0, len(cards), CARDS):
        path = to / SHEETS / f"{start // CARDS:03d}.png"
        _draw(to, cards[start : start + CARDS]).save(path)
        paths.append(path)
    return paths


def _draw(folder: Path, cards: Sequence[SheetCard]) -> Image.Image:
    pictures = []
    for card in cards:
        with Image.open(folder / card.file) as opened:
            pictures.append(opened.convert("RGB"))
    width = max(picture.width for picture in pictures)
    height = TITLE_HEIGHT + max(picture.height for picture in pictures)
    columns = max(1, (MOST_WIDTH - GAP) // (width + GAP))
    rows = -(-len(cards) // columns)
    sheet = Image.new("RGB", (GAP + columns * (width + GAP), GAP + rows * (height + GAP)), PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TITLE_SIZE)
    for place, (card, picture) in enumerate(zip(cards, pictures, strict=True)):
        row, column = divmod(place, columns)
        left, top = GAP + column * (width + GAP), GAP + row * (height + GAP)
        pen.text((left, top), _fitting(card.title, pen, font, width), INK, font)
        sheet.paste(picture, (left, top + TITLE_HEIGHT))
    return sheet


def _fitting(
    text: str,
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> str:
    """The text, shortened where it is wider than some pixels."""
    if pen.textlength(text, font) <= width:
        return text
    while text and pen.textlength(f"{text}...", font) > width:
        text = text[:-1]
    return f"{text}..."
