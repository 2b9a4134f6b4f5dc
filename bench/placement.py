"""How likely proposed places of objects are next to real ones, ours against uniform copy-paste.

Real objects of held-out scenes are hidden, and a place is proposed for one of the same class. Each
is judged by how likely its height at its row, the ground below it, its overlap with others and its
location are, under a judge fitted to other held-out scenes than the one at hand, never to those the
proposer learned from. Then a classifier tries to tell scenes whose objects were placed anew from
real ones, by their layout alone: an area under the curve of 0.5 means that it cannot.

Usage: OMP_NUM_THREADS=1 python -m bench.placement [--scenes N] [--seed S] [--data DIR]
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from pipeline.donors.bank import DonorIndex
from pipeline.errors import DatasetError
from pipeline.fit import fit
from pipeline.indexing.record import BOTTOM, GRID, TOP, SceneRecord, index_scene
from pipeline.placing.critic import Critic
from pipeline.placing.locations import ground_behind
from pipeline.placing.placement import Limits, Placer, PlannedScene
from pipeline.placing.priors import Priors
from pipeline.placing.spacing import box_areas, hidden_shares, overlaps
from pipeline.sample_world import draw_scene
from pipeline.scene import Scene
from pipeline.sources import DatasetConfig, open_source
from pipeline.taxonomy import Taxonomy

PARTS = ("height", "support", "overlap", "location")
COVER_BINS = np.array([1e-6, 0.1, 0.3, 0.6])
OBJECTS_PER_SCENE = 6
BLOCK = 10
"""Neighbouring scenes of a video are alike, so that it is divided into blocks of so many."""
FEWEST_SCENES = 40
"""Scenes from which a classifier is tried."""

Floats = npt.NDArray[np.float64]
Box = npt.NDArray[np.integer]
Propose = Callable[[PlannedScene, int, np.random.Generator], Box | None]


@dataclass(frozen=True)
class Round:
    """Scenes to learn from, others that judge, and others whose objects are hidden."""

    learned: Sequence[SceneRecord]
    judging: Sequence[SceneRecord]
    judged: Sequence[SceneRecord]


@dataclass(frozen=True)
class World:
    """A dataset and how it is divided."""

    name: str
    taxonomy: Taxonomy
    rounds: Sequence[Round]


class Judge:
    """Log-likelihood of a box among the other objects of its scene, by part."""

    def __init__(self, records: Sequence[SceneRecord], taxonomy: Taxonomy) -> None:
        self.taxonomy, self.priors = taxonomy, Priors.fit(records, taxonomy)
        self.support = np.full((taxonomy.num_classes,) * 2, 0.5)
        self.covers = np.full((2, len(COVER_BINS) + 1), 0.5)
        for record in records:
            scene = PlannedScene(record, taxonomy, self.priors.view(record))
            for index in np.flatnonzero(measurable(record)):
                box, class_id = scene.boxes[index], scene.class_ids[index]
                self.support[class_id, ground_of(scene, box)] += 1
                for row, share in enumerate(cover(box, scene.others(int(index)))):
                    self.covers[row, np.searchsorted(COVER_BINS, share)] += 1
        self.support /= self.support.sum(axis=1, keepdims=True)
        self.covers /= self.covers.sum(axis=1, keepdims=True)

    def planned(self, record: SceneRecord) -> PlannedScene:
        """The judge's view of a scene."""
        return PlannedScene(record, self.taxonomy, self.priors.view(record))

    def __call__(self, scene: PlannedScene, box: Box, class_id: int) -> Floats:
        """Log-likelihoods [PARTS]; boxes of other objects are those of the scene."""
        height, width = scene.size
        mean, sigma = self.priors.log_height(
            class_id, np.array([float(box[2])]), scene.view, height=height
        )
        off = (np.log(box[2] - box[0]) - mean[0]) / sigma[0]
        # One object in twenty may be of any size: outliers must not decide.
        dense = 0.95 * np.exp(-0.5 * off**2) / sigma[0] + 0.05 * np.exp(-0.125 * off**2) / 4
        tall = np.log(max(float(dense), 1e-4) / np.sqrt(2 * np.pi))
        support = np.log(self.support[class_id, ground_of(scene, box)])
        shares = cover(box, scene.others())
        overlap = sum(
            np.log(self.covers[row, np.searchsorted(COVER_BINS, share)])
            for row, share in enumerate(shares)
        )
        row = min(box[2] * GRID[0] // height, GRID[0] - 1)
        column = min((box[1] + box[3]) * GRID[1] // (2 * width), GRID[1] - 1)
        there = self.priors.location(class_id)[row, column] * GRID[0] * GRID[1]
        return np.array([tall, support, overlap, np.log(there)])


def measurable(record: SceneRecord) -> npt.NDArray[np.bool_]:
    """Objects whose feet and top are seen: those whose height means something [n]."""
    ends = (record.cut_sides | record.hidden_sides) & (TOP | BOTTOM)
    good: npt.NDArray[np.bool_] = (record.ground >= 0) & (ends == 0) & (record.pieces == 1)
    return good


def ground_of(scene: PlannedScene, box: Box) -> int:
    """The class most frequent below the feet."""
    return int(np.bincount(scene.feet(box[None])[0]).argmax())


def cover(box: Box, others: Box) -> tuple[float, float]:
    """The share of a box that nearer boxes hide, and the largest share it hides of another."""
    if not len(others):
        return 0.0, 0.0
    own = box[None].astype(np.float64)
    behind = others[others[:, 2] <= box[2]].astype(np.float64)
    hides = (overlaps(behind, own)[:, 0] / box_areas(behind)).max(initial=0.0)
    return float(hidden_shares(own, others.astype(np.float64))[0]), float(hides)


def without(record: SceneRecord, index: int, taxonomy: Taxonomy) -> SceneRecord:
    """The record of a scene as it would be without one of its objects."""
    kept = np.arange(len(record.ids)) != index
    (top, left, bottom, right), size = record.boxes[index], record.size
    cells = (
        slice(top * GRID[0] // size[0], (bottom - 1) * GRID[0] // size[0] + 1),
        slice(left * GRID[1] // size[1], (right - 1) * GRID[1] // size[1] + 1),
    )
    grid = record.grid.copy()
    behind = ground_behind(grid, taxonomy.is_thing)
    own = grid[cells] == record.classes[index]
    grid[cells] = np.where(own, behind[cells], grid[cells])
    columns = {f.name: getattr(record, f.name) for f in fields(record)}
    count = len(record.ids)
    per_object = {
        name: column[kept]
        for name, column in columns.items()
        if isinstance(column, np.ndarray) and name != "grid" and len(column) == count
    }
    return replace(record, grid=grid, **per_object)


def uniform(donors: DonorIndex) -> Propose:
    """Copy-paste as usual: any whole donor of the class, anywhere, nearly at its own size."""

    def propose(scene: PlannedScene, class_id: int, rng: np.random.Generator) -> Box | None:
        chosen = np.flatnonzero(donors.whole & (donors.classes == class_id))
        if not len(chosen):
            return None
        box = donors.boxes[rng.choice(chosen)]
        scale = rng.uniform(0.8, 1.25)
        tall = max(1, min(round((box[2] - box[0]) * scale), scene.size[0]))
        wide = max(1, min(round((box[3] - box[1]) * scale), scene.size[1]))
        top = int(rng.integers(0, scene.size[0] - tall + 1))
        left = int(rng.integers(0, scene.size[1] - wide + 1))
        place = np.array([top, left, top + tall, left + wide])
        scene.add(place, class_id)
        return place

    return propose


def borrowed(records: Sequence[SceneRecord]) -> Propose:
    """The place of a real object of the class in another scene: what can be hoped for."""
    boxes: dict[int, list[Box]] = {}
    for record in records:
        for index in np.flatnonzero(measurable(record)):
            boxes.setdefault(int(record.classes[index]), []).append(record.boxes[index])

    def propose(scene: PlannedScene, class_id: int, rng: np.random.Generator) -> Box | None:
        if class_id not in boxes:
            return None
        place = boxes[class_id][rng.integers(len(boxes[class_id]))].astype(np.int64)
        scene.add(place, class_id)
        return place

    return propose


def ours(placer: Placer) -> Propose:
    """The place that hdsynth finds."""

    def propose(scene: PlannedScene, class_id: int, rng: np.random.Generator) -> Box | None:
        found = placer.paste(scene, class_id, rng)
        if found is None:
            return None
        box: Box = scene.boxes[-1 - len(found.donor_along)]
        return box

    return propose


def judge_places(world: World, seed: int) -> None:
    """Print mean log-likelihoods of real and proposed places, by class and by part."""
    rng = np.random.default_rng(seed)
    scores: dict[int, list[list[Floats]]] = {}
    failed = tried = 0
    seconds = 0.0
    for part in world.rounds:
        placer, methods = _methods(part.learned, world.taxonomy)
        judge = Judge(part.judging, world.taxonomy)
        for record in part.judged:
            candidates = np.flatnonzero(measurable(record))
            for index in rng.permutation(candidates)[:OBJECTS_PER_SCENE]:
                class_id, rest = int(record.classes[index]), without(record, index, world.taxonomy)
                neutral = judge.planned(rest)
                found = [judge(neutral, record.boxes[index].astype(np.int64), class_id)]
                tried += 1
                for propose in methods[:2]:
                    scene = placer.planned(rest)
                    start = time.process_time()
                    box = propose(scene, class_id, rng)
                    seconds += (time.process_time() - start) * (propose is methods[0])
                    if box is not None:
                        found.append(judge(neutral, box, class_id))
                failed += len(found) < 3
                if len(found) == 3:
                    scores.setdefault(class_id, []).append(found)
    print(f"\n{world.name}: {tried} hidden objects, {failed} without a place or donor,", end=" ")
    print(f"{1000 * seconds / max(tried, 1):.2f} ms for each of ours")
    print(f"| {'class':12} | objects | {'real':>6} | {'ours':>6} | uniform |")
    print("|:---|---:|---:|---:|---:|")
    for class_id, rows in sorted(scores.items()):
        real, own, other = np.mean(rows, axis=0).sum(axis=1)
        name = world.taxonomy.class_names[class_id]
        print(f"| {name:12} | {len(rows):7} | {real:6.2f} | {own:6.2f} | {other:7.2f} |")
    everything = np.mean([row for rows in scores.values() for row in rows], axis=0)
    for number, part_name in enumerate(PARTS):
        real, own, other = everything[:, number]
        print(f"| all: {part_name:9} |         | {real:6.2f} | {own:6.2f} | {other:7.2f} |")
    real, own, other = everything.sum(axis=1)
    print(f"| all          |         | {real:6.2f} | {own:6.2f} | {other:7.2f} |")
    print(f"ours covers {(own - other) / (real - other):.0%} of the way from uniform to real")


def tell_apart(world: World, seed: int) -> None:
    """Print how well a classifier tells scenes with objects placed anew from real ones."""
    for number, name in enumerate(("ours", "uniform", "borrowed")):
        rng = np.random.default_rng(seed)
        rows = []
        for part in world.rounds:
            placer, methods = _methods(part.learned, world.taxonomy)
            for record in part.judged:
                if measurable(record).sum() < 2:
                    continue
                edited = _placed_anew(placer, record, methods[number], rng)
                for scene in (placer.planned(record), edited):
                    rows.append(layout_features(scene, placer.priors, world.taxonomy))
        scenes = len(rows) // 2
        if scenes < FEWEST_SCENES:
            print(f"two-sample test: left out, {scenes} scenes with objects are too few")
            return
        areas = list(_areas_under_curve(np.array(rows), np.arange(scenes), seed))
        print(
            f"two-sample test, {name:7}: AUC {np.mean(areas):.3f} +- {np.std(areas):.3f} "
            f"({len(areas)} folds, {scenes} scenes)"
        )


def _methods(
    learned: Sequence[SceneRecord], taxonomy: Taxonomy
) -> tuple[Placer, tuple[Propose, Propose, Propose]]:
    donors = DonorIndex.of(learned)
    priors = Priors.fit(learned, taxonomy)
    placer = Placer(priors, donors, taxonomy, limits=Limits())
    whole = donors.whole | (donors.cut_sides > 0)
    critic = Critic.fit(learned, donors, priors, taxonomy, limits=Limits(), eligible=whole)
    placer.critic = critic.log_odds
    return placer, (ours(placer), uniform(donors), borrowed(learned))


def _placed_anew(
    placer: Placer, record: SceneRecord, propose: Propose, rng: np.random.Generator
) -> PlannedScene:
    """A scene of which half the measurable objects are taken out and placed anew.

    One for which no place is found comes back where it was: no scene has fewer objects for that.
    """
    candidates = np.flatnonzero(measurable(record))
    chosen = np.sort(rng.permutation(candidates)[: max(2, len(candidates) // 2)])
    classes, boxes = record.classes[chosen], record.boxes[chosen]
    for index in chosen[::-1]:
        record = without(record, int(index), placer.taxonomy)
    scene = placer.planned(record)
    for class_id, box in zip(classes, boxes, strict=True):
        if propose(scene, int(class_id), rng) is None:
            scene.add(box, int(class_id))
    return scene


def layout_features(scene: PlannedScene, priors: Priors, taxonomy: Taxonomy) -> Floats:
    """What the layout of a scene looks like, as numbers.

    For all objects and for each main class: how many, and mean, spread and extremes of their
    deviation from the expected ln height, contact rows, columns and hidden shares; and what they
    stand on.
    """
    boxes, classes = scene.others(), scene.class_ids[scene.present]
    height, width = scene.size
    mean, _ = priors.log_height(classes, boxes[:, 2].astype(np.float64), scene.view, height=height)
    values = np.stack(
        [
            np.log(boxes[:, 2] - boxes[:, 0]) - mean,
            boxes[:, 2] / height,
            (boxes[:, 1] + boxes[:, 3]) / (2 * width),
            hidden_shares(boxes.astype(np.float64), boxes.astype(np.float64)),
        ]
    )
    main = [c for c in np.flatnonzero(taxonomy.is_thing) if priors.counts(int(c)).mean > 0.3]
    features: list[float] = []
    for chosen in (np.ones(len(classes), np.bool_), *(classes == c for c in main)):
        part = values[:, chosen]
        features.append(part.shape[1])
        if part.shape[1]:
            for statistic in (np.mean, np.std, np.min, np.max):
                features += list(statistic(part, axis=1))
        else:
            features += [np.nan] * 16
    below = np.bincount(scene.feet(boxes).ravel(), minlength=taxonomy.num_classes)
    return np.array([*features, *(below / max(below.sum(), 1))])


def _areas_under_curve(rows: Floats, scenes: npt.NDArray[np.int64], seed: int) -> Iterator[float]:
    """The AUC of each fold; rows are a real and an edited layout of each scene in turn."""
    groups, labels = np.repeat(scenes, 2), np.tile([0, 1], len(scenes))
    for repeat in range(3):
        folds = GroupKFold(5, shuffle=True, random_state=seed + repeat)
        for train, test in folds.split(rows, labels, groups):
            model = HistGradientBoostingClassifier(
                max_iter=60, min_samples_leaf=5, random_state=seed
            )
            model.fit(rows[train], labels[train])
            yield float(roc_auc_score(labels[test], model.predict_proba(rows[test])[:, 1]))


def _read(size: tuple[int, int], **keys: str) -> tuple[list[SceneRecord], Taxonomy]:
    source = open_source(DatasetConfig.parse(keys, origin="bench"))
    scenes = (source.read(ref, photo=False) for ref in source.scenes)
    taxonomy = source.taxonomy
    return [index_scene(fit(s, size, "resize", taxonomy), taxonomy) for s in scenes], taxonomy


def _both_ways(learned: Sequence[SceneRecord], held: Sequence[SceneRecord]) -> list[Round]:
    """Two rounds, in which every other block of the held-out scenes judges the rest."""
    sides: tuple[list[SceneRecord], list[SceneRecord]] = ([], [])
    for position, record in enumerate(held):
        sides[position // BLOCK % 2].append(record)
    return [Round(learned, sides[0], sides[1]), Round(learned, sides[1], sides[0])]


def _camvid(data: Path, split: str) -> tuple[list[SceneRecord], Taxonomy]:
    root = str(data / "camvid")
    return _read((360, 480), root=root, format="camvid", split=split, instances="components")


def camvid(data: Path, scenes: int) -> World:
    """CamVid: learned from train; val, another drive, is held out."""
    learned, taxonomy = _camvid(data, "train")
    held, _ = _camvid(data, "val")
    return World("CamVid val, learned from train", taxonomy, _both_ways(learned, held[:scenes]))


def camvid_val(data: Path, scenes: int) -> World:
    """CamVid val as a job on it would see it: learned from its own other blocks."""
    held, taxonomy = _camvid(data, "val")
    sides = _both_ways([], held[:scenes])
    rounds = [Round(part.judging, part.judging, part.judged) for part in sides]
    return World("CamVid val, learned from other parts of it", taxonomy, rounds)


def camvid_train(data: Path, scenes: int) -> World:
    """The train scenes of CamVid alone: a third of its blocks is held out, of the same drives."""
    records, taxonomy = _camvid(data, "train")
    held = [r for position, r in enumerate(records) if position // BLOCK % 3 == 0]
    learned = [r for position, r in enumerate(records) if position // BLOCK % 3]
    return World(
        "CamVid train, learned from other parts of it",
        taxonomy,
        _both_ways(learned, held[:scenes]),
    )


def sample_world(data: Path, scenes: int) -> World:
    """The sample world: two seeds of it."""
    taxonomy = Taxonomy.load("cityscapes")

    def draw(seed: int, count: int) -> list[SceneRecord]:
        drawn = (draw_scene(seed, index, height=256, width=512) for index in range(count))
        return [index_scene(Scene(d.name, d.label, d.instance), taxonomy) for d in drawn]

    return World("Sample world", taxonomy, _both_ways(draw(0, scenes), draw(1, scenes)))


def cityscapes(data: Path, scenes: int) -> World:
    """The Cityscapes sample: each scene in turn; half of the others propose, half judge."""
    records: list[SceneRecord] = []
    for split in ("train", "val"):
        root = str(data / "cityscapes_sample")
        found, taxonomy = _read((512, 1024), root=root, format="cityscapes", split=split)
        records += found
    rounds = []
    for index, record in enumerate(records[:scenes]):
        others = records[:index] + records[index + 1 :]
        rounds.append(Round(others[::2], others[1::2], [record]))
    return World("Cityscapes sample", taxonomy, rounds)


def main() -> None:
    """Print the tables of every dataset that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=120, help="held-out scenes of each dataset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    args = parser.parse_args()
    worlds = [camvid, camvid_val, camvid_train, cityscapes, sample_world]
    if args.quick:
        args.scenes, worlds = 16, [sample_world]
    for make in worlds:
        try:
            world = make(args.data, args.scenes)
        except DatasetError as error:
            print(f"\n{make.__name__}: left out, {error}")
            continue
        judge_places(world, args.seed)
        tell_apart(world, args.seed)


if __name__ == "__main__":
    main()
