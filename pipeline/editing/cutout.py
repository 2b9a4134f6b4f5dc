"""Cut-outs: the shapes of single objects, lifted out of their scenes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.editing.appearance import Appearance
from pipeline.scene import InstanceMap

Mask = npt.NDArray[np.bool_]


class OperationSkipped(Exception):
    """An operation cannot be applied to the scene as it is; its text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """An object's shape: the tight mask of its pixels and where it lies (may be off the map)."""

    top: int
    left: int
    mask: Mask
    appearance: Appearance | None = None
    """Its own pixels and shade, in scenes with photos."""
    reach: int = 0
    """How many rows what it is one with, as a rider with a bicycle, reaches below it."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Top, left, bottom, right in pixels; bottom and right are exclusive."""
        height, width = self.mask.shape
        return self.top, self.left, self.top + height, self.left + width

    @property
    def contact_row(self) -> int:
        """The lowest row of the object, or of what it is one with."""
        rows: int = self.mask.shape[0]
        return self.top + rows - 1 + self.reach

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.mask))

    def mirrored(self) -> "Cutout":
        """The shape mirrored in its own box."""
        seen = self.appearance and self.appearance.mirrored()
        return replace(self, mask=self.mask[:, ::-1], appearance=seen)

    def tightened(self) -> "Cutout | None":
        """The shape in the smallest box around its pixels; None if it has none."""
        shape = tight(self.mask, top=self.top, left=self.left)
        if shape is None:
            return None
        shape = replace(shape, reach=self.contact_row - shape.contact_row)
        if self.appearance is None:
            return shape
        top, left, bottom, right = shape.box
        rows = slice(top - self.top, bottom - self.top)
        columns = slice(left - self.left, right - self.left)
        return replace(shape, appearance=self.appearance.part(rows, columns))

    def sampled(self, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> "Cutout | None":
        """The shape in a picture made of some rows and columns of its own; None if none are there.

        Args:
            rows: The row that each row shows, ascending [H].
            columns: The column that each column shows, ascending [W].
        """
        top, left, bottom, right = self.box
        down = np.flatnonzero((rows >= top) & (rows < bottom))
        across = np.flatnonzero((columns >= left) & (columns < right))
        if not (len(down) and len(across)):
            return None
        rows, columns = rows[down] - top, columns[across] - left
        seen = self.appearance
        if seen is not None:
            window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            seen = seen.part(*window).scaled((len(down), len(across)))
        mask = self.mask[rows[:, None], columns]
        reach = round(self.reach * len(down) / (rows[-1] - rows[0] + 1))
        return Cutout(int(down[0]), int(across[0]), mask, seen, reach).tightened()


def cut_out(instances: InstanceMap, instance: int) -> Cutout:
    """The visible shape of an object.

    Args:
        instances: Instance ids, int32 [H, W].
        instance: The object's id.

    Raises:
        OperationSkipped: There is no such object.
    """
    shape = tight(instances == instance, top=0, left=0)
    if shape is None:
        raise OperationSkipped(f"the scene has no object {instance}")
    return shape


def tight(mask: Mask, *, top: int, left: int) -> Cutout | None:
    """The shape of a mask whose corner lies at `top`, `left`; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Cutout(top + int(rows[0]), left + int(columns[0]), inner)


def place(shape: Cutout, *, row: int, column: int, scale: float, flip: bool) -> Cutout:
    """A shape scaled, mirrored if asked, and laid so that it stands on `row` from `column` on.

    Raises:
        OperationSkipped: Nothing is left of the shape at that scale.
    """
    shape = shape.mirrored() if flip else shape
    if scale != 1.0:
        rows, columns = (_nearest(length, scale) for length in shape.mask.shape)
        seen = shape.appearance and shape.appearance.scaled((len(rows), len(columns)))
        scaled = Cutout(0, 0, shape.mask[rows[:, None], columns], seen).tightened()
        if scaled is None:
            raise OperationSkipped(f"nothing is left of the object at scale {scale:g}")
        shape = scaled
    return replace(shape, top=row - shape.mask.shape[0] + 1, left=column, reach=0)


def place_together(
    shapes: Sequence[Cutout], *, row: int, column: int, scale: float, flip: bool
) -> list[Cutout]:
    """Shapes that are one, scaled and mirrored as one, and laid as `place` lays a single one.

    Raises:
        OperationSkipped: Nothing is left of one of them at that scale.
    """
    if len(shapes) == 1:
        return [place(shapes[0], row=row, column=column, scale=scale, flip=flip)]
    top, left, bottom, right = joint_box(shapes)
    rows, columns = _nearest(bottom - top, scale), _nearest(right - left, scale)
    placed = []
    for shape in shapes:
        across = right - shape.box[3] if flip else shape.left - left
        shape = replace(shape.mirrored() if flip else shape, top=shape.top - top, left=across)
        sampled = shape.sampled(rows, columns)
        if sampled is None:
            raise OperationSkipped(f"nothing is left of an object at scale {scale:g}")
        placed.append(sampled)
    # Sampling may pass over their outermost pixels.
    _, first, end, _ = joint_box(placed)
    return [
        replace(
            shape,
            top=shape.top + row - end + 1,
            left=shape.left + column - first,
            reach=end - shape.box[2],
        )
        for shape in placed
    ]


def joint_box(shapes: Sequence[Cutout]) -> tuple[int, int, int, int]:
    """The box around several shapes: top, left, bottom, right in pixels."""
    top, left, bottom, right = zip(*(shape.box for shape in shapes), strict=True)
    return min(top), min(left), max(bottom), max(right)


def stand_in(
    shapes: Sequence[Cutout], *, for_box: tuple[int, int, int, int], scale: float, flip: bool
) -> list[Cutout]:
    """Shapes that are one, laid with their feet and the middle of their box where a box has them.

    Args:
        shapes: The shapes.
        for_box: Top, left, bottom, right in pixels; bottom and right are exclusive.
        scale: Their new size over that before.
        flip: Whether they are mirrored.

    Raises:
        OperationSkipped: Nothing is left of one of them at that scale.
    """
    _, left, bottom, right = for_box
    placed = place_together(shapes, row=bottom - 1, column=0, scale=scale, flip=flip)
    _, first, _, end = joint_box(placed)
    shift = (left + right - (end - first)) // 2 - first
    return [replace(shape, left=shape.left + shift) for shape in placed]


def bend(shape: Cutout, *, amplitude: float, rng: np.random.Generator) -> Cutout:
    """A shape whose contour is bent smoothly, by at most `amplitude` pixels; its feet stay.

    Each pixel of the result looks up the shape at a point that a smooth random field shifts.

    Raises:
        OperationSkipped: Nothing is left of the shape.
    """
    pad = int(np.ceil(amplitude))
    mask = np.pad(shape.mask, pad)
    height, width = mask.shape
    # One knot per third of the object and at least every four amplitudes: bends, not fringes.
    knots = [
        max(2, min(5, round(length / max(4 * amplitude, length / 4)) + 1))
        for length in shape.mask.shape
    ]
    farthest = amplitude / np.sqrt(2)  # along each axis
    # Towards the feet the shifts fade.
    fade = np.clip((height - 1 - pad - np.arange(height)) / amplitude, 0, 1)[:, None]
    down, across = (
        fade * _smooth(rng.uniform(-farthest, farthest, knots), (height, width)) for _ in range(2)
    )
    rows = np.rint(np.arange(height)[:, None] + down).astype(np.intp).clip(0, height - 1)
    columns = np.rint(np.arange(width) + across).astype(np.intp).clip(0, width - 1)
    seen = shape.appearance and shape.appearance.looked_up(rows - pad, columns - pad)
    bent = Cutout(shape.top - pad, shape.left - pad, mask[rows, columns], seen).tightened()
    if bent is None:
        raise OperationSkipped("nothing is left of the object")
    return bent


def _smooth(knots: npt.NDArray[np.float64], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Values at evenly spaced knots, interpolated linearly to every pixel of a size."""
    field = knots
    for axis, length in enumerate(size):
        place = np.linspace(0, field.shape[axis] - 1, length)
        low = np.minimum(place.astype(np.intp), field.shape[axis] - 2)
        weight = (place - low)[:, None] if axis == 0 else place - low
        below, above = np.take(field, low, axis), np.take(field, low + 1, axis)
        field = below + (above - below) * weight
    return field


def _nearest(length: int, scale: float) -> npt.NDArray[np.intp]:
    """The source index of each pixel of a scaled axis, sampled at pixel centres."""
    scaled = max(1, round(length * scale))
    return (2 * np.arange(scaled) + 1) * length // (2 * scaled)
