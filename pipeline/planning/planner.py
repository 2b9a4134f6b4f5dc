"""Planning a run: programs that together meet the policy's quotas."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.editing.program import Program
from pipeline.indexing.record import SceneRecord
from pipeline.planning.demand_edits import MAX_EDITS, TOO_MANY
from pipeline.planning.plan import assign_scene
from pipeline.planning.quota_samples import QuotaSamples
from pipeline.planning.quotas import QuotaReport, Target
from pipeline.planning.rules import Rules
from pipeline.planning.sampling import Draft, Sampler
from pipeline.rng import sample_generator

ROUNDS = 12
"""How often what samples could not do is asked of others."""
FEW = 5
"""Whole donors of a class below which their number is told among the reasons."""


@dataclass(frozen=True, slots=True)
class Programs:
    """What will be done to every sample, and how that meets the quotas."""

    programs: list[Program]
    """By sample."""
    quotas: list[QuotaReport]


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

    Every sample is drafted; then others are asked for what some could not do.

    Args:
        sampler: Draws the program of one sample, by the policy.
        records: The source scenes by name.
        scenes: Their names in the order in which samples use them, over and over.
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
    used = [records[name] for name in scenes[:samples]]
    chosen = QuotaSamples(targets, used, rules=sampler.rules, samples=samples, seed=seed)

    def draft(index: int) -> Draft:
        record = records[assign_scene(index, scenes)[0]]
        drawn = sampler.draft(
            record, sample_generator(seed, index), chosen.demands(index), sample=index
        )
        chosen.note(index, drawn)
        return drawn

    chosen.choose()
    programs: list[Program] = []
    for index in range(samples):
        programs.append(draft(index).program)
        progress(index + 1)
    for _ in range(ROUNDS):
        changed = chosen.choose_more()
        if not changed:
            break
        for index in sorted(changed):
            programs[index] = draft(index).program
    reports = [_report(chosen, number, sampler.rules) for number in range(len(targets))]
    return Programs(programs, reports + foreign)


def _report(chosen: QuotaSamples, number: int, rules: Rules) -> QuotaReport:
    """What the source holds of a target, what the programs come to, and why they fall short."""
    target = chosen.targets[number]
    source, planned = (float(v[number].mean()) for v in (chosen.source, chosen.planned))
    report = QuotaReport(
        target=target,
        text=target.text(),
        source_mean=source if target.kind == "times" else None,
    )
    report = replace(report, source=report.value(source), forecast=report.value(planned))
    if report.met:
        return report
    return replace(report, reasons=_reasons(chosen, number, target, report, rules))


def _reasons(
    chosen: QuotaSamples, number: int, target: Target, report: QuotaReport, rules: Rules
) -> tuple[str, ...]:
    """Why a target is not met."""
    forecast = report.forecast or 0
    if target.of_stuff:
        return ("objects are planned, stuff is not: its share follows from the free edits",)
    if target.kind == "times" and not report.source_mean:
        return (f"the source has no {target.class_name} to multiply",)
    if chosen.unobtainable(target) and forecast < target.goal:
        lack = f"no donors of class {target.class_name}"
        if refused := int(rules.refused_counts[target.class_id]):
            lack += f": the policy lets in none of the {refused} there are"
        return (lack,)
    why = Counter(chosen.failures(number).values())
    asked = len(chosen.asked[number] | chosen.unable[number].keys())
    if forecast > target.goal:
        why = Counter({reason: why[reason] for reason in (TOO_MANY, MAX_EDITS) if reason in why})
    reasons = [f"{reason} in {count} of {asked} samples" for reason, count in why.most_common()]
    whole = int(rules.whole_counts[target.class_id])
    if whole < FEW and any("no place" in reason for reason in why):
        count = int(rules.donor_counts[target.class_id])
        reasons.append(f"{count} donors of class {target.class_name}, {whole} of them whole")
    if target.kind == "share" and (others := chosen.forbidding(number)):
        reasons.append(f"another quota of the class forbids it in {others} samples")
    return tuple(reasons)
