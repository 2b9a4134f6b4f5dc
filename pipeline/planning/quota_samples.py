"""Which samples are asked for a quota: so many that, with what some cannot do, its goal is met."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.indexing.record import SceneRecord
from pipeline.planning.assigned_targets import AssignedTargets
from pipeline.planning.demand_edits import LOST, TOO_MANY
from pipeline.planning.demands import Demands, Step
from pipeline.planning.quotas import MANY, Tally, Target
from pipeline.planning.rules import Rules
from pipeline.planning.sampling import Draft
from pipeline.rng import sample_generator
from pipeline.taxonomy import Taxonomy

QUOTA_STREAM = 2
"""Stream of the generators that decide which samples meet a quota."""
BEYOND = "more than max_edits needed"
"""Why a sample is not asked that would need too many edits."""
HOPELESS = 200
"""Samples that may fail to meet a target, when none succeeds, before it is given up."""
LEAST_RATE = 0.1
"""Success rate that is assumed at least when more samples are asked."""

Indices = npt.NDArray[np.integer]
Values = npt.NDArray[np.float64]


class QuotaSamples:
    """Chooses the samples that are asked for each target, and notes what their drafts come to.

    Args:
        targets: What the quotas come to.
        records: The source scenes in the order in which samples use them, over and over.
        rules: What the edits of objects go by.
        samples: Number of samples.
        seed: The run's seed.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        records: Sequence[SceneRecord],
        *,
        rules: Rules,
        samples: int,
        seed: int,
    ) -> None:
        self.targets = list(targets)
        self.planned: Values = np.zeros((len(targets), samples))
        """What each sample adds to each target, by its program [targets, samples]."""
        self.source = _source_values(targets, records, taxonomy=rules.taxonomy, samples=samples)
        """What each sample would add without edits [targets, samples]."""
        self.asked: list[set[int]] = [set() for _ in targets]
        """By target: the samples it was asked of."""
        self.unmet: list[dict[int, str]] = [{} for _ in targets]
        """By target: the samples that could not do it, and why; they are not asked again."""
        self.unable: list[dict[int, str]] = [{} for _ in targets]
        """By target: the samples that are not asked as they surely could not do it, and why."""
        self._records = records
        self._rules = rules
        self._samples = samples
        self._seed = seed
        self._assigned: dict[int, AssignedTargets] = {}
        """By sample, where anything is asked."""
        self._won = [0] * len(targets)
        """By target: how many samples do it that would not have without."""
        self._orders = [
            sample_generator(seed, number, stream=QUOTA_STREAM).permutation(samples)
            for number in range(len(targets))
        ]
        self._gain: dict[int, float] = {}
        classes = rules.taxonomy.num_classes
        self._per_scene = np.stack([np.bincount(r.classes, minlength=classes) for r in records])
        """Objects of each class in each scene [scenes, num_classes]."""
        self._removable = np.stack(
            [np.bincount(r.classes[rules.removable(r)], minlength=classes) for r in records]
        )
        """Those of them that may be taken out [scenes, num_classes]."""

    def choose(self) -> None:
        """Choose samples for all targets, judged by the source alone.

        What is hidden in part comes later: other edits hide some objects as it is.
        """
        for number, target in enumerate(self.targets):
            if target.kind == "share" and target.occluded is None:
                self._keep_met(number)
                self._ask(number, self.source[number])
        for number, target in enumerate(self.targets):
            if target.kind != "share" and not target.of_stuff:
                self._spread(number, self.source[number])

    def choose_more(self) -> set[int]:
        """Choose other samples for what is short of its goal by the programs planned.

        Returns:
            The samples of which something else is asked than before.
        """
        changed: set[int] = set()
        for number, target in enumerate(self.targets):
            if target.kind == "share":
                changed |= self._ask(number, self.planned[number])
            elif not target.of_stuff:
                changed |= self._spread(number, self.planned[number])
        return changed

    def demands(self, index: int) -> Demands | None:
        """What a sample must hold, without what is given up; None if nothing was asked of it."""
        assigned = self._assigned.get(index)
        if assigned is None:
            return None
        for number in list(assigned.targets):
            if self._hopeless(number) and not self.source[number, index]:
                del assigned.targets[number]
                self.asked[number].discard(index)
        return assigned.demands()

    def note(self, index: int, draft: Draft) -> None:
        """Note what a draft comes to, and withdraw what it could not do."""
        self.planned[:, index] = [target.measure(draft.tally) for target in self.targets]
        assigned = self._assigned.get(index)
        if assigned is None:
            return
        for number, target in enumerate(self.targets):
            if target.kind != "share":
                self._note_extra(number, index, draft)
            elif number in assigned.targets:
                self._note_share(number, index, draft)

    def _note_extra(self, number: int, index: int, draft: Draft) -> None:
        """Note whether a sample has the objects beside those of the source; ask only for those."""
        class_id, assigned = self.targets[number].class_id, self._assigned[index]
        for failure in draft.failures:
            if failure.class_id == class_id and failure.step != "hide" and assigned.extra[class_id]:
                self.unmet[number][index] = failure.reason
                there = self._count(index, class_id)
                assigned.extra[class_id] = draft.tally.count(class_id) - there

    def _note_share(self, number: int, index: int, draft: Draft) -> None:
        """Note whether a sample does what it was asked for; withdraw it if not."""
        target, assigned = self.targets[number], self._assigned[index]
        if self.planned[number, index]:
            self._won[number] += not self.source[number, index]
            self.unmet[number].pop(index, None)
            return
        self.unmet[number][index] = _reason(target, draft)
        del assigned.targets[number]
        if target.occluded is None and target.low:
            reached = min(target.count(draft.tally), target.low)
            if reached > self._count(index, target.class_id):
                assigned.reached[target.class_id] = reached

    def unobtainable(self, target: Target) -> bool:
        """Whether a target needs objects that no donor is of."""
        wanted = target.low > 0 or target.kind != "share"
        return wanted and not self._rules.donor_odds[target.class_id]

    def failures(self, number: int) -> dict[int, str]:
        """By sample that misses a target though it was asked, or cannot be asked: why."""
        failures = self.unable[number] | self.unmet[number]
        if self.targets[number].kind != "share":
            return failures
        met = self.planned[number] > 0
        return {index: reason for index, reason in failures.items() if not met[index]}

    def forbidding(self, number: int) -> int:
        """How many samples miss a target because another quota of the class forbids it."""
        target, met = self.targets[number], self.planned[number] > 0
        return sum(
            not met[index] and index not in self.asked[number] and not assigned.allows(target)
            for index, assigned in self._assigned.items()
        )

    def _goal(self, number: int) -> int:
        """How many samples are to meet a target."""
        return int(np.ceil(self.targets[number].goal * self._samples - 1e-9))

    def _keep_met(self, number: int) -> None:
        """Ask samples that meet a target without edits to go on meeting it, up to its goal."""
        order = self._orders[number]
        met = order[self.source[number][order] > 0]
        for index in met[: self._goal(number)].tolist():
            self._assign(index, number)

    def _ask(self, number: int, values: Values) -> set[int]:
        """Ask as many more samples for a target as it is short of its goal.

        Args:
            number: Which target.
            values: What each sample adds to it so far [samples].

        Returns:
            The samples asked that do not meet it.
        """
        target = self.targets[number]
        if self.unobtainable(target) or self._hopeless(number):
            return set()
        missing = int(self._goal(number) - values.sum())
        if asked := self.asked[number]:
            # What a part of the samples cannot do is asked of so many more.
            rate = np.count_nonzero(values[sorted(asked)]) / len(asked)
            missing = -int(-missing // max(rate, LEAST_RATE))
        new: set[int] = set()
        for index in self._candidates(number, values) if missing > 0 else ():
            if self._assign(index, number):
                new.add(index)
                if len(new) >= missing:
                    break
        return new

    def _candidates(self, number: int, values: Values) -> list[int]:
        """The samples that may be asked for a target, in this order.

        Where objects are taken out, those come first that lose fewest. Each further sample of the
        same scene counts as if it lost that many times more, so that it is not always that scene.
        """
        target, order = self.targets[number], self._orders[number]
        asked = self.asked[number]
        found = [i for i in order[values[order] == 0].tolist() if i not in asked]
        if target.high >= MANY:
            return found
        turns = Counter(index % len(self._records) for index in asked)
        losses = []
        for index in found:
            turns[index % len(self._records)] += 1
            excess = max(self._count(index, target.class_id) - target.high, 0)
            losses.append(excess * turns[index % len(self._records)])
        return [found[place] for place in np.argsort(losses, kind="stable")]

    def _hopeless(self, number: int) -> bool:
        """Whether so many samples could not do it, and none could, that no more are asked."""
        return not self._won[number] and len(self.unmet[number]) >= HOPELESS

    def _assign(self, index: int, number: int) -> bool:
        """Ask a sample for a target, unless it could not do it with what is asked of it already."""
        target = self.targets[number]
        assigned = self._assigned.setdefault(index, AssignedTargets())
        self.unable[number].pop(index, None)
        if not assigned.allows(target):
            return False
        if reason := self._inability(
            index, replace(assigned, targets={number: target} | assigned.targets)
        ):
            self.unable[number][index] = reason
            return False
        assigned.targets[number] = target
        self.asked[number].add(index)
        return True

    def _inability(self, index: int, assigned: AssignedTargets) -> str | None:
        """Why a sample surely could not do what would be asked of it; None if it may be able to."""
        record, demands = self._records[index % len(self._records)], assigned.demands()
        removable = self._removable[index % len(self._records)]
        for class_id, (_, most) in demands.bounds.items():
            if self._count(index, class_id) - most > removable[class_id]:
                return TOO_MANY
        if demands.edits(record) > self._rules.policy.constraints.max_edits:
            return BEYOND
        return None

    def _spread(self, number: int, values: Values) -> set[int]:
        """Spread the objects that a target lacks, or has too many, over samples without failures.

        Returns:
            The samples of which something else is asked than before.
        """
        target = self.targets[number]
        lacking = self._objects_lacking(number, values)
        if not lacking or (lacking > 0 and self.unobtainable(target)):
            return set()
        lacking = min(lacking, self._samples * self._rules.policy.constraints.max_edits)
        order = self._orders[number]
        willing = np.setdiff1d(order, list(self.unmet[number]), assume_unique=True)
        if lacking < 0:
            counts = self._counts(target.class_id)
            willing = np.repeat(willing, np.maximum(counts[willing], 0))
            generator = sample_generator(self._seed, number, stream=QUOTA_STREAM + 1)
            chosen = generator.permutation(willing)[:-lacking]
        else:
            chosen = np.resize(willing, lacking) if len(willing) else willing
        for index in chosen.tolist():
            assigned = self._assigned.setdefault(index, AssignedTargets())
            assigned.extra[target.class_id] += 1 if lacking > 0 else -1
            self.asked[number].add(index)
        return set(chosen.tolist())

    def _counts(self, class_id: int) -> Indices:
        """Objects of a class in each sample, as asked of it so far."""
        scenes = np.arange(self._samples) % len(self._records)
        counts: Indices = self._per_scene[scenes, class_id]
        for index, assigned in self._assigned.items():
            counts[index] += assigned.extra[class_id]
        return counts

    def _count(self, index: int, class_id: int) -> int:
        """Objects of a class in the scene of a sample."""
        return int(self._per_scene[index % len(self._records), class_id])

    def _objects_lacking(self, number: int, values: Values) -> int:
        """How many objects are to be added over all samples; below 0, to be taken out."""
        target = self.targets[number]
        if target.kind == "times":
            return round(target.goal * float(self.source[number].sum()) - float(values.sum()))
        missing = target.goal * self._samples - float(values.sum())
        given = sum(assigned.extra[target.class_id] for assigned in self._assigned.values())
        gained = float(values.sum() - self.source[number].sum())
        if given and gained / given > 0:
            self._gain[number] = gained / given
        each = self._gain.get(number) or self._share_of_one(target)
        return round(missing / each) if each else 0

    def _share_of_one(self, target: Target) -> float:
        """The usual share of the pixels of one object of a class, in the source."""
        shares = [
            record.areas[record.classes == target.class_id] / np.prod(record.size)
            for record in self._records
        ]
        together = np.concatenate(shares)
        return float(together.mean()) if len(together) else 0.0


def _reason(target: Target, draft: Draft) -> str:
    """What was in the way of a target that a draft does not meet."""
    step: Step = "add" if target.count(draft.tally) < target.low else "take out"
    if target.occluded is not None:
        step = "hide"
    reasons = [
        failure.reason
        for failure in draft.failures
        if failure.class_id == target.class_id
        and failure.step == step
        and failure.part == target.occluded
    ]
    return reasons[-1] if reasons else LOST


def _source_values(
    targets: Sequence[Target],
    records: Sequence[SceneRecord],
    *,
    taxonomy: Taxonomy,
    samples: int,
) -> Values:
    """What each sample adds to each target without edits [targets, samples]."""
    tallies = [_source_tally(record, taxonomy) for record in records]
    values: Values = np.array([[target.measure(tally) for tally in tallies] for target in targets])
    by_scene = values.reshape(len(targets), len(records))
    return by_scene[:, np.arange(samples) % len(records)]


def _source_tally(record: SceneRecord, taxonomy: Taxonomy) -> Tally:
    """The objects of a scene without edits."""
    cells = np.bincount(record.grid.ravel(), minlength=taxonomy.num_classes)
    return Tally(
        classes=record.classes,
        visible=np.ones(len(record.ids)),
        areas=record.areas.astype(np.float64),
        pixels=record.size[0] * record.size[1],
        stuff=cells / cells.sum(),
    )
