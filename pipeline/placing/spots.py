"""Spots: donors with the places proposed for them in a scene."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.donors.bank import DonorIndex
from pipeline.placing.places import Places
from pipeline.placing.planned_scene import PlannedScene
from pipeline.placing.pools import DonorPools, Use
from pipeline.placing.spacing import overlaps

SCALE_SIGMA = 0.3
"""Scatter of ln scale about 1: donors of about the right size are preferred."""
HEIGHT_SCATTER = 0.7
"""Part of the scatter of heights that is drawn anew; a part of it is doubt, not scatter."""
HIDDEN_TRIES, BOTTOM_TRIES = 0.25, 0.1
"""Parts of the spots that hidden donors, and donors cut at the bottom, get if there are any."""
HIDDEN_EDGE = 0.12
"""How much of its box a hidden donor is put behind what hides it, at most."""
SIDE_COVER = 0.6
"""Part of a hidden side's height that the nearer object must span."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Spots:
    """Proposed boxes, in the order in which they were drawn."""

    boxes: Integers
    """Top, left, bottom, right in pixels [m, 4]."""
    donors: Integers
    """Positions in the donor index; -1 where no donor serves [m]."""
    scales: Floats
    """Sizes over those of the donors [m]."""
    flips: Flags
    """Which are mirrored [m]."""
    ok: Flags
    """Which pass all checks [m]."""
    alone: Flags
    """Which overlap no box of another object [m]."""

    @classmethod
    def blank(cls, count: int) -> Self:
        """Room for some spots, all without a donor."""
        return cls(
            boxes=np.tile(np.array([0, 0, 1, 1]), (count, 1)),
            donors=np.full(count, -1),
            scales=np.ones(count),
            flips=np.zeros(count, np.bool_),
            ok=np.zeros(count, np.bool_),
            alone=np.ones(count, np.bool_),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Draws:
    """What chance says about each spot [m]."""

    bottoms: Integers
    centres: Floats
    wanted: Floats
    """Ln height in pixels."""
    target: Floats
    """Ln height of the donor to look for."""
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
    there takes its place, flush with it. Hidden donors go behind the sides of nearer objects;
    donors that are cut at the bottom keep their place and size.

    Args:
        places: Where objects could stand.
        donors: What can be pasted, at the scenes' size.
        pools: The same by use.
    """

    def __init__(self, places: Places, donors: DonorIndex, pools: DonorPools) -> None:
        self.places = places
        self.donors = donors
        self.pools = pools
        self._positions = {name: position for position, name in enumerate(donors.names)}
        self._tall = donors.heights.astype(np.int64)
        self._wide = (donors.boxes[:, 3] - donors.boxes[:, 1]).astype(np.int64)

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
        draws = self._draws(scene, class_id, rng, count, occluded or (0.0, HIDDEN_EDGE))
        spots = Spots.blank(count)
        behind, flush = np.zeros((2, count), np.bool_)
        if occluded is None:
            behind = draws.kinds < HIDDEN_TRIES
            flush = draws.kinds > 1 - BOTTOM_TRIES
            behind &= self._fill(spots, "hidden", behind, scene, class_id, draws, rng)
            flush &= self._fill(spots, "bottom", flush, scene, class_id, draws, rng)
            _put_beside(scene, spots, behind, draws)
        free = ~behind & ~flush
        self._fill(spots, "whole", free, scene, class_id, draws, rng)
        if occluded is None:
            crossing = free & (spots.boxes[:, 1] < 0)
            self._fill(spots, "left", crossing, scene, class_id, draws, rng)
            crossing = free & (spots.boxes[:, 3] > scene.size[1])
            self._fill(spots, "right", crossing, scene, class_id, draws, rng)
        else:
            _put_beside(scene, spots, free, draws)
        found = spots.donors >= 0
        if not found.any():
            return spots
        spots.ok[:] = found & self.serves(scene, spots.donors, spots.scales)
        if behind.any():
            spots.ok[behind] &= _side_covered(scene, spots.boxes[behind], ~draws.flips[behind])
        spots.ok[:] &= self.places.believable(
            scene, spots.boxes, class_id, occluded=occluded, flush=flush
        )
        spots.alone[:] = ~(overlaps(spots.boxes, scene.others()) > 0).any(axis=1)
        return spots

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
        pool = self.pools.get(class_id, "whole")
        if pool is None:
            return spots
        _, left, bottom, right = scene.boxes[index]
        wanted, target = self._wanted(scene, class_id, np.full(count, bottom), rng)
        spots.flips[:] = rng.random(count) < self.places.limits.flip
        spots.donors[:] = pool.donors[pool.near(target, rng)]
        spots.scales[:], tall, wide = self._sizes(spots.donors, wanted)
        # As `cutout.stand_in` lays it.
        lefts = (left + right - wide) // 2
        spots.boxes[:] = np.stack([bottom - tall, lefts, bottom + 0 * wide, lefts + wide], axis=1)
        spots.ok[:] = self.serves(scene, spots.donors, spots.scales)
        spots.ok[:] &= self.places.believable(scene, spots.boxes, class_id, index=index)
        return spots

    def serves(self, scene: PlannedScene, donors: Integers, scales: Floats) -> Flags:
        """Which donors are of another scene, and of a good size when scaled [m]."""
        limits = self.places.limits
        ok: Flags = (scales >= limits.scale[0]) & (scales <= limits.scale[1])
        areas = self.donors.areas[donors] * scales**2
        ok &= areas >= limits.min_area * scene.size[0] * scene.size[1]
        own = self._positions.get(scene.record.name)
        if own is not None and len(self._positions) > 1:
            ok &= self.donors.scenes[donors] != own
        return ok

    def _draws(
        self,
        scene: PlannedScene,
        class_id: int,
        rng: np.random.Generator,
        count: int,
        shares: tuple[float, float],
    ) -> _Draws:
        bottoms, centres = self.places.draw(scene, class_id, rng, count)
        wanted, target = self._wanted(scene, class_id, bottoms, rng)
        return _Draws(
            bottoms=bottoms,
            centres=centres,
            wanted=wanted,
            target=target,
            flips=rng.random(count) < self.places.limits.flip,
            kinds=rng.random(count),
            shares=rng.uniform(*shares, count),
            neighbours=rng.random(count),
        )

    def _wanted(
        self, scene: PlannedScene, class_id: int, bottoms: Integers, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Ln height wanted on each lower edge, and that of the donor to look for [m]."""
        mean, sigma = self.places.heights(scene, class_id, bottoms)
        draws = np.clip(rng.standard_normal((2, len(bottoms))), -2, 2)
        wanted = mean + HEIGHT_SCATTER * sigma * draws[0]
        return wanted, wanted + SCALE_SIGMA * draws[1]

    def _sizes(self, donors: Integers, wanted: Floats) -> tuple[Floats, Integers, Integers]:
        """Scales that bring donors to ln heights, and their heights and widths then [m]."""
        scales = np.round(np.exp(wanted) / self._tall[donors], 4)
        return scales, scaled(self._tall[donors], scales), scaled(self._wide[donors], scales)

    def _fill(
        self,
        spots: Spots,
        use: Use,
        chosen: Flags,
        scene: PlannedScene,
        class_id: int,
        draws: _Draws,
        rng: np.random.Generator,
    ) -> bool:
        """Give some of the spots donors for a use, and their boxes; say whether there are any."""
        pool, at = self.pools.get(class_id, use), np.flatnonzero(chosen)
        if pool is None or not len(at):
            return False
        found = pool.near(draws.target[at], rng)
        donors, flips = pool.donors[found], pool.flips[found]
        if use not in ("left", "right"):
            flips = flips ^ draws.flips[at]
        spots.donors[at], spots.flips[at] = donors, flips
        if use == "bottom":
            boxes = self.donors.boxes[donors].astype(np.int64)
            turned = boxes.copy()
            turned[:, 1], turned[:, 3] = scene.size[1] - boxes[:, 3], scene.size[1] - boxes[:, 1]
            spots.boxes[at] = np.where(flips[:, None], turned, boxes)
            return True
        spots.scales[at], tall, wide = self._sizes(donors, draws.wanted[at])
        lefts: Integers = np.rint(draws.centres[at] - wide / 2).astype(np.int64)
        if use == "left":
            lefts = 0 * wide
        elif use == "right":
            lefts = scene.size[1] - wide
        bottoms = draws.bottoms[at]
        spots.boxes[at] = np.stack([bottoms - tall, lefts, bottoms, lefts + wide], axis=1)
        return True


def scaled(lengths: Integers, scales: Floats) -> Integers:
    """Lengths in pixels after scaling, as `cutout.place` rounds them."""
    rounded: Integers = np.maximum(1, np.rint(lengths * scales)).astype(np.int64)
    return rounded


def _put_beside(scene: PlannedScene, spots: Spots, chosen: Flags, draws: _Draws) -> None:
    """Shift some of the spots sideways, behind a side of a nearer object.

    Their right side is hidden, or their left where `flips` says so, so that the wanted share of
    the box is. Where nothing is nearer, the spot stays.
    """
    others = scene.others()
    nearer = others[None, :, 2] > spots.boxes[:, None, 2]
    count = nearer.sum(axis=1)
    at = np.flatnonzero(chosen & (count > 0))
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


def _side_covered(scene: PlannedScene, boxes: Integers, right: Flags) -> Flags:
    """Whether a nearer object spans most of each box's right side, or else its left [m]."""
    others = scene.others()
    edge = np.where(right, boxes[:, 3] - 1, boxes[:, 1])[:, None]
    low = np.maximum(boxes[:, None, 0], others[None, :, 0])
    spans = np.minimum(boxes[:, None, 2], others[None, :, 2]) - low
    covers = (others[None, :, 1] <= edge) & (edge < others[None, :, 3])
    covers &= others[None, :, 2] > boxes[:, None, 2]
    covers &= spans >= SIDE_COVER * (boxes[:, 2] - boxes[:, 0])[:, None]
    covered: Flags = np.any(covers, axis=1)
    return covered
