"""Locations: where on the coarse grid objects of each class stand, and on which surfaces."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.indexing.record import GRID, SceneRecord
from pipeline.roles import class_roles
from pipeline.taxonomy import Taxonomy

USUAL = 0.1
"""Share of a class's objects that must stand on a surface for it to count as support."""
SUPPORT_FLOOR = 0.02
"""Smallest share of a surface that a class may stand on."""
CATEGORY_OBJECTS = 10
"""What is known of a class's category counts as so many of its objects."""
SHARPNESS = 0.75
"""Smoothing of locations over what Scott's rule says, which is made for one hill, not several."""
BANDWIDTH = (0.5, 8.0)
"""Smallest and largest smoothing of locations, in cells."""

MARGINS = (0.35, 0.8, 1.6, 3.2)
"""Distances from the edge of a surface, in heights of the camera, between which places differ."""
EVIDENCE = 20
"""So many objects of a category must be seen before a surface under none of them carries none."""

ContactCells = tuple[tuple[int, int, int], ...]
"""Row, column, and how many objects stand there."""
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


def contact_cells(
    boxes: Floats, classes: Integers, *, taxonomy: Taxonomy
) -> dict[int, ContactCells]:
    """The cells of the coarse grid in which objects of each thing class stand.

    Args:
        boxes: Top, left, bottom, right as fractions of the picture's sides [n, 4].
        classes: Class ids [n].
        taxonomy: Names the things.
    """
    rows = np.minimum((boxes[:, 2] * GRID[0]).astype(np.int64), GRID[0] - 1)
    centres = boxes[:, [1, 3]].mean(axis=1)
    columns = np.minimum((centres * GRID[1]).astype(np.int64), GRID[1] - 1)
    cells = rows * GRID[1] + columns
    found = {}
    for class_id in np.flatnonzero(taxonomy.is_thing):
        of = classes == class_id
        places, counts = np.unique(cells[of], return_counts=True)
        found[int(class_id)] = tuple(
            (int(p // GRID[1]), int(p % GRID[1]), int(c))
            for p, c in zip(places, counts, strict=True)
        )
    return found


def location_maps(contacts: Mapping[int, ContactCells], taxonomy: Taxonomy) -> Floats:
    """Smoothed maps of where each class stands [num_classes, GRID], each summing to 1.

    Classes with few objects lean on their category, and that on all; classes that are not in
    `contacts` have a map of zeros.
    """
    counts = np.zeros((taxonomy.num_classes, *GRID))
    for class_id, cells in contacts.items():
        for row, column, count in cells:
            counts[class_id, row, column] = count
    of_all = _smooth(counts.sum(axis=0), np.full(GRID, 1 / (GRID[0] * GRID[1])))
    categories = [c.category for c in taxonomy.classes]
    of_category = {
        name: _smooth(counts[[c == name for c in categories]].sum(axis=0), of_all)
        for name in {categories[class_id] for class_id in contacts}
    }
    maps = np.zeros_like(counts)
    for class_id in contacts:
        maps[class_id] = _smooth(counts[class_id], of_category[categories[class_id]])
    return maps


def _smooth(counts: Floats, fallback: Floats) -> Floats:
    """A density from counts per cell, smoothed the less the more there are; with a fallback."""
    total = counts.sum()
    if not total:
        return fallback
    blurred = counts
    for axis, length in enumerate(counts.shape):
        along = counts.sum(axis=1 - axis) / total
        centre = (along * np.arange(length)).sum()
        deviation = np.sqrt((along * (np.arange(length) - centre) ** 2).sum())
        sigma = float(np.clip(SHARPNESS * deviation * total ** (-1 / 6), *BANDWIDTH))
        blurred = ndimage.gaussian_filter1d(blurred, sigma, axis=axis, mode="reflect")
    mixed = blurred + CATEGORY_OBJECTS * fallback
    density: Floats = mixed / mixed.sum()
    return density


def support_shares(classes: Integers, grounds: Integers, *, taxonomy: Taxonomy) -> Floats:
    """How likely each class stands on each surface [num_classes, num_classes].

    A class may stand on what the taxonomy lists for it; where that says nothing, on what more than
    a tenth of its objects stand on. All else is 0, and so is what the dataset shows none of its
    category on, if it shows enough of them.

    Args:
        classes: Classes of objects [n].
        grounds: The surfaces they stand on [n].
        taxonomy: The taxonomy of both.
    """
    roles = class_roles(taxonomy)
    counts = np.zeros((taxonomy.num_classes, taxonomy.num_classes))
    np.add.at(counts, (classes, grounds), 1)
    categories = np.array([c.category for c in taxonomy.classes])
    support = np.zeros_like(counts)
    for class_id in np.flatnonzero(taxonomy.is_thing):
        kin = counts[categories == categories[class_id]].sum(axis=0)
        kin = kin if kin.any() else counts.sum(axis=0)
        own = counts[class_id] + CATEGORY_OBJECTS * kin / max(kin.sum(), 1)
        share = own / max(own.sum(), 1)
        told = roles.support[class_id]
        allowed = roles.surface & (told if told.any() else share > USUAL)
        if kin.sum() >= EVIDENCE:
            allowed &= own > 0
        kept = np.where(allowed, np.maximum(share, SUPPORT_FLOOR), 0)
        support[class_id] = kept / max(kept.sum(), SUPPORT_FLOOR)
    return support


def places_offered(
    records: Sequence[SceneRecord], locations: Floats, horizons: Sequence[float], taxonomy: Taxonomy
) -> Floats:
    """How much of each surface, by its margins, lies where each class stands.

    Args:
        records: The scenes.
        locations: As `location_maps` makes them.
        horizons: The row of each scene's horizon in pixels.
        taxonomy: The taxonomy of the scenes.

    Returns:
        Shares [num_classes, num_classes, len(MARGINS) + 1].
    """
    count, margins = taxonomy.num_classes, len(MARGINS) + 1
    seen = np.zeros((count * margins, GRID[0] * GRID[1]))
    cells = np.arange(GRID[0] * GRID[1])
    for record, horizon in zip(records, horizons, strict=True):
        ground = ground_behind(record.grid, taxonomy.is_thing)
        place = ground.astype(np.int64) * margins + margins_of(ground, horizon, record.size)
        seen[place.ravel(), cells] += 1
    offered: Floats = locations.reshape(count, -1) @ seen.T / max(len(records), 1)
    return offered.reshape(count, count, margins)


def margins_of(ground: Integers, horizon: float, size: tuple[int, int]) -> Integers:
    """How far each cell is from the next other stuff in its row, as a position in `MARGINS`.

    Args:
        ground: Class ids on the coarse grid, without things [GRID].
        horizon: Its row, in pixels.
        size: Height and width of the picture in pixels.
    """
    height, width = size
    columns = np.arange(GRID[1])
    change = np.ones((GRID[0], GRID[1] + 1), np.bool_)
    change[:, 1:-1] = ground[:, 1:] != ground[:, :-1]
    # What lies beyond the picture's border is not known, and counts as more of the same.
    change[:, [0, -1]] = False
    far = 10**6
    left = np.maximum.accumulate(np.where(change[:, :-1], columns, -far), axis=1)
    right = np.minimum.accumulate(np.where(change[:, 1:], columns, far)[:, ::-1], axis=1)[:, ::-1]
    cells = np.minimum(columns - left, right - columns) + 0.5
    rows = (np.arange(GRID[0]) + 0.5) * height / GRID[0]
    above = np.maximum(rows - horizon, height / GRID[0])[:, None]
    found: Integers = np.searchsorted(MARGINS, cells * (width / GRID[1]) / above)
    return found


def ground_behind(grid: Integers, things: Flags) -> Integers:
    """The coarse map without its things: each cell of theirs shows the nearest stuff of its row.

    Rows of things alone show what the row below them does, else the one above.

    Args:
        grid: Class ids [rows, columns].
        things: Which classes are things [num_classes].
    """
    stuff = ~things[grid]
    columns = np.arange(grid.shape[1])
    left = np.maximum.accumulate(np.where(stuff, columns, -(10**6)), axis=1)
    right = np.minimum.accumulate(np.where(stuff, columns, 10**6)[:, ::-1], axis=1)[:, ::-1]
    nearest = np.where(columns - left <= right - columns, left, right)
    filled = np.take_along_axis(grid, nearest.clip(0, grid.shape[1] - 1), 1)
    full = np.flatnonzero(stuff.any(axis=1))
    if not len(full):
        return grid
    rows = np.arange(grid.shape[0])
    below = full[np.minimum(np.searchsorted(full, rows), len(full) - 1)]
    return filled[below]
