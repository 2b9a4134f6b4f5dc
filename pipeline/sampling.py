"""Sampling edit programs: where an edit is believable, judged from scene records alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.layout import GRID, SceneRecord, grid_cells
from pipeline.policy import Policy
from pipeline.program import Drop, MirrorScene, Move, Operation, Paste, Program
from pipeline.roles import class_roles
from pipeline.scene import INSTANCES_PER_CLASS
from pipeline.taxonomy import Taxonomy

ATTEMPTS = 24
"""Places tried for an edit before it is left out."""
USUAL = 0.1
"""Share of a class's objects that must stand on a surface for it to count as support."""
MAX_VOID = 0.05
"""Share of void, which stays on top, that the box of a pasted or moved object may hold."""
FEET = (0.15, 0.5, 0.85)
"""Where along its lower edge an object's support is checked, as fractions of its width."""

Integers = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class DonorTable:
    """The objects that may be pasted, one per row, and where each class may stand."""

    names: tuple[str, ...]
    """Names of the scenes."""
    scenes: Integers
    """Position in `names` [n]."""
    ids: Integers
    """Instance ids in their scenes [n]."""
    boxes: Integers
    """Top, left, bottom, right in pixels, in their scenes [n, 4]."""
    areas: Integers
    """Visible pixels [n]."""
    cumulative: npt.NDArray[np.float64]
    """Running sum of the odds of being drawn [n]."""
    support: Flags
    """Row: thing class; column: the classes it may stand on, [num_classes, num_classes]."""
    protected: Flags
    """Classes whose objects are not edited [num_classes]."""
    frozen: Flags
    """Void classes that stay on top of whatever is pasted [num_classes]."""

    @classmethod
    def build(
        cls, records: Sequence[SceneRecord], policy: Policy, *, taxonomy: Taxonomy
    ) -> "DonorTable":
        """Collect the donors among all scenes of a dataset.

        A donor is whole (in one piece, not cut by the picture's border or by others), large
        enough, stands on a surface, and is not protected. Rare classes are drawn more often than
        they occur: the odds of a class go with the square root of its number of donors.

        Where the taxonomy does not say what a class stands on, it may stand on whatever
        more than a tenth of its objects in `records` stand on.
        """
        roles = class_roles(taxonomy)
        protected = np.isin(taxonomy.class_names, policy.protected)
        standing_on = np.zeros_like(roles.support, np.int64)
        rows = []
        for position, record in enumerate(records):
            classes = record.classes
            standing = record.ground >= 0
            np.add.at(standing_on, (classes[standing], record.ground[standing]), 1)
            large = record.areas >= policy.min_donor_area * record.size[0] * record.size[1]
            whole = ~record.truncated & ~record.occluded & (record.pieces == 1)
            free = ~record.attached_to(protected)
            for index in np.flatnonzero(free & standing & large & whole):
                rows.append(
                    (position, record.ids[index], record.areas[index], *record.boxes[index])
                )
        untold = ~roles.support.any(axis=1, keepdims=True)
        usual = standing_on > USUAL * standing_on.sum(axis=1, keepdims=True)
        table = np.array(rows, np.int64).reshape(-1, 7)
        ids = table[:, 1]
        counts = np.bincount(ids // INSTANCES_PER_CLASS, minlength=taxonomy.num_classes)
        return cls(
            names=tuple(record.name for record in records),
            scenes=table[:, 0],
            ids=ids,
            boxes=table[:, 3:],
            areas=table[:, 2],
            cumulative=np.cumsum(1 / np.sqrt(counts[ids // INSTANCES_PER_CLASS])),
            support=roles.support | (untold & usual),
            protected=protected,
            frozen=roles.frozen,
        )

    def draw(self, rng: np.random.Generator, count: int) -> Integers:
        """Draw donors, with replacement; the table must not be empty."""
        picked: Integers = np.searchsorted(
            self.cumulative, rng.random(count) * self.cumulative[-1], side="right"
        )
        last: Integers = np.minimum(picked, len(self.ids) - 1)
        return last


@dataclass(slots=True)
class _Stage:
    """What planning assumes about the scene while it adds operations."""

    record: SceneRecord
    boxes: Integers
    """The boxes of the objects as they will lie, those added at the end."""
    present: Flags
    """Whether each of them is still there."""
    editable: Flags
    """Which objects of the source may still be dropped or moved."""
    void: Integers
    """Summed-area table of the coarse grid's void cells [GRID + 1]."""


def sample_program(
    policy: Policy, record: SceneRecord, donors: DonorTable, *, rng: np.random.Generator
) -> Program:
    """Draw the edit program of one sample; the same generator state gives the same program.

    Args:
        policy: How many and which edits.
        record: The source scene.
        donors: The dataset's donors, prepared for `policy`, from scenes of the same size.
        rng: The sample's own generator.
    """
    height, width = record.size
    operations: list[Operation] = []
    if rng.random() < policy.mirror_probability:
        operations.append(MirrorScene())
        record = record.mirrored()
    edits = int(rng.integers(policy.edits[0], policy.edits[1] + 1))
    stage = _open_stage(policy, record, donors)
    weights = policy.weights
    odds = np.cumsum([weights.drop, weights.move, weights.paste])
    samplers = (_sample_drop, _sample_move, _sample_paste)
    for kind in np.searchsorted(odds, rng.random(edits) * odds[-1], side="right"):
        operation = samplers[kind](policy, stage, donors, rng)
        if operation is not None:
            operations.append(operation)
    return Program(
        scene=record.name,
        min_visible_area=round(policy.min_visible_area * height * width),
        operations=tuple(operations),
    )


def _open_stage(policy: Policy, record: SceneRecord, donors: DonorTable) -> _Stage:
    share = record.areas / (record.size[0] * record.size[1])
    editable = (
        ~record.attached_to(donors.protected)
        # Without the object before them, those behind would show the shape it cut out of them.
        & ~record.occluding
        & (share >= policy.min_edit_area)
        & (share <= policy.max_drop_area)
    )
    void = np.zeros((GRID[0] + 1, GRID[1] + 1), np.int64)
    void[1:, 1:] = donors.frozen[record.grid].cumsum(axis=0).cumsum(axis=1)
    return _Stage(record, record.boxes, np.ones(len(record.ids), np.bool_), editable, void)


def _sample_drop(
    policy: Policy, stage: _Stage, donors: DonorTable, rng: np.random.Generator
) -> Operation | None:
    choice = rng.random()
    candidates = np.flatnonzero(stage.editable)
    if not len(candidates):
        return None
    index = candidates[int(choice * len(candidates))]
    stage.editable[index] = stage.present[index] = False
    return Drop(instance=int(stage.record.ids[index]))


def _sample_move(
    policy: Policy, stage: _Stage, donors: DonorTable, rng: np.random.Generator
) -> Operation | None:
    choice = rng.random()
    draws = rng.uniform(-1, 1, (2, ATTEMPTS))
    record = stage.record
    candidates = np.flatnonzero(
        stage.editable & ~record.truncated & ~record.occluded & (record.pieces == 1)
    )
    if not len(candidates):
        return None
    index = candidates[int(choice * len(candidates))]
    height, width = record.size
    rows = np.rint(draws[0] * policy.move.rows * height).astype(np.int64)
    columns = np.rint(draws[1] * policy.move.columns * width).astype(np.int64)
    boxes = stage.boxes[index] + np.stack([rows, columns, rows, columns], axis=1)
    others = stage.present.copy()
    others[index] = False
    class_id = int(record.classes[index])
    allowed = donors.support[class_id].copy()
    if record.ground[index] >= 0:
        allowed[record.ground[index]] = True
    ok = _believable(policy, stage, boxes, np.tile(allowed, (ATTEMPTS, 1)), others)
    ok &= (rows != 0) | (columns != 0)
    if not ok.any():
        return None
    best = int(ok.argmax())
    stage.boxes = stage.boxes.copy()
    stage.boxes[index] = boxes[best]
    stage.editable[index] = False
    return Move(instance=int(record.ids[index]), rows=int(rows[best]), columns=int(columns[best]))


def _sample_paste(
    policy: Policy, stage: _Stage, donors: DonorTable, rng: np.random.Generator
) -> Operation | None:
    draws = rng.random((3, ATTEMPTS))
    flip = bool(rng.random() < policy.paste.flip_probability)
    if not len(donors.ids):
        return None
    picked = donors.draw(rng, ATTEMPTS)
    height, width = stage.record.size
    top, left, bottom, right = donors.boxes[picked].T
    contact = bottom - 1
    horizon = policy.paste.horizon * height
    low, high = policy.paste.scale
    scale = np.where(contact > horizon, low * (high / low) ** draws[0], 1.0)
    rows = np.rint(horizon + (contact - horizon) * scale).astype(np.int64)
    tall = np.maximum(1, np.rint((bottom - top) * scale)).astype(np.int64)
    wide = np.maximum(1, np.rint((right - left) * scale)).astype(np.int64)
    columns = np.floor(draws[1] * (width - wide + 1)).astype(np.int64)
    boxes = np.stack([rows - tall + 1, columns, rows + 1, columns + wide], axis=1)
    classes = donors.ids[picked] // INSTANCES_PER_CLASS
    ok = _believable(policy, stage, boxes, donors.support[classes], stage.present)
    ok &= donors.areas[picked] * scale**2 >= policy.min_edit_area * height * width
    if len(donors.names) > 1:
        ok &= [donors.names[scene] != stage.record.name for scene in donors.scenes[picked]]
    if not ok.any():
        return None
    best = int(ok.argmax())
    stage.boxes = np.concatenate([stage.boxes, boxes[best : best + 1]])
    stage.present = np.append(stage.present, True)
    return Paste(
        donor=donors.names[donors.scenes[picked[best]]],
        donor_instance=int(donors.ids[picked[best]]),
        row=int(rows[best]),
        column=int(columns[best]),
        scale=round(float(scale[best]), 4),
        flip=flip,
    )


def _believable(
    policy: Policy, stage: _Stage, boxes: Integers, allowed: Flags, others: Flags
) -> Flags:
    """Which of the candidate boxes [m, 4] stand on an allowed class [m, classes] and in view."""
    height, width = stage.record.size
    top, left, bottom, right = boxes.T
    inside = (top >= 0) & (left >= 0) & (bottom <= height) & (right <= width)
    feet = left[:, None] + np.floor((right - left)[:, None] * np.array(FEET)).astype(np.int64)
    # One grid cell further down, where the object itself does not hide the ground.
    ground = np.clip(bottom + height // (2 * GRID[0]), 0, height - 1)
    rows, columns = grid_cells(ground[:, None], np.clip(feet, 0, width - 1), stage.record.size)
    standing = np.take_along_axis(allowed, stage.record.grid[rows, columns].astype(np.int64), 1)
    ok: Flags = inside & standing.all(axis=1) & (_void_share(stage, boxes) <= MAX_VOID)
    existing = stage.boxes[others]
    if not len(existing):
        return ok
    overlap_rows = np.minimum(bottom[:, None], existing[:, 2]) - np.maximum(
        top[:, None], existing[:, 0]
    )
    overlap_columns = np.minimum(right[:, None], existing[:, 3]) - np.maximum(
        left[:, None], existing[:, 1]
    )
    overlap = np.maximum(overlap_rows, 0) * np.maximum(overlap_columns, 0)
    in_front = existing[:, 2] > bottom[:, None]
    own = (bottom - top) * (right - left)
    theirs = (existing[:, 2] - existing[:, 0]) * (existing[:, 3] - existing[:, 1])
    hides = np.where(in_front, 0.0, overlap / theirs).max(axis=1)
    hidden = np.where(in_front, overlap, 0).sum(axis=1) / own
    ok &= (hides <= policy.max_cover) & (hidden <= policy.max_cover)
    return ok


def _void_share(stage: _Stage, boxes: Integers) -> npt.NDArray[np.float64]:
    """The share of void cells in each box [m, 4], on the coarse grid."""
    height, width = stage.record.size
    top, bottom = (np.clip(edge * GRID[0] // height, 0, GRID[0] - 1) for edge in boxes[:, ::2].T)
    left, right = (np.clip(edge * GRID[1] // width, 0, GRID[1] - 1) for edge in boxes[:, 1::2].T)
    bottom, right = bottom + 1, right + 1
    table = stage.void
    count = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    share: npt.NDArray[np.float64] = count / ((bottom - top) * (right - left))
    return share
