"""Occlusion: what stands in front of what, decided by the lowest rows that things reach.

The lower edge decides: an object covers surfaces, and the objects, crowds, poles and signs that do
not reach below its contact row. Void of the picture's frame stays on top; clutter is covered as a
pole would be, and small patches of it wherever they are.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.editing.boxes import Box
from pipeline.editing.cutout import Mask
from pipeline.editing.object_state import ObjectState
from pipeline.roles import ClassRoles
from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap, LabelMap

ALWAYS_IN_FRONT = np.iinfo(np.int32).max
SMALL_PATCH = 0.1
"""Clutter that would hide less than this part of an object is covered by it."""


class ContactRows:
    """The lowest row that each thing of a picture reaches.

    Args:
        things: Objects and crowds by their value in the instance map.
        roles: Of the classes.
    """

    def __init__(self, things: Mapping[int, ObjectState], *, roles: ClassRoles) -> None:
        self._upright, self._clutter = roles.upright, roles.clutter
        self._rows = np.full(len(roles.surface) * INSTANCES_PER_CLASS, -1, np.int32)
        """By value of the instance map; -1 for stuff."""
        self._rows[np.flatnonzero(roles.frozen)] = ALWAYS_IN_FRONT
        for value, state in things.items():
            self._rows[value] = state.box[2] - 1

    def __getitem__(self, value: int) -> int:
        """The lowest row of what carries a value of the instance map; -1 for stuff."""
        return int(self._rows[value])

    def __setitem__(self, value: int, row: int) -> None:
        self._rows[value] = row

    def visible(
        self, mask: Mask, contact_row: int, *, box: Box, label: LabelMap, there: InstanceMap
    ) -> Mask:
        """Which pixels of a shape are not behind what is there already.

        Args:
            mask: The shape in a box, bool [h, w].
            contact_row: Its lowest row.
            box: The box, inside the picture.
            label: Class ids of the whole picture [H, W].
            there: Instance ids in the box, int32 [h, w].
        """
        seen: Mask = mask & (self._rows[there] <= contact_row)
        seen &= ~nearer_upright(label, box, contact_row, upright=self._upright)
        stuff = np.minimum(there, len(self._clutter) - 1)
        clutter = mask & (there == stuff) & self._clutter[stuff]
        if clutter.any():
            seen |= clutter & self._covered_clutter(mask, contact_row, box=box, label=label)
        return seen

    def _covered_clutter(self, mask: Mask, contact_row: int, *, box: Box, label: LabelMap) -> Mask:
        """Which pixels of a box hold clutter that a shape covers, bool [h, w].

        It is that of parts which do not reach the picture's border, and which lie farther away or
        hide little of the shape.
        """
        parts, extents, inner = _parts(label, box, self._clutter, from_row=0)
        hidden = np.bincount(parts[inner][mask], minlength=len(extents) + 1)
        little = hidden < SMALL_PATCH * np.count_nonzero(mask)
        covered = np.array(
            [False]
            + [
                not extent.at_border and (extent.lowest <= contact_row or bool(little[number]))
                for number, extent in enumerate(extents, start=1)
            ]
        )
        found: Mask = covered[parts[inner]]
        return found


def nearer_upright(
    label: LabelMap, box: Box, contact_row: int, *, upright: npt.NDArray[np.bool_]
) -> Mask:
    """The pixels of a box with poles, signs and the like that reach below a row, bool [h, w].

    Args:
        label: Class ids [H, W].
        box: The box, inside the picture.
        contact_row: The row.
        upright: Which classes stand upright without being objects, bool [num_classes].
    """
    top, left, bottom, right = box
    if not (there := upright[label[top:bottom, left:right]]).any():
        return there
    parts, extents, inner = _parts(label, box, upright, from_row=top)
    nearer = np.array([False, *(extent.lowest > contact_row for extent in extents)])
    found: Mask = nearer[parts[inner]]
    return found


class _Extent(NamedTuple):
    """How far a part of stuff reaches, as far as the columns around a box show."""

    lowest: int
    """Its lowest row in the picture."""
    at_border: bool
    """Whether it reaches the picture's border."""


def _parts(
    label: LabelMap, box: Box, classes: npt.NDArray[np.bool_], *, from_row: int
) -> tuple[npt.NDArray[np.integer], list[_Extent], tuple[slice, slice]]:
    """The 8-connected parts of some classes in the columns around a box, from a row downwards.

    Returns:
        The number of the part of each pixel, from 1, and 0 elsewhere; the extents of the parts;
        and where the box lies in the first.
    """
    top, left, bottom, right = box
    height, width = label.shape
    first, end = max(left - (right - left), 0), min(2 * right - left, width)
    there = classes[label[from_row:, first:end]]
    parts, _ = ndimage.label(there, structure=np.ones((3, 3), np.int8))
    extents = [
        _Extent(
            from_row + rows.stop - 1,
            from_row + rows.start == 0
            or from_row + rows.stop == height
            or first + columns.start == 0
            or first + columns.stop == width,
        )
        for rows, columns in ndimage.find_objects(parts)
    ]
    return (
        parts,
        extents,
        (slice(top - from_row, bottom - from_row), slice(left - first, right - first)),
    )
