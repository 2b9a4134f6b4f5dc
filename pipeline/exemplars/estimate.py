"""The estimate of a hole: found on a coarse level first, improved on finer ones."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.exemplars.field import (
    NOWHERE,
    REACH,
    Canvas,
    Indices,
    Pixels,
    Workers,
    hashed,
    random_members,
    search,
    vote,
)
from pipeline.exemplars.pyramid import Level, canvas_of, coarser
from pipeline.exemplars.rims import meet_rims

ROUNDS = 3
"""Searches and votes on each level."""
_DIFFUSIONS = 32
_UNSURE = np.float32(1e6)
"""The cost of what no coarser level proposed."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What a level looks like when it is filled."""

    colours: Pixels
    """Whole numbers, float32 [H, W, 3]; the known ones where nothing was to be filled."""
    rows: npt.NDArray[np.integer]
    """The rows of the level that hold a pixel which some choice points at, sorted."""


def estimate(
    level: Level, *, levels: int, key: int, workers: Workers, last_rounds: int = ROUNDS
) -> Estimate:
    """Colours of the pixels to fill.

    Args:
        level: The picture; each class to fill has pixels to copy.
        levels: How many sizes it is drawn at.
        key: Decides what the search tries.
        workers: Where it runs.
        last_rounds: Searches and votes at full size.
    """
    pyramid = [level]
    while len(pyramid) < levels:
        pyramid.append(coarser(pyramid[-1]))
    canvas = canvas_of(pyramid.pop())
    _diffuse(canvas)
    field = np.full(len(canvas.classes), NOWHERE, np.int32)
    field[canvas.hole] = random_members(canvas, canvas.hole, key=key)
    field = _improved(canvas, field, key=key, workers=workers)
    while pyramid:
        key = hashed(key, len(pyramid))
        finer = canvas_of(pyramid.pop())
        field, costs = _carried(field, canvas, finer, key=key)
        canvas = finer
        vote(canvas, field, costs, workers=workers)
        rounds = ROUNDS if pyramid else last_rounds
        field = _improved(canvas, field, key=key, workers=workers, rounds=rounds)
    meet_rims(canvas, field)
    height, width = level.classes.shape
    inner = canvas.target.reshape(height + 2 * REACH, canvas.width, 4)
    rows = np.unique(field[canvas.hole] // canvas.width) - REACH
    return Estimate(inner[REACH : REACH + height, REACH : REACH + width, :3], rows)


def _improved(
    canvas: Canvas, field: Indices, *, key: int, workers: Workers, rounds: int = ROUNDS
) -> Indices:
    """Search and vote some rounds; the canvas takes the estimate."""
    costs = np.zeros(len(canvas.classes), np.float32)
    radius = max(len(canvas.classes) // canvas.width, canvas.width) // 2
    for turn in range(rounds):
        seed = hashed(key, turn)
        field = search(canvas, field, costs, radius=radius, key=seed, workers=workers)
        vote(canvas, field, costs, workers=workers)
    return field


def _carried(field: Indices, coarse: Canvas, fine: Canvas, *, key: int) -> tuple[Indices, Pixels]:
    """The field of a coarser level on a finer one, and what its choices are to cost in a vote.

    A pixel whose coarse pixel was of another class, or known, begins at a random one.
    """
    row, column = np.divmod(fine.hole, fine.width)
    row, column = row - REACH, column - REACH
    proposed = field[(row // 2 + REACH) * coarse.width + column // 2 + REACH]
    found = np.full(len(fine.hole), NOWHERE, np.int32)
    there_row, there_column = np.divmod(proposed, coarse.width)
    top, left = 2 * (there_row - REACH), 2 * (there_column - REACH)
    wanted = fine.classes[fine.hole]
    for other in range(4):
        # The pixel that lies in its block as this one does, else one of the other three.
        down, across = (row & 1) ^ (other >> 1), (column & 1) ^ (other & 1)
        at = (top + down + REACH) * fine.width + left + across + REACH
        usable = (proposed >= 0) & (found < 0)
        at = np.where(usable, at, 0)
        usable &= fine.choices[at] == wanted
        found = np.where(usable, at, found).astype(np.int32)
    unsure = found < 0
    found[unsure] = random_members(fine, fine.hole[unsure], key=key)
    carried = np.full(len(fine.classes), NOWHERE, np.int32)
    carried[fine.hole] = found
    costs = np.zeros(len(fine.classes), np.float32)
    costs[fine.hole[unsure]] = _UNSURE
    return carried, costs


def _diffuse(canvas: Canvas) -> None:
    """A first estimate: the mean of each class, smoothed from the known pixels of it inwards."""
    for number in np.unique(canvas.classes[canvas.hole]):
        members = canvas.members[canvas.starts[number] : canvas.starts[number + 1]]
        mean = canvas.source[members, :3].mean(axis=0, dtype=np.float64)
        pixels = canvas.hole[canvas.classes[canvas.hole] == number]
        canvas.target[pixels, :3] = mean
    pixels = canvas.hole
    sides = pixels[:, None] + np.array([-1, 1, -canvas.width, canvas.width])
    alike = (canvas.classes[sides] == canvas.classes[pixels][:, None]) & (
        canvas.target[sides, 0] >= 0
    )
    count = np.maximum(alike.sum(axis=1), 1)[:, None]
    lonely = ~alike.any(axis=1)[:, None]
    for _ in range(_DIFFUSIONS):
        total = (canvas.target[sides, :3] * alike[..., None]).sum(axis=1)
        canvas.target[pixels, :3] = np.where(lonely, canvas.target[pixels, :3], total / count)
    canvas.target[pixels, :3] = np.rint(canvas.target[pixels, :3])
