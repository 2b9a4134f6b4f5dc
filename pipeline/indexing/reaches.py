"""Reaches: how far down stuff goes that may stand before what is beside it."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.indexing.edges import Edges, Flags
from pipeline.roles import ClassRoles
from pipeline.scene import INSTANCES_PER_CLASS, Scene


def stuff_reaches(
    scene: Scene, roles: ClassRoles, pixels: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    """The lowest row of the upright stuff, void or crowd that some pixels show [k].

    It is -1 for surfaces, which hide nothing, and for single objects.

    Args:
        scene: The scene.
        roles: The roles of its classes.
        pixels: Positions in its flattened maps [k].
    """
    label, stuff = scene.label.ravel()[pixels], scene.instance < INSTANCES_PER_CLASS
    found = np.full(len(pixels), -1, np.intp)
    single = ~stuff.ravel()[pixels]
    for classes, ends in (
        (roles.upright, _part_ends),
        (roles.frozen, _run_ends),
        (roles.thing, _run_ends),
    ):
        chosen: Flags = classes[label] & ~single
        if chosen.any():
            found[chosen] = ends(classes[scene.label] & stuff, pixels[chosen])
    return found


def _part_ends(there: Flags, pixels: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The lowest row of the 8-connected part that each of some pixels is of [k].

    Args:
        there: Where the parts are [H, W].
        pixels: Positions in the flattened map, all of them there [k].
    """
    parts, _ = ndimage.label(there, structure=np.ones((3, 3), np.int8))
    rows = [0, *(down.stop - 1 for down, _ in ndimage.find_objects(parts))]
    ends: npt.NDArray[np.intp] = np.array(rows)[parts.ravel()[pixels]]
    return ends


def _run_ends(there: Flags, pixels: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The lowest row of the vertical run that each of some pixels is of [k].

    Args:
        there: Where the runs are [H, W].
        pixels: Positions in the flattened map, all of them there [k].
    """
    width = there.shape[1]
    columns, inverse = np.unique(pixels % width, return_inverse=True)
    rows = np.arange(len(there), dtype=np.int32)[:, None]
    stops = np.where(there[:, columns], np.int32(len(there)), rows)[::-1]
    ends: npt.NDArray[np.intp] = np.minimum.accumulate(stops)[::-1][pixels // width, inverse] - 1
    return ends


def uprights_between(scene: Scene, edges: Edges, upright: Flags) -> Flags:
    """Which edges lead to upright stuff beyond which the same object goes on in its row [m].

    A pole between two parts of an object stands before it, wherever its foot is.

    Args:
        scene: The scene.
        edges: The edges.
        upright: The classes of such stuff [num_classes].
    """
    found = edges.sideways & upright[scene.label.ravel()[edges.outer]]
    at = np.flatnonzero(found)
    if not len(at):
        return found
    width, ids = scene.size[1], scene.instance
    rows, columns = edges.outer[at] // width, edges.outer[at] % width
    lines, inverse = np.unique(rows, return_inverse=True)
    other = ~upright[scene.label[lines]]
    here = np.arange(width, dtype=np.int32)
    before = np.maximum.accumulate(np.where(other, here, np.int32(-1)), axis=1)
    after = np.minimum.accumulate(np.where(other, here, np.int32(width))[:, ::-1], axis=1)[:, ::-1]
    ends = np.where(
        edges.outer[at] > edges.inner[at], after[inverse, columns], before[inverse, columns]
    )
    inside = (ends >= 0) & (ends < width)
    same = ids[rows, ends.clip(0, width - 1)] == ids.ravel()[edges.inner[at]]
    found[at] = inside & same
    return found
