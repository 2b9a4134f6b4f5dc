"""The rims of holes: where a fill meets what was kept with a step, it is led up to it."""

import numpy as np

from pipeline.exemplars.compiling import compiled
from pipeline.exemplars.field import Canvas, Indices, Pixels

PASSES = 16
"""How often the correction is smoothed, which is also how far inside it reaches, in pixels."""
FADING = np.float32(0.85)
"""What is left of a correction one pixel farther inside."""


def meet_rims(canvas: Canvas, field: Indices) -> None:
    """Add to the estimate, fading inwards, what the kept pixels at its rim differ from the copy's.

    A pixel at the rim was copied from somewhere; the pixel beside that somewhere should look like
    the kept pixel beside the rim. What it lacks is a step, which is spread over the pixels of the
    class (a membrane, as in Perez et al., SIGGRAPH 2003, that fades). No colour leaves the range
    of what is kept of its class.

    Args:
        canvas: What is filled; its target changes.
        field: Of its pixels, int32 [N].
    """
    steps = np.zeros((len(canvas.classes), 4), np.float32)
    where = (canvas.classes, canvas.choices, canvas.hole, canvas.width)
    _measure(canvas.source.reshape(-1, 4), steps, field, *where)
    _spread(canvas.target.reshape(-1, 4), steps, canvas.classes, canvas.hole, canvas.width)
    for number in np.unique(canvas.classes[canvas.hole]):
        members = canvas.members[canvas.starts[number] : canvas.starts[number + 1]]
        own = canvas.source[members, :3]
        pixels = canvas.hole[canvas.classes[canvas.hole] == number]
        canvas.target[pixels, :3] = canvas.target[pixels, :3].clip(own.min(axis=0), own.max(axis=0))


@compiled()
def _measure(
    source: Pixels,
    steps: Pixels,
    field: Indices,
    classes: Indices,
    choices: Indices,
    hole: Indices,
    width: int,
) -> None:
    """Red, green and blue of the step at each pixel of a rim, and how many neighbours show it."""
    for pixel in hole:
        for offset in (1, -1, width, -width):
            beside, there = pixel + offset, field[pixel] + offset
            if choices[beside] == classes[pixel] and choices[there] == classes[pixel]:
                steps[pixel, 3] += 1
                for channel in range(3):
                    steps[pixel, channel] += source[beside, channel] - source[there, channel]


@compiled()
def _spread(target: Pixels, steps: Pixels, classes: Indices, hole: Indices, width: int) -> None:
    """Add the mean of the steps that are near in the same class, less of it farther inside."""
    fading = np.zeros(len(classes), np.float32)
    smoothed = np.zeros_like(steps)
    share = np.float32(1)
    for _ in range(PASSES):
        for pixel in hole:
            if fading[pixel] == 0 and steps[pixel, 3] > 0:
                fading[pixel] = share
            for channel in range(4):
                total = steps[pixel, channel]
                for offset in (1, -1, width, -width):
                    if classes[pixel + offset] == classes[pixel]:
                        total += steps[pixel + offset, channel]
                smoothed[pixel, channel] = total / np.float32(5)
        steps, smoothed = smoothed, steps
        share *= FADING
    for pixel in hole:
        if steps[pixel, 3] > 0:
            for channel in range(3):
                change = fading[pixel] * steps[pixel, channel] / steps[pixel, 3]
                target[pixel, channel] = np.rint(target[pixel, channel] + change)
