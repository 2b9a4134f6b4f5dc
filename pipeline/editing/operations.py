"""What each operation of a program does to a canvas."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import singledispatch

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.editing.canvas import Canvas
from pipeline.editing.cutout import (
    Cutout,
    OperationSkipped,
    bend,
    joint_box,
    place_together,
    stand_in,
)
from pipeline.editing.object_state import ObjectKind, ObjectState
from pipeline.editing.program import (
    ChangeClass,
    CropZoom,
    Drop,
    Duplicate,
    Flip,
    GrowRegion,
    Jitter,
    MirrorScene,
    Move,
    Operation,
    Paste,
    RelabelRegion,
    Replace,
    Rescale,
    Skyline,
)
from pipeline.editing.regions import LOW_CLASSES, grown_region, redraw_skyline, relabel_region
from pipeline.rng import sample_generator
from pipeline.roles import ClassRoles
from pipeline.scene import INSTANCES_PER_CLASS
from pipeline.taxonomy import Taxonomy

Donors = Callable[[str, int], Cutout]
"""The shape of an object, given the name of its scene and its id there."""


Edited = Drop | Move | Rescale | Flip | Duplicate | Replace
"""The operations about an object and what goes with it."""


class Editor:
    """Applies operations to a canvas.

    Args:
        canvas: The scene being edited.
        taxonomy: Of the scene.
        donors: Finds the shapes of objects of other scenes, at the size of this one.
    """

    def __init__(self, canvas: Canvas, *, taxonomy: Taxonomy, donors: Donors) -> None:
        self.canvas = canvas
        self.donors = donors
        self._ids = {c.name: c.id for c in taxonomy.classes}

    def apply(self, operation: Operation) -> list[int]:
        """Apply one operation.

        Returns:
            The ids of objects that left the picture with it.

        Raises:
            OperationSkipped: It cannot be applied to the scene as it is; nothing has changed.
        """
        with self.canvas.attempt():
            return _apply(operation, self) or []

    def class_id(self, name: str) -> int:
        """The id of a class.

        Raises:
            OperationSkipped: The taxonomy has no such class.
        """
        if name not in self._ids:
            raise OperationSkipped(f"the taxonomy has no class {name!r}")
        return self._ids[name]

    def thing(self, name: str) -> int:
        """The id of a thing class.

        Raises:
            OperationSkipped: The taxonomy has no such class, or it is not one of things.
        """
        class_id = self.class_id(name)
        if _is_stuff(self.canvas.roles, class_id) or self.canvas.roles.frozen[class_id]:
            raise OperationSkipped(f"{name!r} is not a class of things")
        return class_id

    def stuff(self, name: str, *, grows: bool) -> int:
        """The id of a class of stuff that may be edited and, if it grows, is not protected.

        Raises:
            OperationSkipped: The taxonomy has no such class, or it may not be edited so.
        """
        class_id = self.class_id(name)
        if not _is_stuff(self.canvas.roles, class_id):
            raise OperationSkipped(f"{name!r} is not a class of stuff that can be edited")
        if self.canvas.protected[class_id]:
            raise OperationSkipped(f"{name!r} is protected{' and must not grow' if grows else ''}")
        return class_id

    def editable(self, instance: int) -> ObjectState:
        """The state of an object that an operation is to edit.

        Raises:
            OperationSkipped: There is no such object, or its class is protected.
        """
        state = self.canvas.objects.get(instance)
        if state is None:
            raise OperationSkipped(f"the scene has no object {instance}")
        if self.canvas.protected[instance // INSTANCES_PER_CLASS]:
            raise OperationSkipped(f"object {instance} is of a protected class")
        return state

    def shapes(self, operation: Edited) -> list[Cutout]:
        """The shapes of the object that an operation is to edit, and of those that go with it.

        Raises:
            OperationSkipped: There is no such object, or its class is protected.
        """
        for instance in _edited_ids(operation):
            self.editable(instance)
        return [self.canvas.shape(instance) for instance in _edited_ids(operation)]

    def donor_shapes(self, operation: Paste | Replace) -> list[Cutout]:
        """The shapes of the donor of an operation, and of those that come along."""
        ids = (operation.donor_instance, *operation.donor_along)
        return [self.donors(operation.donor, instance) for instance in ids]

    def reshape(self, operation: Edited, shapes: Sequence[Cutout]) -> None:
        """Take the objects of an operation out and put other shapes of them in."""
        ids = _edited_ids(operation)
        states = [self.editable(instance) for instance in ids]
        for instance in ids:
            self.canvas.erase(instance)
        for instance, state, shape in zip(ids, states, shapes, strict=True):
            self.canvas.put(shape, instance, replace(state, kind=_edited(state)))

    def remove(self, operation: Drop | Replace) -> None:
        """Take the objects of an operation out for good."""
        for instance in _edited_ids(operation):
            self.editable(instance)
        for instance in _edited_ids(operation):
            self.canvas.erase(instance)
            self.canvas.retire(instance)


def _edited_ids(operation: Edited) -> tuple[int, ...]:
    return (operation.instance, *operation.along)


def _edited(state: ObjectState) -> ObjectKind:
    return "edited" if state.kind == "source" else state.kind


def _is_stuff(roles: ClassRoles, class_id: int) -> bool:
    return bool(roles.surface[class_id])


@singledispatch
def _apply(operation: Operation, editor: Editor) -> list[int] | None:
    raise NotImplementedError(type(operation))


@_apply.register
def _(operation: MirrorScene, editor: Editor) -> None:
    editor.canvas.mirror()


@_apply.register
def _(operation: CropZoom, editor: Editor) -> list[int]:
    height, width = editor.canvas.size
    if operation.top + operation.height > height or operation.left + operation.width > width:
        raise OperationSkipped("the window reaches out of the picture")
    rows, columns = zoom(operation, editor.canvas.size)
    return editor.canvas.take(rows, columns)


def zoom(
    operation: CropZoom, size: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The row and the column that each row and column of the enlarged picture shows."""
    (height, width), window = size, (operation.height, operation.width)
    rows = operation.top + (2 * np.arange(height) + 1) * window[0] // (2 * height)
    columns = operation.left + (2 * np.arange(width) + 1) * window[1] // (2 * width)
    return rows, columns


@_apply.register
def _(operation: Drop, editor: Editor) -> None:
    editor.remove(operation)


@_apply.register
def _(operation: Move, editor: Editor) -> None:
    shapes = editor.shapes(operation)
    row, column = (
        joint_box(shapes)[2] - 1 + operation.rows,
        joint_box(shapes)[1] + operation.columns,
    )
    editor.reshape(operation, place_together(shapes, row=row, column=column, scale=1.0, flip=False))


@_apply.register
def _(operation: Rescale, editor: Editor) -> None:
    at = {"row": operation.row, "column": operation.column}
    shapes = place_together(editor.shapes(operation), **at, scale=operation.scale, flip=False)
    editor.reshape(operation, shapes)


@_apply.register
def _(operation: Flip, editor: Editor) -> None:
    shapes = editor.shapes(operation)
    _, left, bottom, _ = joint_box(shapes)
    at = {"row": bottom - 1, "column": left}
    editor.reshape(operation, place_together(shapes, **at, scale=1.0, flip=True))


@_apply.register
def _(operation: Jitter, editor: Editor) -> None:
    state, shape = editor.editable(operation.instance), editor.canvas.shape(operation.instance)
    bent = bend(shape, amplitude=operation.amplitude, rng=sample_generator(operation.seed, 0))
    editor.canvas.erase(operation.instance)
    editor.canvas.put(bent, operation.instance, replace(state, kind=_edited(state)))


@_apply.register
def _(operation: Duplicate, editor: Editor) -> None:
    at = {"row": operation.row, "column": operation.column}
    shapes = editor.shapes(operation)
    placed = place_together(shapes, **at, scale=operation.scale, flip=operation.flip)
    for instance, shape in zip(_edited_ids(operation), placed, strict=True):
        state = editor.editable(instance)
        kind: ObjectKind = "pasted" if state.kind == "pasted" else "duplicated"
        new = editor.canvas.free_id(instance // INSTANCES_PER_CLASS)
        editor.canvas.put(shape, new, replace(state, kind=kind))


@_apply.register
def _(operation: Paste, editor: Editor) -> None:
    at = {"row": operation.row, "column": operation.column}
    shapes = editor.donor_shapes(operation)
    _paste(
        operation,
        editor,
        place_together(shapes, **at, scale=operation.scale, flip=operation.flip),
    )


@_apply.register
def _(operation: Replace, editor: Editor) -> None:
    there = joint_box([editor.canvas.outline(i) for i in _edited_ids(operation)])
    shapes = editor.donor_shapes(operation)
    placed = stand_in(shapes, for_box=there, scale=operation.scale, flip=operation.flip)
    editor.remove(operation)
    _paste(operation, editor, placed)


def _paste(operation: Paste | Replace, editor: Editor, shapes: Sequence[Cutout]) -> None:
    donors = (operation.donor_instance, *operation.donor_along)
    for donor, shape in zip(donors, shapes, strict=True):
        class_id = donor // INSTANCES_PER_CLASS
        if editor.canvas.protected[class_id]:
            raise OperationSkipped(f"object {donor} is of a protected class")
        state = ObjectState(
            box=shape.box,
            area=shape.area,
            kind="pasted",
            donor=operation.donor,
            donor_instance=donor,
        )
        editor.canvas.put(shape, editor.canvas.free_id(class_id), state)


@_apply.register
def _(operation: ChangeClass, editor: Editor) -> None:
    state = editor.editable(operation.instance)
    class_id = editor.thing(operation.to)
    if editor.canvas.protected[class_id]:
        raise OperationSkipped(f"{operation.to!r} is protected and must not grow")
    if class_id == operation.instance // INSTANCES_PER_CLASS:
        raise OperationSkipped(f"object {operation.instance} is a {operation.to} already")
    new = editor.canvas.free_id(class_id)
    editor.canvas.rename(operation.instance, new, replace(state, kind=_edited(state)))


@_apply.register
def _(operation: RelabelRegion, editor: Editor) -> None:
    canvas = editor.canvas
    of, to = editor.stuff(operation.of, grows=False), editor.stuff(operation.to, grows=True)
    region = canvas.maps.label == of
    if operation.at is not None:
        row, column = operation.at
        height, width = canvas.size
        if not (0 <= row < height and 0 <= column < width and region[row, column]):
            raise OperationSkipped(f"there is no {operation.of} at row {row}, column {column}")
        parts, _ = ndimage.label(region, structure=np.ones((3, 3), np.int8))
        region = parts == parts[row, column]
    if not region.any():
        raise OperationSkipped(f"the scene has no {operation.of}")
    relabel_region(canvas, region, to, seed=operation.seed, low=operation.to in LOW_CLASSES)


@_apply.register
def _(operation: GrowRegion, editor: Editor) -> None:
    canvas = editor.canvas
    of, into = editor.stuff(operation.of, grows=True), editor.stuff(operation.into, grows=False)
    grown = grown_region(canvas, of, into, pixels=operation.pixels, seed=operation.seed)
    if not grown.any():
        raise OperationSkipped(f"no {operation.of} is near {operation.into}")
    canvas.relabel(grown, of)


@_apply.register
def _(operation: Skyline, editor: Editor) -> None:
    canvas = editor.canvas
    upper, lower = (editor.stuff(name, grows=True) for name in (operation.upper, operation.lower))
    width = canvas.size[1]
    knots = np.linspace(0, width - 1, len(operation.rows))
    wanted = np.interp(np.arange(width), knots, operation.rows)
    if not redraw_skyline(canvas, upper, lower, wanted, seed=operation.seed):
        raise OperationSkipped(f"no {operation.upper} meets {operation.lower} at another row")
