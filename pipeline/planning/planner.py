"""Planning a run: programs that together meet the policy's quotas."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from pipeline.editing.program import Program
from pipeline.indexing.record import SceneRecord
from pipeline.planning.objects import TOO_MANY, Demands, Hidden
from pipeline.planning.plan import assign_scene
from pipeline.planning.quotas import MANY, QuotaReport, Tally, Target
from pipeline.planning.sampling import Draft, Sampler
from pipeline.rng import sample_generator
from pipeline.taxonomy import Taxonomy

QUOTA_STREAM = 2
"""Stream of the generators that decide which samples meet a quota."""
ROUNDS = 12
"""How often what samples could not do is asked of others."""
FEW = 5
"""Whole donors of a class below which their number is told among the reasons."""
LOST = "other edits hide or cut off too much"
"""Why a sample whose demands are met falls short all the same."""
HOPELESS = 200
"""Samples that may fail to meet a target, when none succeeds, before it is given up."""
LEAST_RATE = 0.1
"""Success rate that is assumed at least when more samples are asked."""

Indices = npt.NDArray[np.integer]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Programs:
    """What will be done to every sample, and how that meets the quotas."""

    programs: list[Program]
    """By sample."""
    quotas: list[QuotaReport]


@dataclass(slots=True)
class _Wishes:
    """What is asked of one sample so far."""

    targets: dict[int, Target] = field(default_factory=dict)
    """By number: the shares of samples to which it is to belong."""
    extra: Counter[int] = field(default_factory=Counter)
    """By class id: objects beside those of the source."""

    def demands(self) -> Demands:
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


class Planner:
    """Fits the programs of a run to the policy's quotas.

    Args:
        sampler: Draws the program of one sample.
        targets: What the quotas come to.
        records: The source scenes in the order in which they take turns.
        samples: Number of samples.
        seed: The run's seed.
        progress: Called with the number of samples drafted first.
    """

    def __init__(
        self,
        sampler: Sampler,
        targets: Sequence[Target],
        records: Sequence[SceneRecord],
        *,
        samples: int,
        seed: int,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._sampler = sampler
        self._targets = list(targets)
        self._records = records
        self._samples = samples
        self._seed = seed
        self._progress = progress
        self._wishes: dict[int, _Wishes] = {}
        self._programs: list[Program] = []
        self._values = np.zeros((len(targets), samples))
        """What each sample adds to each target, by its program."""
        self._tried: list[set[int]] = [set() for _ in targets]
        """By target: the samples it was asked of."""
        self._unmet: list[dict[int, str]] = [{} for _ in targets]
        """By target: the samples that could not do it, and why; they are not asked again."""
        self._won = [0] * len(targets)
        """By target: how many samples do it that would not have without."""
        self._orders = [
            sample_generator(seed, number, stream=QUOTA_STREAM).permutation(samples)
            for number in range(len(targets))
        ]
        turns = np.arange(samples) % len(records)
        source = [
            [target.measure(_source_tally(record, sampler.rules.taxonomy)) for record in records]
            for target in targets
        ]
        self._source: Values = np.array(source).reshape(len(targets), len(records))[:, turns]
        """What each sample would add without edits."""
        self._gain: dict[int, float] = {}

    def plan(self) -> Programs:
        """Draft every sample, then ask others for what some could not do."""
        for number, target in enumerate(self._targets):
            if target.kind == "share":
                self._ask(number, self._missing(number, self._source[number]), satisfied=True)
        for number, target in enumerate(self._targets):
            if target.kind != "share" and not target.of_stuff:
                self._spread(number, self._source[number])
        for index in range(self._samples):
            draft = self._draft(index)
            self._programs.append(draft.program)
            self._note(index, draft)
            self._progress(index + 1)
        for _ in range(ROUNDS):
            changed: set[int] = set()
            for number, target in enumerate(self._targets):
                if target.kind == "share":
                    changed |= self._ask(number, self._missing(number, self._values[number]))
                elif not target.of_stuff:
                    changed |= self._spread(number, self._values[number])
            if not changed:
                break
            for index in sorted(changed):
                draft = self._draft(index)
                self._programs[index] = draft.program
                self._note(index, draft)
        return Programs(self._programs, [self._report(n) for n in range(len(self._targets))])

    def _record(self, index: int) -> SceneRecord:
        return self._records[index % len(self._records)]

    def _draft(self, index: int) -> Draft:
        wishes = self._wishes.get(index)
        if wishes is not None:
            for number in list(wishes.targets):
                if self._hopeless(number) and not self._source[number, index]:
                    del wishes.targets[number]
                    self._tried[number].discard(index)
        return self._sampler.draft(
            self._record(index),
            sample_generator(self._seed, index),
            wishes.demands() if wishes else None,
        )

    def _note(self, index: int, draft: Draft) -> None:
        """Note what a draft comes to, and withdraw what it could not do."""
        self._values[:, index] = [target.measure(draft.tally) for target in self._targets]
        wishes = self._wishes.get(index)
        if wishes is None:
            return
        failures = {failure.class_id: failure.reason for failure in draft.failures}
        for number, target in enumerate(self._targets):
            reason = failures.get(target.class_id)
            if target.kind != "share":
                if reason is not None and wishes.extra[target.class_id]:
                    self._unmet[number][index] = reason
                    there = np.count_nonzero(self._record(index).classes == target.class_id)
                    wishes.extra[target.class_id] = draft.tally.count(target.class_id) - int(there)
            elif number not in wishes.targets:
                continue
            elif self._values[number, index]:
                self._won[number] += not self._source[number, index]
            else:
                self._unmet[number][index] = reason or LOST
                del wishes.targets[number]

    def _missing(self, number: int, values: Values) -> int:
        """How many samples are short of a target's goal."""
        return int(np.ceil(self._targets[number].goal * self._samples - 1e-9) - values.sum())

    def _ask(self, number: int, missing: int, *, satisfied: bool = False) -> set[int]:
        """Ask for a target of so many more samples; of those that meet it already, keep it so.

        Args:
            number: Which target.
            missing: Samples to ask.
            satisfied: Whether this is the first time, when the source alone says what is met.

        Returns:
            The samples asked that do not meet it.
        """
        target, order = self._targets[number], self._orders[number]
        values = self._source[number] if satisfied else self._values[number]
        if satisfied:
            goal = int(np.ceil(target.goal * self._samples - 1e-9))
            for index in order[values[order] > 0][:goal].tolist():
                self._wish(index, number)
        if self._unobtainable(target) or self._hopeless(number):
            return set()
        if tried := self._tried[number]:
            # What a part of the samples cannot do is asked of so many more.
            rate = np.count_nonzero(values[sorted(tried)]) / len(tried)
            missing = -int(-missing // max(rate, LEAST_RATE))
        asked: set[int] = set()
        for index in order[values[order] == 0].tolist() if missing > 0 else ():
            if index not in self._tried[number] and self._wish(index, number):
                asked.add(index)
                if len(asked) >= missing:
                    break
        return asked

    def _unobtainable(self, target: Target) -> bool:
        """Whether a target needs objects that no donor is of."""
        wanted = target.low > 0 or target.kind != "share"
        return wanted and not self._sampler.rules.donor_odds[target.class_id]

    def _hopeless(self, number: int) -> bool:
        """Whether so many samples could not do it, and none could, that no more are asked."""
        return not self._won[number] and len(self._unmet[number]) >= HOPELESS

    def _wish(self, index: int, number: int) -> bool:
        target = self._targets[number]
        wishes = self._wishes.setdefault(index, _Wishes())
        if not wishes.allows(target):
            return False
        wishes.targets[number] = target
        self._tried[number].add(index)
        return True

    def _spread(self, number: int, values: Values) -> set[int]:
        """Spread the objects that a target lacks, or has too many, over samples without failures.

        Returns:
            The samples of which something else is asked than before.
        """
        target = self._targets[number]
        lacking = self._objects_lacking(number, values)
        if not lacking or (lacking > 0 and self._unobtainable(target)):
            return set()
        lacking = min(lacking, self._samples * self._sampler.policy.constraints.max_edits)
        order = self._orders[number]
        willing = np.setdiff1d(order, list(self._unmet[number]), assume_unique=True)
        if lacking < 0:
            counts = self._counts(target.class_id)
            willing = np.repeat(willing, np.maximum(counts[willing], 0))
            generator = sample_generator(self._seed, number, stream=QUOTA_STREAM + 1)
            chosen = generator.permutation(willing)[:-lacking]
        else:
            chosen = np.resize(willing, lacking) if len(willing) else willing
        for index in chosen.tolist():
            wishes = self._wishes.setdefault(index, _Wishes())
            wishes.extra[target.class_id] += 1 if lacking > 0 else -1
            self._tried[number].add(index)
        return set(chosen.tolist())

    def _counts(self, class_id: int) -> Indices:
        """Objects of a class in each sample, as asked of it so far."""
        per_scene = [int(np.count_nonzero(record.classes == class_id)) for record in self._records]
        counts = np.array(per_scene)[np.arange(self._samples) % len(per_scene)]
        for index, wishes in self._wishes.items():
            counts[index] += wishes.extra[class_id]
        return counts

    def _objects_lacking(self, number: int, values: Values) -> int:
        """How many objects are to be added over all samples; below 0, to be taken out."""
        target = self._targets[number]
        if target.kind == "times":
            return round(target.goal * float(self._source[number].sum()) - float(values.sum()))
        missing = target.goal * self._samples - float(values.sum())
        given = sum(wishes.extra[target.class_id] for wishes in self._wishes.values())
        gained = float(values.sum() - self._source[number].sum())
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

    def _report(self, number: int) -> QuotaReport:
        target = self._targets[number]
        source, planned = (float(v[number].mean()) for v in (self._source, self._values))
        report = QuotaReport(
            target=target,
            text=target.text(),
            source_mean=source if target.kind == "times" else None,
        )
        report = replace(report, source=report.value(source), forecast=report.value(planned))
        return report if report.met else replace(report, reasons=self._reasons(number, report))

    def _reasons(self, number: int, report: QuotaReport) -> tuple[str, ...]:
        target = self._targets[number]
        if target.of_stuff:
            return ("objects are planned, stuff is not: its share follows from the free edits",)
        if target.kind == "times" and not report.source_mean:
            return (f"the source has no {target.class_name} to multiply",)
        if self._unobtainable(target) and (report.forecast or 0) < target.goal:
            return (f"no donors of class {target.class_name}",)
        tried = len(self._tried[number])
        why = Counter(self._unmet[number].values())
        if (report.forecast or 0) > target.goal:
            why = Counter({reason: count for reason, count in why.items() if reason == TOO_MANY})
        reasons = [f"{reason} in {count} of {tried} samples" for reason, count in why.most_common()]
        rules = self._sampler.rules
        whole = int(rules.whole_counts[target.class_id])
        if whole < FEW and any("no place" in reason for reason in why):
            count = int(rules.donor_counts[target.class_id])
            reasons.append(f"{count} donors of class {target.class_name}, {whole} of them whole")
        if target.kind == "share":
            met = self._values[number] > 0
            others = sum(
                not met[index] and index not in self._tried[number] and not wishes.allows(target)
                for index, wishes in self._wishes.items()
            )
            if others:
                reasons.append(f"another quota of the class forbids it in {others} samples")
        return tuple(reasons)


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


def plan_programs(
    sampler: Sampler,
    records: Mapping[str, SceneRecord],
    scenes: Sequence[str],
    *,
    samples: int,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Programs:
    """Plan the programs of a run; the same for the same seed, always.

    Args:
        sampler: Draws the program of one sample, by the policy.
        records: The source scenes by name.
        scenes: Their names in the order in which they take turns.
        samples: Number of samples.
        seed: The run's seed.
        progress: Called with the number of samples that are drafted.
    """
    taxonomy = sampler.rules.taxonomy
    targets: list[Target] = []
    foreign: list[QuotaReport] = []
    for quota in sampler.policy.quotas:
        found = quota.targets(taxonomy)
        targets += found
        if not found:
            foreign.append(QuotaReport(None, quota.foreign_text(taxonomy)))
    in_turn = [
        records[assign_scene(index, scenes)[0]] for index in range(min(samples, len(scenes)))
    ]
    planner = Planner(sampler, targets, in_turn, samples=samples, seed=seed, progress=progress)
    planned = planner.plan()
    return Programs(planned.programs, planned.quotas + foreign)
