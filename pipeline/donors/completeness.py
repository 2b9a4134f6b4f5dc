"""How completely donors are seen: judged from their contours, and from what others look like.

A donor is complete as far as its contour is its own, and not that of something nearer, and as its
shape is one that its class is seen with. Shapes are compared with those of donors with a free
contour, of other scenes and not of those beside its own, which may show the same object. Of a class
of which too few are seen so, contours alone are judged, and more strictly.
"""

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

from pipeline.indexing.record import unpacked_silhouettes

WHOLE = 0.9
"""Completeness from which a donor counts as whole."""
FREE = 0.12
"""Donors with a smaller obscured share of their contour tell what their class looks like."""
FEWEST = 6
"""So many of a class must, or its shapes cannot be judged."""
DOUBT = 3.0
"""Where shapes cannot be judged, what may be hidden counts so many times."""
MOST = 1500
"""Donors of a class that others are compared with, at most."""
BESIDE = 0.05
"""Scenes that lie within this part of the dataset may show the same object."""
NEIGHBOURS = 3
"""A shape is compared with its nearest ones, so many."""
ASPECT = 0.5
"""Weight of a difference of ln aspect against one of shapes."""
USUAL, LEAST_USUAL = 1.12, 0.45
"""A distance is usual up to this many times that of the better quarter of a class, and up to the
second in any case."""
COMPACT, HOLLOW = 0.88, 0.045
"""A class is compact if a quarter of its donors fill more of their convex hulls than the first. The
others then fill less by the second at most: else they are several objects, or remains of one."""
BLOCK = 256

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]


def completeness(
    *,
    classes: Integers,
    scenes: Integers,
    boxes: Integers,
    silhouettes: npt.NDArray[np.uint8],
    obscured: npt.NDArray[np.floating],
    single: Flags,
    seen: Flags,
) -> npt.NDArray[np.float32]:
    """How completely each donor is seen, 0..1 [n].

    Of what the border cuts, it is judged whether it is one object, but not its shape.

    Args:
        classes: Class ids [n].
        scenes: Positions of their scenes in the dataset's order [n].
        boxes: Top, left, bottom, right in pixels [n, 4].
        silhouettes: Coarse shapes, as in `SceneRecord` [n, b].
        obscured: Shares of their contours that something nearer may hide [n].
        single: Which are in one piece, and not cut by the picture's border [n].
        seen: Of which nothing is made up: they alone tell what their class looks like [n].
    """
    known = 1 - obscured.astype(np.float64)
    aspects = np.log((boxes[:, 3] - boxes[:, 1]) / (boxes[:, 2] - boxes[:, 0]))
    beside = max(1, round(BESIDE * (int(scenes.max(initial=0)) + 1)))
    for class_id in np.unique(classes):
        own = np.flatnonzero(classes == class_id)
        free = own[single[own] & seen[own] & (obscured[own] < FREE)]
        if len(free) >= FEWEST:
            cells = unpacked_silhouettes(silhouettes[own])
            usual, solid = _usual(cells, aspects[own], scenes[own], np.isin(own, free), beside)
            known[own] *= np.where(single[own], usual * np.minimum(solid, 1) ** 2, solid >= 1)
        else:
            known[own] = np.maximum(1 - DOUBT * obscured[own], 0)
    return np.round(known, 4).astype(np.float32)


def _usual(
    cells: Flags, aspects: Floats, scenes: Integers, free: Flags, beside: int
) -> tuple[Floats, Floats]:
    """How usual the shapes of a class's donors are, 1 for all that are like others [n].

    And how much of their convex hulls they fill, over the least that those of a compact class do;
    1 for classes that are not [n].

    Args:
        cells: Their shapes, bool [n, *SILHOUETTE].
        aspects: Ln of width over height [n].
        scenes: Positions of their scenes [n].
        free: Those with a free contour [n].
        beside: How many scenes apart the same object may be seen.
    """
    distances = _distances(cells, aspects, scenes, free, beside)
    usual = max(USUAL * float(np.quantile(distances[free], 0.25)), LEAST_USUAL)
    found = np.minimum(1, usual / np.maximum(distances, 1e-9)) ** 2
    filled = np.array([_filled(shape) for shape in cells])
    compact = float(np.quantile(filled[free], 0.75))
    return found, filled / (compact - HOLLOW) if compact >= COMPACT else np.ones(len(cells))


def _distances(cells: Flags, aspects: Floats, scenes: Integers, free: Flags, beside: int) -> Floats:
    """How far each shape is from its nearest ones, mirrored or not, in other scenes [n].

    Two shapes differ by the cells that only one covers, over those along their contours.
    """
    chosen = np.flatnonzero(free)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(MOST, len(chosen))).astype(np.intp)]
    shapes = cells.reshape(len(cells), -1).astype(np.float32)
    contours = _contour_cells(cells)
    others = [shapes[chosen], cells[chosen][:, :, ::-1].reshape(len(chosen), -1).astype(np.float32)]
    found = np.zeros(len(cells))
    for start in range(0, len(cells), BLOCK):
        part = slice(start, start + BLOCK)
        one = shapes[part]
        differing = np.minimum(*(one @ (1 - other).T + (1 - one) @ other.T for other in others))
        along = contours[part, None] + contours[None, chosen]
        apart = ASPECT * (aspects[part, None] - aspects[None, chosen])
        distance = np.sqrt(differing / along + apart**2)
        same = np.arange(len(cells))[part, None] == chosen
        near = np.abs(scenes[part, None] - scenes[None, chosen]) < beside
        # In a small dataset every scene is beside the others: then only itself does not count.
        distance[same | (near & (~near).any(axis=1, keepdims=True))] = np.inf
        nearest = np.partition(distance, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        found[part] = np.where(np.isfinite(nearest), nearest, nearest[:, :1]).mean(axis=1)
    return found


def _contour_cells(cells: Flags) -> Floats:
    """How many cells of each shape lie at its contour [n]."""
    padded = np.pad(cells, ((0, 0), (1, 1), (1, 1)))
    inner = padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1] & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]
    counts: Floats = (cells & ~inner).sum(axis=(1, 2)).astype(np.float64)
    return np.maximum(counts, 1)


def _filled(shape: Flags) -> float:
    """The part of its convex hull that a shape covers."""
    rows, columns = np.nonzero(shape)
    if not len(rows):
        return 1.0
    corners = np.concatenate(
        [np.stack([rows + down, columns + right], axis=1) for down in (0, 1) for right in (0, 1)]
    )
    return float(len(rows) / ConvexHull(corners).volume)
