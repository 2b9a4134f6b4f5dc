"""Alignment: whole shapes laid over what is seen of a hidden one.

A shape is laid into boxes that end where the visible part does, but at sides where something nearer
is beside it: there they may go on. It fits as it covers what is seen and nothing that lies farther.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.donors.surroundings import Surroundings

MODEL = (64, 64)
"""Rows and columns of a whole shape."""
CELLS = 16
"""Rows and columns of the cells in which all shapes are compared with what is seen."""
LEVELS = 255
"""Steps in which the cells tell how much of them is covered: whole numbers, so sums are exact."""
TRIED = 12
"""The best by cells, so many, are compared with what is seen pixel by pixel."""
STRETCH = 0.3
"""A change of ln aspect at which a fit counts 0.6 times."""
STEPS = (
    (0.0,),
    (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0),
    (0.0, 0.06, 0.12, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85, 1.0),
    (0.0, 0.1, 0.25, 0.45, 0.7, 1.0),
    (0.0, 0.15, 0.4, 0.8),
)
"""How far boxes go on, in heights or widths of what is seen, by the number of sides that do."""

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Boxes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """Whole shapes of a class, and after them their mirror images [2 * m]."""

    shapes: Flags
    """Each in its box [2 * m, *MODEL]."""
    aspects: Floats
    """Ln of width over height [2 * m]."""
    cells: npt.NDArray[np.float32]
    """The shapes in coarse cells, 0 or 1 [2 * m, CELLS * CELLS]."""

    @classmethod
    def of(cls, masks: Sequence[Flags]) -> Self:
        """Keep some masks, at least one, each tight in its box, bool [h, w]."""
        own = np.array([_resized(mask, MODEL) for mask in masks])
        shapes = np.concatenate([own, own[:, :, ::-1]])
        down, across = (length // CELLS for length in MODEL)
        blocks = shapes.reshape(len(shapes), CELLS, down, CELLS, across)
        cells = blocks.mean(axis=(2, 4)).reshape(len(shapes), -1) >= 0.5
        aspects = np.log([mask.shape[1] / mask.shape[0] for mask in masks])
        return cls(shapes, np.tile(aspects, 2), cells.astype(np.float32))

    def __len__(self) -> int:
        return len(self.shapes) // 2


@dataclass(frozen=True, slots=True, eq=False)
class LaidModel:
    """A whole shape laid over what is seen of another."""

    shape: Flags
    """Its pixels in the window [h, w]."""
    overlap: float
    """Pixels that are seen and covered, over those that are seen or wrongly covered, 0..1."""
    score: float
    """The overlap, less if the shape was stretched."""


def best_laid(around: Surroundings, models: Models, *, count: int) -> list[LaidModel]:
    """The whole shapes that fit best, each once, the best one first.

    Args:
        around: What is seen of a shape.
        models: Whole shapes.
        count: Return so many, or all.
    """
    boxes = _boxes(around)
    scores = _scores(around, boxes, models)
    best = scores.argmax(axis=0)
    reached = scores[best, np.arange(len(best))].reshape(2, -1)
    images = reached.argmax(axis=0) * len(models) + np.arange(len(models))
    tried = images[np.argsort(-reached.max(axis=0), kind="stable")][:TRIED]
    laid = [_lay(around, models, number, boxes[best[number]]) for number in tried.tolist()]
    return sorted(laid, key=lambda one: -one.score)[:count]


def _resized(mask: Flags, size: tuple[int, int]) -> Flags:
    """A mask at another height and width."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    kept: Flags = np.asarray(image.resize(size[::-1], Image.Resampling.HAMMING)) >= 128
    return kept


def _boxes(around: Surroundings) -> Boxes:
    """Boxes that hold what is seen, and go on where something nearer is beside it [g, 4]."""
    rows, columns = (np.flatnonzero(around.seen.any(axis=axis)) for axis in (1, 0))
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    hiding = np.pad(around.hiding, 1)[top : bottom + 2, left : right + 2]
    hidden = [bool(line.any()) for line in (hiding[0], hiding[:, 0], hiding[-1], hiding[:, -1])]
    steps = STEPS[sum(hidden)]
    factors = np.array(list(product(*(steps if side else STEPS[0] for side in hidden))))
    tall, wide = bottom - top, right - left
    grown = np.rint(factors * np.array([-tall, -wide, tall, wide])).astype(np.int64)
    height, width = around.seen.shape
    boxes = np.array([top, left, bottom, right]) + grown
    return np.unique(boxes.clip(0, [height, width, height, width]), axis=0)


def _scores(around: Surroundings, boxes: Boxes, models: Models) -> Floats:
    """How well each shape fits in each box, as in `LaidModel`, judged by cells [g, 2 * m]."""
    seen, wrong = (
        (_coverage(flags, boxes) @ models.cells.T).astype(np.float64)
        for flags in (around.seen, around.free)
    )
    tall, wide = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    unit = (tall * wide / (LEVELS * CELLS**2))[:, None]
    overlap = seen * unit / (np.count_nonzero(around.seen) + wrong * unit)
    scores: Floats = overlap * _unstretched(np.log(wide / tall)[:, None] - models.aspects)
    return scores


def _unstretched(change: Floats) -> Floats:
    """What a change of ln aspect leaves of a fit, 0..1."""
    left: Floats = np.exp(-0.5 * (change / STRETCH) ** 2)
    return left


def _coverage(flags: Flags, boxes: Boxes) -> npt.NDArray[np.float32]:
    """How much of each cell of each box some pixels cover, 0..LEVELS [g, CELLS * CELLS]."""
    sums = np.zeros((flags.shape[0] + 2, flags.shape[1] + 2))
    sums[1:-1, 1:-1] = flags.cumsum(axis=0).cumsum(axis=1)
    parts = np.arange(CELLS + 1) / CELLS
    tall, wide = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    rows, columns = boxes[:, :1] + tall[:, None] * parts, boxes[:, 1:2] + wide[:, None] * parts
    row, column = rows.astype(np.intp)[:, :, None], columns.astype(np.intp)[:, None, :]
    down, across = rows[:, :, None] - row, columns[:, None, :] - column
    above = (1 - across) * sums[row, column] + across * sums[row, column + 1]
    below = (1 - across) * sums[row + 1, column] + across * sums[row + 1, column + 1]
    corners = (1 - down) * above + down * below
    covered = np.diff(np.diff(corners, axis=1), axis=2)
    share = covered * (CELLS**2 / (tall * wide))[:, None, None]
    return np.rint(share * LEVELS).reshape(len(boxes), -1).astype(np.float32)


def _lay(
    around: Surroundings, models: Models, number: int, box: npt.NDArray[np.int64]
) -> LaidModel:
    """One whole shape in one box, compared pixel by pixel."""
    top, left, bottom, right = box.tolist()
    tall, wide = bottom - top, right - left
    rows, columns = (
        (2 * np.arange(length) + 1) * cells // (2 * length)
        for length, cells in zip((tall, wide), MODEL, strict=True)
    )
    shape = np.zeros(around.seen.shape, np.bool_)
    shape[top:bottom, left:right] = models.shapes[number][rows[:, None], columns]
    covered, wrong = (np.count_nonzero(shape & flags) for flags in (around.seen, around.free))
    overlap = covered / (np.count_nonzero(around.seen) + wrong)
    kept = _unstretched(np.log([wide / tall]) - models.aspects[number])
    return LaidModel(shape, overlap, overlap * float(kept[0]))
