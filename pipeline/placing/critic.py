"""The critic: tells real objects of a dataset from proposed ones by where they stand.

It is fitted to the dataset's scenes. Of each, objects are hidden one at a time, and places for one
of the same class are proposed by what is known from other scenes; then a classifier learns to tell
these from the real one. Its odds say how much more often objects are found at a place than
proposals are, so that proposals drawn by these odds are spread as the real ones are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from pipeline.donors.bank import DonorIndex
from pipeline.indexing.record import BOTTOM, TOP, SceneRecord
from pipeline.placing.features import place_features
from pipeline.placing.placement import Placer
from pipeline.placing.places import Limits
from pipeline.placing.planned_scene import PlannedScene
from pipeline.placing.priors import Priors
from pipeline.placing.trees import Trees
from pipeline.taxonomy import Taxonomy

FEWEST = 120
"""So many real objects of a class are needed to judge it."""
MOST = 1500
"""So many of a class are looked at."""
PROPOSALS = 2
"""Proposals that each real object is compared with."""
BLOCK = 10
"""Scenes that follow each other may be alike: so many of them stay together when halved."""
FARTHEST = 3.0
"""Ln odds beyond this count no more than this."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Critic:
    """A classifier per class of things of which enough are seen."""

    priors: Priors
    models: dict[int, Trees]
    """By class id."""
    told: dict[int, float]
    """By class id, how well each tells objects of scenes that it was not fitted to from proposals:
    the area under the curve, 0.5 where it cannot."""

    @classmethod
    def fit(
        cls,
        records: Sequence[SceneRecord],
        donors: DonorIndex,
        priors: Priors,
        taxonomy: Taxonomy,
        *,
        limits: Limits,
        eligible: Flags,
    ) -> Self:
        """Fit the critic of a dataset; always the same for the same scenes.

        Args:
            records: The scenes, in an order in which similar ones follow each other.
            donors: The objects that are pasted.
            priors: By which places are proposed later.
            taxonomy: Of all of them.
            limits: What edits may do.
            eligible: Which donors may be used, bool [n].
        """
        halves = (np.arange(len(records)) // BLOCK) % 2
        seen: dict[int, _Examples] = {}
        if len(records) > BLOCK:
            for half in (0, 1):
                learnt = [r for r, h in zip(records, halves, strict=True) if h != half]
                judged = [r for r, h in zip(records, halves, strict=True) if h == half]
                placer = Placer(
                    Priors.fit(learnt, taxonomy), donors, taxonomy, limits=limits, eligible=eligible
                )
                _collect(seen, placer, judged, half)
        models, told = {}, {}
        for class_id, examples in sorted(seen.items()):
            rows, real, sides = examples.joined()
            if real.sum() < FEWEST or real.all():
                continue
            areas = []
            for half in (0, 1):
                learnt, judged = sides != half, sides == half
                if len(np.unique(real[learnt])) == len(np.unique(real[judged])) == 2:
                    scores = _model(rows[learnt], real[learnt]).log_odds(rows[judged])
                    areas.append(float(roc_auc_score(real[judged], scores)))
            models[class_id] = _model(rows, real)
            told[class_id] = float(np.mean(areas)) if areas else 0.5
        return cls(priors, models, told)

    def log_odds(
        self, scene: PlannedScene, boxes: Integers, class_id: int, *, without: Sequence[int] = ()
    ) -> Floats:
        """Ln odds that boxes of a class are of real objects, 0 where that cannot be said [m].

        Args:
            scene: The scene.
            boxes: Top, left, bottom, right in pixels [m, 4].
            class_id: The class.
            without: Objects of the scene, by position, that do not count.
        """
        model = self.models.get(class_id)
        if model is None or not len(boxes):
            return np.zeros(len(boxes))
        rows = place_features(scene, boxes, class_id, self.priors, without=without)
        return np.clip(model.log_odds(rows), -FARTHEST, FARTHEST)


class _Examples:
    """Real and proposed places of a class."""

    def __init__(self) -> None:
        self.rows: list[Floats] = []
        self.real: list[bool] = []
        self.sides: list[int] = []

    def add(self, rows: Floats, *, real: bool, side: int) -> None:
        """Add places, as rows of features."""
        self.rows.append(rows)
        self.real += [real] * len(rows)
        self.sides += [side] * len(rows)

    def joined(self) -> tuple[Floats, Flags, Integers]:
        """Features [n, k], which are real [n], and the half of the scenes they are of [n]."""
        return np.concatenate(self.rows), np.array(self.real), np.array(self.sides)


def _collect(
    seen: dict[int, _Examples], placer: Placer, records: Sequence[SceneRecord], half: int
) -> None:
    """Add the objects of some scenes, and proposals for each, to what was seen."""
    objects: dict[int, list[tuple[int, int]]] = {}
    for number, record in enumerate(records):
        for index in np.flatnonzero(_measurable(record)).tolist():
            objects.setdefault(int(record.classes[index]), []).append((number, index))
    chosen: dict[int, list[tuple[int, int]]] = {}
    for class_id, places in objects.items():
        step = -(-len(places) // (MOST // 2))
        for number, index in places[::step]:
            chosen.setdefault(number, []).append((index, class_id))
    for number, indices in sorted(chosen.items()):
        scene = placer.planned(records[number])
        rng = np.random.default_rng([half, number])
        for index, class_id in indices:
            if scene.follows[index]:
                continue  # it stands where another does, as a bicycle below its rider
            members = scene.members(index)
            scene.present[members] = False
            scene.view = placer.priors.view(scene.record, without=members)
            found = placer.propose(scene, class_id, rng, count=PROPOSALS)
            scene.present[members] = True
            real = scene.joint_box(index)[None]
            examples = seen.setdefault(class_id, _Examples())
            for boxes, is_real in ((real, True), (found, False)):
                if len(boxes):
                    rows = place_features(scene, boxes, class_id, placer.priors, without=members)
                    examples.add(rows, real=is_real, side=half)


def _measurable(record: SceneRecord) -> Flags:
    """Objects whose feet and top are seen: those whose place and height are known [n]."""
    ends = (record.cut_sides | record.hidden_sides) & (TOP | BOTTOM)
    good: Flags = (record.ground >= 0) & (ends == 0) & (record.pieces == 1)
    return good


def _model(rows: Floats, real: Flags) -> Trees:
    weights = np.where(real, 1 / max(real.sum(), 1), 1 / max((~real).sum(), 1))
    model = GradientBoostingClassifier(
        n_estimators=60,
        learning_rate=0.1,
        max_depth=3,
        min_samples_leaf=20,
        subsample=0.7,
        random_state=0,
    )
    return Trees.of(model.fit(rows, real, sample_weight=weights * len(real) / 2))
