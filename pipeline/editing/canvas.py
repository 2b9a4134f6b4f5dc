"""The canvas: the maps of a scene while a program edits them, and the state of each object.

Everything works inside the boxes of objects; nothing scans the whole picture but opening it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.editing.appearance import Appearance, look_at
from pipeline.editing.boxes import Box, common, part_in, slices
from pipeline.editing.cutout import Cutout, Mask, OperationSkipped, tight
from pipeline.editing.holes import fill_hole
from pipeline.editing.journal import Journal
from pipeline.editing.maps import Maps
from pipeline.editing.object_state import ObjectState, free_id, measure_things
from pipeline.editing.occlusion import ContactRows
from pipeline.editing.picture import Base, Picture
from pipeline.editing.shade import measure_shade, traces_of
from pipeline.roles import ClassRoles
from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap, LabelMap, Scene

CLUTTERED = 0.4
"""Share of clutter around a hole from which clutter may fill it, too."""

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True, eq=False)
class _Behind:
    """The maps as they were where an object was put, and when that was."""

    box: Box
    maps: Maps
    since: int


class Canvas:
    """A scene being edited: its maps, changed in place, and its objects.

    Only boxes that were written to differ from the source. An operation either happens as a whole
    or raises OperationSkipped inside `attempt`, which undoes its beginnings.

    Args:
        scene: The scene, whose maps are copied.
        roles: Of the classes of its taxonomy.
        protected: Classes that never grow and whose objects are not edited, bool [num_classes].
    """

    def __init__(
        self, scene: Scene, *, roles: ClassRoles, protected: npt.NDArray[np.bool_]
    ) -> None:
        self.maps = Maps.of(scene)
        self.roles = roles
        self.protected = protected
        self.objects: dict[int, ObjectState] = {}
        """By instance id."""
        self.gone: set[int] = set()
        """Ids of objects that operations took out; they are not given to others."""
        self.touched: set[int] = set()
        """Ids of objects of which operations covered, uncovered or put pixels."""
        self.stamp = 0
        """What the map of origins gets from the operation that runs."""
        self._behind: dict[int, _Behind] = {}
        self._shapes: dict[int, Cutout] = {}
        """The whole shapes of objects that operations put where they are."""
        self._journal = Journal()
        self._base = None if scene.photo is None else Base(scene.photo)
        for instance, state in self._measure().items():
            self.objects[instance] = replace(state, source_instance=instance)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.maps.size

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Undo what is done inside if it ends with OperationSkipped, which goes on to the caller.

        Not for what replaces the maps as a whole: that cannot fail half-way.
        """
        with self._journal.attempt():
            yield

    def visible(self, instance: int) -> Cutout | None:
        """The pixels of an object that can be seen; None if there are none."""
        if instance not in self.objects:
            return None
        top, left, bottom, right = self.maps.inside(self.objects[instance].box)
        mask = self.maps.instance[top:bottom, left:right] == instance
        return tight(mask, top=top, left=left)

    def outline(self, instance: int) -> Cutout:
        """The visible shape of an object, without what it looks like.

        Raises:
            OperationSkipped: There is no such object, or nothing of it can be seen.
        """
        shape = self.visible(instance)
        if shape is None:
            raise OperationSkipped(f"the scene has no object {instance}")
        return shape

    def shape(self, instance: int) -> Cutout:
        """The visible shape of an object, and what it looks like where the scene has a photo.

        Raises:
            OperationSkipped: There is no such object, or nothing of it can be seen.
        """
        shape = self.outline(instance)
        return replace(shape, appearance=self._appearance(instance, shape))

    def picture(self) -> Picture:
        """The photo of the scene as it is now, as far as real pixels go.

        The canvas must be one of a scene with a photo.
        """
        assert self._base is not None
        return self._base.compose(self.maps, self._shapes.items())

    def placed(self) -> Iterator[tuple[int, Cutout]]:
        """The objects that operations put where they are, by instance id, with their shapes."""
        yield from self._shapes.items()

    def free_id(self, class_id: int) -> int:
        """The lowest instance id of a class that no object has or had.

        Raises:
            OperationSkipped: The class has all its objects already.
        """
        return free_id(class_id, self.objects.keys() | self.gone)

    def erase(self, instance: int) -> None:
        """Take an object out of the maps.

        Where an operation had put it, what it covered comes back; elsewhere, and where that is
        gone itself, stuff from around fills the hole. Objects that operations put behind it show
        what it hid of them. The state of the object stays.

        Raises:
            OperationSkipped: Nothing of it can be seen, or there is no stuff to fill the hole with.
        """
        shape = self.outline(instance)
        box, hole = shape.box, shape.mask.copy()
        if instance not in self._shapes:
            self._forget_traces(instance, shape)
        patch = self.maps.view(slices(box)).copy()
        patch.origin[hole] = self.stamp
        behind = self._behind.get(instance)
        if behind is not None:
            before = behind.maps.view(slices(box, within=behind.box))
            back = hole & self._still_there(before.instance, behind.since)
            patch.overwrite(before, back)
            hole &= ~back
        if hole.any():
            self._write(box, patch)  # so that the filling sees what came back
            filled = self._behind_hole(box, hole)
            patch.label[hole] = filled[hole]
            patch.instance[hole] = filled[hole]
        self._uncover(instance, shape, patch)
        self._write(box, patch)
        self._book(instance, self.objects[instance], behind=None, shape=None)

    def put(self, shape: Cutout, instance: int, state: ObjectState) -> None:
        """Put an object into the maps, behind what reaches farther down than it does.

        Args:
            shape: Its whole shape.
            instance: Its id.
            state: What is known of it; box, area and stamp are filled in.

        Raises:
            OperationSkipped: Nothing of the object would be seen.
        """
        top, left, bottom, right = box = self.maps.inside(shape.box)
        if top >= bottom or left >= right:
            raise OperationSkipped("the object would lie outside the picture")
        before = self.maps.view(slices(box)).copy()
        visible = self._contact.visible(
            shape.mask[slices(box, within=shape.box)],
            shape.contact_row,
            box=box,
            label=self.maps.label,
            there=before.instance,
            filled=before.origin > 0,
        )
        if not visible.any():
            raise OperationSkipped("the object would be hidden")
        patch = before.copy()
        patch.paint(visible, instance, stamp=self.stamp)
        self._write(box, patch, before=before)
        state = replace(state, box=shape.box, area=shape.area, since=self.stamp)
        self._book(instance, state, behind=_Behind(box, before, self.stamp), shape=shape)

    def rename(self, instance: int, new: int, state: ObjectState) -> None:
        """Give an object another id, of whatever class, and keep its pixels.

        Raises:
            OperationSkipped: Nothing of it can be seen.
        """
        shape = self.outline(instance)
        patch = self.maps.view(slices(shape.box)).copy()
        patch.paint(shape.mask, new, stamp=self.stamp)
        self._write(shape.box, patch)
        whole = self._shapes.get(instance)
        # Nobody has seen it as one of that class.
        unseen = None if whole is None else replace(whole, appearance=None)
        self._book(new, state, behind=self._behind.get(instance), shape=unseen)
        self.retire(instance)
        # What was put over it remembers it under its old id.
        before = dict(self._behind)
        for other, behind in before.items():
            if (covered := behind.maps.instance == instance).any():
                maps = behind.maps.copy()
                maps.paint(covered, new, stamp=self.stamp)
                self._behind[other] = replace(behind, maps=maps)
        self._journal.note(lambda: self._restore_behind(before))

    def retire(self, instance: int) -> None:
        """Forget an object that was erased; its id stays taken."""
        state = self.objects.pop(instance)
        shape = self._shapes.pop(instance, None)
        self.gone.add(instance)

        def undo() -> None:
            self.objects[instance] = state
            _set(self._shapes, instance, shape)
            self.gone.discard(instance)

        self._journal.note(undo)

    def relabel(self, mask: Mask, class_id: int) -> None:
        """Make pixels stuff of one class.

        Args:
            mask: Which pixels, bool [H, W].
            class_id: A stuff class.
        """
        if not mask.any():
            return
        self.maps.paint(mask, class_id, stamp=self.stamp)
        self._behind.clear()  # what comes back from behind an object would be of before

    def mirror(self) -> None:
        """Mirror everything left to right."""
        width = self.size[1]
        self.maps = self.maps.mirrored()
        if self._base is not None:
            self._base.mirror()
        self._behind.clear()
        for instance, state in self.objects.items():
            top, left, bottom, right = state.box
            self.objects[instance] = replace(state, box=(top, width - right, bottom, width - left))
        for instance, shape in self._shapes.items():
            left = width - shape.left - shape.mask.shape[1]
            self._shapes[instance] = replace(shape.mirrored(), left=left)

    def take(self, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> list[int]:
        """Rebuild the picture from some of its rows and columns.

        What the picture no longer shows of an object does not count as hidden: its whole area, and
        its shape where an operation put it, is from then on the part that lies in the picture.

        Args:
            rows: The row that each row shows, ascending [H].
            columns: The column that each column shows, ascending [W].

        Returns:
            The ids of objects that can no longer be seen, but could be before.
        """
        before, shown = self.objects, set(np.unique(self.maps.instance).tolist())
        window = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        if self._base is not None:
            self._base.take(self.maps, rows, columns)
        self.maps = self.maps.sampled(rows, columns)
        self._behind.clear()
        height, width = self.size
        growth = height * width / ((window[2] - window[0]) * (window[3] - window[1]))
        shapes, self._shapes, self.objects = self._shapes, {}, {}
        for instance, seen in self._measure().items():
            old = before[instance]
            area = max(round(old.area * part_in(old.box, window) * growth), seen.area)
            self.objects[instance] = replace(old, box=seen.box, area=area)
            if instance in shapes:
                self._carry(instance, shapes[instance].sampled(rows, columns))
        lost = before.keys() - self.objects.keys()
        self.gone.update(lost)
        self.touched.update(self.objects)
        return sorted(lost & shown)

    def _carry(self, instance: int, shape: Cutout | None) -> None:
        """Note the whole shape of an object that was put before the picture was rebuilt."""
        assert shape is not None  # some of it can be seen
        state = replace(self.objects[instance], box=shape.box, area=shape.area)
        self.objects[instance], self._shapes[instance] = state, shape
        self._contact[instance] = shape.contact_row

    def _measure(self) -> dict[int, ObjectState]:
        """Find all single objects, and how far down they and the crowds reach."""
        things = measure_things(self.maps.instance, roles=self.roles)
        self._contact = ContactRows(things, roles=self.roles)
        return {value: state for value, state in things.items() if value >= INSTANCES_PER_CLASS}

    def _appearance(self, instance: int, shape: Cutout) -> Appearance | None:
        """What the visible part of an object looks like, where the scene has a photo."""
        if self._base is None:
            return None
        whole = self._shapes.get(instance)
        if whole is not None:
            rows, columns = slices(shape.box, within=whole.box)
            return whole.appearance and whole.appearance.part(rows, columns)
        if self.maps.origin[slices(shape.box)][shape.mask].any():
            return None  # it was made another class, and no photo shows it as one of that
        return look_at(
            self._base.photo,
            self.maps.label,
            shape.box,
            shape.mask,
            ground=self.roles.support[instance // INSTANCES_PER_CLASS],
        )

    def _forget_traces(self, instance: int, shape: Cutout) -> None:
        """Note where the photo shows the shadow and the contour of an object that goes."""
        if self._base is None:
            return
        photo, stale = self._base.photo, self._base.stale
        label, ground = self.maps.label, self.roles.support[instance // INSTANCES_PER_CLASS]
        shade = measure_shade(photo, label, shape.box, shape.mask, ground=ground)
        window, traces = traces_of(
            shade, shape.box, shape.mask, label, ground=ground, surface=self.roles.surface
        )
        before = stale[window].copy()
        stale[window] |= traces

        def undo() -> None:
            stale[window] = before

        self._journal.note(undo)

    def _behind_hole(self, box: Box, hole: Mask) -> LabelMap:
        """What would be behind a hole: class ids of its box.

        Raises:
            OperationSkipped: There is no stuff to fill it with.
        """
        layers = self.roles.surface & ~self.protected
        if self._in_clutter(box):
            layers |= self.roles.clutter & ~self.protected
        for surface in (layers & ~self.roles.upright, layers):
            filled = fill_hole(
                self.maps.label, box, hole, surface=surface, ground=self.roles.ground
            )
            if filled is not None:
                return filled
        raise OperationSkipped("the scene has no stuff to fill the hole with")

    def _in_clutter(self, box: Box) -> bool:
        """Whether so much clutter lies around a box that it may go on behind it."""
        top, left, bottom, right = box
        margin = max(3, (bottom - top + right - left) // 16)
        label = self.maps.label[
            max(top - margin, 0) : bottom + margin, max(left - margin, 0) : right + margin
        ]
        counts = np.bincount(label.ravel(), minlength=len(self.roles.clutter))
        clutter = counts[self.roles.clutter].sum()
        return bool(clutter > CLUTTERED * (clutter + counts[self.roles.surface].sum()))

    def _uncover(self, instance: int, hole: Cutout, patch: Maps) -> None:
        """Paint, into the maps of a hole's box, what it hid of objects that operations put there.

        Nearer ones are painted over farther ones.
        """
        others = sorted(
            (shape.contact_row, self.objects[other].since, other)
            for other, shape in self._shapes.items()
            if other != instance and part_in(shape.box, hole.box)
        )
        for contact_row, since, other in others:
            shape = self._shapes[other]
            box = common(shape.box, hole.box)
            inside_hole = slices(box, within=hole.box)
            there = patch.view(inside_hole)
            seen = self._contact.visible(
                shape.mask[slices(box, within=shape.box)] & hole.mask[inside_hole],
                contact_row,
                box=box,
                label=self.maps.label,
                there=there.instance,
                filled=there.origin > 0,
            )
            there.paint(seen, other, stamp=since)

    def _restore_behind(self, behind: dict[int, _Behind]) -> None:
        self._behind.clear()
        self._behind.update(behind)

    def _still_there(self, ids: InstanceMap, since: int) -> Mask:
        """Which pixels of a patch belong to stuff, or to objects that stayed where they were."""
        there = ids < INSTANCES_PER_CLASS
        for value in np.unique(ids[~there]).tolist():
            if value in self.objects and self.objects[value].since < since:
                there |= ids == value
        return there

    def _write(self, box: Box, patch: Maps, *, before: Maps | None = None) -> None:
        """Replace a box of the maps, so that it can be undone; `before` is a copy, if there is."""
        there = self.maps.view(slices(box))
        before = there.copy() if before is None else before
        differs = before.instance != patch.instance
        touched = {
            *np.unique(before.instance[differs]).tolist(),
            *np.unique(patch.instance[differs]).tolist(),
        }
        new = {i for i in touched if i >= INSTANCES_PER_CLASS} - self.touched
        self.touched |= new
        there.overwrite(patch)

        def undo() -> None:
            there.overwrite(before)
            self.touched.difference_update(new)

        self._journal.note(undo)

    def _book(
        self, instance: int, state: ObjectState, *, behind: _Behind | None, shape: Cutout | None
    ) -> None:
        """Note the state of an object and what it covers, so that it can be undone."""
        before, covered = self.objects.get(instance), self._behind.get(instance)
        lowest, old_shape = self._contact[instance], self._shapes.get(instance)
        self.objects[instance] = state
        self._contact[instance] = state.box[2] - 1 if shape is None else shape.contact_row
        _set(self._behind, instance, behind)
        _set(self._shapes, instance, shape)

        def undo() -> None:
            self._contact[instance] = lowest
            _set(self._behind, instance, covered)
            _set(self._shapes, instance, old_shape)
            _set(self.objects, instance, before)

        self._journal.note(undo)


def _set(entries: dict[int, ValueT], key: int, value: ValueT | None) -> None:
    if value is None:
        entries.pop(key, None)
    else:
        entries[key] = value
