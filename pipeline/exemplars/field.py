"""The nearest-neighbour field: for each pixel of a hole, a kept one whose surroundings are alike.

PatchMatch (Barnes et al., SIGGRAPH 2009), guided by labels: a pixel's candidates are kept pixels of
its own class. Passes read the field of the pass before and write another, so that no result depends
on the order, or the thread, in which pixels are treated.

All arrays are flat views of a canvas with a border of `REACH` pixels; a pixel is its index there.
Colours are whole numbers and costs stay below 2**24, so sums in float32 are exact in any order.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.exemplars.compiling import compiled

REACH = 3
"""Pixels from the centre of a 7x7 patch to its side."""
CAP = np.float32(64 * 64)
"""The most that one colour of one pixel can cost, and what another class costs."""
CLASS_STEP = np.float32(64)
"""Between two classes in the fourth channel of pixels: its square is `CAP`."""
NOWHERE = -1
"""In a field: the pixel is not to be filled. In choices: the pixel cannot be copied."""
_SIDES = 4
_LINE = np.uint64(4 * (2 * REACH + 1))
_SOFTNESS = np.float32(1000.0)
"""Cost, over a patch, at which its vote weighs a quarter of a perfect one's."""
_FARTHEST = np.float32(1 << 23)
"""The most that distance costs."""
_SMALLEST_PART = 512
"""Pixels below which another thread costs more than it saves."""

Pixels = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """One level of what is searched and filled; flat arrays of N pixels, border included."""

    source: Pixels
    """What was kept: red, green, blue, 0..255, and the class times `CLASS_STEP`, float32 [N, 4]."""
    target: Pixels
    """The estimate, likewise; changed by `vote`."""
    classes: Indices
    """The class of each pixel, int32 [N]; `NOWHERE` outside the picture."""
    choices: Indices
    """The class that each pixel may be copied for, int32 [N]; `NOWHERE` if none."""
    members: Indices
    """The pixels that may be copied, class by class, int32 [M]."""
    starts: Indices
    """Where each class begins in `members`, int32 [C + 1]."""
    hole: Indices
    """The pixels to fill whose class has members, int32 [K]."""
    slopes: Pixels
    """What a candidate of each class costs per pixel of distance, whole numbers, float32 [C]."""
    width: int
    """Pixels from one row to the next."""
    period: int
    """Rows from one photo to the next, of photos that lie below each other."""


@compiled()
def _hashed(key: int | np.int64, number: int) -> np.int64:
    """A whole number below 2**63 that depends on both arguments (splitmix64)."""
    mixed = np.uint64(key) + np.uint64(number) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1))


@compiled(fastmath={"reassoc", "contract", "nnan", "ninf", "nsz"})
def _cost(
    target: Pixels, source: Pixels, pixel: int, candidate: int, width: int, limit: np.float32
) -> np.float32:
    """The cost of two patches; of those above the limit, only that they are."""
    total = np.float32(0)
    for row in range(-REACH, REACH + 1):
        here = np.uint64(4 * (pixel + row * width - REACH))
        there = np.uint64(4 * (candidate + row * width - REACH))
        for k in range(_LINE):
            difference = target[here + k] - source[there + k]
            square = difference * difference
            total += square if square < CAP else CAP
        if total >= limit:
            return total
    return total


@compiled()
def _distance_cost(
    pixel: int, candidate: int, width: int, period: int, slope: np.float32
) -> np.float32:
    down = abs(candidate // width % period - pixel // width)
    across = abs(candidate % width - pixel % width)
    return min(slope * np.float32(max(down, across)), _FARTHEST)


@compiled()
def _search_part(
    first: int,
    last: int,
    before: Indices,
    after: Indices,
    costs: Pixels,
    source: Pixels,
    target: Pixels,
    classes: Indices,
    choices: Indices,
    members: Indices,
    starts: Indices,
    hole: Indices,
    slopes: Pixels,
    width: int,
    period: int,
    radius: int,
    key: int,
) -> None:
    size = len(choices)
    photos = size // width // period
    steps = 0
    while radius >> steps > 0:
        steps += 1
    for number in range(first, last):
        pixel = hole[number]
        wanted = classes[pixel]
        slope = slopes[wanted]
        best, least = NOWHERE, np.float32(np.inf)
        draw = int(_hashed(key, pixel))
        for attempt in range(_SIDES + steps + 3):
            step = attempt - _SIDES - 1
            candidate = NOWHERE
            if attempt == 0:
                candidate = before[pixel]
            elif attempt <= _SIDES:  # what a neighbour points at
                offset = (1, -1, width, -width)[attempt - 1]
                beside = pixel + offset
                if 0 <= beside < size and before[beside] >= 0:
                    candidate = before[beside] - offset
            elif step < steps:  # around the best so far
                reach = radius >> step
                draw = int(_hashed(draw, reach))
                span = 2 * reach + 1
                down = (draw & 0xFFFFFF) % span - reach
                across = ((draw >> 24) & 0xFFFFFF) % span - reach
                candidate = best + down * width + across
            elif step > steps:  # any of the class
                draw = int(_hashed(draw, 0))
                candidate = members[starts[wanted] + draw % (starts[wanted + 1] - starts[wanted])]
            elif photos > 0:  # the same place of another photo
                candidate = pixel + (1 + (draw >> 48) % photos) * period * width
            if 0 <= candidate < size and choices[candidate] == wanted and candidate != best:
                cost = _distance_cost(pixel, candidate, width, period, slope)
                cost += _cost(target, source, pixel, candidate, width, least - cost)
                if cost < least:
                    best, least = candidate, cost
        after[pixel] = best
        costs[pixel] = least


@compiled()
def _vote_part(
    first: int,
    last: int,
    field: Indices,
    costs: Pixels,
    source: Pixels,
    target: Pixels,
    classes: Indices,
    choices: Indices,
    hole: Indices,
    width: int,
    softness: float,
) -> None:
    size = len(choices)
    for number in range(first, last):
        pixel = hole[number]
        wanted = classes[pixel]
        weights = red = green = blue = 0.0
        for down in range(-REACH, REACH + 1):
            for across in range(-REACH, REACH + 1):
                offset = down * width + across
                beside = pixel + offset
                if field[beside] < 0:
                    continue
                copied = field[beside] - offset
                if not 0 <= copied < size or choices[copied] != wanted:
                    continue
                worse = softness + costs[beside]
                weight = 1.0 / (worse * worse)
                weights += weight
                red += weight * source[4 * copied]
                green += weight * source[4 * copied + 1]
                blue += weight * source[4 * copied + 2]
        target[4 * pixel] = np.rint(red / weights)
        target[4 * pixel + 1] = np.rint(green / weights)
        target[4 * pixel + 2] = np.rint(blue / weights)


class Workers:
    """Calls a kernel on parts of the pixels, in as many threads as there are.

    Args:
        pool: Where to call it; None calls it here.
        threads: How many parts to cut.
    """

    def __init__(self, pool: Executor | None, *, threads: int) -> None:
        self._pool = pool
        self._threads = threads

    def __call__(self, kernel: Callable[..., None], count: int, *arguments: Any) -> None:
        """Call the kernel for pixels 0..count."""
        parts = min(self._threads, count // _SMALLEST_PART)
        if self._pool is None or parts < 2:
            kernel(0, count, *arguments)
            return
        edges = [count * part // parts for part in range(parts + 1)]
        calls = [
            self._pool.submit(kernel, first, last, *arguments) for first, last in pairwise(edges)
        ]
        for call in calls:
            call.result()


def hashed(key: int, number: int) -> int:
    """A whole number below 2**63 that depends on both arguments.

    Args:
        key: 0..2**63.
        number: 0..2**63.
    """
    return int(_hashed(key, number))


def random_members(canvas: Canvas, pixels: Indices, *, key: int) -> Indices:
    """For each pixel, one that may be copied for its class, int32 [K].

    Args:
        canvas: What is filled.
        pixels: Indices of pixels whose class has members, int32 [K].
        key: Decides which.
    """
    mixed = pixels.astype(np.uint64) + np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(16))) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    drawn = (mixed >> np.uint64(24)).astype(np.int64)
    wanted = canvas.classes[pixels]
    first, count = canvas.starts[wanted], np.diff(canvas.starts)[wanted]
    found: Indices = canvas.members[first + drawn % count]
    return found


def search(
    canvas: Canvas,
    field: Indices,
    costs: Pixels,
    *,
    radius: int,
    key: int,
    workers: Workers,
) -> Indices:
    """One pass: what neighbours point at, a search around the best, a jump to any of the class.

    Args:
        canvas: What is filled.
        field: The field so far, int32 [N].
        costs: Takes the cost of each pixel's choice, float32 [N].
        radius: The widest search around the best so far, in pixels; it is halved until it is 1.
        key: Decides what is tried.
        workers: Where it runs.

    Returns:
        The field after it, int32 [N].
    """
    after = np.full_like(field, NOWHERE)
    workers(
        _search_part,
        len(canvas.hole),
        field,
        after,
        costs,
        canvas.source.ravel(),
        canvas.target.ravel(),
        canvas.classes,
        canvas.choices,
        canvas.members,
        canvas.starts,
        canvas.hole,
        canvas.slopes,
        canvas.width,
        canvas.period,
        radius,
        key,
    )
    return after


def vote(canvas: Canvas, field: Indices, costs: Pixels, *, workers: Workers) -> None:
    """Draw the estimate anew: each pixel is the mean of what the patches over it would put there.

    Only pixels of its own class vote, the better the patch, the more (Wexler et al., PAMI 2007).

    Args:
        canvas: What is filled; its target changes.
        field: Of its pixels, int32 [N].
        costs: Of the field, float32 [N].
        workers: Where it runs.
    """
    workers(
        _vote_part,
        len(canvas.hole),
        field,
        costs,
        canvas.source.ravel(),
        canvas.target.ravel(),
        canvas.classes,
        canvas.choices,
        canvas.hole,
        canvas.width,
        _SOFTNESS,
    )
