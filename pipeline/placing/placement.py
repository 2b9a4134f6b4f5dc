"""Placement: edits that put objects where they could stand, as tall as they would be there."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.donors.bank import DonorIndex
from pipeline.editing.program import Duplicate, Move, Paste, Replace, Rescale
from pipeline.indexing.record import SceneRecord
from pipeline.placing.places import Limits, Places
from pipeline.placing.planned_scene import PlannedScene
from pipeline.placing.pools import DonorPools
from pipeline.placing.priors import Priors
from pipeline.placing.spacing import box_areas, moved_with
from pipeline.placing.spots import Spots, Spotter, scaled
from pipeline.roles import class_roles
from pipeline.taxonomy import Taxonomy

__all__ = ["Limits", "Placer", "PlannedScene"]

CANDIDATES = 64
"""Places drawn for an edit; the first that passes all checks is taken."""
AT_ONCE = 8
"""So many objects are put at places that were drawn together."""
FEWER = 24
"""Places tried for an object that stays about where it is."""
SMALLEST_SHIFT = 0.01
"""Of the picture's width; less is no edit."""
MAX_HEIGHT_CHANGE = 0.12
"""A shift may change the height expected at the object's row by this much, in ln."""
RESCALE = (0.6, 1.6)
"""Smallest and largest change of size."""
SMALLEST_RESCALE = 0.03
"""In ln; less is no edit."""

MIDDLE = 0.1
"""Part of the picture's width on each side of its middle where both sides of vehicles are alike."""

TWIN_ODDS = 4.0
"""Ln odds that a place loses for a donor that looks like another in the scene."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


class LogOdds(Protocol):
    """Ln odds that boxes [m, 4] of a class in a scene are of real objects [m]."""

    def __call__(
        self, scene: PlannedScene, boxes: Integers, class_id: int, *, without: Sequence[int]
    ) -> Floats:
        """As in `Critic.log_odds`."""


class Placer:
    """Proposes believable edits of scenes and enters them into the planned scenes.

    Everything random comes from the generators that the methods get.

    Args:
        priors: Of the dataset the scenes belong to.
        donors: What can be pasted, at the scenes' size.
        taxonomy: Of scenes and donors.
        limits: What edits may do.
        eligible: Which donors may be used, bool [n]; whole ones, and such as the picture's border
            alone cuts, by default.
    """

    def __init__(
        self,
        priors: Priors,
        donors: DonorIndex,
        taxonomy: Taxonomy,
        *,
        limits: Limits,
        eligible: Flags | None = None,
    ) -> None:
        self.priors = priors
        self.donors = donors
        self.taxonomy = taxonomy
        self.limits = limits
        self.places = Places(priors, taxonomy, limits)
        sided = class_roles(taxonomy).sided
        usual = priors.usual_log_heights(donors)
        self.pools = DonorPools(donors, eligible=eligible, sided=sided, usual=usual)
        self.spotter = Spotter(self.places, donors, self.pools, usual)
        self._rows = {key: row for row, key in enumerate(donors.keys)}
        self.critic: LogOdds | None = None
        """Says of places whether they look real."""

    def release(self, donors: Iterable[int]) -> None:
        """Count donors, given by position, as used once less each."""
        for donor in donors:
            self.spotter.uses[donor] -= 1

    def take_back(self, scene: PlannedScene, paste: Paste) -> None:
        """Take back the paste that was entered into a scene last."""
        members = (paste.donor_instance, *paste.donor_along)
        rows = [self._rows[paste.donor, instance] for instance in members]
        scene.present[len(scene.present) - len(rows) :] = False
        scene.used.difference_update(rows)
        self.release(rows)

    def planned(self, record: SceneRecord, *, mirrored: bool = False) -> PlannedScene:
        """The planned scene that a record says, before any edit but mirroring.

        Args:
            record: The scene, mirrored already if `mirrored` says so.
            mirrored: Whether it is.
        """
        return PlannedScene(record, self.taxonomy, self.priors.view(record), mirrored=mirrored)

    def paste(
        self,
        scene: PlannedScene,
        class_id: int,
        rng: np.random.Generator,
        *,
        occluded: tuple[float, float] | None = None,
    ) -> Paste | None:
        """Bring an object of a class into the scene where one could stand.

        Args:
            scene: The scene.
            class_id: A thing class.
            rng: Decides all.
            occluded: Shares of its box, fewest and most, that nearer objects must hide.

        Returns:
            The operation, or None if no place or no donor was found.
        """
        made = self.paste_some(scene, class_id, rng, 1, occluded=occluded)
        return made[0] if made else None

    def paste_some(
        self,
        scene: PlannedScene,
        class_id: int,
        rng: np.random.Generator,
        count: int,
        *,
        occluded: tuple[float, float] | None = None,
    ) -> list[Paste]:
        """Bring objects of a class into the scene where they could stand, a few at a time.

        Args:
            scene: The scene.
            class_id: A thing class.
            rng: Decides all.
            count: How many; of more than `AT_ONCE` only so many.
            occluded: As in `paste`.

        Returns:
            The operations; none if no place or no donor was found.
        """
        alone = rng.random() < self.priors.alone(class_id)
        spots = self.spotter.draw(scene, class_id, rng, count=CANDIDATES, occluded=occluded)
        made: list[Paste] = []
        while True:
            # Rather one that stands alone as often as they do, where nobody knows better.
            against = 0.0 if self.critic else 2.0 * (spots.alone != alone)
            best = self._choose(scene, spots, class_id, rng, against=against)
            if best is None:
                return made
            made.append(
                Paste(
                    **self._enter(scene, spots, best),
                    row=int(spots.boxes[best, 2]) - 1,
                    column=int(spots.boxes[best, 1]),
                    scale=float(spots.scales[best]),
                    flip=bool(spots.flips[best]),
                )
            )
            if len(made) >= min(count, AT_ONCE):
                return made
            self.spotter.check(scene, spots, class_id, occluded=occluded)

    def propose(
        self, scene: PlannedScene, class_id: int, rng: np.random.Generator, *, count: int
    ) -> Integers:
        """Boxes that an object of a class could get, at most so many, as `paste` chooses [m, 4]."""
        spots = self.spotter.draw(scene, class_id, rng, count=CANDIDATES)
        boxes = []
        for _ in range(count):
            best = self._choose(scene, spots, class_id, rng)
            if best is None:
                break
            boxes.append(spots.boxes[best])
            spots.ok[best] = False
        return np.array(boxes, np.int64).reshape(-1, 4)

    def move(self, scene: PlannedScene, index: int, rng: np.random.Generator) -> Move | None:
        """Shift a whole object by a little, keeping its size.

        Args:
            scene: The scene.
            index: Position of the object.
            rng: Decides all.

        Returns:
            The operation, or None if the object is not whole or no place was found.
        """
        far = np.array(self.limits.move) * scene.size
        rows, columns = np.rint(rng.uniform(-1, 1, (2, FEWER)) * far[:, None]).astype(np.int64)
        if not scene.whole[index] or not scene.present[index]:
            return None
        class_id = int(scene.class_ids[index])
        box = scene.joint_box(index)
        boxes = box + np.stack([rows, columns, rows, columns], axis=1)
        now, _ = self.places.heights(scene, class_id, box[2:3])
        then, _ = self.places.heights(scene, class_id, boxes[:, 2])
        ok = np.hypot(rows, columns) >= SMALLEST_SHIFT * scene.size[1]
        ok &= np.abs(then - now) <= MAX_HEIGHT_CHANGE
        ok &= self.places.believable(scene, boxes, class_id, without=scene.members(index))
        best = self._choose_box(scene, boxes, ok, class_id, rng, without=scene.members(index))
        if best is None:
            return None
        scene.move(index, boxes[best])
        return Move(
            instance=int(scene.ids[index]),
            rows=int(rows[best]),
            columns=int(columns[best]),
            along=scene.along(index),
        )

    def rescale(self, scene: PlannedScene, index: int, rng: np.random.Generator) -> Rescale | None:
        """Bring a whole object nearer or farther along the ground, as tall as it is there.

        Args:
            scene: The scene.
            index: Position of the object.
            rng: Decides all.

        Returns:
            The operation, or None if the object is not whole or no place was found.
        """
        factors = np.exp(rng.uniform(np.log(RESCALE[0]), np.log(RESCALE[1]), FEWER))
        shifts = rng.uniform(-1, 1, FEWER) * self.limits.move[1] * scene.size[1]
        _, left, bottom, right = scene.joint_box(index)
        above = bottom - scene.view.horizon
        if not scene.whole[index] or not scene.present[index] or above < 1:
            return None
        bottoms = np.rint(scene.view.horizon + above * factors).astype(np.int64)
        scales = (bottoms - scene.view.horizon) / above
        spots = self._resized(scene, index, bottoms, (left + right) / 2 + shifts, scales)
        spots.ok[:] &= np.abs(np.log(np.maximum(spots.scales, 1e-4))) > SMALLEST_RESCALE
        spots.ok[:] &= self.places.believable(
            scene, spots.boxes, int(scene.class_ids[index]), without=scene.members(index)
        )
        best = self._choose(
            scene, spots, int(scene.class_ids[index]), rng, without=scene.members(index)
        )
        if best is None:
            return None
        scene.move(index, spots.boxes[best])
        return Rescale(
            instance=int(scene.ids[index]),
            row=int(spots.boxes[best, 2]) - 1,
            column=int(spots.boxes[best, 1]),
            scale=float(spots.scales[best]),
            along=scene.along(index),
        )

    def duplicate(
        self, scene: PlannedScene, index: int, rng: np.random.Generator
    ) -> Duplicate | None:
        """Put a copy of a whole object where another one of its class could stand.

        Args:
            scene: The scene.
            index: Position of the object.
            rng: Decides all.

        Returns:
            The operation, or None if the object is not whole or no place was found.
        """
        class_id = int(scene.class_ids[index])
        bottoms, centres = self.places.draw(scene, class_id, rng, CANDIDATES)
        flips = rng.random(CANDIDATES) < self.limits.flip
        flips &= not self.pools.sided(class_id)
        if not scene.whole[index] or not scene.present[index]:
            return None
        box = scene.joint_box(index)
        now, _ = self.places.heights(scene, class_id, box[2:3])
        then, _ = self.places.heights(scene, class_id, bottoms)
        spots = self._resized(scene, index, bottoms, centres, np.exp(then - now))
        spots.ok[:] &= self.places.believable(scene, spots.boxes, class_id)
        best = self._choose(scene, spots, class_id, rng)
        if best is None:
            return None
        flip, there = bool(flips[best]), spots.boxes[best]
        for member in scene.members(index):
            moved = moved_with(scene.boxes[member], box, there, flip=flip)
            scene.add(moved, int(scene.class_ids[member]))
        return Duplicate(
            instance=int(scene.ids[index]),
            row=int(spots.boxes[best, 2]) - 1,
            column=int(spots.boxes[best, 1]),
            scale=float(spots.scales[best]),
            flip=flip,
            along=scene.along(index),
        )

    def replace(
        self, scene: PlannedScene, index: int, class_id: int, rng: np.random.Generator
    ) -> Replace | None:
        """Put a whole donor of a class where an object stands, as tall as it would be there.

        Args:
            scene: The scene.
            index: Position of the object that goes.
            class_id: Class of the donor.
            rng: Decides all.

        Returns:
            The operation, or None if no donor fits there.
        """
        if not scene.present[index]:
            return None
        spots = self.spotter.stand_ins(scene, index, class_id, rng, count=FEWER)
        best = self._choose(scene, spots, class_id, rng, without=scene.members(index))
        if best is None:
            return None
        along = scene.along(index)
        scene.remove(index)
        return Replace(
            instance=int(scene.ids[index]),
            along=along,
            **self._enter(scene, spots, best),
            scale=float(spots.scales[best]),
            flip=bool(spots.flips[best]),
        )

    def _choose(
        self,
        scene: PlannedScene,
        spots: Spots,
        class_id: int,
        rng: np.random.Generator,
        *,
        without: Sequence[int] = (),
        against: npt.NDArray[np.floating] | float = 0.0,
    ) -> int | None:
        """One of the spots that pass all checks, rather one without a twin; None if none does."""
        minus = against + TWIN_ODDS * spots.twins
        return self._choose_box(
            scene, spots.boxes, spots.ok, class_id, rng, without=without, against=minus
        )

    def _choose_box(
        self,
        scene: PlannedScene,
        boxes: Integers,
        ok: Flags,
        class_id: int,
        rng: np.random.Generator,
        *,
        without: Sequence[int] = (),
        against: npt.NDArray[np.floating] | float = 0.0,
    ) -> int | None:
        """One of the boxes that pass, by the odds that it is of a real object; None if none does.

        Args:
            scene: The scene.
            boxes: Top, left, bottom, right in pixels [m, 4].
            ok: Which of them pass all checks [m].
            class_id: The class of the object.
            rng: Decides, with as many draws whatever passes.
            without: Objects of the scene, by position, that do not count.
            against: What is taken from the ln odds of each [m].
        """
        draws = rng.gumbel(size=len(boxes))  # the largest sum is drawn as often as the odds say
        chosen = np.flatnonzero(ok)
        if not len(chosen):
            return None
        odds = draws - against
        if self.critic is not None:
            odds[chosen] += self.critic(scene, boxes[chosen], class_id, without=without)
        return int(chosen[np.argmax(odds[chosen])])

    def may_flip(self, scene: PlannedScene, index: int) -> bool:
        """Whether an object may be mirrored where it stands.

        One that looks another way from each side of the road only may in the middle of the picture.
        """
        if not self.pools.sided(int(scene.class_ids[index])):
            return True
        _, left, _, right = scene.joint_box(index)
        return bool(abs((left + right) / (2 * scene.size[1]) - 0.5) <= MIDDLE)

    def _enter(self, scene: PlannedScene, spots: Spots, best: int) -> dict[str, Any]:
        """Enter the donor of a spot, and what comes along, into the scene.

        Returns:
            What an operation says of the donor.
        """
        parts = self.spotter.parts(spots, best)
        for row, box in parts:
            scene.used.add(row)
            scene.add(box, int(self.donors.classes[row]))
            self.spotter.uses[row] += 1
        donor, *others = (int(self.donors.ids[row]) for row, _ in parts)
        return {
            "donor": self.donors.names[self.donors.scenes[parts[0][0]]],
            "donor_instance": donor,
            "donor_along": tuple(others),
        }

    def _resized(
        self, scene: PlannedScene, index: int, bottoms: Integers, centres: Floats, scales: Floats
    ) -> Spots:
        """Spots for an object itself, at other sizes; `ok` where the size is within the limits."""
        top, left, bottom, right = scene.joint_box(index)
        spots = Spots.blank(len(bottoms))
        spots.scales[:] = np.round(scales, 4)
        tall, wide = scaled(bottom - top, spots.scales), scaled(right - left, spots.scales)
        lefts = np.rint(centres - wide / 2).astype(np.int64)
        spots.boxes[:] = np.stack([bottoms - tall, lefts, bottoms, lefts + wide], axis=1)
        low, high = self.limits.scale
        spots.ok[:] = (spots.scales >= low) & (spots.scales <= high)
        height, width = scene.size
        spots.ok[:] &= box_areas(spots.boxes) >= self.limits.min_area * height * width
        return spots
