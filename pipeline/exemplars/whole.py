"""Whole photos drawn from others: each pixel from where another photo shows the like.

Shape legend: H x W pixels.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.exemplars.estimate import estimate
from pipeline.exemplars.field import REACH, Workers
from pipeline.exemplars.fill import Exemplar
from pipeline.exemplars.pyramid import Level, Mask, numbered
from pipeline.scene import LabelMap, Photo

COARSEST = 16
"""Rows of the coarsest level, at least."""
LAST_ROUNDS = 1
"""Searches and votes at full size, which take most of the time."""
NEARNESS = 100_000
"""What a candidate costs that is as far from its place as the photo is high."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A photo drawn from others."""

    photo: Photo
    """RGB, uint8 [H, W, 3]."""
    missing: Mask
    """Pixels of classes that no exemplar shows, drawn as the class next to them is, bool [H, W]."""
    used: tuple[int, ...]
    """The exemplars that pixels were copied from, by their places among those given."""


def draw_photo(
    label: LabelMap,
    exemplars: Sequence[Exemplar],
    *,
    begun: Photo,
    given: Mask,
    seed: int,
    threads: int = 1,
) -> Drawn:
    """Draw a photo of a label map.

    A pixel is copied from the pixel of an exemplar, of the same class, whose surroundings look and
    are labelled most alike; what is near its place is preferred. The result does not depend on
    `threads`.

    Args:
        label: Class ids [H, W].
        exemplars: Photos and label maps of the same size, in the same light; at least one.
        begun: A photo, uint8 [H, W, 3], of which some pixels are drawn already.
        given: These pixels, bool [H, W].
        seed: Decides what the search tries; 0 or more.
        threads: How many work on it.
    """
    height = len(label)
    levels = max(1, int(np.log2(height / COARSEST)) + 1)
    shown = np.unique(np.concatenate([classes.ravel() for _, classes in exemplars]))
    missing = ~given & ~np.isin(label, shown)
    level = _stacked(_nearest_shown(label, missing), exemplars, begun, given, levels=levels)
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        workers = Workers(pool, threads=threads)
        found = estimate(level, levels=levels, key=seed, workers=workers, last_rounds=LAST_ROUNDS)
    used = np.unique(found.rows // level.period) - 1
    return Drawn(found.colours[:height].astype(np.uint8), missing, tuple(used.tolist()))


def _nearest_shown(label: LabelMap, missing: Mask) -> LabelMap:
    """The label map with the class of the nearest other pixel in place of missing ones."""
    if not missing.any() or missing.all():
        return label
    at = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    nearest: LabelMap = label[tuple(at)]
    return nearest


def _stacked(
    label: LabelMap, exemplars: Sequence[Exemplar], begun: Photo, given: Mask, *, levels: int
) -> Level:
    """What is drawn, and below it the exemplars, each at a whole pixel of the coarsest level."""
    height, width = label.shape
    tile = 1 << (levels - 1)
    period = (-(-height // tile) + REACH) * tile
    shape = len(exemplars) * period + height, width
    colours = np.zeros((*shape, 3), np.float32)
    ids = np.full(shape, -1, np.int64)
    for number, (photo, shown) in enumerate(((begun, label), *exemplars)):
        rows = slice(number * period, number * period + height)
        colours[rows], ids[rows] = photo, shown
    known = ids >= 0
    copied = known.copy()
    known[:height], copied[:height] = given, False
    wanted = np.zeros(shape, np.bool_)
    wanted[:height] = ~given
    classes, slopes = numbered(ids, slope=round(NEARNESS / height))
    return Level(colours, classes, known, wanted, copied, slopes, period)
