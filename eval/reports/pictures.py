"""Pictures of an evaluation: a photo, what was asked, what was read, and where they differ.

Shape legend: H x W pixels.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from eval.confusion import VOID
from eval.counts import Side
from eval.job import EvalSpec, LoadedScorer, load, read_subject
from eval.protocol import resize_map, resize_photo
from eval.reports.report import ImageRow, Report
from pipeline.scene import Photo

WIDTH = 480
JPEG_QUALITY = 82
SHOWN = 4
"""How many of the best and of the worst rendered photos are drawn; half as many real ones."""
VOID_COLOR = (60, 60, 60)
WRONG_COLOR = (230, 40, 40)
FADE = 0.35


@dataclass(frozen=True, slots=True)
class Drawn:
    """A photo of the report with its maps, as data URLs."""

    side: Side
    kind: str
    """`worst` or `best`."""
    row: ImageRow
    photo: str
    target: str
    prediction: str
    errors: str


def draw_extremes(report: Report, spec: EvalSpec) -> list[Drawn]:
    """Draw the worst and the best photos of both sides; the scorer reads them once more.

    Args:
        report: Names the photos.
        spec: Where they are.
    """
    chosen: list[tuple[Side, str, ImageRow]] = []
    for side, found, most in (
        ("rendered", report.rendered, SHOWN),
        ("real", report.oracle, SHOWN // 2),
    ):
        seen: set[int] = set()
        for kind, rows in (("worst", found.worst), ("best", found.best)):
            rows = [row for row in rows if row.index not in seen][:most]
            seen |= {row.index for row in rows}
            chosen += [(side, kind, row) for row in rows]  # type: ignore[misc]
    loaded = load(spec)
    try:
        return [_draw(side, kind, row, spec, loaded) for side, kind, row in chosen]
    finally:
        loaded.lease.close()


def _draw(side: Side, kind: str, row: ImageRow, spec: EvalSpec, loaded: LoadedScorer) -> Drawn:
    subject = read_subject(spec, side, row.index)
    photo = subject.scene.photo
    assert photo is not None
    size = spec.protocol.score_size
    predicted = spec.mapping.prediction(loaded.scorer.predict(photo[None])[0])
    prediction = resize_map(predicted, size)
    target = spec.mapping.target(subject.scene.label)
    shown = resize_photo(photo, size)
    return Drawn(
        side=side,
        kind=kind,
        row=row,
        photo=data_url(shown),
        target=data_url(paint(target, spec.mapping.colors), sharp=True),
        prediction=data_url(paint(prediction, spec.mapping.colors), sharp=True),
        errors=data_url(overlay(shown, target, prediction)),
    )


def paint(classes: npt.NDArray[np.uint8], colors: Sequence[tuple[int, int, int]]) -> Photo:
    """The display colours of evaluated classes, uint8 [H, W, 3]; void is dark grey.

    Args:
        classes: Evaluated classes or void, uint8 [H, W].
        colors: RGB of each class.
    """
    table = np.full((256, 3), VOID_COLOR, np.uint8)
    table[: len(colors)] = colors
    return table[classes]


def overlay(
    photo: Photo, target: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8]
) -> Photo:
    """The photo in grey, with the pixels that are read wrong in red and void darkened.

    Args:
        photo: RGB, uint8 [H, W, 3].
        target: Evaluated classes or void, uint8 [H, W].
        prediction: The same.
    """
    grey = photo.mean(axis=2, keepdims=True)
    picture = np.repeat(96 + grey * 0.6, 3, axis=2)
    wrong = (target != VOID) & (target != prediction)
    picture[wrong] = FADE * picture[wrong] + (1 - FADE) * np.array(WRONG_COLOR)
    picture[target == VOID] *= 0.35
    return picture.clip(0, 255).astype(np.uint8)


def data_url(picture: Photo, *, sharp: bool = False) -> str:
    """A picture that a page can hold: PNG for maps, else JPEG; at most `WIDTH` wide.

    Args:
        picture: RGB, uint8 [H, W, 3].
        sharp: Whether it has few colours, which must stay as they are.
    """
    image = Image.fromarray(picture)
    if image.width != WIDTH:
        size = (WIDTH, max(1, round(image.height * WIDTH / image.width)))
        smooth = Image.Resampling.LANCZOS if image.width > WIDTH else Image.Resampling.BICUBIC
        image = image.resize(size, Image.Resampling.NEAREST if sharp else smooth)
    buffer = BytesIO()
    if sharp:
        image.quantize(256, method=Image.Quantize.FASTOCTREE).save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    kind = "png" if sharp else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
