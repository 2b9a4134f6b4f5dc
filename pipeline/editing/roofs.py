"""Roofs: contours of what was built, straight and upright.

A region borders what lies behind it, such as the sky. It is followed column by column and divided
into houses, each with a roof line of its own. All masks are bool [H, W], of a window of the
picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.editing.contours import Change
from pipeline.editing.cutout import Mask

Columns = npt.NDArray[np.float64]

HOUSE = (0.1, 0.4)
"""Narrowest and widest house, as parts of the picture's height."""
FLAT = 0.15
"""Roof lines that slope less are level."""
STEEP = 0.6
"""Roof lines slope no more."""
GABLES = 0.35
"""Share of the houses with level eaves that have a gable."""
CHIMNEYS = 0.4
"""Share of the houses that have a chimney."""
LOW = 0.13
"""Walls and fences are no higher than this part of the picture's height."""


def built_contour(
    region: Mask,
    behind: Mask,
    through: Mask,
    rng: np.random.Generator,
    *,
    unit: float,
    centre: float,
    same: Mask,
    low: bool = False,
) -> Change:
    """Give a region the contour of houses: upright walls, roof lines that are straight.

    Roof lines are level, or come down towards the centre, where streets vanish.

    Args:
        region: The region.
        behind: What is behind it.
        through: What stands before it and is narrow, such as poles and specks of void.
        rng: Where the randomness comes from.
        unit: The picture's height in pixels.
        centre: The picture's middle column, in the window.
        same: What is of the class that the region gets.
        low: Whether it is a wall or a fence: no taller than those are, without gables.
    """
    lines = _Lines.of(region, behind, through, same, unit=unit)
    roof = np.full(region.shape[1], np.nan)
    for start, end in _houses(lines, rng, unit=unit, low=low):
        part = slice(start, end)
        if low or np.mean(lines.cut[part]) < 0.5:
            roof[part] = _roof(lines, part, rng, unit=unit, centre=centre, low=low)
        else:
            roof[part] = 0
    roof[lines.closed] = 0
    rows = np.arange(len(region))[:, None]
    under = rows >= np.where(np.isnan(roof), np.inf, np.rint(roof))
    within = (rows > np.where(lines.closed, lines.top, lines.ceiling)) & (rows < lines.floor)
    gain = behind & under & within
    loss = region & ~under & (rows > lines.ceiling)
    return Change(gain | _enclosed((behind & ~gain) | loss, lines.top < len(region)) & behind, loss)


def _enclosed(mask: Mask, columns: Mask) -> Mask:
    """The parts of a mask that lie in some columns alone, and not at the window's upper border."""
    parts, count = ndimage.label(mask)
    kept = np.ones(count + 1, np.bool_)
    kept[parts[0]] = False
    kept[np.unique(parts[:, ~columns])] = False
    kept[0] = False
    return kept[parts]


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """A region column by column; rows [W]."""

    top: npt.NDArray[np.intp]
    """Where it begins, but for loose twigs; the window's height where it is not."""
    ceiling: npt.NDArray[np.intp]
    """The last row above that shows neither it nor what is behind it; -1 for none."""
    floor: npt.NDArray[np.intp]
    """The first such row below that does not show the new class either."""
    cut: Mask
    """Whether the picture's upper border cuts it [W]."""
    closed: Mask
    """Whether anything else but what is behind it lies above it [W]."""

    @classmethod
    def of(cls, region: Mask, behind: Mask, through: Mask, same: Mask, *, unit: float) -> "_Lines":
        """Follow a region column by column."""
        height = len(region)
        rows = np.arange(height)[:, None]
        size = max(3, round(unit / 40))
        share = ndimage.uniform_filter((region | through).astype(np.float32), size)
        solid = region & (share > 0.6)
        solid[:, ~solid.any(axis=0)] = region[:, ~solid.any(axis=0)]
        top = np.where(solid.any(axis=0), solid.argmax(axis=0), height)
        stops = ~(region | behind | through)
        ceiling = np.where(stops & (rows < top), rows, -1).max(axis=0)
        floor = np.where(stops & ~same & (rows > top), rows, height).min(axis=0)
        sees = (behind & (rows > ceiling) & (rows < top)).any(axis=0)
        cut = ~sees & (ceiling < 0) & (top < height)
        return cls(top, ceiling, floor, cut, ~sees & ~cut & (top < height))


def _houses(
    lines: _Lines, rng: np.random.Generator, *, unit: float, low: bool
) -> Iterator[tuple[int, int]]:
    """The first column of each house, and the one after its last."""
    tall = np.maximum(lines.floor - lines.top, 0)
    there = np.flatnonzero(tall)
    if not len(there):
        return
    # Crowns reach out over their trunks: walls stand where the region is about as tall as inside.
    wide = tall >= 0.4 * np.median(tall[there])
    wide |= (tall > 0) & (lines.closed | lines.cut)
    there = np.flatnonzero(wide)
    gaps = np.flatnonzero(np.diff(there) > max(2, HOUSE[0] * unit)) + 1
    for run in np.split(there, gaps):
        start, end = int(run[0]), int(run[-1]) + 1
        while start < end:
            width = end - start
            if not low:
                most = np.clip(np.median(tall[start:end]), HOUSE[0] * unit, HOUSE[1] * unit)
                width = round(most * rng.uniform(0.6, 1.4))
            stop = end if end - start - width < HOUSE[0] * unit else start + width
            yield start, stop
            start = stop


def _roof(
    lines: _Lines,
    part: slice,
    rng: np.random.Generator,
    *,
    unit: float,
    centre: float,
    low: bool,
) -> Columns:
    """The roof line of a house: its first row in each of its columns."""
    columns = np.arange(part.start, part.stop)
    middle, half = columns.mean(), max(len(columns) / 2, 1)
    free = ~(lines.cut | lines.closed)[part] & (lines.top[part] < lines.floor[part])
    level, slope = _straight(lines.top[part], free)
    slope = slope if slope * (centre - middle) > 0 else 0.0
    draws = rng.random(4)
    roof: Columns = level + slope * (columns - middle)
    if low:
        foot, lean = _straight(lines.floor[part], np.ones(len(columns), np.bool_))
        highest: Columns = foot + lean * (columns - middle) - LOW * unit
        return np.maximum(roof, highest)
    if slope == 0 and draws[0] < GABLES and len(columns) > HOUSE[0] * unit:
        rise = (0.3 + 0.3 * draws[1]) * half
        roof += rise * (np.abs(columns - middle) / half - 0.5)
    if draws[2] < CHIMNEYS and len(columns) > HOUSE[0] * unit:
        wide, tall = max(round(unit / 90), 2), max(round(unit / 60), 2)
        start = round((0.1 + 0.7 * draws[3]) * len(columns))
        roof[start : start + wide] = roof[start : start + wide].min() - tall
    return roof


def _straight(rows: npt.NDArray[np.intp], counted: Mask) -> tuple[float, float]:
    """The middle row and the slope of a line through rows, level unless it clearly is not."""
    at = np.flatnonzero(counted)
    if not len(at):
        return 0.0, 0.0
    third = max(len(at) // 3, 1)
    first, last = at[:third], at[-third:]
    run = max(float(last.mean() - first.mean()), 1.0)
    slope = float(np.median(rows[last]) - np.median(rows[first])) / run
    slope = 0.0 if abs(slope) < FLAT else min(max(slope, -STEEP), STEEP)
    middle = (len(rows) - 1) / 2
    return float(np.median(rows[at] - slope * (at - middle))), slope
