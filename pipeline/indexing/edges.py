"""Edges: where an instance map changes, and what meets there.

Everything is found from the few pixels along the edges; whole maps are only compared once.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap, LabelMap

Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The single objects of an instance map as columns, sorted by id."""

    ids: npt.NDArray[np.int32]
    """Instance ids [n]."""
    boxes: npt.NDArray[np.int32]
    """Top, left, bottom, right in pixels [n, 4]; bottom and right are exclusive."""
    areas: npt.NDArray[np.int32]
    """Visible pixels [n]."""


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """All edges between pixels of an object and 4-adjacent pixels of something else [m].

    An edge between two objects is there twice, once for each. Pixels are positions in the
    flattened map.
    """

    owners: npt.NDArray[np.intp]
    """The object, as its position in `Objects` [m]."""
    inner: npt.NDArray[np.intp]
    """Its pixel [m]."""
    outer: npt.NDArray[np.intp]
    """The pixel next to that [m]."""
    sideways: Flags
    """Whether the two lie side by side, and not one above the other [m]."""


@dataclass(frozen=True, slots=True, eq=False)
class Contours:
    """Objects and edges of a scene's maps, and how far its classes extend."""

    objects: Objects
    edges: Edges
    positions: npt.NDArray[np.intp]
    """Position in `objects` by instance id; -1 for all other values of the map [largest id + 1]."""
    across: npt.NDArray[np.float64]
    """Mean length of the runs of each class along the rows, in pixels; 0 for absent ones."""
    down: npt.NDArray[np.float64]
    """The same along the columns."""


def trace(label: LabelMap, instance: InstanceMap, *, num_classes: int) -> Contours:
    """Find objects and edges of a scene.

    Args:
        label: Class ids [H, W].
        instance: Instance ids, int32 [H, W].
        num_classes: Number of classes of the taxonomy.
    """
    height, width = label.shape
    ids_flat, label_flat = instance.ravel(), label.ravel()
    beside = np.flatnonzero(ids_flat[1:] != ids_flat[:-1])
    beside = beside[(beside + 1) % width != 0]
    below = np.flatnonzero(ids_flat[width:] != ids_flat[:-width])
    starts = np.sort(np.concatenate([np.arange(height) * width, beside + 1]))
    lengths = np.diff(starts, append=height * width)
    pixels = np.bincount(label_flat[starts], weights=lengths, minlength=num_classes)
    runs = []
    for firsts, step, edge in ((label[:, 0], 1, beside), (label[0], width, below)):
        ends = label_flat[edge + step]
        changes = ends[ends != label_flat[edge]]
        runs.append(np.bincount(np.concatenate([firsts, changes]), minlength=num_classes))
    across, down = (pixels / np.maximum(count, 1) for count in runs)
    objects = _objects(ids_flat[starts], starts, lengths, width)
    positions = np.full(max(int(ids_flat[starts].max()), 0) + 1, -1, np.intp)
    positions[objects.ids] = np.arange(len(objects.ids))
    inner = np.concatenate([beside, beside + 1, below, below + width])
    outer = np.concatenate([beside + 1, beside, below + width, below])
    owners = positions[ids_flat[inner]]
    sideways = np.arange(len(inner)) < 2 * len(beside)
    own = owners >= 0
    edges = Edges(owners[own], inner[own], outer[own], sideways[own])
    return Contours(objects, edges, positions, across, down)


def _objects(ids: Integers, starts: Integers, lengths: Integers, width: int) -> Objects:
    """The objects that runs along rows make up."""
    things = ids >= INSTANCES_PER_CLASS
    order = np.argsort(ids[things], kind="stable")
    ids, starts, lengths = (column[things][order] for column in (ids, starts, lengths))
    if not len(ids):
        return Objects(np.zeros(0, np.int32), np.zeros((0, 4), np.int32), np.zeros(0, np.int32))
    first = np.flatnonzero(np.diff(ids, prepend=-1))
    last = np.append(first[1:], len(ids)) - 1
    rows, columns = starts // width, starts % width
    boxes = np.stack(
        [
            rows[first],
            np.minimum.reduceat(columns, first),
            rows[last] + 1,
            np.maximum.reduceat(columns + lengths, first),
        ],
        axis=1,
    )
    areas = np.add.reduceat(lengths, first)
    return Objects(ids[first].astype(np.int32), boxes.astype(np.int32), areas.astype(np.int32))
