"""The canvas: the maps of a scene while a program edits them, and what is known of each object.

Everything works inside the boxes of objects; nothing scans the whole picture but opening it.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.editing.boxes import Box, common, part_in, slices
from pipeline.editing.cutout import Cutout, Mask, OperationSkipped, tight
from pipeline.editing.holes import fill_hole
from pipeline.roles import ClassRoles
from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap, LabelMap, Scene

Origin = Literal["source", "edited", "pasted", "duplicated"]

ValueT = TypeVar("ValueT")

ALWAYS_IN_FRONT = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an object, whether or not it can still be seen."""

    box: Box
    """Of all of it, also of what is hidden; it may reach out of the picture."""
    area: int
    """Pixels of all of it."""
    kind: Origin = "source"
    donor: str | None = None
    """The scene it was pasted from."""
    donor_instance: int | None = None
    source_instance: int | None = None
    """The id, in the source scene, of what it is or was copied from."""
    since: int = 0
    """The stamp of the operation that put it where it is."""


@dataclass(frozen=True, slots=True, eq=False)
class _Behind:
    """The maps as they were where an object was put, and when that was."""

    box: Box
    label: LabelMap
    instance: InstanceMap
    origin: npt.NDArray[np.uint16]
    since: int


@dataclass(slots=True, eq=False)
class Canvas:
    """A scene being edited: its maps, changed in place, and its objects.

    Only boxes that were written to differ from the source. An operation either happens as a whole
    or raises OperationSkipped inside `attempt`, which undoes its beginnings.
    """

    label: LabelMap
    """Class ids [H, W]."""
    instance: InstanceMap
    """Instance ids, int32 [H, W]."""
    origin: npt.NDArray[np.uint16]
    """Which operation put a pixel there: its position in the program, from 1; 0 for the source."""
    roles: ClassRoles
    protected: npt.NDArray[np.bool_]
    """Classes that never grow and whose objects are not edited [num_classes]."""
    known: dict[int, Known]
    gone: set[int] = field(default_factory=set)
    """Ids of objects that operations took out; they are not given to others."""
    touched: set[int] = field(default_factory=set)
    """Ids of objects of which operations covered, uncovered or put pixels."""
    stamp: int = 0
    """What `origin` gets from the operation that runs."""
    _contact: npt.NDArray[np.int32] = field(init=False)
    """Per value of the instance map: the lowest row of what carries it; -1 for stuff."""
    _behind: dict[int, _Behind] = field(default_factory=dict)
    _shapes: dict[int, Cutout] = field(default_factory=dict)
    """The whole shapes of objects that operations put where they are."""
    _journal: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    def open(cls, scene: Scene, *, roles: ClassRoles, protected: npt.NDArray[np.bool_]) -> "Canvas":
        """A canvas that holds copies of a scene's maps.

        Args:
            scene: The scene.
            roles: Of the classes of its taxonomy.
            protected: Which classes are not edited, bool [num_classes].
        """
        canvas = cls(
            label=scene.label.copy(),
            instance=scene.instance.copy(),
            origin=np.zeros(scene.size, np.uint16),
            roles=roles,
            protected=protected,
            known={},
        )
        canvas._measure_all()
        canvas.known = {
            instance: replace(known, source_instance=instance)
            for instance, known in canvas.known.items()
        }
        return canvas

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.label.shape
        return height, width

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Undo what is done inside if it ends with OperationSkipped, which goes on to the caller.

        Not for what replaces the maps as a whole: that cannot fail half-way.
        """
        self._journal.clear()
        try:
            yield
        except OperationSkipped:
            for undo in reversed(self._journal):
                undo()
            raise

    def visible(self, instance: int) -> Cutout | None:
        """The pixels of an object that can be seen; None if there are none."""
        if instance not in self.known:
            return None
        top, left, bottom, right = self._inside(self.known[instance].box)
        mask = self.instance[top:bottom, left:right] == instance
        return tight(mask, top=top, left=left)

    def shape(self, instance: int) -> Cutout:
        """The visible shape of an object.

        Raises:
            OperationSkipped: There is no such object, or nothing of it can be seen.
        """
        shape = self.visible(instance)
        if shape is None:
            raise OperationSkipped(f"the scene has no object {instance}")
        return shape

    def free_id(self, class_id: int) -> int:
        """The lowest instance id of a class that no object has or had.

        Raises:
            OperationSkipped: The class has all its objects already.
        """
        return free_id(class_id, self.known.keys() | self.gone)

    def erase(self, instance: int) -> None:
        """Take an object out of the maps.

        Where an operation had put it, what it covered comes back; elsewhere, and where that is
        gone itself, stuff from around fills the hole. Objects that operations put behind it show
        what it hid of them. What is known of the object stays.

        Raises:
            OperationSkipped: Nothing of it can be seen, or there is no stuff to fill the hole with.
        """
        shape = self.shape(instance)
        box, hole = shape.box, shape.mask.copy()
        window = slices(box)
        label, ids = self.label[window].copy(), self.instance[window].copy()
        origin = self.origin[window].copy()
        origin[hole] = self.stamp
        behind = self._behind.get(instance)
        if behind is not None:
            there = slices(box, within=behind.box)
            back = hole & self._still_there(behind.instance[there], behind.since)
            label[back] = behind.label[there][back]
            ids[back] = behind.instance[there][back]
            origin[back] = behind.origin[there][back]
            hole &= ~back
        if hole.any():
            self._write(box, label, ids, origin)  # so that the filling sees what came back
            filled = self._behind_hole(box, hole)
            label, ids = label.copy(), ids.copy()
            label[hole] = filled[hole]
            ids[hole] = filled[hole]
        self._uncover(instance, shape, label, ids, origin)
        self._write(box, label, ids, origin)
        self._book(instance, self.known[instance], behind=None, shape=None)

    def put(self, shape: Cutout, instance: int, known: Known) -> None:
        """Put an object into the maps.

        The lower edge decides what is in front: the object covers surfaces, and the objects,
        crowds, poles and signs that do not reach below its contact row. Frozen void stays on top.

        Args:
            shape: Its whole shape.
            instance: Its id.
            known: What is known of it; box, area and stamp are filled in.

        Raises:
            OperationSkipped: Nothing of the object would be seen.
        """
        top, left, bottom, right = box = self._inside(shape.box)
        if top >= bottom or left >= right:
            raise OperationSkipped("the object would lie outside the picture")
        mask = shape.mask[slices(box, within=shape.box)]
        window = slices(box)
        label, ids = self.label[window].copy(), self.instance[window].copy()
        origin = self.origin[window].copy()
        visible = mask & (self._contact[ids] <= shape.contact_row)
        visible &= ~self._nearer_upright(box, shape.contact_row)
        if not visible.any():
            raise OperationSkipped("the object would be hidden")
        behind = _Behind(box, label.copy(), ids.copy(), origin.copy(), self.stamp)
        label[visible] = instance // INSTANCES_PER_CLASS
        ids[visible] = instance
        origin[visible] = self.stamp
        self._write(box, label, ids, origin)
        known = replace(known, box=shape.box, area=shape.area, since=self.stamp)
        self._book(instance, known, behind=behind, shape=shape)

    def rename(self, instance: int, new: int, known: Known) -> None:
        """Give an object another id, of whatever class, and keep its pixels.

        Raises:
            OperationSkipped: Nothing of it can be seen.
        """
        shape = self.shape(instance)
        window = slices(shape.box)
        label, ids = self.label[window].copy(), self.instance[window].copy()
        origin = self.origin[window].copy()
        label[shape.mask] = new // INSTANCES_PER_CLASS
        ids[shape.mask] = new
        origin[shape.mask] = self.stamp
        self._write(shape.box, label, ids, origin)
        self._book(
            new,
            known,
            behind=self._behind.get(instance),
            shape=self._shapes.get(instance),
        )
        self.retire(instance)
        # What was put over it remembers it under its old id.
        before = dict(self._behind)
        for other, behind in before.items():
            if (covered := behind.instance == instance).any():
                label, ids = behind.label.copy(), behind.instance.copy()
                label[covered], ids[covered] = new // INSTANCES_PER_CLASS, new
                self._behind[other] = replace(behind, label=label, instance=ids)
        self._journal.append(lambda: self._restore_behind(before))

    def retire(self, instance: int) -> None:
        """Forget an object that was erased; its id stays taken."""
        known = self.known.pop(instance)
        shape = self._shapes.pop(instance, None)
        self.gone.add(instance)

        def undo() -> None:
            self.known[instance] = known
            _set(self._shapes, instance, shape)
            self.gone.discard(instance)

        self._journal.append(undo)

    def relabel(self, mask: Mask, class_id: int) -> None:
        """Make pixels stuff of one class.

        Args:
            mask: Which pixels, bool [H, W].
            class_id: A stuff class.
        """
        self.label[mask] = class_id
        self.instance[mask] = class_id
        self.origin[mask] = self.stamp
        self._behind.clear()  # what comes back from behind an object would be of before

    def mirror(self) -> None:
        """Mirror everything left to right."""
        width = self.size[1]
        self.label = np.ascontiguousarray(self.label[:, ::-1])
        self.instance = np.ascontiguousarray(self.instance[:, ::-1])
        self.origin = np.ascontiguousarray(self.origin[:, ::-1])
        self._behind.clear()
        for instance, known in self.known.items():
            top, left, bottom, right = known.box
            self.known[instance] = replace(known, box=(top, width - right, bottom, width - left))
        for instance, shape in self._shapes.items():
            left = width - shape.left - shape.mask.shape[1]
            self._shapes[instance] = Cutout(shape.top, left, shape.mask[:, ::-1])

    def take(self, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> list[int]:
        """Rebuild the picture from some of its rows and columns, in the order given.

        What the picture no longer shows of an object does not count as hidden: its whole area is
        from then on the part of it that lies in the picture.

        Returns:
            The ids of objects that can no longer be seen, but could be before.
        """
        before, shown = self.known, set(np.unique(self.instance).tolist())
        window = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        self.label = self.label[rows[:, None], columns]
        self.instance = self.instance[rows[:, None], columns]
        self.origin = self.origin[rows[:, None], columns]
        self._behind.clear()
        self._shapes.clear()
        height, width = self.size
        growth = height * width / ((window[2] - window[0]) * (window[3] - window[1]))
        self._measure_all()
        for instance, seen in self.known.items():
            old = before[instance]
            area = max(round(old.area * part_in(old.box, window) * growth), seen.area)
            self.known[instance] = replace(old, box=seen.box, area=area)
        lost = before.keys() - self.known.keys()
        self.gone.update(lost)
        self.touched.update(self.known)
        return sorted(lost & shown)

    def _measure_all(self) -> None:
        """Find all objects, and how far down they and the crowds reach."""
        classes = len(self.roles.surface)
        values = self.instance.ravel().astype(np.intp)  # once, not in each function below
        counts = np.bincount(values)
        present = np.flatnonzero(counts)
        class_of = np.where(present >= INSTANCES_PER_CLASS, present // INSTANCES_PER_CLASS, present)
        things = present[~(self.roles.surface | self.roles.frozen)[class_of]]
        table = np.zeros(len(counts), np.int32)
        table[things] = np.arange(1, len(things) + 1, dtype=np.int32)
        dense = table.take(values).reshape(self.instance.shape)
        areas = counts[things]
        self._contact = np.full(classes * INSTANCES_PER_CLASS, -1, np.int32)
        self._contact[np.flatnonzero(self.roles.frozen)] = ALWAYS_IN_FRONT
        self.known = {}
        for value, area, found in zip(
            things.tolist(), areas.tolist(), ndimage.find_objects(dense), strict=True
        ):
            rows, columns = found
            self._contact[value] = rows.stop - 1
            if value >= INSTANCES_PER_CLASS:
                box = (rows.start, columns.start, rows.stop, columns.stop)
                self.known[value] = Known(box=box, area=area)

    def _behind_hole(self, box: Box, hole: Mask) -> LabelMap:
        """What would be behind a hole: class ids of its box.

        Raises:
            OperationSkipped: There is no stuff to fill it with.
        """
        layers = self.roles.surface & ~self.protected
        for surface in (layers & ~self.roles.upright, layers):
            filled = fill_hole(self.label, box, hole, surface=surface)
            if filled is not None:
                return filled
        raise OperationSkipped("the scene has no stuff to fill the hole with")

    def _nearer_upright(self, box: Box, contact_row: int) -> Mask:
        """The pixels of a box with poles, signs and the like that reach below a row."""
        top, left, bottom, right = box
        around = right - left
        first = max(left - around, 0)
        upright = self.roles.upright[self.label[top:, first : right + around]]
        inner = (slice(0, bottom - top), slice(left - first, right - first))
        if not upright[inner].any():
            return upright[inner]
        parts, _ = ndimage.label(upright, structure=np.ones((3, 3), np.int8))
        nearer = [False]
        nearer += [top + rows.stop - 1 > contact_row for rows, _ in ndimage.find_objects(parts)]
        found: Mask = np.array(nearer)[parts[inner]]
        return found

    def _uncover(
        self,
        instance: int,
        hole: Cutout,
        label: LabelMap,
        ids: InstanceMap,
        origin: npt.NDArray[np.uint16],
    ) -> None:
        """Paint, into the maps of a hole's box, what it hid of objects that operations put there.

        Nearer ones are painted over farther ones.
        """
        others = sorted(
            (shape.contact_row, self.known[other].since, other)
            for other, shape in self._shapes.items()
            if other != instance and part_in(shape.box, hole.box)
        )
        for contact_row, since, other in others:
            shape = self._shapes[other]
            box = common(shape.box, hole.box)
            there = slices(box, within=hole.box)
            seen = shape.mask[slices(box, within=shape.box)] & hole.mask[there]
            seen &= self._contact[ids[there]] <= contact_row
            seen &= ~self._nearer_upright(box, contact_row)
            label[there][seen] = other // INSTANCES_PER_CLASS
            ids[there][seen] = other
            origin[there][seen] = since

    def _restore_behind(self, behind: dict[int, _Behind]) -> None:
        self._behind.clear()
        self._behind.update(behind)

    def _still_there(self, ids: InstanceMap, since: int) -> Mask:
        """Which pixels of a patch belong to stuff, or to objects that stayed where they were."""
        there = ids < INSTANCES_PER_CLASS
        for value in np.unique(ids[~there]).tolist():
            if value in self.known and self.known[value].since < since:
                there |= ids == value
        return there

    def _inside(self, box: Box) -> Box:
        top, left, bottom, right = box
        height, width = self.size
        return max(top, 0), max(left, 0), min(bottom, height), min(right, width)

    def _write(
        self, box: Box, label: LabelMap, ids: InstanceMap, origin: npt.NDArray[np.uint16]
    ) -> None:
        """Replace a box of the maps, so that it can be undone."""
        window = slices(box)
        before = (
            self.label[window].copy(),
            self.instance[window].copy(),
            self.origin[window].copy(),
        )
        differs = before[1] != ids
        touched = {*np.unique(before[1][differs]).tolist(), *np.unique(ids[differs]).tolist()}
        new = {i for i in touched if i >= INSTANCES_PER_CLASS} - self.touched
        self.touched |= new
        self.label[window], self.instance[window], self.origin[window] = label, ids, origin

        def undo() -> None:
            self.label[window], self.instance[window], self.origin[window] = before
            self.touched.difference_update(new)

        self._journal.append(undo)

    def _book(
        self, instance: int, known: Known, *, behind: _Behind | None, shape: Cutout | None
    ) -> None:
        """Note what is known of an object and what it covers, so that it can be undone."""
        before, covered = self.known.get(instance), self._behind.get(instance)
        lowest, old_shape = self._contact[instance], self._shapes.get(instance)
        self.known[instance] = known
        self._contact[instance] = known.box[2] - 1
        _set(self._behind, instance, behind)
        _set(self._shapes, instance, shape)

        def undo() -> None:
            self._contact[instance] = lowest
            _set(self._behind, instance, covered)
            _set(self._shapes, instance, old_shape)
            if before is None:
                del self.known[instance]
            else:
                self.known[instance] = before

        self._journal.append(undo)


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


def _set(entries: dict[int, ValueT], key: int, value: ValueT | None) -> None:
    if value is None:
        entries.pop(key, None)
    else:
        entries[key] = value
