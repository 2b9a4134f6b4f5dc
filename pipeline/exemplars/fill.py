"""Holes of a photo, filled with kept pixels of the classes that the label map shows there."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from scipy import ndimage

from pipeline.editing.boxes import Box, slices
from pipeline.exemplars.estimate import estimate
from pipeline.exemplars.field import REACH, Workers, hashed
from pipeline.exemplars.pyramid import Level, Mask, numbered
from pipeline.scene import LabelMap, Photo

Exemplar = tuple[Photo, LabelMap]

LEVELS = (3, 6)
"""The fewest and the most levels of a pyramid."""
CORE = 4
"""The coarsest level is the first where no pixel of a hole is farther inside, in pixels."""
NEARNESS = 15_000
"""What a candidate costs that is as far away as the hole is deep: light and texture change with
distance. A patch whose pixels are all of another class costs 49 times `CAP`, 200 704."""
SHALLOWEST = 8
"""Holes that are less deep, in pixels, count as so deep."""
MARGIN = 64
"""The least that a window shows around a hole on each side, in pixels."""
NEAR = 24
"""Holes that lie nearer to each other, in pixels, are filled together."""
ENOUGH = 256
"""A window grows until it shows so many pixels of each class, or all that the photo has."""


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """A photo whose holes are filled, and what could not be."""

    photo: Photo
    """RGB, uint8 [H, W, 3]; outside the holes the one that was given."""
    unfilled: Mask
    """The pixels of the holes that are as they were, as neither the photo nor an exemplar shows
    their class, bool [H, W]."""
    used: tuple[int, ...]
    """The exemplars that pixels were copied from, by their places among those given."""


def fill_holes(
    photo: Photo,
    label: LabelMap,
    hole: Mask,
    *,
    hidden: Mask | None = None,
    exemplars: Sequence[Exemplar] = (),
    fewest: int = 1,
    seed: int = 0,
    threads: int = 1,
) -> Filled:
    """Fill the holes of a photo with pixels of the same class from around them.

    The result does not depend on `threads`.

    Args:
        photo: RGB, uint8 [H, W, 3].
        label: Class ids [H, W], also of what the holes shall show.
        hole: The pixels to fill, bool [H, W]; what the photo shows there is not looked at.
        hidden: Pixels before which something stands that is not of this photo, bool [H, W]: they
            are neither filled nor copied.
        exemplars: More photos, of any size, and their label maps: for classes that this photo does
            not show.
        fewest: A class of which the photo keeps fewer pixels is copied from the exemplars, if they
            show more of it; at least 1.
        seed: Decides what the search tries; 0 or more.
        threads: How many work on one hole.
    """
    unknown = hole if hidden is None else hole | hidden
    classes = np.unique(label[hole]).tolist()
    kept = {c: int(np.count_nonzero((label == c) & ~unknown)) for c in classes}
    shown = {
        c: sum(int(np.count_nonzero(other == c)) for _, other in exemplars)
        for c in classes
        if kept[c] < fewest
    }
    abroad = [c for c, count in shown.items() if count > kept[c]]
    missing = [c for c in classes if not kept[c] and c not in abroad]
    unfilled = hole & np.isin(label, missing)
    filled = photo.copy()
    used: set[int] = set()
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        workers = Workers(pool, threads=threads)
        for number, (box, wanted) in enumerate(_parts(hole & ~unfilled)):
            inside = np.unique(label[slices(box)][wanted]).tolist()
            borrowed = [c for c in inside if c in abroad]
            enough = {c: min(kept[c], ENOUGH) for c in inside if c not in abroad}
            window = _window(box, label, unknown, enough)
            borrowings = _borrowings(borrowed, exemplars)
            pieces = [(photo[slices(window)], label[slices(window)])]
            pieces += [piece for _, piece in borrowings]
            levels = _levels(wanted)
            tops = _tops(pieces, levels=levels)
            level = _level(
                pieces, tops, slices(box, within=window), wanted, unknown[slices(window)], borrowed
            )
            key = hashed(seed, number)
            found = estimate(level, levels=levels, key=key, workers=workers)
            inner = found.colours[slices(box, within=window)]
            filled[slices(box)][wanted] = inner[wanted].astype(np.uint8)
            copied = np.unique(np.searchsorted(tops, found.rows, side="right") - 1)
            used.update(borrowings[piece - 1][0] for piece in copied.tolist() if piece)
    return Filled(filled, unfilled, tuple(sorted(used)))


def _parts(hole: Mask) -> Iterator[tuple[Box, Mask]]:
    """Holes that lie apart, each with its box."""
    near = ndimage.binary_dilation(hole, np.ones((3, 3), np.bool_), iterations=NEAR // 2)
    found, _ = ndimage.label(near, np.ones((3, 3)))
    found[~hole] = 0
    for number, box in enumerate(ndimage.find_objects(found), start=1):
        rows, columns = box
        yield (rows.start, columns.start, rows.stop, columns.stop), found[box] == number


def _window(box: Box, label: LabelMap, hole: Mask, enough: dict[int, int]) -> Box:
    """The box with a margin in which enough kept pixels of each class are seen."""
    top, left, bottom, right = box
    height, width = label.shape
    margin = max(MARGIN, bottom - top, right - left)
    while True:
        window = (
            max(top - margin, 0),
            max(left - margin, 0),
            min(bottom + margin, height),
            min(right + margin, width),
        )
        around, kept = label[slices(window)], ~hole[slices(window)]
        if all(np.count_nonzero((around == c) & kept) >= count for c, count in enough.items()):
            return window
        margin *= 2


def _depth(wanted: Mask) -> float:
    """How far the innermost pixel of a hole is from its rim, in pixels."""
    return float(ndimage.distance_transform_cdt(np.pad(wanted, 1)).max())


def _levels(wanted: Mask) -> int:
    """How many sizes a hole is filled at."""
    return int(np.clip(np.ceil(np.log2(_depth(wanted) / CORE)) + 1, *LEVELS))


def _tops(pieces: Sequence[Exemplar], *, levels: int) -> list[int]:
    """The first rows of pieces: apart by a patch, at whole pixels, of the coarsest level."""
    tile = 1 << (levels - 1)
    rows = [(-(-len(piece) // tile) + REACH) * tile for _, piece in pieces[:-1]]
    return [0, *accumulate(rows)]


def _level(
    pieces: Sequence[Exemplar],
    tops: Sequence[int],
    at_hole: tuple[slice, slice],
    wanted: Mask,
    unknown: Mask,
    borrowed: list[int],
) -> Level:
    """The window, and below it what exemplars show of the borrowed classes.

    Args:
        pieces: The window of the photo, and parts of exemplars.
        tops: Where each begins.
        at_hole: Where in the window the box of the hole lies.
        wanted: The hole in its box.
        unknown: What is not known of the window.
        borrowed: The classes that come from the exemplars.
    """
    width = max(piece.shape[1] for _, piece in pieces)
    end = tops[-1] + len(pieces[-1][1])
    colours = np.zeros((end, width, 3), np.float32)
    ids = np.full((end, width), -1, np.int64)
    for top, (pixels, piece) in zip(tops, pieces, strict=True):
        at = (slice(top, top + piece.shape[0]), slice(0, piece.shape[1]))
        colours[at], ids[at] = pixels, piece
    rows, columns = pieces[0][1].shape
    known = ids >= 0
    known[:rows, :columns] &= ~unknown
    to_fill = np.zeros(ids.shape, np.bool_)
    to_fill[:rows, :columns][at_hole] = wanted
    copied = known.copy()
    copied[rows:] &= np.isin(ids[rows:], borrowed)
    copied[:rows, :columns] &= ~np.isin(ids[:rows, :columns], borrowed)
    free = np.isin(np.unique(ids[ids >= 0]), borrowed)
    classes, slopes = numbered(ids, slope=round(NEARNESS / max(_depth(wanted), SHALLOWEST)))
    slopes[free] = 0
    return Level(colours, classes, known, to_fill, copied, slopes)


def _borrowings(borrowed: list[int], exemplars: Sequence[Exemplar]) -> list[tuple[int, Exemplar]]:
    """The parts of exemplars that show a borrowed class, with a margin, and which they are of."""
    found = []
    for number, (photo, label) in enumerate(exemplars if borrowed else ()):
        rows, columns = np.nonzero(np.isin(label, borrowed))
        if len(rows):
            top, left = max(rows.min() - REACH, 0), max(columns.min() - REACH, 0)
            at = slices((top, left, rows.max() + 1 + REACH, columns.max() + 1 + REACH))
            found.append((number, (photo[at], label[at])))
    return found
