"""Scene records: what planning must know about a scene without reading it again."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from pipeline.indexing.edges import Contours, Edges, Flags, Objects, trace
from pipeline.indexing.reaches import between_parts, stuff_reaches
from pipeline.roles import ClassRoles, class_roles
from pipeline.scene import INSTANCES_PER_CLASS, LabelMap, Scene
from pipeline.taxonomy import Taxonomy

GRID = (64, 128)
"""Rows and columns of the coarse label map."""
SILHOUETTE = (16, 16)
"""Rows and columns of the coarse shape of an object."""
TOUCH = 0.15
"""Objects overlap in depth if their shared edge is longer than this times sqrt(area)."""
CUT = 0.35
"""The same for the edge shared with void or a crowd, or sideways with upright stuff, as poles."""
NARROW = 1 / 64
"""Stuff is upright if its mean run along rows is below this part of the picture's width, and below
its mean run along columns."""
GAP = 3
"""What lies between two parts of an object hides more than an edge of it: it counts so often
more."""
FEET = 0.15
"""Part of an object's height, from below, that counts as its feet."""
LEFT, RIGHT, TOP, BOTTOM = 1, 2, 4, 8
"""Sides of an object's box, as bits."""
SHARE = 0.25
"""A side counts if this share of the edges in question lies at it: at least one always does."""

Sides = npt.NDArray[np.uint8]


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
    """Whether it shares an edge with an object that stands no further down, or lies between two
    parts of one [n]."""
    cut_sides: Sides
    """The sides of its box (LEFT, RIGHT, TOP, BOTTOM) at which the picture's border, or void that
    reaches it, cuts it [n]."""
    hidden_sides: Sides
    """The sides at which something that may be nearer hides a part of it: all that makes it
    `occluded` but void that reaches the border [n]."""
    pieces: npt.NDArray[np.int16]
    """Into how many 8-connected pieces the object's visible pixels fall [n]."""
    companions: npt.NDArray[np.int16]
    """The class of the object with which it shares the longest edge; -1 if there is none [n]."""
    partners: npt.NDArray[np.int32]
    """The id of the object with which it is one, as a rider with a bicycle; 0 if none [n]."""
    obscured: npt.NDArray[np.float32]
    """The share of its contour that borders on what may hide more of it, 0..1 [n]: nearer objects
    but its partner, crowds, upright stuff and void that reach farther down, the picture's border;
    and, below it, stuff that it cannot stand on."""
    ground: npt.NDArray[np.int16]
    """The surface most frequent right below its lower edge; -1 if there is none [n]."""
    silhouettes: npt.NDArray[np.uint8]
    """The objects' visible shapes, each box divided into `SILHOUETTE` cells, as packed bits [n, b].
    """
    pixels: npt.NDArray[np.int32]
    """Pixels of each class [num_classes]."""
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

    @property
    def attached(self) -> Flags:
        """Which objects are one with another that is told apart from them [n]."""
        return self.partners > 0

    def mirrored(self) -> "SceneRecord":
        """The record of the scene mirrored left to right."""
        width = self.size[1]
        boxes = self.boxes.copy()
        boxes[:, 1], boxes[:, 3] = width - self.boxes[:, 3], width - self.boxes[:, 1]
        return replace(
            self,
            boxes=boxes,
            cut_sides=_mirrored_sides(self.cut_sides),
            hidden_sides=_mirrored_sides(self.hidden_sides),
            silhouettes=packed_silhouettes(unpacked_silhouettes(self.silhouettes)[:, :, ::-1]),
            grid=self.grid[:, ::-1],
        )


def index_scene(scene: Scene, taxonomy: Taxonomy) -> SceneRecord:
    """Measure a scene's layout.

    Args:
        scene: A scene at the size it will be edited at.
        taxonomy: The taxonomy of the scene.
    """
    roles = class_roles(taxonomy)
    found = trace(scene.label, scene.instance, num_classes=taxonomy.num_classes)
    objects, edges = found.objects, found.edges
    width = scene.size[1]
    outer_label, outer_id = (m.ravel()[edges.outer] for m in (scene.label, scene.instance))
    frozen = roles.frozen[outer_label]
    rim = frozen & _touching_border(scene.label, edges, frozen, roles.frozen)
    cut_sides = _at_border(objects, scene.size) | _sides_of(objects, edges, rim, width=width)
    contacts = _contacts(objects, edges.owners, found.positions[outer_id])
    partners = _partners(objects, contacts, taxonomy)
    nearer, occluding, companions = _overlaps(objects, contacts, partners, len(edges.owners))
    between = between_parts(scene, edges, roles)
    others = found.positions[outer_id]
    # What reaches out at a side is seen between legs.
    between &= (others < 0) | _within(objects.boxes[others], objects.boxes[edges.owners])
    before = others[between & (others >= 0) & (others != partners[edges.owners])]
    occluding |= np.bincount(before, minlength=len(occluding)) > TOUCH * np.sqrt(objects.areas)
    upright = (found.across < NARROW * width) & (found.across < found.down) & roles.surface
    veiling = (~roles.surface[outer_label] & (outer_id < INSTANCES_PER_CLASS)) | (
        upright[outer_label] & edges.sideways
    )
    hiding = nearer | _at_length(objects, edges, veiling & ~rim)
    hiding_or_cutting = hiding | _at_length(objects, edges, veiling)
    masks = [
        scene.instance[top:bottom, left:right] == instance
        for instance, (top, left, bottom, right) in zip(
            objects.ids.tolist(), objects.boxes.tolist(), strict=True
        )
    ]
    return SceneRecord(
        name=scene.name,
        size=scene.size,
        ids=objects.ids,
        boxes=objects.boxes,
        areas=objects.areas,
        truncated=cut_sides > 0,
        occluded=np.bincount(edges.owners[hiding_or_cutting], minlength=len(masks)) > 0,
        occluding=occluding,
        cut_sides=cut_sides,
        hidden_sides=_sides_of(objects, edges, hiding, width=width),
        pieces=np.array([pieces_of(mask) for mask in masks], np.int16),
        companions=companions,
        partners=np.where(partners >= 0, objects.ids[partners], 0).astype(np.int32)
        if len(masks)
        else np.zeros(0, np.int32),
        obscured=_obscured(scene, found, partners, between, roles),
        ground=np.array(
            [
                _ground(mask, top, left, scene.label, roles.surface)
                for mask, (top, left, _, _) in zip(masks, objects.boxes.tolist(), strict=True)
            ],
            np.int16,
        ),
        silhouettes=packed_silhouettes([silhouette(mask) for mask in masks]),
        pixels=np.bincount(scene.label.ravel(), minlength=taxonomy.num_classes).astype(np.int32),
        grid=_coarse(scene.label),
    )


def silhouette(mask: Flags) -> Flags:
    """The cells of a mask, divided into `SILHOUETTE` cells, that it covers by half or more.

    Args:
        mask: An object's pixels in its box, bool [h, w].
    """
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    covered = np.asarray(image.resize(SILHOUETTE[::-1], Image.Resampling.BOX))
    cells: Flags = covered >= 128
    return cells


def unpacked_silhouettes(packed: npt.NDArray[np.uint8]) -> Flags:
    """Silhouettes as cells, bool [n, *SILHOUETTE].

    Args:
        packed: As in `SceneRecord` [n, b].
    """
    cells: Flags = np.unpackbits(packed, axis=1).astype(np.bool_).reshape(-1, *SILHOUETTE)
    return cells


def packed_silhouettes(cells: Flags | list[Flags]) -> npt.NDArray[np.uint8]:
    """Silhouettes, bool [n, *SILHOUETTE], as packed bits [n, b]."""
    flat = np.array(cells, np.bool_).reshape(len(cells), SILHOUETTE[0] * SILHOUETTE[1])
    return np.packbits(flat, axis=1)


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


def _touching_border(label: LabelMap, edges: Edges, near: Flags, frozen: Flags) -> Flags:
    """Which edges lead to void whose connected part reaches the picture's border.

    Args:
        label: Class ids [H, W].
        edges: The edges.
        near: Which of them lead to void [m].
        frozen: The void classes [num_classes].
    """
    if not near.any():
        return near
    parts, count = ndimage.label(frozen[label])
    reaches = np.zeros(count + 1, np.bool_)
    for line in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        reaches[line] = True
    reaches[0] = False
    touching: Flags = reaches[parts.ravel()[edges.outer]]
    return touching


def _sides_of(objects: Objects, edges: Edges, chosen: Flags, *, width: int) -> Sides:
    """The sides of each object's box at which a good part of some of its edges lie [n].

    An edge lies at the side to which its pixel is nearest, in units of the box; of two, at the
    lower or upper one.

    Args:
        objects: The objects.
        edges: Their edges.
        chosen: Which edges count [m].
        width: Of the map, in pixels.
    """
    owners, inner = edges.owners[chosen], edges.inner[chosen]
    top, left, bottom, right = objects.boxes[owners].astype(np.int64).T
    tall, wide = bottom - top, right - left
    # Twice the distances of pixel centres, times both lengths: whole numbers, so ties are exact.
    from_top = (2 * (inner // width - top) + 1) * wide
    from_left = (2 * (inner % width - left) + 1) * tall
    distances = np.stack(
        [2 * tall * wide - from_top, from_top, from_left, 2 * tall * wide - from_left]
    )
    count = len(objects.ids)
    nearest = distances.argmin(axis=0)
    found = np.bincount(owners * 4 + nearest, minlength=4 * count).reshape(count, 4)
    much = (found > 0) & (found >= SHARE * found.sum(axis=1, keepdims=True))
    sides: Sides = (much @ np.array([BOTTOM, TOP, LEFT, RIGHT])).astype(np.uint8)
    return sides


def _mirrored_sides(sides: Sides) -> Sides:
    """Sides with left and right exchanged."""
    left, right = (sides & LEFT) > 0, (sides & RIGHT) > 0
    mirrored: Sides = ((sides & (TOP | BOTTOM)) + LEFT * right + RIGHT * left).astype(np.uint8)
    return mirrored


def _at_border(objects: Objects, size: tuple[int, int]) -> Sides:
    """The sides at which objects reach the picture's border [n]."""
    height, width = size
    top, left = objects.boxes[:, 0] == 0, objects.boxes[:, 1] == 0
    bottom, right = objects.boxes[:, 2] == height, objects.boxes[:, 3] == width
    sides: Sides = (LEFT * left + RIGHT * right + TOP * top + BOTTOM * bottom).astype(np.uint8)
    return sides


def _at_length(objects: Objects, edges: Edges, chosen: Flags) -> Flags:
    """Those of the chosen edges whose object has many of them: an edge of over CUT*sqrt(area)."""
    lengths = np.bincount(edges.owners[chosen], minlength=len(objects.ids))
    return chosen & (lengths > CUT * np.sqrt(objects.areas))[edges.owners]


@dataclass(frozen=True, slots=True, eq=False)
class _Contacts:
    """Where objects touch, a row for each of two that do and each direction [p]."""

    one: npt.NDArray[np.intp]
    """The object, by position [p]."""
    other: npt.NDArray[np.intp]
    """The one it touches [p]."""
    lengths: npt.NDArray[np.intp]
    """Edges that they share [p]."""
    long: Flags
    """Whether these are more than TOUCH times the root of the smaller one's area [p]."""
    edges: npt.NDArray[np.intp]
    """The edges that lead from object to object [q]."""
    rows: npt.NDArray[np.intp]
    """The row of each of these edges [q]."""


def _contacts(
    objects: Objects, owners: npt.NDArray[np.intp], others: npt.NDArray[np.intp]
) -> _Contacts:
    """Find the objects that touch.

    Args:
        objects: The objects.
        owners: The object that each edge belongs to, by position [m].
        others: The object that it leads to; -1 for everything else [m].
    """
    count = len(objects.ids)
    between = np.flatnonzero(others >= 0)
    pairs, inverse, lengths = np.unique(
        owners[between] * count + others[between], return_inverse=True, return_counts=True
    )
    one, other = np.divmod(pairs, max(count, 1))
    smaller = np.minimum(objects.areas[one], objects.areas[other])
    return _Contacts(one, other, lengths, lengths > TOUCH * np.sqrt(smaller), between, inverse)


def _overlaps(
    objects: Objects, contacts: _Contacts, partners: npt.NDArray[np.intp], num_edges: int
) -> tuple[Flags, Flags, npt.NDArray[np.int16]]:
    """Which edges lead to a nearer object; which objects lie before another; companions.

    What is one with an object neither hides it nor is hidden by it.

    Returns:
        Flags of edges [m], flags of objects [n], classes of objects [n].
    """
    one, other, touching = contacts.one, contacts.other, contacts.long
    count, bottoms = len(objects.ids), objects.boxes[:, 2]
    nearer = np.zeros(num_edges, np.bool_)
    apart = touching & (partners[one] != other)
    nearer[contacts.edges] = (apart & (bottoms[other] > bottoms[one]))[contacts.rows]
    occluding = np.zeros(count, np.bool_)
    occluding[one[apart & (bottoms[other] <= bottoms[one])]] = True
    paired = np.zeros(count, np.bool_)
    paired[one[touching]] = True
    companions = np.full(count, -1, np.int16)
    longest = np.lexsort((-other, contacts.lengths))  # the last entry of each object wins
    companions[one[longest]] = objects.ids[other[longest]] // INSTANCES_PER_CLASS
    companions[~paired] = -1
    return nearer, occluding, companions


def _partners(objects: Objects, contacts: _Contacts, taxonomy: Taxonomy) -> npt.NDArray[np.intp]:
    """The object with which each one is one, by position; -1 where there is none [n].

    Of the pairs of classes that the taxonomy names, those with the longest shared edges are paired
    first, and each object at most once.
    """
    partners = np.full(len(objects.ids), -1, np.intp)
    ids = {c.name: c.id for c in taxonomy.classes}
    couples = np.zeros((taxonomy.num_classes, taxonomy.num_classes), np.bool_)
    for name, others in taxonomy.together.items():
        couples[ids[name], [ids[other] for other in others]] = True
    classes = objects.ids // INSTANCES_PER_CLASS
    fits = contacts.long & couples[classes[contacts.one], classes[contacts.other]]
    for row in np.flatnonzero(fits)[np.argsort(-contacts.lengths[fits], kind="stable")].tolist():
        one, other = contacts.one[row], contacts.other[row]
        if partners[one] < 0 and partners[other] < 0:
            partners[one], partners[other] = other, one
    return partners


def _within(boxes: npt.NDArray[np.int32], others: npt.NDArray[np.int32]) -> Flags:
    """Which boxes [m, 4] lie between the left and the right side of the other beside them [m]."""
    within: Flags = (boxes[:, 1] > others[:, 1]) & (boxes[:, 3] < others[:, 3])
    return within


def _obscured(
    scene: Scene,
    found: Contours,
    partners: npt.NDArray[np.intp],
    between: Flags,
    roles: ClassRoles,
) -> npt.NDArray[np.float32]:
    """The share of each object's contour that borders on what may hide more of it [n].

    Args:
        scene: The scene.
        found: Its objects and their edges.
        partners: The object with which each is one, by position [n].
        between: Which edges lead to what lies between two parts of their object [m].
        roles: The roles of its classes.
    """
    objects, edges = found.objects, found.edges
    count, width = len(objects.ids), scene.size[1]
    if not count:
        return np.zeros(0, np.float32)
    classes = objects.ids // INSTANCES_PER_CLASS
    label, ids = (m.ravel()[edges.outer] for m in (scene.label, scene.instance))
    lowest = objects.boxes[edges.owners, 2] - 1
    others = found.positions[ids]
    reaches = np.where(
        others >= 0, objects.boxes[others, 2] - 1, stuff_reaches(scene, roles, edges.outer)
    )
    reaches[(others >= 0) & (others == partners[edges.owners])] = -1
    hiding = reaches > lowest
    between = between & ((others < 0) | (others != partners[edges.owners]))
    hiding |= between
    # What lies right below its lowest part, and cannot carry it, stands before it.
    carried: Flags = np.any(roles.support, axis=1)[classes[edges.owners]]
    tall = objects.boxes[edges.owners, 2] - objects.boxes[edges.owners, 0]
    feet = ~edges.sideways & (edges.outer > edges.inner)
    feet &= edges.inner // width >= lowest - FEET * tall
    hiding |= (
        feet
        & carried
        & (others < 0)
        & roles.surface[label]
        & ~roles.upright[label]
        & ~roles.support[classes[edges.owners], label]
    )
    rim = _border_pixels(scene, objects)
    hidden = np.bincount(edges.owners[hiding], minlength=count) + rim
    hidden += GAP * np.bincount(edges.owners[between], minlength=count)
    total = np.bincount(edges.owners, minlength=count) + rim
    share = np.minimum(hidden / np.maximum(total, 1), 1)
    found_share: npt.NDArray[np.float32] = share.astype(np.float32)
    return found_share


def _border_pixels(scene: Scene, objects: Objects) -> npt.NDArray[np.intp]:
    """How many pixels of each object lie at the picture's border, counted once per side [n]."""
    ids = scene.instance
    border = np.concatenate([ids[0], ids[-1], ids[:, 0], ids[:, -1]])
    border = border[border >= INSTANCES_PER_CLASS]
    at = np.searchsorted(objects.ids, border)
    counted: npt.NDArray[np.intp] = np.bincount(at, minlength=len(objects.ids))
    return counted


def pieces_of(mask: Flags) -> int:
    """The number of a mask's 8-connected pieces."""
    pieces: int = ndimage.label(mask, structure=np.ones((3, 3), np.int8))[1]
    return pieces


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
