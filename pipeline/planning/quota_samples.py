"""Which samples are asked for a quota: so many that, with what some cannot do, its goal is met."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.indexing.record import SceneRecord
from pipeline.planning.objects import Demands, Hidden
from pipeline.planning.quotas import MANY, Tally, Target
from pipeline.planning.rules import Rules
from pipeline.planning.sampling import Draft
from pipeline.rng import sample_generator
from pipeline.taxonomy import Taxonomy

QUOTA_STREAM = 2
"""Stream of the generators that decide which samples meet a quota."""
LOST = "other edits hide or cut off too much"
"""Why a sample whose demands are met falls short all the same."""
HOPELESS = 200
"""Samples that may fail to meet a target, when none succeeds, before it is given up."""
LEAST_RATE = 0.1
"""Success rate that is assumed at least when more samples are asked."""

Indices = npt.NDArray[np.integer]
Values = npt.NDArray[np.float64]


@dataclass(slots=True)
class AssignedTargets:
    """What is asked of one sample so far."""

    targets: dict[int, Target] = field(default_factory=dict)
    """By number: the shares of samples to which it is to belong."""
    extra: Counter[int] = field(default_factory=Counter)
    """By class id: objects beside those of the source."""

    def demands(self) -> Demands:
        """What the sample must hold."""
        bounds = {target.class_id: self.bounds(target.class_id) for target in self.targets.values()}
        return Demands(
            bounds={class_id: both for class_id, both in bounds.items() if both != (0, MANY)},
            extra={class_id: count for class_id, count in self.extra.items() if count},
            hidden=tuple(
                Hidden(target.class_id, target.low, target.occluded)
                for target in self.targets.values()
                if target.occluded is not None
            ),
        )

    def bounds(self, class_id: int) -> tuple[int, int]:
        """Fewest and most objects of a class."""
        own = [
            target
            for target in self.targets.values()
            if target.class_id == class_id and target.occluded is None
        ]
        fewest = max((target.low for target in own), default=0)
        return fewest, min((target.high for target in own), default=MANY)

    def allows(self, target: Target) -> bool:
        """Whether a target goes with what is asked already."""
        low, high = self.bounds(target.class_id)
        if target.occluded is not None:
            return high >= target.low
        return target.low <= high and low <= target.high


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

    def choose(self) -> None:
        """Choose samples for all targets, judged by the source alone."""
        for number, target in enumerate(self.targets):
            if target.kind == "share":
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
        failures = {failure.class_id: failure.reason for failure in draft.failures}
        for number, target in enumerate(self.targets):
            reason = failures.get(target.class_id)
            if target.kind != "share":
                if reason is not None and assigned.extra[target.class_id]:
                    self.unmet[number][index] = reason
                    record = self._records[index % len(self._records)]
                    there = int(np.count_nonzero(record.classes == target.class_id))
                    assigned.extra[target.class_id] = draft.tally.count(target.class_id) - there
            elif number not in assigned.targets:
                continue
            elif self.planned[number, index]:
                self._won[number] += not self.source[number, index]
            else:
                self.unmet[number][index] = reason or LOST
                del assigned.targets[number]

    def unobtainable(self, target: Target) -> bool:
        """Whether a target needs objects that no donor is of."""
        wanted = target.low > 0 or target.kind != "share"
        return wanted and not self._rules.donor_odds[target.class_id]

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
        target, order = self.targets[number], self._orders[number]
        if self.unobtainable(target) or self._hopeless(number):
            return set()
        missing = int(self._goal(number) - values.sum())
        if asked := self.asked[number]:
            # What a part of the samples cannot do is asked of so many more.
            rate = np.count_nonzero(values[sorted(asked)]) / len(asked)
            missing = -int(-missing // max(rate, LEAST_RATE))
        new: set[int] = set()
        for index in order[values[order] == 0].tolist() if missing > 0 else ():
            if index not in self.asked[number] and self._assign(index, number):
                new.add(index)
                if len(new) >= missing:
                    break
        return new

    def _hopeless(self, number: int) -> bool:
        """Whether so many samples could not do it, and none could, that no more are asked."""
        return not self._won[number] and len(self.unmet[number]) >= HOPELESS

    def _assign(self, index: int, number: int) -> bool:
        """Ask a sample for a target, unless that contradicts what is asked of it already."""
        target = self.targets[number]
        assigned = self._assigned.setdefault(index, AssignedTargets())
        if not assigned.allows(target):
            return False
        assigned.targets[number] = target
        self.asked[number].add(index)
        return True

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
        per_scene = [int(np.count_nonzero(record.classes == class_id)) for record in self._records]
        counts = np.array(per_scene)[np.arange(self._samples) % len(per_scene)]
        for index, assigned in self._assigned.items():
            counts[index] += assigned.extra[class_id]
        return counts

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
