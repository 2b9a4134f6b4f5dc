"""Placement: where an object could stand, how tall it would be there, and which donor fits."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.layout import BOTTOM, GRID, LEFT, RIGHT, SceneRecord
from pipeline.priors import Priors
from pipeline.program import Duplicate, Move, Paste, Replace, Rescale
from pipeline.scene import INSTANCES_PER_CLASS
from pipeline.spacing import box_areas, nearest_gaps, overlaps
from pipeline.stage import Stage
from pipeline.taxonomy import Taxonomy

if TYPE_CHECKING:
    from pipeline.donors import DonorIndex

__all__ = ["Limits", "Placer", "Spots", "Stage"]

CANDIDATES = 64
"""Places drawn for an edit; the first that passes all checks is taken."""
FEWER = 24
"""Places tried for an object that has its own shape already."""
SCALE_SIGMA = 0.3
"""Scatter of ln scale about 1: donors of about the right size are preferred."""
NEIGHBOURS = 6
"""A donor is drawn from so many on each side of the wanted height."""
HEIGHT_SCATTER = 0.7
"""Part of the scatter of heights that is drawn anew: donors have some of their own."""
HIDDEN_TRIES, CUT_TRIES = 0.25, 0.1
"""Parts of the candidates that hidden donors, and donors cut at the bottom, get if there are any."""
HIDDEN_EDGE = 0.12
"""How much of its width a hidden donor is put behind what hides it, at most."""
SIDE_COVER = 0.6
"""Part of a hidden side's height that the nearer object must span."""
MAX_TURN = 0.12
"""A shift may change the height expected at the object's row by this much, in ln."""
RESCALE = (0.6, 1.6)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a placed object may do, besides what the priors say; shares are of the picture's."""

    max_cover: float = 0.6
    """Share of a box that it may hide, or have hidden."""
    max_void: float = 0.05
    """Share of its box that void or crowds may cover, which stay on top."""
    min_area: float = 0.0005
    """Smallest area."""
    scale: tuple[float, float] = (0.4, 2.0)
    """Smallest and largest size over that of the donor."""
    flip: float = 0.5
    """How often an object is mirrored, where either way fits."""
    move: tuple[float, float] = (0.01, 0.1)
    """Farthest shift, of height and width."""


@dataclass(frozen=True, slots=True, eq=False)
class Spots:
    """Proposed pastes, in the order in which they were drawn."""

    boxes: Integers
    """Top, left, bottom, right in pixels [m, 4]."""
    donors: Integers
    """Positions in the donor index [m]."""
    scales: Floats
    flips: Flags
    ok: Flags
    """Which of them pass all checks [m]."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """Donors of one class and kind, by height."""

    donors: Integers
    log_heights: Floats
    flips: Flags
    """Which must be mirrored to be of that kind."""

    def near(self, wanted: Floats, rng: np.random.Generator) -> Integers:
        """For each wanted ln height a position in the pool, at random among the nearest [m]."""
        places = np.searchsorted(self.log_heights, wanted)
        places += rng.integers(-NEIGHBOURS, NEIGHBOURS, len(wanted))
        return places.clip(0, len(self.donors) - 1)


class Placer:
    """Proposes believable edits of scenes and enters them into their stages.

    Everything random comes from the generators that the methods get.

    Args:
        priors: Of the dataset the scenes belong to.
        donors: What can be pasted, at the scenes' size.
        taxonomy: Of scenes and donors.
        limits: What edits may do.
        eligible: Which donors may be used, bool [n]; all by default.
    """

    def __init__(
        self,
        priors: Priors,
        donors: "DonorIndex",
        taxonomy: Taxonomy,
        *,
        limits: Limits,
        eligible: Flags | None = None,
    ) -> None:
        self.priors = priors
        self.donors = donors
        self.taxonomy = taxonomy
        self.limits = limits
        self._eligible = np.ones(len(donors.ids), np.bool_) if eligible is None else eligible
        self._classes = donors.ids // INSTANCES_PER_CLASS
        self._tall = donors.boxes[:, 2] - donors.boxes[:, 0]
        self._wide = donors.boxes[:, 3] - donors.boxes[:, 1]
        self._pools: dict[tuple[int, str], _Pool | None] = {}
        self._max_hidden = np.zeros(taxonomy.num_classes)
        for class_id in np.flatnonzero(taxonomy.is_thing):
            self._max_hidden[class_id] = priors.max_overlap(int(class_id))

    def stage(self, record: SceneRecord, *, mirrored: bool = False) -> Stage:
        """The stage of a scene before any edit but mirroring."""
        view = self.priors.view(record)
        return Stage(record, self.taxonomy, view, mirrored=mirrored)

    def paste(
        self,
        stage: Stage,
        class_id: int,
        rng: np.random.Generator,
        *,
        occluded: tuple[float, float] | None = None,
    ) -> Paste | None:
        """Bring an object of a class into the scene where one could stand.

        Args:
            stage: The scene.
            class_id: A thing class.
            rng: Decides all.
            occluded: Shares of its box, fewest and most, that nearer objects must hide.

        Returns:
            The operation, or None if no place or no donor was found.
        """
        spots = self.spots(stage, class_id, rng, occluded=occluded)
        chosen = np.flatnonzero(spots.ok)
        if not len(chosen):
            return None
        unused = [k for k in chosen if int(spots.donors[k]) not in stage.used]
        best = int(unused[0] if unused else chosen[0])
        donor = int(spots.donors[best])
        stage.used.add(donor)
        stage.add(spots.boxes[best], class_id)
        return Paste(
            donor=self.donors.names[self.donors.scenes[donor]],
            donor_instance=int(self.donors.ids[donor]),
            row=int(spots.boxes[best, 2]) - 1,
            column=int(spots.boxes[best, 1]),
            scale=float(spots.scales[best]),
            flip=bool(spots.flips[best]),
        )

    def spots(
        self,
        stage: Stage,
        class_id: int,
        rng: np.random.Generator,
        *,
        occluded: tuple[float, float] | None = None,
        count: int = CANDIDATES,
    ) -> Spots:
        """Draw places and donors for a class, and say which pass all checks."""
        whole = self._pool(class_id, "whole")
        hidden = self._pool(class_id, "right hidden") if occluded is None else None
        below = self._pool(class_id, "bottom") if occluded is None else None
        bottoms, centres = self._places(stage, class_id, rng, count)
        wanted, target = self._heights(stage, class_id, bottoms, rng)
        chance = rng.random(count)
        flip = rng.random(count) < self.limits.flip
        picks = rng.integers(0, 2**31, count)
        share = rng.uniform(*(occluded or (0.0, HIDDEN_EDGE)), count)
        donors = np.full(count, -1)
        flips = flip.copy()
        if whole is not None:
            position = whole.near(target, rng)
            donors = whole.donors[position]
        behind = np.full(count, occluded is not None)
        if hidden is not None:
            position = hidden.near(target, rng)
            behind = chance < HIDDEN_TRIES if whole is not None else np.ones(count, np.bool_)
            donors = np.where(behind, hidden.donors[position], donors)
            # `flips` so far: whether the right side is hidden, or the left.
            flips = np.where(behind, hidden.flips[position] ^ flip, flips)
        flush = np.zeros(count, np.bool_)
        if below is not None:
            flush = chance > 1 - CUT_TRIES
            donors = np.where(flush, below.donors[picks % len(below.donors)], donors)
            flips, behind = np.where(flush, flip, flips), behind & ~flush
        if not self.taxonomy.is_thing[class_id] or (donors < 0).all():
            return _nothing()
        scales = np.exp(wanted - np.log(self._tall[donors]))
        scales = np.where(flush, 1.0, np.round(scales, 4))
        tall, wide = self._sizes(donors, scales)
        lefts = np.rint(centres - wide / 2).astype(np.int64)
        if len(stage.boxes) and behind.any():
            lefts = np.where(behind, _beside(stage, bottoms, tall, wide, share, flip, picks), lefts)
        boxes = np.stack([bottoms - tall, lefts, bottoms, lefts + wide], axis=1)
        boxes = np.where(flush[:, None], self._own_boxes(stage, donors, flips), boxes)
        ok = np.ones(count, np.bool_)
        for side, crossing in (
            ("left", boxes[:, 1] < 0),
            ("right", boxes[:, 3] > stage.size[1]),
        ):
            cut = self._pool(class_id, side) if occluded is None else None
            crossing &= ~flush & ~behind
            if cut is None or not crossing.any():
                continue
            position = cut.near(target, rng)
            donors = np.where(crossing, cut.donors[position], donors)
            flips = np.where(crossing, cut.flips[position], flips)
            scales = np.where(crossing, np.exp(wanted - np.log(self._tall[donors])), scales)
            scales = np.round(scales, 4)
            tall, wide = self._sizes(donors, scales)
            lefts = np.zeros(count, np.int64) if side == "left" else stage.size[1] - wide
            at_side = np.stack([bottoms - tall, lefts, bottoms, lefts + wide], axis=1)
            boxes = np.where(crossing[:, None], at_side, boxes)
        ok &= (scales >= self.limits.scale[0]) & (scales <= self.limits.scale[1])
        ok &= self.donors.areas[donors] * scales**2 >= self.limits.min_area * np.prod(stage.size)
        if len(self.donors.names) > 1:
            own = np.array([name == stage.record.name for name in self.donors.names])
            ok &= ~own[self.donors.scenes[donors]]
        if behind.any() and occluded is None:
            ok &= ~behind | _side_covered(stage, boxes, right=~flip)
        ok &= self.believable(stage, boxes, class_id, occluded=occluded, flush=flush)
        return Spots(boxes, donors, scales, flips, ok)

    def move(self, stage: Stage, index: int, rng: np.random.Generator) -> Move | None:
        """Shift a whole object by a little, keeping its size."""
        draws = rng.uniform(-1, 1, (2, FEWER))
        if not stage.whole[index] or not stage.present[index]:
            return None
        far = np.array(self.limits.move) * stage.size
        rows, columns = np.rint(draws * far[:, None]).astype(np.int64)
        boxes = stage.boxes[index] + np.stack([rows, columns, rows, columns], axis=1)
        class_id = int(stage.class_ids[index])
        before, _ = self._expected(stage, class_id, stage.boxes[index : index + 1, 2])
        after, _ = self._expected(stage, class_id, boxes[:, 2])
        ok = ((rows != 0) | (columns != 0)) & (np.abs(after - before) <= MAX_TURN)
        ok &= self.believable(stage, boxes, class_id, index=index)
        if not ok.any():
            return None
        best = int(ok.argmax())
        stage.move(index, boxes[best])
        return Move(
            instance=int(stage.ids[index]), rows=int(rows[best]), columns=int(columns[best])
        )

    def rescale(self, stage: Stage, index: int, rng: np.random.Generator) -> Rescale | None:
        """Bring a whole object nearer or farther along the ground, with the size it has there."""
        factors = np.exp(rng.uniform(*np.log(RESCALE), FEWER))
        shifts = rng.uniform(-1, 1, FEWER) * self.limits.move[1] * stage.size[1]
        if not stage.whole[index] or not stage.present[index]:
            return None
        top, left, bottom, right = stage.boxes[index]
        above = bottom - stage.view.horizon
        bottoms = np.rint(stage.view.horizon + above * factors).astype(np.int64)
        if above <= 1:
            return None
        scales = np.round((bottoms - stage.view.horizon) / above, 4)
        tall, wide = (
            np.maximum(1, np.rint(length * scales)).astype(np.int64)
            for length in (bottom - top, right - left)
        )
        lefts = np.rint((left + right) / 2 + shifts - wide / 2).astype(np.int64)
        boxes = np.stack([bottoms - tall, lefts, bottoms, lefts + wide], axis=1)
        area = box_areas(boxes[:1]) * scales**2
        ok = (np.abs(np.log(scales)) > 0.03) & (area >= self.limits.min_area * np.prod(stage.size))
        ok &= self.believable(stage, boxes, int(stage.class_ids[index]), index=index)
        if not ok.any():
            return None
        best = int(ok.argmax())
        stage.move(index, boxes[best])
        return Rescale(
            instance=int(stage.ids[index]),
            row=int(bottoms[best]) - 1,
            column=int(lefts[best]),
            scale=float(scales[best]),
        )

    def duplicate(self, stage: Stage, index: int, rng: np.random.Generator) -> Duplicate | None:
        """Put a copy of a whole object where another one of its class could stand."""
        class_id = int(stage.class_ids[index])
        bottoms, centres = self._places(stage, class_id, rng, CANDIDATES)
        flips = rng.random(CANDIDATES) < self.limits.flip
        if not stage.whole[index] or not stage.present[index]:
            return None
        top, left, bottom, right = stage.boxes[index]
        now, _ = self._expected(stage, class_id, np.array([bottom]))
        then, _ = self._expected(stage, class_id, bottoms)
        scales = np.round(np.exp(then - now), 4)
        tall, wide = (
            np.maximum(1, np.rint(length * scales)).astype(np.int64)
            for length in (bottom - top, right - left)
        )
        lefts = np.rint(centres - wide / 2).astype(np.int64)
        boxes = np.stack([bottoms - tall, lefts, bottoms, lefts + wide], axis=1)
        ok = (scales >= self.limits.scale[0]) & (scales <= self.limits.scale[1])
        ok &= box_areas(boxes) >= self.limits.min_area * np.prod(stage.size)
        ok &= self.believable(stage, boxes, class_id)
        if not ok.any():
            return None
        best = int(ok.argmax())
        stage.add(boxes[best], class_id)
        return Duplicate(
            instance=int(stage.ids[index]),
            row=int(bottoms[best]) - 1,
            column=int(lefts[best]),
            scale=float(scales[best]),
            flip=bool(flips[best]),
        )

    def replace(
        self, stage: Stage, index: int, class_id: int, rng: np.random.Generator
    ) -> Replace | None:
        """Put a whole donor of a class where an object stands, as tall as it would be there."""
        pool = self._pool(class_id, "whole")
        if pool is None or not stage.present[index]:
            return None
        _, left, bottom, right = stage.boxes[index]
        bottoms = np.full(FEWER, bottom)
        wanted, target = self._heights(stage, class_id, bottoms, rng)
        donors = pool.donors[pool.near(target, rng)]
        flips = rng.random(FEWER) < self.limits.flip
        scales = np.round(np.exp(wanted - np.log(self._tall[donors])), 4)
        tall, wide = self._sizes(donors, scales)
        lefts = (left + right - wide) // 2
        boxes = np.stack([bottoms - tall, lefts, bottoms, lefts + wide], axis=1)
        ok = (scales >= self.limits.scale[0]) & (scales <= self.limits.scale[1])
        ok &= self.donors.areas[donors] * scales**2 >= self.limits.min_area * np.prod(stage.size)
        names, own = self.donors.names, stage.record.name
        ok &= np.array([names[s] != own or len(names) == 1 for s in self.donors.scenes[donors]])
        ok &= self.believable(stage, boxes, class_id, index=index)
        if not ok.any():
            return None
        best = int(ok.argmax())
        donor = int(donors[best])
        stage.remove(index)
        stage.used.add(donor)
        stage.add(boxes[best], class_id)
        return Replace(
            instance=int(stage.ids[index]),
            donor=names[self.donors.scenes[donor]],
            donor_instance=int(self.donors.ids[donor]),
            scale=float(scales[best]),
            flip=bool(flips[best]),
        )

    def believable(
        self,
        stage: Stage,
        boxes: Integers,
        class_id: int,
        *,
        index: int | None = None,
        occluded: tuple[float, float] | None = None,
        flush: Flags | None = None,
    ) -> Flags:
        """Which of some boxes [m, 4] an object of a class could have.

        Its feet stand on what carries the class, all of it lies in the picture and in view, it
        hides no other one too much, nor is it hidden too much, and it keeps the usual distance.

        Args:
            stage: The scene.
            boxes: Top, left, bottom, right in pixels.
            class_id: The class of the object.
            index: The object itself, where it is one of the scene.
            occluded: Fewest and most of its box that nearer objects must hide; by default no more
                than usual.
            flush: Which boxes end at void or the lower border, and so show no feet [m].
        """
        flush = np.zeros(len(boxes), np.bool_) if flush is None else flush
        carried = (self.priors.support(class_id)[stage.feet(boxes)] > 0).all(axis=1)
        ok = stage.inside(boxes) & np.where(flush, stage.cut_below(boxes), carried)
        ok &= flush | (boxes[:, 2] > stage.view.horizon)
        ok &= stage.blocked_share(boxes) <= self.limits.max_void
        chosen = stage.present.copy()
        if index is not None:
            chosen[index] = False
        others, classes = stage.boxes[chosen], stage.class_ids[chosen]
        shared = overlaps(boxes, others)
        nearer = others[None, :, 2] > boxes[:, None, 2]
        hidden = np.minimum(np.where(nearer, shared, 0).sum(axis=1) / box_areas(boxes), 1)
        if occluded is None:
            low, high = 0.0, min(self.limits.max_cover, self._max_hidden[class_id])
        else:
            low, high = occluded
        ok &= (hidden >= low) & (hidden <= high)
        if not len(others):
            return ok
        hides = np.where(nearer, 0, shared) / box_areas(others)
        most = np.minimum(self.limits.max_cover, self._max_hidden[classes])
        ok &= (hides <= most).all(axis=1)
        gaps = nearest_gaps(boxes, others, horizon=stage.view.horizon)
        close = gaps < self.priors.min_gap(class_id)
        return ok & ~close if occluded is None else ok

    def _places(
        self, stage: Stage, class_id: int, rng: np.random.Generator, count: int
    ) -> tuple[Integers, Floats]:
        """Lower edges and centre columns in pixels, drawn from all places of the scene [count]."""
        if class_id not in stage.densities:
            stage.densities[class_id] = self._density(stage, class_id).cumsum()
        running = stage.densities[class_id]
        cells = np.searchsorted(running, rng.random(count) * running[-1], side="right")
        cells = cells.clip(0, GRID[0] * GRID[1] - 1)
        jitter = rng.random((2, count))
        rows = (cells // GRID[1] + jitter[0]) * stage.size[0] / GRID[0]
        columns = (cells % GRID[1] + jitter[1]) * stage.size[1] / GRID[1]
        return rows.astype(np.int64), columns

    def _density(self, stage: Stage, class_id: int) -> Floats:
        """How likely each cell is the one below an object of the class, not normalised [cells]."""
        location = self.priors.location(class_id)
        if stage.mirrored:
            location = location[:, ::-1]
        height = stage.size[0]
        shift = round((stage.view.horizon / height - self.priors.content.horizon) * GRID[0])
        rows = np.arange(GRID[0])
        location = location[(rows - shift).clip(0, GRID[0] - 1)]
        odds = location * self.priors.preference(class_id)[stage.ground]
        odds[(rows + 1) * height <= stage.view.horizon * GRID[0]] = 0
        density: Floats = odds.ravel()
        return density

    def _expected(self, stage: Stage, class_id: int, bottoms: Integers) -> tuple[Floats, Floats]:
        return self.priors.log_height(
            class_id, bottoms.astype(np.float64), stage.view, height=stage.size[0]
        )

    def _heights(
        self, stage: Stage, class_id: int, bottoms: Integers, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Ln height wanted at each row, and that of the donor to look for [m]."""
        mean, sigma = self._expected(stage, class_id, bottoms)
        draws = rng.standard_normal((2, len(bottoms))).clip(-2, 2)
        wanted = mean + HEIGHT_SCATTER * sigma * draws[0]
        return wanted, wanted + SCALE_SIGMA * draws[1]

    def _sizes(self, donors: Integers, scales: Floats) -> tuple[Integers, Integers]:
        tall, wide = (
            np.maximum(1, np.rint(lengths[donors] * scales)).astype(np.int64)
            for lengths in (self._tall, self._wide)
        )
        return tall, wide

    def _own_boxes(self, stage: Stage, donors: Integers, flips: Flags) -> Integers:
        """The boxes of donors in their own scenes, mirrored where asked [m, 4]."""
        boxes = self.donors.boxes[donors].astype(np.int64)
        mirrored = boxes.copy()
        mirrored[:, 1], mirrored[:, 3] = stage.size[1] - boxes[:, 3], stage.size[1] - boxes[:, 1]
        return np.where(flips[:, None], mirrored, boxes)

    def _pool(self, class_id: int, kind: str) -> _Pool | None:
        """The donors of a class for one use; None if there are none."""
        key = (class_id, kind)
        if key not in self._pools:
            self._pools[key] = self._collect(class_id, kind)
        return self._pools[key]

    def _collect(self, class_id: int, kind: str) -> _Pool | None:
        index = self.donors
        of_class = self._eligible & (self._classes == class_id) & (index.pieces == 1)
        cut, hidden = index.cut_sides, index.hidden_sides
        match kind:
            case "whole":
                straight, turned = of_class & (cut == 0) & (hidden == 0), None
            case "left" | "right":
                sides = (LEFT, RIGHT) if kind == "left" else (RIGHT, LEFT)
                straight, turned = (of_class & (hidden == 0) & (cut == side) for side in sides)
            case "bottom":
                straight, turned = of_class & (hidden == 0) & (cut & BOTTOM > 0), None
            case _:
                straight, turned = (
                    of_class & (cut == 0) & (hidden == side) for side in (RIGHT, LEFT)
                )
        members = np.flatnonzero(straight)
        flips = np.zeros(len(members), np.bool_)
        if turned is not None:
            members = np.concatenate([members, np.flatnonzero(turned)])
            flips = np.arange(len(members)) >= len(flips)
        if not len(members):
            return None
        log_heights = np.log(self._tall[members])
        order = np.argsort(log_heights, kind="stable")
        return _Pool(members[order], log_heights[order], flips[order])


def _nothing() -> Spots:
    empty = np.zeros(0, np.int64)
    none = np.zeros(0, np.bool_)
    return Spots(np.zeros((0, 4), np.int64), empty, np.zeros(0), none, none)


def _beside(
    stage: Stage,
    bottoms: Integers,
    tall: Integers,
    wide: Integers,
    share: Floats,
    flip: Flags,
    picks: Integers,
) -> Integers:
    """Left edges that put each object behind the side of a nearer one [m].

    Its right side is hidden, or where `flip` says so its left, so that about `share` of its box is.
    """
    others = stage.others()
    if not len(others):
        return np.full(len(bottoms), -(10**6))
    nearer = others[None, :, 2] > bottoms[:, None]
    rank = picks % np.maximum(nearer.sum(axis=1), 1)
    chosen = others[(nearer.cumsum(axis=1) > rank[:, None]).argmax(axis=1)]
    spanned = np.minimum(bottoms, chosen[:, 2]) - np.maximum(bottoms - tall, chosen[:, 0])
    part = np.minimum(share * tall / np.maximum(spanned, 1), 1) * wide
    lefts = np.where(flip, chosen[:, 3] - part, chosen[:, 1] - wide + part)
    return np.rint(lefts).astype(np.int64)


def _side_covered(stage: Stage, boxes: Integers, *, right: Flags) -> Flags:
    """Whether a nearer object lies across most of each box's right side, or else its left [m]."""
    others = stage.others()
    edge = np.where(right, boxes[:, 3] - 1, boxes[:, 1])[:, None]
    spans = np.minimum(boxes[:, None, 2], others[None, :, 2]) - np.maximum(
        boxes[:, None, 0], others[None, :, 0]
    )
    covers = (others[None, :, 1] <= edge) & (edge < others[None, :, 3])
    covers &= others[None, :, 2] > boxes[:, None, 2]
    covers &= spans >= SIDE_COVER * (boxes[:, 2] - boxes[:, 0])[:, None]
    covered: Flags = covers.any(axis=1)
    return covered
