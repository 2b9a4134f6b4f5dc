"""Occlusion: what stands in front of what, decided by the lowest rows that things reach.

The lower edge decides: an object covers surfaces, and the objects, crowds, poles and signs that do
not reach below its contact row. Void of the picture's frame stays on top, and so does clutter that
goes on to below the contact row; other clutter is covered.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.editing.boxes import Box
from pipeline.editing.cutout import Mask
from pipeline.editing.object_state import ObjectState
from pipeline.roles import ClassRoles
from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap, LabelMap

ALWAYS_IN_FRONT = np.iinfo(np.int32).max


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
        self._is_clutter = np.zeros(len(self._rows), np.bool_)
        """By value of the instance map."""
        self._is_clutter[np.flatnonzero(roles.clutter)] = True
        for value, state in things.items():
            self._rows[value] = state.box[2] - 1

    def __getitem__(self, value: int) -> int:
        """The lowest row of what carries a value of the instance map; -1 for stuff."""
        return int(self._rows[value])

    def __setitem__(self, value: int, row: int) -> None:
        self._rows[value] = row

    def visible(
        self,
        mask: Mask,
        contact_row: int,
        *,
        box: Box,
        label: LabelMap,
        there: InstanceMap,
        filled: Mask,
    ) -> Mask:
        """Which pixels of a shape are not behind what is there already.

        Args:
            mask: The shape in a box, bool [h, w].
            contact_row: Its lowest row.
            box: The box, inside the picture.
            label: Class ids of the whole picture [H, W].
            there: Instance ids in the box, int32 [h, w].
            filled: Where operations changed the map: clutter there is behind everything, bool
                [h, w].
        """
        seen: Mask = mask & (self._rows[there] <= contact_row)
        seen &= ~nearer_upright(label, box, contact_row, upright=self._upright)
        clutter = mask & self._is_clutter[there]
        if clutter.any():
            below = _reaching_below(label, box, contact_row, self._clutter)
            seen |= clutter & (filled | ~below)
        return seen


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
    around = right - left
    first = max(left - around, 0)
    there = upright[label[top:, first : right + around]]
    inner = (slice(0, bottom - top), slice(left - first, right - first))
    if not there[inner].any():
        return there[inner]
    parts, _ = ndimage.label(there, structure=np.ones((3, 3), np.int8))
    nearer = [False]
    nearer += [top + rows.stop - 1 > contact_row for rows, _ in ndimage.find_objects(parts)]
    found: Mask = np.array(nearer)[parts[inner]]
    return found


def _reaching_below(label: LabelMap, box: Box, row: int, classes: npt.NDArray[np.bool_]) -> Mask:
    """The pixels of a box from which some classes go on downwards to below a row, bool [h, w].

    Args:
        label: Class ids [H, W].
        box: The box, inside the picture.
        row: The row; at the picture's lower border everything goes on.
        classes: The classes in question, bool [num_classes].
    """
    top, left, bottom, right = box
    there = classes[label[top : row + 2, left:right]]
    unbroken = np.logical_and.accumulate(there[::-1])[::-1]
    reaching: Mask = unbroken[: bottom - top]
    return reaching
