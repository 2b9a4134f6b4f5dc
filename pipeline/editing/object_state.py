"""The state of each object while a program runs: its whole extent, and where it came from."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from pipeline.editing.boxes import Box
from pipeline.editing.cutout import OperationSkipped
from pipeline.roles import ClassRoles
from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap

ObjectKind = Literal["source", "edited", "pasted", "duplicated"]


@dataclass(frozen=True, slots=True)
class ObjectState:
    """What is known of an object, whether or not it can still be seen."""

    box: Box
    """Of all of it, also of what is hidden; it may reach out of the picture."""
    area: int
    """Pixels of all of it."""
    kind: ObjectKind = "source"
    donor: str | None = None
    """The scene it was pasted from."""
    donor_instance: int | None = None
    source_instance: int | None = None
    """The id, in the source scene, of what it is or was copied from."""
    since: int = 0
    """The stamp of the operation that put it where it is."""


def measure_things(instance: InstanceMap, *, roles: ClassRoles) -> dict[int, ObjectState]:
    """The box and area of everything that is neither surface nor frozen, in a single scan.

    Args:
        instance: Instance ids, int32 [H, W].
        roles: Of the classes.

    Returns:
        By value of the map, sorted: single objects, and crowds under the id of their class.
    """
    values = instance.ravel().astype(np.intp)  # once, not in each function below
    counts = np.bincount(values)
    present = np.flatnonzero(counts)
    class_of = np.where(present >= INSTANCES_PER_CLASS, present // INSTANCES_PER_CLASS, present)
    things = present[~(roles.surface | roles.frozen)[class_of]]
    table = np.zeros(len(counts), np.int32)
    table[things] = np.arange(1, len(things) + 1, dtype=np.int32)
    dense = table.take(values).reshape(instance.shape)
    return {
        value: ObjectState((rows.start, columns.start, rows.stop, columns.stop), area)
        for value, area, (rows, columns) in zip(
            things.tolist(), counts[things].tolist(), ndimage.find_objects(dense), strict=True
        )
    }


def free_id(class_id: int, used: Collection[int]) -> int:
    """The lowest instance id of a class that is not used.

    Raises:
        OperationSkipped: The class has all its objects already.
    """
    first = class_id * INSTANCES_PER_CLASS
    for candidate in range(first, first + INSTANCES_PER_CLASS):
        if candidate not in used:
            return candidate
    raise OperationSkipped(f"class {class_id} has {INSTANCES_PER_CLASS} objects already")
