"""Spots: donors with the places proposed for them in a scene."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.donors.bank import DonorIndex
from pipeline.indexing.record import SILHOUETTE, unpacked_silhouettes
from pipeline.placing.places import Places
from pipeline.placing.planned_scene import PlannedScene
from pipeline.placing.pools import VIEW, DonorPools, Pool, Use
from pipeline.placing.spacing import moved_with, overlaps, united

BOTTOM_TRIES = 0.1
"""Part of the spots that donors cut at the bottom get if there are any."""
CELLS = SILHOUETTE[0] * SILHOUETTE[1]
SEEN_FROM = 0.25
"""Part of the picture's width by which a vehicle may be shown elsewhere than it was seen."""
TWINS = 6
"""Two of a class look alike if fewer cells of their coarse shapes differ."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Spots:
    """Proposed boxes, in the order in which they were drawn."""

    boxes: Integers
    """Top, left, bottom, right in pixels [m, 4]; of a donor and what comes along together."""
    donors: Integers
    """Positions in the donor index; -1 where no donor serves [m]."""
    scales: Floats
    """Sizes over those of the donors [m]."""
    flips: Flags
    """Which are mirrored [m]."""
    ok: Flags
    """Which pass all checks [m]."""
    flush: Flags
    """Which end at void or the lower border of the picture [m]."""
    alone: Flags
    """Which of those overlap no box of another object [m]."""
    twins: Flags
    """Which of those look like another of their class in the scene [m]."""

    @classmethod
    def blank(cls, count: int) -> Self:
        """Room for some spots, all without a donor."""
        return cls(
            boxes=np.tile(np.array([0, 0, 1, 1]), (count, 1)),
            donors=np.full(count, -1),
            scales=np.ones(count),
            flips=np.zeros(count, np.bool_),
            ok=np.zeros(count, np.bool_),
            flush=np.zeros(count, np.bool_),
            alone=np.ones(count, np.bool_),
            twins=np.zeros(count, np.bool_),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Draws:
    """What chance says about each spot [m]."""

    bottoms: Integers
    centres: Floats
    wanted: Floats
    """Ln height in pixels that objects of the class have there."""
    flips: Flags
    kinds: Floats
    """Decide about the use, in 0..1."""
    shares: Floats
    """How much of its box is to lie behind a nearer object beside it."""
    neighbours: Floats
    """Which one that is, in 0..1."""


class Spotter:
    """Draws spots for donors.

    Whole donors go anywhere. Where one would cross a side of the picture, a donor that was cut
    there takes its place, flush with it. Donors that are cut at the bottom keep their place and
    size. What is one with a donor, as a bicycle with its rider, comes along.

    Args:
        places: Where objects could stand.
        donors: What can be pasted, at the scenes' size.
        pools: The same by use.
        usual: Ln heights in pixels of others of their class where they were seen [n].
    """

    def __init__(
        self, places: Places, donors: DonorIndex, pools: DonorPools, usual: Floats
    ) -> None:
        self.places = places
        self.donors = donors
        self.pools = pools
        self.uses: npt.NDArray[np.int64] = np.zeros(len(donors), np.int64)
        """How often the run has used each donor so far [n]."""
        self._positions = {name: position for position, name in enumerate(donors.names)}
        self._usual = usual
        self.partners = donors.partner_rows
        """The donor that comes along with each, by position; -1 if none does [n]."""
        boxes = donors.boxes.astype(np.int64)
        self._own = boxes
        self._joint = np.where(
            (self.partners >= 0)[:, None], united(boxes, boxes[self.partners]), boxes
        )
        centres = boxes[:, [1, 3]].mean(axis=1) / donors.size[1]
        self._centres: Floats = centres

    def draw(
        self,
        scene: PlannedScene,
        class_id: int,
        rng: np.random.Generator,
        *,
        count: int,
        occluded: tuple[float, float] | None = None,
    ) -> Spots:
        """Draw spots for donors of a class, and say which pass all checks.

        Args:
            scene: The scene; it is not changed.
            class_id: A thing class.
            rng: Decides all.
            count: How many to draw.
            occluded: Shares of its box, fewest and most, that nearer objects must hide.
        """
        draws = self._draws(scene, class_id, rng, count, occluded or (0.0, 0.0))
        spots, barred = Spots.blank(count), self.barred(scene)
        flush = spots.flush
        if occluded is None:
            flush[:] = draws.kinds > 1 - BOTTOM_TRIES
            flush &= self._fill(spots, "bottom", flush, scene, class_id, draws, barred, rng)
        self._fill(spots, "whole", ~flush, scene, class_id, draws, barred, rng)
        if occluded is None:
            crossing = ~flush & (spots.boxes[:, 1] < 0)
            self._fill(spots, "left", crossing, scene, class_id, draws, barred, rng)
            crossing = ~flush & (spots.boxes[:, 3] > scene.size[1])
            self._fill(spots, "right", crossing, scene, class_id, draws, barred, rng)
        else:
            _put_beside(scene, spots, draws)
        spots.ok[:] = (spots.donors >= 0) & ~self._far(scene, class_id, spots)
        self.check(scene, spots, class_id, occluded=occluded)
        return spots

    def check(
        self,
        scene: PlannedScene,
        spots: Spots,
        class_id: int,
        *,
        occluded: tuple[float, float] | None = None,
    ) -> None:
        """Say which of the spots that passed so far pass all checks in a scene as it is now.

        Args:
            scene: The scene.
            spots: The spots; `ok`, `alone` and `twins` are set.
            class_id: A thing class.
            occluded: Shares of its box, fewest and most, that nearer objects must hide.
        """
        at = np.flatnonzero(spots.ok)
        ok = self.serves(scene, spots.donors[at], spots.scales[at])
        at, failed = at[ok], at[~ok]
        spots.ok[failed] = False
        if not len(at):
            return
        boxes = spots.boxes[at]
        flush = spots.flush[at]
        spots.ok[at] = self.places.believable(
            scene, boxes, class_id, occluded=occluded, flush=flush
        )
        at = at[spots.ok[at]]
        spots.alone[at] = ~(overlaps(spots.boxes[at], scene.others()) > 0).any(axis=1)
        spots.twins[at] = self._twins(scene, class_id, spots.donors[at])

    def stand_ins(
        self,
        scene: PlannedScene,
        index: int,
        class_id: int,
        rng: np.random.Generator,
        *,
        count: int,
    ) -> Spots:
        """Draw whole donors of a class for the spot of an object, and say which pass all checks.

        Args:
            scene: The scene; it is not changed.
            index: Position of the object.
            class_id: A thing class.
            rng: Decides all.
            count: How many to draw.
        """
        spots = Spots.blank(count)
        pool = self.pools.get(class_id, "whole", turned=scene.mirrored)
        if pool is None:
            return spots
        _, left, bottom, right = scene.joint_box(index)
        centres = np.full(count, (left + right) / 2)
        wanted, _ = self.places.heights(scene, class_id, np.full(count, bottom))
        flips = rng.random(count) < self.places.limits.flip
        at, barred = np.arange(count), self.barred(scene)
        self._choose(spots, at, pool, scene, class_id, wanted, centres, flips, barred, rng)
        # What it is one with may reach farther down than its own feet.
        lower = (self._joint[spots.donors, 2] - self._own[spots.donors, 2]) * spots.scales
        wanted, _ = self.places.heights(scene, class_id, bottom - np.rint(lower).astype(np.int64))
        spots.scales[:], tall, wide = self._sizes(spots.donors, wanted)
        # As `cutout.stand_in` lays it.
        lefts = (left + right - wide) // 2
        spots.boxes[:] = np.stack([bottom - tall, lefts, bottom + 0 * wide, lefts + wide], axis=1)
        spots.ok[:] = self.serves(scene, spots.donors, spots.scales)
        spots.ok[:] &= ~self._far(scene, class_id, spots)
        spots.ok[:] &= self.places.believable(
            scene, spots.boxes, class_id, without=scene.members(index)
        )
        spots.twins[:] = self._twins(scene, class_id, spots.donors)
        return spots

    def serves(self, scene: PlannedScene, donors: Integers, scales: Floats) -> Flags:
        """Which donors are of another scene, new to this one, and of a good size [m]."""
        limits = self.places.limits
        ok: Flags = (scales >= limits.scale[0]) & (scales <= limits.scale[1])
        areas = self.donors.areas[donors] * scales**2
        ok &= areas >= limits.min_area * scene.size[0] * scene.size[1]
        return ok & ~self.barred(scene)[donors]

    def barred(self, scene: PlannedScene) -> Flags:
        """Which donors a scene must not get: its own, those it got, those used up [n]."""
        barred = np.zeros(len(self.donors), np.bool_)
        barred[list(scene.used)] = True
        if self.places.limits.max_uses is not None:
            barred |= self.uses >= self.places.limits.max_uses
        own = self._positions.get(scene.record.name)
        if own is not None and len(self._positions) > 1:
            barred |= self.donors.scenes == own
        return barred

    def parts(self, spots: Spots, at: int) -> list[tuple[int, Integers]]:
        """The donors of a spot, that itself and what comes along, with their boxes there.

        Args:
            spots: The spots.
            at: Which of them.
        """
        donor = int(spots.donors[at])
        rows = [donor, *([int(self.partners[donor])] if self.partners[donor] >= 0 else [])]
        joint, there = self._joint[donor], spots.boxes[at].astype(np.int64)
        return [
            (row, moved_with(self._own[row], joint, there, flip=bool(spots.flips[at])))
            for row in rows
        ]

    def _looks(self, donors: Integers) -> npt.NDArray[np.float32]:
        """The coarse shapes of donors [m, cells]."""
        return coarse_shapes(self.donors.silhouettes[donors])

    def _far(self, scene: PlannedScene, class_id: int, spots: Spots) -> Flags:
        """Which spots show a vehicle far from where it was seen, and so from another side [m]."""
        if not self.pools.sided(class_id) or not len(self.donors):
            return np.zeros(len(spots.donors), np.bool_)
        seen = self._centres[spots.donors]
        seen = np.where(spots.flips, 1 - seen, seen)
        shown = spots.boxes[:, [1, 3]].mean(axis=1) / scene.size[1]
        far: Flags = np.abs(shown - seen) > SEEN_FROM
        return far

    def _twins(self, scene: PlannedScene, class_id: int, donors: Integers) -> Flags:
        """Which donors look like another object of their class in the scene [m]."""
        if not len(donors):
            return np.zeros(0, np.bool_)
        own = scene.record.classes == class_id
        there = [
            coarse_shapes(scene.record.silhouettes[own]),
            self._looks(np.array(sorted(scene.used), np.intp)),
        ]
        others = np.concatenate(there)
        if not len(others):
            return np.zeros(len(donors), np.bool_)
        shapes = self._looks(donors)
        mirrored = others.reshape(-1, *SILHOUETTE)[:, :, ::-1].reshape(-1, CELLS)
        twins = np.zeros(len(donors), np.bool_)
        for seen in (others, mirrored):
            differing = shapes @ (1 - seen).T + (1 - shapes) @ seen.T
            twins |= (differing < TWINS).any(axis=1)
        return twins

    def _draws(
        self,
        scene: PlannedScene,
        class_id: int,
        rng: np.random.Generator,
        count: int,
        shares: tuple[float, float],
    ) -> _Draws:
        bottoms, centres = self.places.draw(scene, class_id, rng, count)
        return _Draws(
            bottoms=bottoms,
            centres=centres,
            wanted=self.places.heights(scene, class_id, bottoms)[0],
            flips=rng.random(count) < self.places.limits.flip,
            kinds=rng.random(count),
            shares=rng.uniform(*shares, count),
            neighbours=rng.random(count),
        )

    def _sizes(self, donors: Integers, wanted: Floats) -> tuple[Floats, Integers, Integers]:
        """Scales of donors where their class has some ln heights, and how tall and wide they are.

        One that is taller than others where it was seen is so there. Height and width are those of
        a donor and what comes along [m].
        """
        scales: Floats = np.exp(wanted - self._usual[donors]).round(4)
        top, left, bottom, right = self._joint[donors].T
        return scales, scaled(bottom - top, scales), scaled(right - left, scales)

    def _choose(
        self,
        spots: Spots,
        at: Integers,
        pool: Pool,
        scene: PlannedScene,
        class_id: int,
        wanted: Floats,
        centres: Floats,
        flips: Flags,
        barred: Flags,
        rng: np.random.Generator,
    ) -> None:
        """Give some of the spots donors of a pool, mirrored where that is free and drawn so."""
        sided = self.pools.sided(class_id)
        found = pool.choose(
            wanted,
            centres / scene.size[1],
            self.uses,
            barred,
            rng,
            scale=self.places.limits.scale,
            view=VIEW if sided else 0.0,
        )
        donors = pool.donors[found]
        spots.donors[at] = donors
        spots.flips[at] = pool.flips[found] if sided else pool.flips[found] ^ flips
        spots.scales[at], _, _ = self._sizes(donors, wanted)

    def _fill(
        self,
        spots: Spots,
        use: Use,
        chosen: Flags,
        scene: PlannedScene,
        class_id: int,
        draws: _Draws,
        barred: Flags,
        rng: np.random.Generator,
    ) -> bool:
        """Give some of the spots donors for a use, and their boxes; say whether there are any."""
        pool = self.pools.get(class_id, use, turned=scene.mirrored)
        at = np.flatnonzero(chosen)
        if pool is None or not len(at):
            return False
        flips = draws.flips[at] if use in ("whole", "bottom") else np.zeros(len(at), np.bool_)
        wanted = draws.wanted[at]
        centres = draws.centres[at]
        self._choose(spots, at, pool, scene, class_id, wanted, centres, flips, barred, rng)
        donors = spots.donors[at]
        width = scene.size[1]
        if use == "bottom":
            boxes = self._joint[donors]
            turned = boxes.copy()
            turned[:, 1], turned[:, 3] = width - boxes[:, 3], width - boxes[:, 1]
            spots.boxes[at] = np.where(spots.flips[at][:, None], turned, boxes)
            spots.scales[at] = 1.0
            return True
        scales, tall, wide = self._sizes(donors, wanted)
        lefts: Integers = np.rint(draws.centres[at] - wide / 2).astype(np.int64)
        if use == "left":
            lefts = 0 * wide
        elif use == "right":
            lefts = width - wide
        # The donor's own feet stand there; what it is one with may reach farther down.
        lower = self._joint[donors, 2] - self._own[donors, 2]
        bottoms = draws.bottoms[at] + np.rint(lower * scales).astype(np.int64)
        spots.boxes[at] = np.stack([bottoms - tall, lefts, bottoms, lefts + wide], axis=1)
        return True


def scaled(lengths: Integers, scales: Floats) -> Integers:
    """Lengths in pixels after scaling, as `cutout.place` rounds them."""
    rounded: Integers = np.maximum(1, np.rint(lengths * scales)).astype(np.int64)
    return rounded


def coarse_shapes(silhouettes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Silhouettes as numbers, 1 where they cover a cell [n, cells]."""
    return unpacked_silhouettes(silhouettes).reshape(len(silhouettes), CELLS).astype(np.float32)


def _put_beside(scene: PlannedScene, spots: Spots, draws: _Draws) -> None:
    """Shift spots sideways, behind a side of a nearer object.

    Their right side is hidden, or their left where `flips` says so, so that the wanted share of
    the box is. Where nothing is nearer, the spot stays.
    """
    others = scene.others()
    nearer = others[None, :, 2] > spots.boxes[:, None, 2]
    count = nearer.sum(axis=1)
    at = np.flatnonzero(count > 0)
    if not len(at):
        return
    rank = (draws.neighbours[at] * count[at]).astype(np.int64)
    hiding = others[(nearer[at].cumsum(axis=1) > rank[:, None]).argmax(axis=1)]
    top, left, bottom, right = spots.boxes[at].T
    spanned = np.minimum(bottom, hiding[:, 2]) - np.maximum(top, hiding[:, 0])
    part = np.minimum(draws.shares[at] * (bottom - top) / np.maximum(spanned, 1), 1)
    wide = right - left
    lefts = np.where(draws.flips[at], hiding[:, 3] - part * wide, hiding[:, 1] - (1 - part) * wide)
    spots.boxes[at, 1] = np.rint(lefts).astype(np.int64)
    spots.boxes[at, 3] = spots.boxes[at, 1] + wide
