"""Recomposition: edit programs applied to scenes, as a pure function from scene to scene."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.editing.canvas import Canvas
from pipeline.editing.cutout import Cutout, Mask, OperationSkipped, cut_out
from pipeline.editing.object_state import ObjectKind, ObjectState
from pipeline.editing.operations import Donors, Editor, zoom
from pipeline.editing.picture import Picture
from pipeline.editing.program import CropZoom, MirrorScene, Operation, Program
from pipeline.errors import DatasetError
from pipeline.roles import class_roles
from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap, Scene
from pipeline.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened while a program ran, other than an operation done as asked."""

    kind: Literal["skipped", "hidden", "cropped", "removed_small", "kept_small"]
    """`skipped`: the operation was left out. `hidden`: edits covered the object completely.
    `cropped`: it lay outside the window that a crop kept. `removed_small`, `kept_small`: too little
    was left of it, and it was taken out, or could not be because the scene has no stuff to fill the
    hole with."""
    operation: int | None
    """Position in the program; None for what the end of the program caused."""
    instance: int | None
    """The object's id while the program ran."""
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
    origin: ObjectKind
    """`source`: no operation of the program was about it, though others may cover it; `edited`:
    moved, flipped, bent or made another class; `pasted`, `duplicated`."""
    donor: str | None = None
    """Of a pasted object: the scene it came from."""
    donor_instance: int | None = None
    source_instance: int | None = None
    """Of all others: its id in the source scene; of a duplicate, that of what it copies."""


@dataclass(frozen=True, slots=True, eq=False)
class Recomposed:
    """An edited scene and what became of it."""

    scene: Scene
    """The final maps, without photo, under the source's name."""
    framed: Scene
    """The source as the program mirrors and enlarges it, otherwise unedited; without photo."""
    changed: Mask
    """Where label or object differ from the framed source."""
    origin: npt.NDArray[np.uint16]
    """Which operation put a pixel there [H, W]: its position in the program, from 1; 0 for the
    source; one more than there are operations for objects taken out at the end."""
    instances: tuple[InstanceRecord, ...]
    """The single objects of the final maps, sorted by id."""
    log: tuple[Event, ...]
    picture: Picture | None = None
    """The photo as far as real pixels go; None for scenes without one."""
    placed: tuple[tuple[int, Cutout], ...] = ()
    """The objects that operations put, by final id, with their shapes where they are."""


def recompose(program: Program, source: Scene, donors: Donors, *, taxonomy: Taxonomy) -> Recomposed:
    """Apply a program to its source scene.

    Operations run in order. One that cannot be applied is skipped and logged. At the end, objects
    of which less can be seen than the program allows are taken out and logged, but only those that
    are new or that an edit made smaller: small objects of the source that nothing touched stay.
    Then the objects of each class are numbered through from 0, unless there are no operations.

    Args:
        program: The edits; coordinates in pixels of `source`.
        source: The scene to edit; its maps are not modified.
        donors: Finds the shapes of objects of other scenes, unedited, at the size of `source`.
        taxonomy: The taxonomy of all these scenes.

    Raises:
        DatasetError: The source or a donor is not what the program names.

    Example:
        A car (class 26) on a road (class 7) moves two columns to the right.

        >>> from pipeline.editing.program import Move
        >>> instance = np.full((3, 6), 7, np.int32)
        >>> instance[1, 1:3] = 26000
        >>> label = np.where(instance == 26000, 26, 7).astype(np.uint8)
        >>> program = Program(
        ...     scene="street", operations=(Move(instance=26000, rows=0, columns=2),)
        ... )
        >>> made = recompose(
        ...     program,
        ...     Scene("street", label, instance),
        ...     donors_from({}),
        ...     taxonomy=Taxonomy.load("cityscapes"),
        ... )
        >>> made.scene.label
        array([[ 7,  7,  7,  7,  7,  7],
               [ 7,  7,  7, 26, 26,  7],
               [ 7,  7,  7,  7,  7,  7]], dtype=uint8)
        >>> [(item.id, item.box, item.origin) for item in made.instances]
        [(26000, (1, 3, 2, 5), 'edited')]
    """
    if program.scene != source.name:
        raise DatasetError(f"the program edits scene {program.scene!r}, got {source.name!r}")
    protected = np.isin(taxonomy.class_names, program.protected)
    canvas = Canvas(source, roles=class_roles(taxonomy), protected=protected)
    editor = Editor(canvas, taxonomy=taxonomy, donors=donors)
    framed, log = _apply_operations(program.operations, source, editor)
    log += _remove_small(canvas, program)
    maps = canvas.maps
    numbers = _numbers(canvas.objects) if program.operations else {}
    return Recomposed(
        scene=replace(
            source, label=maps.label, instance=_renumber(maps.instance, numbers), photo=None
        ),
        framed=framed.without_photo(),
        changed=(maps.label != framed.label) | (maps.instance != framed.instance),
        origin=maps.origin,
        instances=_records(canvas, numbers, taxonomy),
        log=tuple(log),
        picture=None if source.photo is None else canvas.picture(),
        placed=tuple((numbers.get(i, i), shape) for i, shape in canvas.placed()),
    )


def edit(
    scene: Scene, operation: Operation, *, taxonomy: Taxonomy, donors: Donors | None = None
) -> Scene:
    """The scene after a single operation; ids stay as they are.

    Args:
        scene: The scene; its maps are not modified.
        operation: What to do.
        taxonomy: The taxonomy of the scene.
        donors: Finds the shapes of objects of other scenes; only needed by operations that have a
            donor.

    Raises:
        OperationSkipped: It cannot be applied to the scene.

    Example:
        >>> from pipeline.editing.program import RelabelRegion
        >>> label = np.array([[23, 21], [7, 7]], np.uint8)  # sky and trees above a road
        >>> scene = Scene("street", label, label.astype(np.int32))
        >>> to_building = RelabelRegion(of="vegetation", to="building")
        >>> edit(scene, to_building, taxonomy=Taxonomy.load("cityscapes")).label
        array([[23, 11],
               [ 7,  7]], dtype=uint8)
    """
    protected = np.zeros(taxonomy.num_classes, np.bool_)
    canvas = Canvas(scene, roles=class_roles(taxonomy), protected=protected)
    canvas.stamp = 1
    Editor(canvas, taxonomy=taxonomy, donors=donors or donors_from({})).apply(operation)
    return replace(scene, label=canvas.maps.label, instance=canvas.maps.instance, photo=None)


def donors_from(scenes: Mapping[str, Scene]) -> Donors:
    """Donors cut out of whole scenes, by name.

    The function raises OperationSkipped where a scene has no such object, and DatasetError where
    there is no such scene.
    """

    def find(name: str, instance: int) -> Cutout:
        if name not in scenes:
            raise DatasetError(f"donor scene {name!r} is not among the {len(scenes)} given")
        return cut_out(scenes[name].instance, instance)

    return find


def _apply_operations(
    operations: Sequence[Operation], source: Scene, editor: Editor
) -> tuple[Scene, list[Event]]:
    """Apply the operations in order; those that cannot be are skipped.

    Returns:
        The source as the program frames it, that is mirrored and enlarged, and what happened.
    """
    framed = source
    log: list[Event] = []
    for position, operation in enumerate(operations):
        editor.canvas.stamp = position + 1
        try:
            lost = editor.apply(operation)
        except OperationSkipped as skipped:
            instance = getattr(operation, "instance", None)
            log.append(Event("skipped", position, instance, str(skipped)))
            continue
        log.extend(Event("cropped", position, i, "outside the window") for i in lost)
        framed = _reframed(framed, operation)
    editor.canvas.stamp = len(operations) + 1
    return framed, log


def _reframed(scene: Scene, operation: Operation) -> Scene:
    """The scene as an operation mirrors or enlarges it; itself for all others."""
    if isinstance(operation, MirrorScene):
        return replace(scene, label=scene.label[:, ::-1], instance=scene.instance[:, ::-1])
    if isinstance(operation, CropZoom):
        rows, columns = zoom(operation, scene.size)
        at = rows[:, None], columns
        return replace(scene, label=scene.label[at], instance=scene.instance[at])
    return scene


def _remove_small(canvas: Canvas, program: Program) -> list[Event]:
    """Find the objects that edits hid, and take out those of which they left too little.

    What edits put comes first, the latest before the others: what it covers may be whole again.
    """
    log: list[Event] = []
    for instance in sorted(
        canvas.touched & canvas.objects.keys(), key=lambda i: (-canvas.objects[i].since, i)
    ):
        if instance not in canvas.objects:
            continue  # it went with another
        state = canvas.objects[instance]
        shape = canvas.visible(instance)
        if shape is None:
            log.append(Event("hidden", None, instance, "covered by the edits"))
            canvas.retire(instance)
            continue
        area = shape.area
        least = max(program.min_visible_area, program.min_visible_fraction * state.area)
        untouched = state.kind == "source" and area >= state.area
        if untouched or area >= least:
            continue
        reason = f"{area} of {state.area} px visible, fewer than {least:.4g}"
        log.append(_take_out(canvas, instance, reason))
        if instance not in canvas.objects:
            log += _remove_partners(canvas, instance, state)
    return log


def _take_out(canvas: Canvas, instance: int, reason: str) -> Event:
    """Remove an object of which too little is seen, or keep it where its hole cannot be filled."""
    try:
        with canvas.attempt():
            canvas.erase(instance)
            canvas.retire(instance)
    except OperationSkipped as skipped:
        return Event("kept_small", None, instance, f"{reason}; {skipped}")
    return Event("removed_small", None, instance, reason)


def _remove_partners(canvas: Canvas, instance: int, state: ObjectState) -> list[Event]:
    """Take out what an operation put as one with an object that is gone."""
    partners = [i for i, s in canvas.objects.items() if s.since == state.since > 0]
    reason = f"one with {instance}, which is gone"
    return [_take_out(canvas, partner, reason) for partner in sorted(partners)]


def _numbers(objects: Iterable[int]) -> dict[int, int]:
    """New ids for objects: those of each class numbered through from 0, in the same order."""
    numbers: dict[int, int] = {}
    counts: dict[int, int] = {}
    for instance in sorted(objects):
        class_id = instance // INSTANCES_PER_CLASS
        rank = counts.get(class_id, 0)
        counts[class_id] = rank + 1
        numbers[instance] = class_id * INSTANCES_PER_CLASS + rank
    return numbers


def _renumber(instances: InstanceMap, numbers: Mapping[int, int]) -> InstanceMap:
    if all(old == new for old, new in numbers.items()):
        return instances
    table = np.arange(max(int(instances.max()), *numbers) + 1, dtype=np.int32)
    table[list(numbers)] = list(numbers.values())
    renumbered: InstanceMap = table.take(instances)
    return renumbered


def _records(
    canvas: Canvas, numbers: Mapping[int, int], taxonomy: Taxonomy
) -> tuple[InstanceRecord, ...]:
    names = taxonomy.class_names
    records = []
    for instance, state in sorted(canvas.objects.items()):
        box, area = state.box, state.area
        if instance in canvas.touched:
            shape = canvas.outline(instance)
            box, area = shape.box, shape.area
        class_id = instance // INSTANCES_PER_CLASS
        records.append(
            InstanceRecord(
                id=numbers.get(instance, instance),
                class_id=class_id,
                class_name=names[class_id],
                box=box,
                area=area,
                visible_fraction=area / state.area,
                origin=state.kind,
                donor=state.donor,
                donor_instance=state.donor_instance,
                source_instance=state.source_instance,
            )
        )
    return tuple(records)
