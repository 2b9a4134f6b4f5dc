"""Holes of a photo, filled with kept pixels of the classes that the label map shows there."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

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
    """The pixels of the holes that are as they were, bool [H, W]."""
    missing: dict[int, float]
    """The classes of these, which too few kept pixels show: their share of the photo's pixels."""


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
        fewest: A class with fewer pixels to copy is missing; at least 1.
        seed: Decides what the search tries; 0 or more.
        threads: How many work on one hole.

    Returns:
        The photo, and which classes of the holes are missing in it and in the exemplars.
    """
    unknown = hole if hidden is None else hole | hidden
    classes = np.unique(label[hole]).tolist()
    kept = {c: int(np.count_nonzero((label == c) & ~unknown)) for c in classes}
    abroad = [c for c in classes if kept[c] < fewest]
    shown = {c: sum(int(np.count_nonzero(other == c)) for _, other in exemplars) for c in abroad}
    missing = [c for c in abroad if shown[c] < fewest]
    unfilled = hole & np.isin(label, missing)
    filled = photo.copy()
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        workers = Workers(pool, threads=threads)
        for number, (box, wanted) in enumerate(_parts(hole & ~unfilled)):
            inside = np.unique(label[slices(box)][wanted]).tolist()
            borrowed = [c for c in inside if c in abroad]
            enough = {c: min(kept[c], ENOUGH) for c in inside if c not in abroad}
            window = _window(box, label, unknown, enough)
            level, levels = _level(window, box, wanted, photo, label, unknown, borrowed, exemplars)
            colours = estimate(level, levels=levels, key=hashed(seed, number), workers=workers)
            inner = colours[slices(box, within=window)]
            filled[slices(box)][wanted] = inner[wanted].astype(np.uint8)
    shares = {c: int(np.count_nonzero(unfilled & (label == c))) / label.size for c in missing}
    return Filled(filled, unfilled, shares)


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


def _level(
    window: Box,
    box: Box,
    wanted: Mask,
    photo: Photo,
    label: LabelMap,
    hole: Mask,
    borrowed: list[int],
    exemplars: Sequence[Exemplar],
) -> tuple[Level, int]:
    """The window, and below it what exemplars show of the borrowed classes; and how many levels."""
    depth = float(ndimage.distance_transform_cdt(np.pad(wanted, 1)).max())
    levels = int(np.clip(np.ceil(np.log2(depth / CORE)) + 1, *LEVELS))
    tile = 1 << (levels - 1)
    pieces = [(photo[slices(window)], label[slices(window)])]
    pieces += list(_borrowings(borrowed, exemplars))
    # Apart by a patch of the coarsest level, and each at a whole pixel of it.
    tops, end = [], 0
    for _, piece in pieces:
        tops.append(end)
        end += (-(-piece.shape[0] // tile) + REACH) * tile
    width = max(piece.shape[1] for _, piece in pieces)
    end = tops[-1] + pieces[-1][1].shape[0]
    colours = np.zeros((end, width, 3), np.float32)
    ids = np.full((end, width), -1, np.int64)
    for top, (pixels, piece) in zip(tops, pieces, strict=True):
        at = (slice(top, top + piece.shape[0]), slice(0, piece.shape[1]))
        colours[at], ids[at] = pixels, piece
    rows, columns = pieces[0][1].shape
    known = ids >= 0
    known[:rows, :columns] &= ~hole[slices(window)]
    to_fill = np.zeros(ids.shape, np.bool_)
    to_fill[:rows, :columns][slices(box, within=window)] = wanted
    copied = known.copy()
    copied[rows:] &= np.isin(ids[rows:], borrowed)
    copied[:rows, :columns] &= ~np.isin(ids[:rows, :columns], borrowed)
    free = np.isin(np.unique(ids[ids >= 0]), borrowed)
    classes, slopes = numbered(ids, slope=round(NEARNESS / max(depth, SHALLOWEST)))
    slopes[free] = 0
    return Level(colours, classes, known, to_fill, copied, slopes), levels


def _borrowings(borrowed: list[int], exemplars: Sequence[Exemplar]) -> Iterator[Exemplar]:
    """The part of each exemplar that shows a borrowed class, with a margin."""
    if not borrowed:
        return
    for photo, label in exemplars:
        rows, columns = np.nonzero(np.isin(label, borrowed))
        if len(rows):
            box = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
            at = slices(
                (max(box[0] - REACH, 0), max(box[1] - REACH, 0), box[2] + REACH, box[3] + REACH)
            )
            yield photo[at], label[at]
