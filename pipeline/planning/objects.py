"""Edits of the objects of one sample, judged from its record, and what they come to."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.editing.program import (
    ChangeClass,
    CropZoom,
    Drop,
    Flip,
    Jitter,
    Operation,
    Paste,
    Replace,
)
from pipeline.indexing.record import BOTTOM, GRID, SceneRecord
from pipeline.planning.demands import Demands
from pipeline.planning.quotas import Tally
from pipeline.planning.rules import Rules
from pipeline.planning.shapes import Shapes

OBJECTS_TRIED = 4
"""How many objects a free edit is tried on before it is left out."""

Flags = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]


class ObjectEdits:
    """The edits of the objects of one sample, and what planning assumes they come to.

    Args:
        rules: What the edits go by.
        record: The scene as it is before them.
        rng: The sample's own generator.
        demands: What the sample must hold.
        window: What it will show of the scene; all if None, as for a sample with demands.
        mirrored: Whether the program mirrors the scene, and so the record is.
        budget: Most edits.
    """

    def __init__(
        self,
        rules: Rules,
        record: SceneRecord,
        rng: np.random.Generator,
        demands: Demands,
        window: CropZoom | None,
        *,
        mirrored: bool,
        budget: int,
    ) -> None:
        self.rules, self.record, self.rng, self.demands = rules, record, rng, demands
        self.window, self.budget = window, budget
        self.scene = rules.placer.planned(record, mirrored=mirrored)
        self.operations: list[Operation] = []
        constraints = rules.policy.constraints
        share = record.areas / (record.size[0] * record.size[1])
        free = ~record.attached_to(rules.protected)
        self.removable = rules.removable(record)
        # Without the object before them, those behind would show the shape it cut out of them.
        self.editable = (
            free
            & ~record.occluding
            & (share >= constraints.min_edit_area)
            & (share <= constraints.max_drop_area)
        )
        partners = self.scene.partners
        for flags in (self.removable, self.editable):
            flags &= (partners < 0) | flags[partners]
        self.editable &= ~self.scene.follows
        self.whole = self.scene.whole
        self.areas = record.areas.astype(np.float64)
        self.fresh = np.zeros(len(record.ids), np.bool_)
        """Which objects an edit put where they are."""
        cells = np.bincount(record.grid.ravel(), minlength=rules.taxonomy.num_classes)
        self._stuff = cells / (GRID[0] * GRID[1])
        self._tally: Tally | None = None
        """What the edits so far come to; None after each."""
        self._shapes = Shapes(record, rules.donor_shapes, rules.roles)

    @property
    def edits(self) -> int:
        """Edits made so far."""
        return len(self.operations)

    def tally(self) -> Tally:
        """What the sample would hold, judged by coarse shapes."""
        if self._tally is None:
            self._tally = self._add_up()
        return self._tally

    def _add_up(self) -> Tally:
        scene, constraints = self.scene, self.rules.policy.constraints
        height, width = self.record.size
        boxes, classes = scene.boxes.astype(np.float64), scene.class_ids
        present = scene.present.copy()
        areas, visible = self.areas.copy(), np.ones(len(boxes))
        if self.fresh.any():
            visible = 1 - self._shapes.hidden(scene.boxes, present, self.fresh)
            areas *= visible
            present &= visible >= constraints.min_visible_fraction
            present &= (visible == 1) | (areas >= constraints.min_visible_area * height * width)
        if (window := self.window) is not None:
            inside = _inside(boxes, window)
            present &= inside > 0
            areas *= inside * (height * width) / (window.height * window.width)
        return Tally(
            classes=classes[present],
            visible=visible[present],
            areas=areas[present],
            pixels=height * width,
            stuff=self._stuff,
        )

    def _count(self, class_id: int) -> int:
        return self.tally().count(class_id)

    def edit_freely(self, kind: str) -> None:
        """Make one edit of a kind, if there is a believable one."""
        if kind == "paste":
            odds = np.where(self.rules.allowed[kind], self.rules.donor_odds, 0.0)
            for class_id in np.flatnonzero(odds).tolist():
                brought = self.rules.together.get(class_id, ())
                if not all(self._may_gain(one) for one in (class_id, *brought)):
                    odds[class_id] = 0.0
            if odds.any():
                total = np.cumsum(odds)
                place = np.searchsorted(total, self.rng.random() * total[-1], side="right")
                self._paste(int(place))
            return
        count = len(self.record.ids)
        able = self.editable & self.scene.present[:count]
        able &= self.rules.allowed[kind][self.record.classes]
        if kind in ("move", "rescale", "flip", "duplicate"):
            able &= self.whole
        elif kind == "replace" or (kind == "change_class" and self._by_donor):
            # Where the feet of an object are hidden, it is not known where it stands.
            able &= ~self.record.truncated & (self.record.hidden_sides & BOTTOM == 0)
        elif kind in ("change_class", "jitter"):
            able &= self.scene.partners[:count] < 0
        able &= self._possible(kind)
        for index in self.rng.permutation(np.flatnonzero(able))[:OBJECTS_TRIED].tolist():
            if EDITS[kind](self, index):
                self.editable[index] = self.removable[index] = False
                return

    def _possible(self, kind: str) -> Flags:
        """Which objects may be edited without breaking a bound or a count [n]."""
        classes = self.record.classes
        able = np.ones(len(classes), np.bool_)
        changes = self.rules.class_changes.get(kind)
        if changes is not None:
            able &= np.isin(classes, list(changes))
        guarded = self.rules.counted | self.demands.bounds.keys()
        partners = self.scene.partners[: len(classes)]
        for class_id in guarded & set(classes.tolist()):
            involved = classes == class_id
            involved |= (partners >= 0) & involved[partners]
            if kind in ("drop", "change_class") or (kind == "replace" and changes is not None):
                if not self._may_lose(class_id):
                    able &= ~involved
            elif kind == "replace" and not self._may_lose(class_id):
                able &= ~(involved & (classes != class_id))  # what goes with it goes for good
            elif kind == "duplicate" and not self._may_gain(class_id):
                able &= ~involved
        return able

    @property
    def _by_donor(self) -> bool:
        """Whether an object that changes its class gives its place to a donor."""
        edit = self.rules.policy.operations.change_class
        return edit is not None and edit.shape == "donor"

    def _may_gain(self, class_id: int) -> bool:
        if class_id in self.rules.counted:
            return False
        bounds = self.demands.bounds.get(class_id)
        return bounds is None or self._count(class_id) < bounds[1]

    def _may_lose(self, class_id: int) -> bool:
        if class_id in self.rules.counted:
            return False
        bounds = self.demands.bounds.get(class_id)
        return bounds is None or self._count(class_id) > bounds[0]

    def _made(self, operation: Operation) -> None:
        self.operations.append(operation)
        self._shapes.follow(operation)
        self._tally = None

    def _guard(self, index: int) -> None:
        """Keep what stands before an object that an edit put somewhere: it may be asked to."""
        count = len(self.record.ids)
        _, left, bottom, right = self.scene.boxes[index]
        others = self.scene.boxes[:count]
        before = (others[:, 2] >= bottom) & (others[:, 0] < bottom)
        before &= (others[:, 1] < right) & (others[:, 3] > left)
        partners = self.scene.partners[:count]
        before |= (partners >= 0) & before[partners]
        self.editable[before] = self.removable[before] = False

    def _drop(self, index: int) -> bool:
        if self.scene.follows[index]:
            index = int(self.scene.partners[index])
        self.scene.remove(index)
        members = self.scene.members(index)
        self.editable[members] = self.removable[members] = False
        self._made(Drop(instance=int(self.record.ids[index]), along=self.scene.along(index)))
        return True

    def _paste(self, class_id: int, *, occluded: tuple[float, float] | None = None) -> bool:
        paste = self.rules.placer.paste(self.scene, class_id, self.rng, occluded=occluded)
        if paste is None:
            return False
        self._made(paste)
        self._entered(self._donor_areas(paste))
        return True

    def _paste_some(self, class_id: int, count: int) -> int:
        """Paste objects of a class, at most so many, and say how many found a place."""
        made = self.rules.placer.paste_some(self.scene, class_id, self.rng, count)
        for paste in made:
            self._made(paste)
            self._entered(self._donor_areas(paste))
        return len(made)

    def _donor_areas(self, operation: Paste | Replace) -> list[float]:
        """The pixels of a donor, and of what comes along, at the size they get."""
        ids = (operation.donor_instance, *operation.donor_along)
        areas = [self.rules.donor_areas[operation.donor, instance] for instance in ids]
        return [area * operation.scale**2 for area in areas]

    def _entered(self, areas: Sequence[float]) -> None:
        """Note the objects that an edit entered into the planned scene last."""
        for area in areas:
            self.areas = np.append(self.areas, area)
            self.fresh = np.append(self.fresh, True)
            self._guard(len(self.areas) - 1)

    def _move(self, index: int) -> bool:
        move = self.rules.placer.move(self.scene, index, self.rng)
        if move is None:
            return False
        self._made(move)
        self._shifted(index)
        return True

    def _shifted(self, index: int) -> None:
        """Note that an edit put an object, and what is one with it, elsewhere."""
        for member in self.scene.members(index):
            self.fresh[member] = True
            self._guard(member)

    def _rescale(self, index: int) -> bool:
        rescale = self.rules.placer.rescale(self.scene, index, self.rng)
        if rescale is None:
            return False
        self._made(rescale)
        self.areas[self.scene.members(index)] *= rescale.scale**2
        self._shifted(index)
        return True

    def _flip(self, index: int) -> bool:
        if not self.rules.placer.may_flip(self.scene, index):
            return False
        self._made(Flip(instance=int(self.record.ids[index]), along=self.scene.along(index)))
        return True

    def _duplicate(self, index: int) -> bool:
        copy = self.rules.placer.duplicate(self.scene, index, self.rng)
        if copy is None:
            return False
        self._made(copy)
        self._entered((self.areas[self.scene.members(index)] * copy.scale**2).tolist())
        return True

    def _replace(self, index: int) -> bool:
        return self._stand_in(index, self._new_class("replace", index))

    def _stand_in(self, index: int, class_id: int | None) -> bool:
        """Put a donor of a class where an object stands."""
        if class_id is None:
            return False
        new = self.rules.placer.replace(self.scene, index, class_id, self.rng)
        if new is None:
            return False
        self._made(new)
        self._entered(self._donor_areas(new))
        return True

    def _change_class(self, index: int) -> bool:
        class_id = self._new_class("change_class", index)
        if class_id is None or self._by_donor:
            return self._stand_in(index, class_id)
        self.scene.class_ids[index] = class_id
        name = self.rules.taxonomy.classes[class_id].name
        self._made(ChangeClass(instance=int(self.record.ids[index]), to=name))
        return True

    def _new_class(self, kind: str, index: int) -> int | None:
        """The class an object turns into."""
        own = int(self.record.classes[index])
        changes = self.rules.class_changes.get(kind)
        others = [own] if changes is None else changes[own]
        brings = self.rules.together
        able = [
            other
            for other in others
            if (other == own or self._may_gain(other))
            and all(self._may_gain(one) for one in brings.get(other, ()))
        ]
        return able[int(self.rng.random() * len(able))] if able else None

    def _jitter(self, index: int) -> bool:
        edit = self.rules.policy.operations.jitter
        assert edit is not None
        box = self.record.boxes[index]
        farthest = edit.amplitude * float(box[2] - box[0])
        amplitude = round(min(farthest, 256.0) * float(self.rng.uniform(0.5, 1)), 2)
        if amplitude < 0.5:
            return False
        seed = int(self.rng.integers(1 << 31))
        instance = int(self.record.ids[index])
        self._made(Jitter(instance=instance, amplitude=amplitude, seed=seed))
        return True


EDITS: dict[str, Callable[[ObjectEdits, int], bool]] = {
    "drop": ObjectEdits._drop,
    "move": ObjectEdits._move,
    "rescale": ObjectEdits._rescale,
    "flip": ObjectEdits._flip,
    "duplicate": ObjectEdits._duplicate,
    "replace": ObjectEdits._replace,
    "change_class": ObjectEdits._change_class,
    "jitter": ObjectEdits._jitter,
}


def _inside(boxes: Values, window: CropZoom) -> Values:
    """The part of each box that a window shows [n]."""
    top, left, bottom, right = boxes.T
    rows = np.minimum(bottom, window.top + window.height) - np.maximum(top, window.top)
    columns = np.minimum(right, window.left + window.width) - np.maximum(left, window.left)
    shown = np.maximum(rows, 0) * np.maximum(columns, 0)
    part: Values = shown / np.maximum((bottom - top) * (right - left), 1)
    return part
