"""Places: where objects of a class could stand in a scene, and which boxes are believable."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.indexing.record import GRID
from pipeline.placing.planned_scene import PlannedScene
from pipeline.placing.priors import Priors
from pipeline.placing.spacing import box_areas, nearest_gaps, overlaps, rooms_behind
from pipeline.roles import class_roles
from pipeline.taxonomy import Taxonomy

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a placed object may do, besides what the priors say; areas are shares of a picture's."""

    max_cover: float = 0.6
    """Share of a box that it may hide, or have hidden."""
    max_void: float = 0.05
    """Share of its box that void of the frame, or crowds, may cover, which stay on top."""
    max_clutter: float = 0.15
    """Share of its box in which clutter may lie, of which it covers small patches."""
    min_area: float = 0.0005
    """Smallest area."""
    scale: tuple[float, float] = (0.5, 1.5)
    """Smallest and largest size over that before, or of the donor."""
    max_uses: int | None = None
    """How often a run may use a donor."""
    flip: float = 0.5
    """How often an object is mirrored, where either way fits."""
    move: tuple[float, float] = (0.01, 0.1)
    """Farthest shift, of height and width."""


class Places:
    """Where objects stand, how tall they are there, and whether they could be.

    Args:
        priors: Of the dataset.
        taxonomy: Of its scenes.
        limits: What edits may do.
    """

    def __init__(self, priors: Priors, taxonomy: Taxonomy, limits: Limits) -> None:
        self.priors = priors
        self.limits = limits
        self._sided = class_roles(taxonomy).sided
        self._max_hidden = np.zeros(taxonomy.num_classes)
        for class_id in np.flatnonzero(taxonomy.is_thing):
            self._max_hidden[class_id] = priors.max_overlap(int(class_id))

    def draw(
        self, scene: PlannedScene, class_id: int, rng: np.random.Generator, count: int
    ) -> tuple[Integers, Floats]:
        """Draw lower edges and centre columns, in pixels, of objects of a class [count].

        Cells of the coarse grid are drawn by how often the class stands there and on what lies
        there; places inside a cell are even.
        """
        if class_id not in scene.densities:
            scene.densities[class_id] = self._density(scene, class_id).ravel().cumsum()
        running = scene.densities[class_id]
        draws = rng.random((3, count))
        cells = np.searchsorted(running, draws[0] * running[-1], side="right")
        cells = np.minimum(cells, len(running) - 1)
        rows = (cells // GRID[1] + draws[1]) * scene.size[0] / GRID[0]
        columns = (cells % GRID[1] + draws[2]) * scene.size[1] / GRID[1]
        return rows.astype(np.int64), columns

    def _density(self, scene: PlannedScene, class_id: int) -> Floats:
        """How likely each cell is the one below an object of the class, not normalised [GRID]."""
        height = scene.size[0]
        location = self.priors.location(class_id)
        if scene.mirrored:
            location = location[:, ::-1]
        # Locations go with the horizon: a camera that looks down sees all of them further up.
        shift = round((scene.view.horizon / height - self.priors.content.horizon) * GRID[0])
        rows = np.arange(GRID[0])
        location = location[np.clip(rows - shift, 0, GRID[0] - 1)]
        density = location * self.priors.preference(class_id)[scene.ground, scene.margins]
        density[(rows + 1) * height <= scene.view.horizon * GRID[0]] = 0
        return density

    def heights(
        self, scene: PlannedScene, class_id: int, bottoms: Integers
    ) -> tuple[Floats, Floats]:
        """Mean and standard deviation of ln height in pixels, of objects on lower edges [m]."""
        return self.priors.log_height(
            class_id, bottoms.astype(np.float64), scene.view, height=scene.size[0]
        )

    def believable(
        self,
        scene: PlannedScene,
        boxes: Integers,
        class_id: int,
        *,
        without: Sequence[int] = (),
        occluded: tuple[float, float] | None = None,
        flush: Flags | None = None,
    ) -> Flags:
        """Which of some boxes an object of a class could have [m].

        Its feet stand on what carries the class, all of it lies in the picture and in view, it
        hides no other one too much, nor is it hidden too much, and it keeps the usual distance.

        Args:
            scene: The scene.
            boxes: Top, left, bottom, right in pixels [m, 4].
            class_id: The class of the object.
            without: The object itself and what is one with it, where they are of the scene.
            occluded: Fewest and most of its box that nearer objects must hide; by default no more
                than usual. The usual distance is not asked of such an object.
            flush: Which boxes end at void or the lower border, and so show no feet [m].
        """
        carried = (self.priors.support(class_id)[scene.feet(boxes)] > 0).all(axis=1)
        carried &= boxes[:, 2] > scene.view.horizon
        if flush is not None and flush.any():
            carried = np.where(flush, scene.cut_below(boxes), carried)
        ok: Flags = scene.inside(boxes) & carried
        ok &= scene.blocked_share(boxes) <= self.limits.max_void
        ok &= scene.cluttered_share(boxes) <= self.limits.max_clutter
        chosen = scene.there(without)
        others, classes = scene.boxes[chosen], scene.class_ids[chosen]
        shared = overlaps(boxes, others)
        nearer = others[None, :, 2] > boxes[:, None, 2]
        hidden = np.where(nearer, shared, 0).sum(axis=1) / box_areas(boxes)
        usual = (0.0, min(self.limits.max_cover, float(self._max_hidden[class_id])))
        low, high = occluded or usual
        ok &= (hidden >= low) & (hidden <= high)
        if not len(others):
            return ok
        hides = np.where(nearer, 0, shared) / box_areas(others)
        ok &= (hides <= np.minimum(self.limits.max_cover, self._max_hidden[classes])).all(axis=1)
        ok &= self._apart(scene, boxes, class_id, others, classes)
        if occluded is None:
            gaps = nearest_gaps(boxes, others, horizon=scene.view.horizon)
            ok &= ~(gaps < self.priors.min_gap(class_id))
        return ok

    def _apart(
        self,
        scene: PlannedScene,
        boxes: Integers,
        class_id: int,
        others: Integers,
        classes: Integers,
    ) -> Flags:
        """Which boxes leave the room that vehicles take up behind their lower edge [m].

        Args:
            scene: The scene.
            boxes: Top, left, bottom, right in pixels [m, 4].
            class_id: Of the object.
            others: The other objects' boxes [n, 4].
            classes: Their classes [n].
        """
        horizon, width = scene.view.horizon, scene.size[1]
        vehicles = self._sided[classes]
        room = self.priors.rooms(np.array([class_id]))
        behind = rooms_behind(others[vehicles], boxes, horizon=horizon, width=width)
        close: Flags = np.any(behind < room, axis=0)
        if self._sided[class_id]:
            before = rooms_behind(boxes, others, horizon=horizon, width=width)
            close |= np.any(before < self.priors.rooms(classes), axis=1)
        return ~close
