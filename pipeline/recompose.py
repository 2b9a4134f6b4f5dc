"""Recomposition: edit programs applied to scenes, as pure functions from scene to scene."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

import numpy as np
import numpy.typing as npt

from pipeline.errors import DatasetError
from pipeline.holes import fill_hole
from pipeline.program import Drop, MirrorScene, Move, Operation, Paste, Program
from pipeline.roles import ClassRoles, class_roles
from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap, Scene, instances_of
from pipeline.taxonomy import Taxonomy

Mask = npt.NDArray[np.bool_]
Donors = Callable[[str], Scene] | Mapping[str, Scene]
Origin = Literal["source", "moved", "pasted"]


class OperationSkipped(Exception):
    """An operation cannot be applied to the scene as it is; its text says why."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened while a program ran, other than an operation done as asked."""

    kind: Literal["skipped", "hidden", "removed_small", "kept_small"]
    """`skipped`: the operation was left out. `hidden`: edits covered the object completely.
    `removed_small`, `kept_small`: too little was left of it, and it was taken out, or could not
    be because the scene has no stuff to fill the hole with."""
    operation: int | None
    """Position in the program; None for what the end of the program caused."""
    instance: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One object of an edited scene, measured on its final maps."""

    id: int
    class_id: int
    class_name: str
    box: tuple[int, int, int, int]
    """Top, left, bottom, right in pixels; bottom and right are exclusive."""
    area: int
    """Visible pixels."""
    visible_fraction: float
    """Visible pixels over those of the object's full mask, in 0..1.

    The full mask of a source object is what the source scene shows of it; of a pasted one, its
    scaled donor mask, with what fell outside the picture or behind others."""
    origin: Origin
    donor: str | None = None
    """Of a pasted object: the scene it came from."""
    donor_instance: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Recomposed:
    """An edited scene and what became of it."""

    scene: Scene
    """The final maps, without photo, under the source's name."""
    changed: Mask
    """Where label or instance differ from the source (mirrored if the program mirrors it)."""
    instances: tuple[InstanceRecord, ...]
    """The single objects of the final maps, sorted by id."""
    log: tuple[Event, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """An object's shape: the tight mask of its pixels and where it lies (may be off the map)."""

    top: int
    left: int
    mask: Mask

    @property
    def contact_row(self) -> int:
        """The object's lowest row."""
        rows: int = self.mask.shape[0]
        return self.top + rows - 1


@dataclass(frozen=True, slots=True)
class _Origin:
    full_area: int
    kind: Origin = "source"
    donor: str | None = None
    donor_instance: int | None = None


def recompose(program: Program, source: Scene, donors: Donors, *, taxonomy: Taxonomy) -> Recomposed:
    """Apply a program to its source scene.

    Operations run in order. One that cannot be applied is skipped and logged. At the end, objects
    with fewer than `min_visible_area` pixels are taken out and logged, but only those that are
    new or that an edit made smaller: small objects of the source that nothing touched stay.

    Args:
        program: The edits; coordinates in pixels of `source`.
        source: The scene to edit; its maps are not modified.
        donors: Scenes by name, unedited, at the size of `source`; a mapping or a function.
        taxonomy: The taxonomy of all these scenes.

    Raises:
        DatasetError: The source or a donor is not the scene that the program names.
    """
    if program.scene != source.name:
        raise DatasetError(f"the program edits scene {program.scene!r}, got {source.name!r}")
    roles = class_roles(taxonomy)
    base = scene = source.without_photo()
    known = {i.id: _Origin(i.area) for i in instances_of(source.instance)}
    dropped: set[int] = set()
    log: list[Event] = []
    for position, operation in enumerate(program.operations):
        try:
            scene, base = _apply(operation, scene, base, donors, roles, known, dropped)
        except OperationSkipped as skipped:
            instance = operation.instance if isinstance(operation, Drop | Move) else None
            log.append(Event("skipped", position, instance, str(skipped)))
    found = instances_of(scene.instance)
    areas = {i.id: i.area for i in found}
    tidied = _remove_small(scene, areas, known, dropped, program.min_visible_area, roles, log)
    if tidied is not scene:
        scene, found = tidied, instances_of(tidied.instance)
    records = tuple(
        InstanceRecord(
            id=i.id,
            class_id=i.class_id,
            class_name=taxonomy.classes[i.class_id].name,
            box=i.box,
            area=i.area,
            visible_fraction=i.area / known[i.id].full_area,
            origin=known[i.id].kind,
            donor=known[i.id].donor,
            donor_instance=known[i.id].donor_instance,
        )
        for i in found
    )
    changed = (scene.label != base.label) | (scene.instance != base.instance)
    return Recomposed(scene=scene, changed=changed, instances=records, log=tuple(log))


def _apply(
    operation: Operation,
    scene: Scene,
    base: Scene,
    donors: Donors,
    roles: ClassRoles,
    known: dict[int, _Origin],
    dropped: set[int],
) -> tuple[Scene, Scene]:
    """Apply one operation, book it in `known` and `dropped`, and return scene and source."""
    match operation:
        case MirrorScene():
            return mirror(scene), mirror(base)
        case Drop(instance=instance):
            scene = drop(scene, instance, roles=roles)
            dropped.add(instance)
        case Move(instance=instance, rows=rows, columns=columns):
            scene = move(scene, instance, rows=rows, columns=columns, roles=roles)
            if known[instance].kind == "source":
                known[instance] = replace(known[instance], kind="moved")
        case Paste():
            donor = _donor(donors, operation.donor)
            shape = place(
                cut_out(donor.instance, operation.donor_instance),
                row=operation.row,
                column=operation.column,
                scale=operation.scale,
                flip=operation.flip,
            )
            class_id = operation.donor_instance // INSTANCES_PER_CLASS
            new_id = free_id(class_id, known)
            scene = paste(scene, shape, new_id, roles=roles)
            known[new_id] = _Origin(
                int(np.count_nonzero(shape.mask)),
                "pasted",
                operation.donor,
                operation.donor_instance,
            )
    return scene, base


def _donor(donors: Donors, name: str) -> Scene:
    if not isinstance(donors, Mapping):
        return donors(name)
    if name not in donors:
        raise DatasetError(f"donor scene {name!r} is not among the {len(donors)} given")
    return donors[name]


def mirror(scene: Scene) -> Scene:
    """The scene's maps, left to right."""
    return replace(
        scene,
        label=np.ascontiguousarray(scene.label[:, ::-1]),
        instance=np.ascontiguousarray(scene.instance[:, ::-1]),
        photo=None,
    )


def drop(scene: Scene, instance: int, *, roles: ClassRoles) -> Scene:
    """The scene without one object; stuff from around it fills the hole.

    Raises:
        OperationSkipped: There is no such object, or no stuff to fill the hole with.
    """
    hole = scene.instance == instance
    if not hole.any():
        _skip_missing(instance)
    label = fill_hole(scene.label, hole, surface=roles.surface)
    if label is None:
        raise OperationSkipped("the scene has no stuff to fill the hole with")
    ids = scene.instance.copy()
    ids[hole] = label[hole]
    return replace(scene, label=label, instance=ids, photo=None)


def move(scene: Scene, instance: int, *, rows: int, columns: int, roles: ClassRoles) -> Scene:
    """The scene with one object shifted by whole pixels.

    Raises:
        OperationSkipped: There is no such object, no stuff to fill the hole with, or nothing of
            the object would be seen at its new place.
    """
    shape = cut_out(scene.instance, instance)
    shifted = replace(shape, top=shape.top + rows, left=shape.left + columns)
    return paste(drop(scene, instance, roles=roles), shifted, instance, roles=roles)


def paste(scene: Scene, shape: Cutout, instance: int, *, roles: ClassRoles) -> Scene:
    """The scene with an object put into it.

    The lower edge decides what is in front: the object covers surfaces, and the objects and
    crowds that do not reach below its contact row. Frozen void stays on top.

    Raises:
        OperationSkipped: Nothing of the object would be seen.
    """
    height, width = scene.size
    rows, columns = shape.mask.shape
    top, left = max(shape.top, 0), max(shape.left, 0)
    bottom, right = min(shape.top + rows, height), min(shape.left + columns, width)
    if top >= bottom or left >= right:
        raise OperationSkipped("the object would lie outside the picture")
    box = (slice(top, bottom), slice(left, right))
    mask = shape.mask[top - shape.top : bottom - shape.top, left - shape.left : right - shape.left]
    below = scene.instance[shape.contact_row + 1 :]
    in_front = np.zeros(int(scene.instance.max()) + 1, np.bool_)
    in_front[below] = True
    frozen, surface = roles.frozen[scene.label[box]], roles.surface[scene.label[box]]
    visible = mask & ~frozen & (surface | ~in_front[scene.instance[box]])
    if not visible.any():
        raise OperationSkipped("the object would be hidden")
    label, ids = scene.label.copy(), scene.instance.copy()
    label[box][visible] = instance // INSTANCES_PER_CLASS
    ids[box][visible] = instance
    return replace(scene, label=label, instance=ids, photo=None)


def cut_out(instances: InstanceMap, instance: int) -> Cutout:
    """The visible shape of an object.

    Raises:
        OperationSkipped: There is no such object.
    """
    mask = instances == instance
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        _skip_missing(instance)
    top, left = int(rows[0]), int(columns[0])
    return Cutout(top, left, mask[top : rows[-1] + 1, left : columns[-1] + 1])


def place(shape: Cutout, *, row: int, column: int, scale: float, flip: bool) -> Cutout:
    """A shape scaled, mirrored if asked, and laid so that it stands on `row` from `column` on.

    Raises:
        OperationSkipped: Nothing is left of the shape at that scale.
    """
    mask = shape.mask[:, ::-1] if flip else shape.mask
    if scale != 1.0:
        rows, columns = (_nearest(length, scale) for length in mask.shape)
        mask = mask[rows[:, None], columns]
        used_rows, used_columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        if not len(used_rows):
            raise OperationSkipped(f"nothing is left of the object at scale {scale:g}")
        mask = mask[used_rows[0] : used_rows[-1] + 1, used_columns[0] : used_columns[-1] + 1]
    return Cutout(row - mask.shape[0] + 1, column, mask)


def _nearest(length: int, scale: float) -> npt.NDArray[np.intp]:
    """The source index of each pixel of a scaled axis, sampled at pixel centres."""
    scaled = max(1, round(length * scale))
    return (2 * np.arange(scaled) + 1) * length // (2 * scaled)


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


def _remove_small(
    scene: Scene,
    areas: Mapping[int, int],
    known: Mapping[int, _Origin],
    dropped: Collection[int],
    min_visible_area: int,
    roles: ClassRoles,
    log: list[Event],
) -> Scene:
    """Log the objects that edits hid, and take out those of which they left too little."""
    for instance, origin in sorted(known.items()):
        area = areas.get(instance, 0)
        if area == 0:
            if instance not in dropped:
                log.append(Event("hidden", None, instance, "covered by the edits"))
            continue
        touched = origin.kind == "pasted" or area < origin.full_area
        if not touched or area >= min_visible_area:
            continue
        reason = f"{area} px visible, fewer than {min_visible_area}"
        try:
            scene = drop(scene, instance, roles=roles)
        except OperationSkipped as skipped:
            log.append(Event("kept_small", None, instance, f"{reason}; {skipped}"))
        else:
            log.append(Event("removed_small", None, instance, reason))
    return scene


def _skip_missing(instance: int) -> NoReturn:
    raise OperationSkipped(f"the scene has no object {instance}")
