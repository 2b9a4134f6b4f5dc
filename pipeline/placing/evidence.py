"""Evidence: what the objects of a dataset's scenes tell, from which priors are fitted."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.indexing.record import GRID, SceneRecord
from pipeline.placing.locations import CATEGORY_OBJECTS, ground_behind, margins_of
from pipeline.placing.perspective import Perspective
from pipeline.placing.spacing import hidden_shares, nearest_gaps, overlaps, rooms_behind
from pipeline.roles import class_roles
from pipeline.taxonomy import Taxonomy

PLACE_FLOOR = 0.01
"""Share of a class's objects, and of what there is where it stands, that is added to each place."""
ROOM, ROOM_QUANTILE, FEWEST_PAIRS = 1.5, 0.1, 20
"""What vehicles keep behind each other where fewer pairs tell; else nine in ten keep that much."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class SeenObjects:
    """The objects of many scenes as columns [n]; boxes are fractions of picture size [n, 4]."""

    classes: Integers
    scenes: Integers
    boxes: Floats
    whole: Flags
    ground: Integers
    truncated: Flags

    @classmethod
    def collect(cls, records: Sequence[SceneRecord]) -> "SeenObjects":
        """The objects of some scenes, whose sizes may differ."""
        boxes = [np.zeros((0, 4)), *(r.boxes / np.array(r.size * 2) for r in records)]
        return cls(
            classes=_joined([r.classes for r in records], np.int64),
            scenes=np.repeat(np.arange(len(records)), [len(r.ids) for r in records]),
            boxes=np.concatenate(boxes),
            whole=_joined(
                [~r.truncated & ~r.occluded & (r.pieces == 1) & (r.ground >= 0) for r in records],
                np.bool_,
            ),
            ground=_joined([r.ground for r in records], np.int64),
            truncated=_joined([r.truncated for r in records], np.bool_),
        )


def scene_horizon(
    perspective: Perspective, objects: SeenObjects, scene: int, record: SceneRecord
) -> float:
    """The row of a scene's horizon in pixels, as its whole objects say."""
    own = (objects.scenes == scene) & objects.whole
    rows = objects.boxes[own] * record.size[0]
    heights = rows[:, 2] - rows[:, 0]
    view = perspective.view(rows[:, 2], heights, objects.classes[own], height=record.size[0])
    return view.horizon


def rooms_kept(
    horizons: Sequence[float], records: Sequence[SceneRecord], taxonomy: Taxonomy
) -> tuple[float, float]:
    """How far behind vehicles other vehicles, and other objects, stand at least."""
    sided = class_roles(taxonomy).sided
    found: tuple[list[Floats], list[Floats]] = ([], [])
    for record, horizon in zip(records, horizons, strict=True):
        boxes, vehicles = record.boxes.astype(np.float64), sided[record.classes]
        rooms = rooms_behind(boxes[vehicles], boxes, horizon=horizon, width=record.size[1])
        for kind, of in zip(found, (vehicles, ~vehicles), strict=True):
            kind.append(rooms[:, of][np.isfinite(rooms[:, of])])
    few, many = (np.concatenate([np.zeros(0), *kind]) for kind in found)
    room, other = (
        float(np.quantile(k, ROOM_QUANTILE)) if len(k) >= FEWEST_PAIRS else ROOM
        for k in (few, many)
    )
    return room, other


def place_preferences(
    records: Sequence[SceneRecord],
    horizons: Sequence[float],
    objects: SeenObjects,
    support: Floats,
    offered: Floats,
    taxonomy: Taxonomy,
) -> Floats:
    """How much likelier a place becomes by its ground and the distance from the ground's edge.

    A class leans on its category where it has few objects: on how those share out a surface among
    its margins, not on which surfaces they stand.

    Args:
        records: The scenes.
        horizons: The row of each one's horizon in pixels.
        objects: Their objects.
        support: How likely each class stands on each surface [num_classes, num_classes].
        offered: What there is where it stands [num_classes, num_classes, margins].
        taxonomy: Of the scenes.
    """
    counts = np.zeros_like(offered)
    for number, (record, horizon) in enumerate(zip(records, horizons, strict=True)):
        own = (objects.scenes == number) & (objects.ground >= 0)
        boxes, classes, grounds = (v[own] for v in (objects.boxes, objects.classes, objects.ground))
        stuff = ground_behind(record.grid, taxonomy.is_thing)
        margins = margins_of(stuff, horizon, record.size)
        rows = np.minimum(boxes[:, 2] * GRID[0], GRID[0] - 1).astype(np.int64)
        columns = np.minimum((boxes[:, 1] + boxes[:, 3]) / 2 * GRID[1], GRID[1] - 1)
        np.add.at(counts, (classes, grounds, margins[rows, columns.astype(np.int64)]), 1)
    categories = np.array([c.category for c in taxonomy.classes])
    shares = np.zeros_like(counts)
    for class_id in np.flatnonzero(taxonomy.is_thing):
        kin = counts[categories == categories[class_id]].sum(axis=0)
        even = offered[class_id] / np.maximum(offered[class_id].sum(axis=1, keepdims=True), 1e-9)
        leant = (kin + even) / (kin.sum(axis=1, keepdims=True) + 1)
        own = counts[class_id] + CATEGORY_OBJECTS * support[class_id][:, None] * leant
        shares[class_id] = (
            support[class_id][:, None] * own / np.maximum(own.sum(axis=1, keepdims=True), 1e-9)
        )
    preferred: Floats = (shares + PLACE_FLOOR * support[:, :, None]) / (offered + PLACE_FLOOR)
    return preferred


def _joined(columns: Sequence[npt.NDArray[Any]], dtype: type) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *columns]).astype(dtype)


def kin_of(classes: Integers, class_id: int, taxonomy: Taxonomy) -> Flags:
    """The objects to learn from for a class: its own, else its category's, else all [n]."""
    own: Flags = classes == class_id
    category = np.array([c.category for c in taxonomy.classes])
    kin: Flags = (category == category[class_id])[classes]
    for chosen in (own, kin):
        if chosen.sum() >= 2 * CATEGORY_OBJECTS:
            return chosen
    return np.ones(len(classes), np.bool_)


def crowding(objects: SeenObjects, horizon: float) -> tuple[Floats, Floats, Flags]:
    """How objects stand together, in columns [n].

    The share of each box that nearer ones hide, the gap to the next object of similar depth in own
    widths (NaN if there is none), and whether its box overlaps no other.
    """
    count = len(objects.classes)
    hidden, gaps, alone = np.zeros(count), np.full(count, np.nan), np.ones(count, np.bool_)
    starts = np.flatnonzero(np.diff(objects.scenes, prepend=-1, append=-1))
    for first, last in pairwise(starts):
        boxes = objects.boxes[first:last]
        hidden[first:last] = hidden_shares(boxes, boxes)
        gaps[first:last] = nearest_gaps(boxes, boxes, horizon=horizon)
        alone[first:last] = (overlaps(boxes, boxes) > 0).sum(axis=1) == 1
    return hidden, gaps, alone
