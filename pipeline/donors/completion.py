"""Completion: hidden parts of donors are made up from whole donors of their class (amodal shapes).

The whole donors that fit best what is seen vote on the pixels of what is nearer. A shape is kept
only if they fit well and agree, and if it is complete then as others of its class are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.donors.alignment import Models, best_laid
from pipeline.donors.bank import DonorIndex, donors_of
from pipeline.donors.completeness import FREE
from pipeline.donors.surroundings import PackedSurroundings, Surroundings, surroundings_of
from pipeline.editing.cutout import tight
from pipeline.indexing.record import SceneRecord, packed_silhouettes, pieces_of, silhouette
from pipeline.roles import ClassRoles
from pipeline.scene import Scene
from pipeline.threads import map_in_threads

LEAST_AREA = 0.0005
"""Donors of which less is seen, as a part of the picture, stay as they are."""
ENOUGH = 1000
"""Classes with so many whole donors need no others."""
MOST = 300
"""Whole donors of a class that others are completed from, at most."""
MODEL_AREA = 50
"""Pixels that those must have: smaller ones have no contour to speak of."""
VOTES = 3
"""So many vote; classes with fewer stay as they are."""
FIT = 0.8
"""What is known must be covered as well as this, on average over the votes, 0..1."""
DOUBT = 0.16
"""Votes may differ from their majority on this part of the whole shape, on average."""
MADE_UP = (0.01, 0.5)
"""Least and largest part of the whole shape that is made up."""
SMOOTH = 0.04
"""Contours that are made up are smooth over this part of the square root of the shape's area."""
EIGHT = np.ones((3, 3), np.int8)

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """A completed shape in the window of its surroundings."""

    made_up: Flags
    """The pixels that are not seen [h, w]."""
    share: float
    """The part of the whole shape that they are, 0..1."""
    fit: float
    """How well the votes cover what is known: their mean overlap, 0..1."""
    doubt: float
    """On which part of the whole shape a vote differs from the majority, on average, 0..1."""

    @property
    def is_good(self) -> bool:
        """Whether votes fit well and agree, and enough is seen."""
        least, most = MADE_UP
        return self.fit >= FIT and self.doubt <= DOUBT and least <= self.share <= most


@dataclass(frozen=True, slots=True, eq=False)
class CompletedDonor:
    """A donor of a bank whose hidden part is made up."""

    box: tuple[int, int, int, int]
    """Of the whole shape in its scene: top, left, bottom, right in pixels."""
    mask: Flags
    """The whole shape in its box [h, w]."""
    made_up: Flags
    """Which of its pixels are made up [h, w]."""
    unsure: float
    """What is left of the doubt whether it is complete: 1 as before, 0 none."""


def hidden_donors(
    scene: Scene, record: SceneRecord, roles: ClassRoles, *, min_area: int
) -> dict[int, PackedSurroundings]:
    """What lies around those donors of a scene that may be completed, by instance id.

    The border cuts none of them, and something nearer may hide a part.

    Args:
        scene: The scene.
        record: Its record.
        roles: The roles of its classes.
        min_area: Visible pixels that donors must have.
    """
    least = max(min_area, LEAST_AREA * scene.label.size)
    rows = donors_of(record, min_area=min_area)
    hidden = (record.obscured >= FREE) | (record.pieces > 1)
    rows = rows[(hidden & (record.cut_sides == 0) & (record.areas >= least))[rows]]
    found = surroundings_of(scene, record, rows, roles=roles)
    ids = record.ids[rows].tolist()
    return {number: around.packed() for number, around in zip(ids, found, strict=True)}


def complete(around: Surroundings, models: Models) -> Completion:
    """Make up the hidden part of a shape.

    Args:
        around: What is seen of it, and where more of it may be.
        models: Whole shapes of its class.
    """
    laid = best_laid(around, models, count=VOTES)
    hidden = [one.shape & around.hiding for one in laid]
    majority = np.sum(hidden, axis=0) > len(laid) / 2
    whole = _holding(_smoothed(around.seen | majority, around), around.seen)
    made_up = whole & ~around.seen
    area = np.count_nonzero(whole)
    return Completion(
        made_up,
        share=np.count_nonzero(made_up) / area,
        fit=float(np.mean([one.overlap for one in laid])),
        doubt=float(np.mean([np.count_nonzero(one ^ made_up) for one in hidden])) / area,
    )


def complete_donors(
    index: DonorIndex,
    hidden: Mapping[tuple[str, int], PackedSurroundings],
    read_mask: Callable[[int], Flags],
) -> dict[int, CompletedDonor]:
    """Complete those donors of an index that are whole then, by row; others stay as they are.

    Args:
        index: The donors.
        hidden: What lies around those that something hides, by scene and instance id.
        read_mask: Gives the mask of a row in its box, bool [h, w].
    """
    whole = index.whole
    wanted = {
        row: hidden[key] for row, key in enumerate(index.keys) if key in hidden and not whole[row]
    }
    models = {
        class_id: Models.of([read_mask(row) for row in rows.tolist()])
        for class_id in np.unique(index.classes[list(wanted)]).tolist()
        if len(rows := _model_rows(index, class_id)) >= VOTES
    }

    def work(row: int) -> CompletedDonor | None:
        around = wanted[row].unpacked()
        found = complete(around, models[int(index.classes[row])])
        return _kept(around, found) if found.is_good else None

    tried = [row for row in wanted if int(index.classes[row]) in models]
    made = map_in_threads(work, tried, title="completing donors")
    found = {row: donor for row, donor in zip(tried, made, strict=True) if donor is not None}
    whole = with_completed(index, found).whole
    return {row: donor for row, donor in found.items() if whole[row]}


def with_completed(index: DonorIndex, found: Mapping[int, CompletedDonor]) -> DonorIndex:
    """The index with the columns of completed donors, their completeness judged again."""
    rows, donors = np.array(list(found), np.intp), list(found.values())
    if not len(rows):
        return index
    columns = {
        name: getattr(index, name).copy()
        for name in (
            "boxes", "areas", "hidden_sides", "pieces", "silhouettes", "obscured", "completed",
        )
    }  # fmt: skip
    columns["boxes"][rows] = [donor.box for donor in donors]
    columns["areas"][rows] = [np.count_nonzero(donor.mask) for donor in donors]
    columns["hidden_sides"][rows] = 0
    columns["pieces"][rows] = 1
    columns["silhouettes"][rows] = packed_silhouettes([silhouette(d.mask) for d in donors])
    columns["obscured"][rows] *= np.array([donor.unsure for donor in donors], np.float32)
    columns["completed"][rows] = [
        np.count_nonzero(donor.made_up) / np.count_nonzero(donor.mask) for donor in donors
    ]
    return replace(index, **columns).judged()


def _model_rows(index: DonorIndex, class_id: int) -> npt.NDArray[np.intp]:
    """The whole donors that others of a class are completed from; none if there are enough."""
    rows = np.flatnonzero(index.whole & (index.classes == class_id))
    if len(rows) >= ENOUGH:
        return rows[:0]
    rows = rows[index.areas[rows] >= MODEL_AREA]
    return rows[np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(np.intp)]


def _smoothed(mask: Flags, around: Surroundings) -> Flags:
    """A mask without cracks and fringes where something nearer hides the shape."""
    reach = max(1, round(SMOOTH * np.sqrt(np.count_nonzero(mask))))
    share = ndimage.uniform_filter(mask.astype(np.float32), size=2 * reach + 1, mode="nearest")
    smoothed: Flags = around.seen | (around.hiding & (share > 0.5))
    return smoothed


def _holding(mask: Flags, seen: Flags) -> Flags:
    """The 8-connected pieces of a mask that hold pixels that are seen."""
    parts, count = ndimage.label(mask, structure=EIGHT)
    kept = np.zeros(count + 1, np.bool_)
    kept[parts[seen]] = True
    held: Flags = kept[parts]
    return held


def _kept(around: Surroundings, found: Completion) -> CompletedDonor | None:
    """The completed donor; None if it reaches the window's border or is not in one piece."""
    top, left = around.box[:2]
    whole = around.seen | found.made_up
    shape = tight(whole, top=top, left=left)
    assert shape is not None
    beyond = any(line.any() for line in (whole[0], whole[-1], whole[:, 0], whole[:, -1]))
    if beyond or pieces_of(shape.mask) > 1:
        return None
    rows = slice(shape.top - top, shape.box[2] - top)
    columns = slice(shape.left - left, shape.box[3] - left)
    unsure = min(1.0, 1 - found.fit + found.doubt)
    return CompletedDonor(shape.box, shape.mask, found.made_up[rows, columns], unsure)
