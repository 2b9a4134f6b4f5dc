"""A picture of a style bank: one scene, a row per class, a column per mode of that class.

Shape legend: F feature channels, H x W pixels of the scene, h x w of a cell.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from hdmodel.atomic import write_atomically
from hdmodel.checkpoint import load_generator
from hdmodel.conditioning import condition
from hdmodel.generator import Generator
from hdmodel.photos import to_uint8
from hdmodel.styles import StyleBank, load_styles
from pipeline.checkpoints import choose_checkpoint
from pipeline.errors import DatasetError
from pipeline.pictures import draw_map
from pipeline.progress import progress_bar
from pipeline.scene import INSTANCES_PER_CLASS, Photo, Scene
from pipeline.styles.stylist import StyleTable, feature_channels
from pipeline.taxonomy import Taxonomy

MOST_ROWS = 8
LEAST_SHARE = 1 / 1000
"""Classes with fewer pixels of the scene have no row."""
CELL_WIDTH = 320
MARGIN, NAME_WIDTH, CAPTION = 16, 150, 26
TITLE_SIZE, NAME_SIZE, CAPTION_SIZE = 26, 22, 17
INK, PALE, PAPER = (20, 20, 20), (95, 95, 95), (255, 255, 255)
SMALLEST_VIEW = 3
"""A thing is shown in a part of the scene that is at least 1/SMALLEST_VIEW as wide."""

View = tuple[slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """The modes of one class."""

    name: str
    note: str
    pictures: list[Photo]
    """One per mode, uint8 [h, w, 3]."""
    captions: list[str]


def write_style_sheet(
    checkpoint: Path, scene: Scene, *, taxonomy: Taxonomy, to: Path, device: str
) -> Path:
    """Render a scene in every mode of its main classes and write the picture as PNG.

    In each row only the style of one class changes; all others have their most frequent mode.
    Things are shown enlarged, around the largest one of the scene.

    Args:
        checkpoint: Folder with the generator and the style bank.
        scene: What to render, at the size of the generator.
        taxonomy: Its taxonomy.
        to: The file to write; one that exists is replaced.
        device: Where to render.

    Raises:
        CheckpointError: Generator or style bank cannot be read.
        TaxonomyError: The scene's classes are not the checkpoint's.
        DatasetError: The scene shows no class that the style bank has seen.
    """
    choose_checkpoint(checkpoint, taxonomy)
    bank = load_styles(checkpoint)
    shown = main_classes(scene, bank, taxonomy)
    if not shown:
        raise DatasetError(
            f"scene {scene.name}: shows no class of which the style bank of {checkpoint} has "
            "objects, expected at least one"
        )
    generator = load_generator(checkpoint, device=device, dtype=torch.float32)
    total = 1 + sum(len(bank.modes(class_id)) - 1 for class_id in shown)
    rows: list[Row] = []
    with progress_bar("rendering modes", total) as advance:
        usual = _render(generator, bank, scene, {}, device)
        done = 1
        advance(done)
        for class_id in shown:
            view = view_of(scene, class_id, taxonomy)
            pictures = [_cell(usual, view)]
            for number in range(1, len(bank.modes(class_id))):
                photo = _render(generator, bank, scene, {class_id: number}, device)
                pictures.append(_cell(photo, view))
                done += 1
                advance(done)
            rows.append(_row(bank, class_id, taxonomy.class_names[class_id], pictures))
    sheet = draw_sheet(rows, heads=_heads(scene, usual, taxonomy), title=f"Scene {scene.name}")
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(to, buffer.getvalue())
    return to


def main_classes(scene: Scene, bank: StyleBank, taxonomy: Taxonomy) -> list[int]:
    """The classes with a row: those with most pixels, things first, at most `MOST_ROWS`.

    Void classes, small ones, and those of which the bank has no objects, have none. Things that
    are there get at least half the rows.
    """
    pixels = np.bincount(scene.label.ravel(), minlength=taxonomy.num_classes)
    large = np.flatnonzero(pixels >= LEAST_SHARE * scene.label.size).tolist()
    by_size = sorted(large, key=lambda c: (-pixels[c], c))
    seen = [c for c in by_size if bank.fallback[c] is None and not taxonomy.is_void[c]]
    things = [c for c in seen if taxonomy.is_thing[c]]
    stuff = [c for c in seen if not taxonomy.is_thing[c]]
    room = max(MOST_ROWS // 2, MOST_ROWS - len(stuff))
    kept = things[:room]
    return kept + stuff[: MOST_ROWS - len(kept)]


def view_of(scene: Scene, class_id: int, taxonomy: Taxonomy) -> View:
    """The part of a scene that shows a class: all for stuff, the largest object for things.

    It has the shape of the scene, as far as whole pixels allow.
    """
    height, width = scene.size
    ids, areas = np.unique(scene.instance[scene.label == class_id], return_counts=True)
    if not taxonomy.is_thing[class_id] or ids.max() < INSTANCES_PER_CLASS:
        return slice(0, height), slice(0, width)
    areas = np.where(ids >= INSTANCES_PER_CLASS, areas, 0)
    rows, columns = np.nonzero(scene.instance == ids[areas.argmax()])
    # Half as large again as the object, so that its borders are seen.
    share = max(
        1.5 * (np.ptp(rows) + 1) / height, 1.5 * (np.ptp(columns) + 1) / width, 1 / SMALLEST_VIEW
    )
    share = min(share, 1.0)
    return _around(rows, share, height), _around(columns, share, width)


def _around(places: npt.NDArray[np.intp], share: float, length: int) -> slice:
    """A stretch of an axis with the places in its middle, shifted to lie within the axis."""
    extent = max(1, round(share * length))
    start = round((int(places.min()) + int(places.max()) + 1 - extent) / 2)
    start = min(max(start, 0), length - extent)
    return slice(start, start + extent)


def _render(
    generator: Generator,
    bank: StyleBank,
    scene: Scene,
    modes: Mapping[int, int],
    device: str,
) -> Photo:
    """Render a scene with the given modes by class, and mode 0 for all other classes."""
    keys = np.unique(scene.instance)
    class_ids = np.where(keys >= INSTANCES_PER_CLASS, keys // INSTANCES_PER_CLASS, keys).tolist()
    vectors = np.stack([bank.modes(c)[modes.get(c, 0)] for c in class_ids])
    label_BHW = torch.from_numpy(scene.label.astype(np.int32))[None].to(device)
    instance_BHW = torch.from_numpy(scene.instance)[None].to(device)
    config = generator.config
    with torch.inference_mode():
        conditioning_BCHW = condition(
            label_BHW,
            instance_BHW if config.instance_edges else None,
            num_classes=config.num_classes,
            features=feature_channels(instance_BHW, [StyleTable(keys, vectors)]),
        )
        photo_CHW = generator(conditioning_BCHW)[0]
    photo: Photo = to_uint8(photo_CHW).permute(1, 2, 0).cpu().numpy()
    return photo


def _cell(photo: Photo, view: View) -> Photo:
    height, width = photo.shape[:2]
    size = (CELL_WIDTH, max(1, round(CELL_WIDTH * height / width)))
    part = np.ascontiguousarray(photo[view])
    return np.asarray(Image.fromarray(part).resize(size, Image.Resampling.LANCZOS))


def _row(bank: StyleBank, class_id: int, name: str, pictures: list[Photo]) -> Row:
    counts = bank.mode_counts(class_id)
    objects = int(counts.sum())
    captions = [f"mode {k}: {100 * n / objects:.0f} %" for k, n in enumerate(counts.tolist())]
    return Row(name, f"{objects} objects" if objects > 1 else "1 object", pictures, captions)


def _heads(scene: Scene, usual: Photo, taxonomy: Taxonomy) -> list[tuple[str, Photo]]:
    """What the scene is, above the rows."""
    everything = (slice(None), slice(None))
    heads = [("labels", draw_map(scene.label, scene.instance, taxonomy.colors))]
    if scene.photo is not None:
        heads.append(("photo", scene.photo))
    heads.append(("all in mode 0", usual))
    return [(caption, _cell(picture, everything)) for caption, picture in heads]


def draw_sheet(rows: list[Row], *, heads: list[tuple[str, Photo]], title: str) -> Photo:
    """Lay out rows of labelled pictures, RGB uint8.

    Args:
        rows: What to show; their pictures are of one size.
        heads: Captions and pictures above the rows, of the same size.
        title: Text above all.
    """
    tall, wide = heads[0][1].shape[:2]
    columns = max(len(heads), *(len(row.pictures) for row in rows))
    line = tall + CAPTION + MARGIN
    top = 2 * MARGIN + 2 * TITLE_SIZE
    size = (
        MARGIN + NAME_WIDTH + columns * (wide + MARGIN),
        top + (1 + len(rows)) * line,
    )
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), title, INK, _font(TITLE_SIZE))
    hint = "In each row one class changes its style; all others have mode 0. Share of objects."
    pen.text((MARGIN, MARGIN + TITLE_SIZE + 8), hint, PALE, _font(CAPTION_SIZE))
    lines = [Row("", "", [p for _, p in heads], [caption for caption, _ in heads]), *rows]
    for number, row in enumerate(lines):
        y = top + number * line
        pen.text((MARGIN, y), row.name, INK, _font(_fitting(row.name)))
        pen.text((MARGIN, y + NAME_SIZE + 8), row.note, PALE, _font(CAPTION_SIZE))
        for column, (picture, caption) in enumerate(zip(row.pictures, row.captions, strict=True)):
            x = MARGIN + NAME_WIDTH + column * (wide + MARGIN)
            sheet.paste(Image.fromarray(picture), (x, y))
            pen.text((x, y + tall + 4), caption, INK, _font(CAPTION_SIZE))
    return np.asarray(sheet)


def _fitting(text: str) -> int:
    """The font size, at most `NAME_SIZE`, at which a class name fits its column."""
    length = _font(NAME_SIZE).getlength(text)
    return min(NAME_SIZE, max(10, int(NAME_SIZE * (NAME_WIDTH - MARGIN) / max(length, 1.0))))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
