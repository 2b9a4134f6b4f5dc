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


def between_parts(scene: Scene, edges: Edges, roles: ClassRoles) -> Flags:
    """Which edges lead to something beyond which the same object goes on, in line with them [m].

    What lies between two parts of an object stands before it, wherever its foot is: a pole, or
    another object, with parts at both sides; void, as of a bag, with parts above and below.
    Surfaces, and void at the side, may be seen between legs.

    Args:
        scene: The scene.
        edges: The edges.
        roles: The roles of its classes.
    """
    single = scene.instance >= INSTANCES_PER_CLASS
    upright, frozen = roles.upright[scene.label], roles.frozen[scene.label]
    # Poles with their signs, and void of several kinds, are one.
    kinds = np.where(single, scene.instance, np.where(upright, -1, np.where(frozen, -2, -3)))
    outer = kinds.ravel()[edges.outer]
    sideways: Flags = edges.sideways & (outer > -2)
    upright_runs: Flags = ~edges.sideways & (outer == -2)
    found = np.zeros(len(outer), np.bool_)
    for chosen, lines, turned in ((sideways, kinds, False), (upright_runs, kinds.T, True)):
        at = np.flatnonzero(chosen)
        places = [np.divmod(pixels[at], scene.size[1]) for pixels in (edges.outer, edges.inner)]
        if turned:
            places = [place[::-1] for place in places]
        found[at] = _goes_on(lines, *places)
    return found


Places = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


def _goes_on(kinds: npt.NDArray[np.int32], outer: Places, inner: Places) -> Flags:
    """Whether beyond the run of equal values at some places there is what is before it [m].

    Args:
        kinds: Values [lines, n]; runs lie along the lines.
        outer: Lines and positions of pixels of the runs [m].
        inner: The same of those right before them, of another value [m].
    """
    lines, inverse = np.unique(outer[0], return_inverse=True)
    values = kinds[lines]
    count = values.shape[1]
    here = np.arange(count, dtype=np.int32)
    starts = np.ones(values.shape, np.bool_)
    starts[:, 1:] = values[:, 1:] != values[:, :-1]
    before = np.maximum.accumulate(np.where(starts, here, np.int32(0)), axis=1) - 1
    ends = np.ones(values.shape, np.bool_)
    ends[:, :-1] = starts[:, 1:]
    after = np.where(ends, here, np.int32(count - 1))[:, ::-1]
    after = np.minimum.accumulate(after, axis=1)[:, ::-1] + 1
    forward = outer[1] > inner[1]
    beyond = np.where(forward, after[inverse, outer[1]], before[inverse, outer[1]])
    inside = (beyond >= 0) & (beyond < count)
    same = kinds[outer[0], beyond.clip(0, count - 1)] == kinds[inner[0], inner[1]]
    goes_on: Flags = inside & same
    return goes_on
