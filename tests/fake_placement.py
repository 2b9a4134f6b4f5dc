"""A placer for tests of planning: objects in a row along the lower border, without overlap."""

from collections.abc import Collection, Iterable

import numpy as np

from pipeline.donors.bank import DonorIndex
from pipeline.editing.program import Duplicate, Move, Paste, Replace, Rescale
from pipeline.indexing.record import SceneRecord
from pipeline.placing.perspective import View
from pipeline.placing.planned_scene import PlannedScene
from pipeline.taxonomy import Taxonomy

CITY = Taxonomy.load("cityscapes")
SLOT = 4


class RowPlacer:
    """Puts copies of a class's first donor side by side, at the size of 4x4 pixels.

    Args:
        donors: The donors.
        full: Names of the scenes in which nothing finds a place.
    """

    def __init__(self, donors: DonorIndex, *, full: Collection[str] = ()) -> None:
        self.donors = donors
        self.full = full

    def release(self, donors: Iterable[int]) -> None:
        pass

    def take_back(self, scene: PlannedScene, paste: Paste) -> None:
        scene.remove(len(scene.ids) - 1)

    def may_flip(self, scene: PlannedScene, index: int) -> bool:
        return True

    def planned(self, record: SceneRecord, *, mirrored: bool = False) -> PlannedScene:
        return PlannedScene(record, CITY, View(0.0, 1.0), mirrored=mirrored)

    def paste(
        self,
        scene: PlannedScene,
        class_id: int,
        rng: np.random.Generator,
        *,
        occluded: tuple[float, float] | None = None,
    ) -> Paste | None:
        rng.random()
        height, width = scene.record.size
        slot = len(scene.boxes) - len(scene.record.ids)
        found = np.flatnonzero(self.donors.classes == class_id)
        if scene.record.name in self.full or not len(found) or (slot + 1) * SLOT > width:
            return None
        left, bottom = slot * SLOT, height
        if occluded is not None:
            fronts = scene.boxes[scene.present]
            if not len(fronts):
                return None
            front = fronts[0]
            hidden = round(SLOT * (occluded[0] + occluded[1]) / 2)
            left, bottom = int(front[1]) - SLOT + hidden, int(front[2]) - 1
        scene.add((bottom - SLOT, left, bottom, left + SLOT), class_id)
        donor = found[0]
        return Paste(
            donor=self.donors.names[self.donors.scenes[donor]],
            donor_instance=int(self.donors.ids[donor]),
            row=bottom - 1,
            column=left,
            scale=SLOT / float(np.sqrt(self.donors.areas[donor])),
        )

    def paste_some(
        self, scene: PlannedScene, class_id: int, rng: np.random.Generator, count: int
    ) -> list[Paste]:
        made = (self.paste(scene, class_id, rng) for _ in range(count))
        return [paste for paste in made if paste is not None]

    def move(self, scene: PlannedScene, index: int, rng: np.random.Generator) -> Move | None:
        return Move(instance=int(scene.record.ids[index]), rows=0, columns=1)

    def rescale(self, scene: PlannedScene, index: int, rng: np.random.Generator) -> Rescale | None:
        box = scene.boxes[index]
        instance = int(scene.record.ids[index])
        return Rescale(instance=instance, row=int(box[2]) - 1, column=int(box[1]), scale=1.5)

    def duplicate(
        self, scene: PlannedScene, index: int, rng: np.random.Generator
    ) -> Duplicate | None:
        paste = self.paste(scene, int(scene.class_ids[index]), rng)
        if paste is None:
            return None
        return Duplicate(instance=int(scene.record.ids[index]), row=paste.row, column=paste.column)

    def replace(
        self, scene: PlannedScene, index: int, class_id: int, rng: np.random.Generator
    ) -> Replace | None:
        found = np.flatnonzero(self.donors.classes == class_id)
        if not len(found):
            return None
        scene.remove(index)
        scene.add(tuple(scene.boxes[index]), class_id)
        return Replace(
            instance=int(scene.record.ids[index]),
            donor=self.donors.names[self.donors.scenes[found[0]]],
            donor_instance=int(self.donors.ids[found[0]]),
        )
