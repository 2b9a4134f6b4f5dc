"""What the operations on regions of stuff do to a canvas."""

import numpy as np
import numpy.typing as npt

from pipeline.editing.canvas import Canvas
from pipeline.editing.contours import grown_contour
from pipeline.editing.cutout import Mask
from pipeline.editing.growth import grow_as_ground, grow_as_houses, grow_as_trees
from pipeline.editing.roofs import built_contour
from pipeline.editing.skylines import (
    SLOPE,
    STEEPEST,
    SkyLine,
    crown_line,
    cut_off,
    faded,
    stepped,
)
from pipeline.rng import sample_generator

LOW_CLASSES = ("wall", "fence", "guard rail")
"""Built classes that are low in street scenes."""
Window = tuple[slice, slice]

MARGIN = 0.1
"""How far around a region its new contour may go, as a part of the picture's height."""


def relabel_region(canvas: Canvas, region: Mask, class_id: int, *, seed: int, low: bool) -> None:
    """Make a region stuff of another class, with a contour as that class has it.

    Args:
        canvas: The scene.
        region: The pixels of the region, bool [H, W].
        class_id: The new class.
        seed: Of the contour.
        low: Whether the class is a low one, such as fences.
    """
    roles, height = canvas.roles, canvas.size[0]
    window = _around(region, round(MARGIN * height))
    label, part = canvas.maps.label[window], region[window]
    behind = _class_behind(canvas, label, part, class_id)
    change = None
    if behind is not None:
        rng = sample_generator(seed, 0)
        through = (roles.upright | roles.frozen)[label]
        if roles.built[class_id]:
            change = built_contour(
                part,
                label == behind,
                through,
                rng,
                unit=height,
                centre=canvas.size[1] / 2 - window[1].start,
                same=label == class_id,
                low=low,
            )
        elif roles.grown[class_id]:
            change = grown_contour(part, label == behind, rng, unit=height)
    canvas.relabel(region, class_id)
    if change is not None and behind is not None:
        canvas.relabel(_whole(change.gain, window, canvas), class_id)
        canvas.relabel(_whole(change.loss, window, canvas), behind)


def _around(region: Mask, margin: int) -> Window:
    """The box of a region and some pixels around it."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + 1 + margin),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + 1 + margin),
    )


def _class_behind(
    canvas: Canvas, label: npt.NDArray[np.integer], region: Mask, class_id: int
) -> int | None:
    """The class that is most often right above a region and may be behind it; None for none."""
    roles = canvas.roles
    usable = roles.surface & ~roles.upright & ~roles.ground & ~canvas.protected
    usable[class_id] = False
    above = label[:-1][region[1:] & ~region[:-1]]
    above = above[usable[above]]
    return int(np.bincount(above).argmax()) if len(above) else None


def _whole(mask: Mask, window: Window, canvas: Canvas) -> Mask:
    """A mask of a window as one of the picture."""
    whole = np.zeros(canvas.size, np.bool_)
    whole[window] = mask
    return whole


def grown_region(canvas: Canvas, of: int, into: int, *, pixels: int, seed: int) -> Mask:
    """Where one class of stuff grows into another, bool [H, W].

    Ground keeps straight edges, what was built grows by whole houses, and what grew does so in
    crowns; other classes, such as the sky, grow as what gives way to them shrinks.

    Args:
        canvas: The scene.
        of: The class that grows.
        into: The class that gives way.
        pixels: How far it grows at most.
        seed: Of how it grows.
    """
    roles, label = canvas.roles, canvas.maps.label
    growing, giving = label == of, label == into
    none = np.zeros(canvas.size, np.bool_)
    if not (growing.any() and giving.any()):
        return none
    rng = sample_generator(seed, 0)
    window = _both(_around(growing, pixels), _around(giving, pixels))
    near, free = growing[window], giving[window]
    if not (near.any() and free.any()):
        return none
    ground, shaped = roles.ground, roles.built | roles.grown
    if ground[of] or (ground[into] and not roles.grown[of]):
        through, reach = roles.upright[label[window]], _perspective(growing, pixels)[window[0]]
        grown = grow_as_ground(near, free, through, rng, reach=reach)
    else:
        towards = 0 if ground[into] else (-1 if shaped[of] else 1)
        grow = grow_as_houses if roles.built[of if shaped[of] else into] else grow_as_trees
        grown = grow(near, free, rng, pixels=pixels, towards=towards, unit=canvas.size[0])
    return _whole(grown, window, canvas)


def _perspective(ground: Mask, pixels: int) -> npt.NDArray[np.float64]:
    """How many pixels a width of `pixels` at the picture's lower edge is in each row [H]."""
    height = len(ground)
    horizon = int(np.flatnonzero(ground.any(axis=1))[0])
    return pixels * np.maximum(np.arange(height) + 1 - horizon, 0) / (height - horizon)


def _both(one: Window, other: Window) -> Window:
    """What two windows share."""
    rows, columns = (
        slice(max(a.start, b.start), max(min(a.stop, b.stop), 0))
        for a, b in zip(one, other, strict=True)
    )
    return rows, columns


def redraw_skyline(
    canvas: Canvas, upper: int, lower: int, wanted: npt.NDArray[np.float64], *, seed: int
) -> bool:
    """Bring the line between two classes to other rows, as far as nothing else is in the way.

    Args:
        canvas: The scene.
        upper: The class above the line.
        lower: The class below it.
        wanted: The first row of the lower class [W].
        seed: Of the line's fine detail.

    Returns:
        Whether the line was anywhere brought to another row; nothing changes otherwise.
    """
    roles, label = canvas.roles, canvas.maps.label
    height, width = canvas.size
    rng = sample_generator(seed, 0)
    line = SkyLine.of(label, upper, lower, through=(roles.upright | roles.frozen)[label])
    asked = wanted - line.rows
    shift = faded(line.reached(asked), slope=SLOPE)
    if roles.grown[lower]:
        bumps = crown_line(width, rng, unit=height)
        shift = faded(line.reached(shift + bumps), slope=STEEPEST)
    elif roles.built[lower]:
        shift = stepped(shift, asked, rng, unit=height)
    goal = line.rows + np.rint(shift).astype(np.intp)
    rows, was = np.arange(height)[:, None], label == upper
    rises = was & (rows >= goal) & (rows < line.rows) & (rows > line.before)
    falls = (label == lower) & (rows < goal) & (rows >= line.rows) & (rows < line.after)
    rises |= cut_off(was, (was & ~rises) | falls, rows < line.rows, rows < goal)
    canvas.relabel(rises, lower)
    canvas.relabel(falls, upper)
    return bool(rises.any() or falls.any())
