"""Scene records: what planning must know about a scene without reading it again."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.roles import class_roles
from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap, LabelMap, Scene, instances_of
from pipeline.taxonomy import Taxonomy

GRID = (64, 128)
"""Rows and columns of the coarse label map."""
TOUCH = 0.15
"""Objects overlap in depth if their shared edge is longer than this times sqrt(area)."""
CUT = 0.35
"""The same for the edge shared with void or a crowd, or sideways with upright stuff, as poles."""
NARROW = 1 / 64
"""Stuff is upright if its mean run along rows is below this part of the picture's width, and below
its mean run along columns."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class SceneRecord:
    """The layout of a scene: its objects as columns, sorted by id, and a coarse label map."""

    name: str
    size: tuple[int, int]
    """Height and width in pixels, after fitting."""
    ids: npt.NDArray[np.int32]
    """Instance ids [n]."""
    boxes: npt.NDArray[np.int32]
    """Top, left, bottom, right in pixels [n, 4]; bottom and right are exclusive."""
    areas: npt.NDArray[np.int32]
    """Visible pixels [n]."""
    truncated: Flags
    """Whether the object reaches the picture's border or void that does [n]."""
    occluded: Flags
    """Whether an object that stands further down shares an edge with it, void or a crowd does, or
    upright stuff such as a pole does sideways: all may hide a part of it [n]."""
    occluding: Flags
    """Whether it shares an edge with an object that stands further up [n]."""
    pieces: npt.NDArray[np.int16]
    """Into how many 8-connected pieces the object's visible pixels fall [n]."""
    companions: npt.NDArray[np.int16]
    """The class of the object with which it shares the longest edge; -1 if there is none [n]."""
    ground: npt.NDArray[np.int16]
    """The surface most frequent right below its lower edge; -1 if there is none [n]."""
    grid: LabelMap
    """Class ids at the centres of a coarse grid [GRID]."""

    @property
    def classes(self) -> npt.NDArray[np.int32]:
        """Class ids of the objects [n]."""
        return self.ids // INSTANCES_PER_CLASS

    def attached_to(self, classes: Flags) -> Flags:
        """Which objects are of, or share their longest edge with one of, some classes [n].

        Args:
            classes: The classes in question, bool [num_classes].
        """
        return classes[self.classes] | ((self.companions >= 0) & classes[self.companions])

    def mirrored(self) -> "SceneRecord":
        """The record of the scene mirrored left to right."""
        width = self.size[1]
        boxes = self.boxes.copy()
        boxes[:, 1], boxes[:, 3] = width - self.boxes[:, 3], width - self.boxes[:, 1]
        return replace(self, boxes=boxes, grid=self.grid[:, ::-1])


def index_scene(scene: Scene, taxonomy: Taxonomy) -> SceneRecord:
    """Measure a scene's layout.

    Args:
        scene: A scene at the size it will be edited at.
        taxonomy: The taxonomy of the scene.
    """
    roles = class_roles(taxonomy)
    objects = instances_of(scene.instance)
    ids = np.array([o.id for o in objects], np.int32)
    boxes = np.array([o.box for o in objects], np.int32).reshape(-1, 4)
    areas = np.array([o.area for o in objects], np.int32)
    rim = _touching_border(roles.frozen[scene.label])
    truncated = np.zeros(len(ids), np.bool_)
    truncated[np.searchsorted(ids, _neighbours(scene.instance, rim))] = True
    behind, occluding, companions = _overlaps(scene.instance, ids, boxes, areas)
    cut = _cut(scene.label, scene.instance, ids, roles.surface)
    masks = [
        scene.instance[top:bottom, left:right] == instance
        for instance, (top, left, bottom, right) in zip(ids, boxes, strict=True)
    ]
    whole = np.ones((3, 3), np.int8)
    return SceneRecord(
        name=scene.name,
        size=scene.size,
        ids=ids,
        boxes=boxes,
        areas=areas,
        truncated=truncated,
        occluded=behind | (cut > CUT * np.sqrt(areas)),
        occluding=occluding,
        pieces=np.array([ndimage.label(mask, structure=whole)[1] for mask in masks], np.int16),
        companions=companions,
        ground=np.array(
            [
                _ground(mask, int(box[0]), int(box[1]), scene.label, roles.surface)
                for mask, box in zip(masks, boxes, strict=True)
            ],
            np.int16,
        ),
        grid=_coarse(scene.label),
    )


def grid_cells(
    rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer], size: tuple[int, int]
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """The coarse grid's cells that hold the given pixels, which must lie in the picture."""
    return rows * GRID[0] // size[0], columns * GRID[1] // size[1]


def _coarse(label: LabelMap) -> LabelMap:
    rows, columns = (
        (2 * np.arange(cells) + 1) * length // (2 * cells)
        for cells, length in zip(GRID, label.shape, strict=True)
    )
    coarse: LabelMap = label[rows[:, None], columns]
    return coarse


def _touching_border(mask: Flags) -> Flags:
    """The mask's connected parts that touch the border, and a frame around the picture.

    Returned with one more pixel on each side than the mask.
    """
    components, _ = ndimage.label(np.pad(mask, 1, constant_values=True))
    outside: Flags = components == components[0, 0]
    return outside


def _neighbours(instance: InstanceMap, rim: Flags) -> npt.NDArray[np.int32]:
    """The objects with a pixel 4-adjacent to the rim."""
    near = rim[:-2, 1:-1] | rim[2:, 1:-1] | rim[1:-1, :-2] | rim[1:-1, 2:]
    return np.unique(instance[near & (instance >= INSTANCES_PER_CLASS)])


def _overlaps(
    instance: InstanceMap,
    ids: npt.NDArray[np.int32],
    boxes: npt.NDArray[np.int32],
    areas: npt.NDArray[np.int32],
) -> tuple[Flags, Flags, npt.NDArray[np.int16]]:
    """Which objects lie behind, and before, another one they share an edge with; companions."""
    count = len(ids)
    shared = np.zeros((count, count), np.int32)
    for one, other in (
        (instance[:, :-1], instance[:, 1:]),
        (instance[:-1], instance[1:]),
    ):
        edge = (one != other) & (one >= INSTANCES_PER_CLASS) & (other >= INSTANCES_PER_CLASS)
        first, second = np.searchsorted(ids, one[edge]), np.searchsorted(ids, other[edge])
        np.add.at(shared, (first, second), 1)
        np.add.at(shared, (second, first), 1)
    touching = shared > TOUCH * np.sqrt(np.minimum(areas[:, None], areas[None, :]))
    lower = boxes[None, :, 2] > boxes[:, None, 2]
    companions = np.full(count, -1, np.int16)
    paired = touching.any(axis=1)
    if paired.any():
        companions[paired] = ids[shared[paired].argmax(axis=1)] // INSTANCES_PER_CLASS
    behind: Flags = np.logical_or.reduce(touching & lower, axis=1)
    before: Flags = np.logical_or.reduce(touching & lower.T, axis=1)
    return behind, before, companions


def _cut(
    label: LabelMap, instance: InstanceMap, ids: npt.NDArray[np.int32], surface: Flags
) -> npt.NDArray[np.int64]:
    """The edge each object shares with void and crowds, and sideways with upright stuff [n]."""
    pixels = np.bincount(label.ravel(), minlength=len(surface))
    across, down = (
        pixels / np.maximum(np.bincount(starts, minlength=len(surface)), 1)
        for starts in (_run_starts(label), _run_starts(label.T))
    )
    upright = surface & (across < NARROW * label.shape[1]) & (across < down)
    edges = np.zeros(len(ids), np.int64)
    opaque = ~surface[label] & (instance < INSTANCES_PER_CLASS)
    for ids_map, hidden_by in ((instance, opaque | upright[label]), (instance.T, opaque.T)):
        for one, other in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
            owners = ids_map[:, one][hidden_by[:, other]]
            owners = owners[owners >= INSTANCES_PER_CLASS]
            edges += np.bincount(np.searchsorted(ids, owners), minlength=len(ids))
    return edges


def _run_starts(label: LabelMap) -> LabelMap:
    """The class of every run of equal pixels along the rows."""
    changes = label[:, 1:][label[:, 1:] != label[:, :-1]]
    return np.concatenate([label[:, 0], changes])


def _ground(mask: Flags, top: int, left: int, label: LabelMap, surface: Flags) -> int:
    """The surface most frequent under the lowest tenth of an object, just below its pixels."""
    height = mask.shape[0]
    band = max(1, height // 10)
    feet = mask[height - band :]
    columns = np.flatnonzero(feet.any(axis=0))
    lowest = height - 1 - np.argmax(feet[::-1, columns], axis=0)
    rows = top + lowest + 1
    inside = rows < label.shape[0]
    below = label[rows[inside], left + columns[inside]]
    below = below[surface[below]]
    return int(np.bincount(below).argmax()) if len(below) else -1
