"""Features of places: what the critic sees of a box among the other objects of its scene."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.indexing.record import grid_cells
from pipeline.placing.planned_scene import PlannedScene
from pipeline.placing.priors import Priors
from pipeline.placing.spacing import SIMILAR_DEPTH, box_areas, overlaps

FAR = 6.0
"""Distances beyond this, in widths or heights, count no more than this; missing ones are so."""
BEHIND = 0.3
"""Boxes stand behind each other if they share this part of the narrower one's columns."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]


def place_features(
    scene: PlannedScene,
    boxes: Integers,
    class_id: int,
    priors: Priors,
    *,
    without: Sequence[int] = (),
) -> Floats:
    """What places look like, as numbers [m, features].

    Height against what perspective says; where in the picture; how much nearer ones hide
    and how much is hidden of others; how far the next ones are, of the class and of all, beside and
    behind; how many of the class there are; what is below the feet.

    Args:
        scene: The scene.
        boxes: Top, left, bottom, right in pixels [m, 4].
        class_id: Of what stands there.
        priors: Of the dataset.
        without: Objects of the scene, by position, that do not count.
    """
    height, width = scene.size
    tall = (boxes[:, 2] - boxes[:, 0]).astype(np.float64)
    bottoms, centres = boxes[:, 2].astype(float), (boxes[:, 1] + boxes[:, 3]) / 2
    mean, sigma = priors.log_height(class_id, bottoms, scene.view, height=height)
    above = np.maximum(bottoms - scene.view.horizon, height / 256)
    # A mirrored scene is judged as it was before.
    side, quarter = (-1 if scene.mirrored else 1), np.full(len(boxes), width / 4)
    seen = width - centres if scene.mirrored else centres
    chosen = scene.there(without)
    others, classes = scene.boxes[chosen], scene.class_ids[chosen]
    rows, columns = grid_cells(
        np.clip(boxes[:, 2], 0, height - 1),
        np.clip(centres.astype(np.int64), 0, width - 1),
        scene.size,
    )
    feet = priors.support(class_id)[scene.feet(boxes)]
    own = classes == class_id
    return np.stack(
        [
            (np.log(tall) - mean) / sigma,
            above / height,
            seen / width,
            np.abs(centres / width - 0.5),
            *_covers(boxes, others),
            *_nearest(boxes, others, above, scene.view.horizon),
            *_nearest(boxes, others[own], above, scene.view.horizon),
            np.full(len(boxes), np.count_nonzero(own) / (1 + priors.counts(class_id).mean)),
            _off_others(bottoms, others[own, 2], above),
            side * _off_others(centres, others[own][:, [1, 3]].mean(axis=1), quarter),
            scene.margins[rows, columns].astype(float),
            feet.mean(axis=1),
            feet.min(axis=1),
        ],
        axis=1,
    )


def _covers(boxes: Integers, others: Integers) -> tuple[Floats, Floats]:
    """The share of each box that nearer ones hide, and the largest share it hides of another."""
    if not len(others):
        return np.zeros(len(boxes)), np.zeros(len(boxes))
    shared = overlaps(boxes, others)
    nearer = others[None, :, 2] > boxes[:, None, 2]
    hidden = np.where(nearer, shared, 0).sum(axis=1) / box_areas(boxes)
    hides = (np.where(nearer, 0, shared) / box_areas(others)).max(axis=1)
    return np.minimum(hidden, 1), hides


def _nearest(
    boxes: Integers, others: Integers, above: Floats, horizon: float
) -> tuple[Floats, Floats, Floats]:
    """How far the next box of similar depth is, the next of all, and the next behind or before.

    In widths, in widths along the ground, and in ln of the distance from the horizon [m].
    """
    if not len(others):
        missing = np.full(len(boxes), FAR)
        return missing, missing, missing
    wide = (boxes[:, 3] - boxes[:, 1])[:, None].astype(float)
    between = np.maximum(
        others[None, :, 1] - boxes[:, None, 3], boxes[:, None, 1] - others[None, :, 3]
    )
    gaps = between / wide
    depth = np.log(np.maximum(others[None, :, 2] - horizon, 1) / above[:, None])
    similar = np.abs(depth) < SIMILAR_DEPTH
    shared = -between >= BEHIND * np.minimum(wide, (others[:, 3] - others[:, 1])[None])
    beside = np.where(similar, gaps, FAR).min(axis=1)
    apart = np.hypot(np.maximum(gaps, 0), depth * above[:, None] / wide).min(axis=1)
    behind = np.where(shared, np.abs(depth), FAR).min(axis=1)
    return np.minimum(beside, FAR), np.minimum(apart, FAR), np.minimum(behind, FAR)


def _off_others(values: Floats, others: Floats | Integers, unit: Floats) -> Floats:
    """How far values are from the median of others, in some unit; 0 where there are none."""
    if not len(others):
        return np.zeros(len(values))
    off: Floats = np.clip((values - np.median(others)) / unit, -FAR, FAR)
    return off
