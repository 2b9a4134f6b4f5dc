"""The gate: rules that scores must meet, for continuous integration."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from eval.errors import EvalError
from eval.reports.report import Report, RuleRow, Score, SideReport, check_comparable
from hdmodel.settings import Settings, read_yaml

POOR_ORACLE = 0.3
"""Mean IoU on real photos below which a scorer cannot judge rendered ones."""

Share = Annotated[float, Field(ge=0, le=1)]


class Gate(Settings):
    """What scores must reach; a key that is not set asks nothing."""

    mean_iou: Share | None = None
    """Least mean IoU of the rendered photos."""
    acc_valid: Share | None = None
    """Least pixel accuracy of the rendered photos, void ignored."""
    oracle_ratio: Annotated[float, Field(ge=0)] | None = None
    """Least mean IoU of the rendered photos as a share of the oracle's."""
    oracle_mean_iou: Share = POOR_ORACLE
    """Least mean IoU of the oracle; below, scores mean nothing and the gate fails."""
    classes: dict[str, Share] = Field(default_factory=dict)
    """Least IoU per class."""
    class_ratios: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Least IoU per class as a share of the oracle's."""
    pasted_recall: Share | None = None
    """Least share of the pasted objects that can be read."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the rules of a YAML file.

        Raises:
            ConfigError: The file is malformed.
        """
        return cls.parse(read_yaml(path), origin=str(path))

    @property
    def asks(self) -> bool:
        """Whether any rule is set."""
        return bool(self.model_dump(exclude_defaults=True))


def check_classes(gate: Gate, classes: tuple[str, ...]) -> None:
    """Check that the rules name evaluated classes.

    Raises:
        EvalError: One does not.
    """
    for key in ("classes", "class_ratios"):
        for name in getattr(gate, key):
            if name not in classes:
                raise EvalError(
                    f"gate: {key}.{name}: not an evaluated class, expected one of "
                    f"{', '.join(classes)}"
                )


def check_gate(report: Report, gate: Gate, baseline: Report | None = None) -> list[RuleRow]:
    """Hold a report against rules, and against an earlier report.

    Worse than the baseline is a score that is lower by more than what chance explains: by more
    than the half widths of both intervals, added in squares. A class that the baseline has must
    still be there.

    Args:
        report: The report.
        gate: The rules.
        baseline: An earlier report of the same protocol.

    Raises:
        EvalError: The baseline has another protocol.
    """
    rows = [
        _floor("oracle mean IoU", gate.oracle_mean_iou, _value(report.oracle.scores["mean_iou"]),
               "; the scorer reads real photos too poorly, so the score means nothing"),
    ]  # fmt: skip
    rendered = report.rendered
    if gate.mean_iou is not None:
        rows.append(_floor("mean IoU", gate.mean_iou, _value(rendered.scores["mean_iou"])))
    if gate.acc_valid is not None:
        rows.append(_floor("pixel accuracy", gate.acc_valid, _value(rendered.scores["acc_valid"])))
    if gate.oracle_ratio is not None:
        value = _value(report.ratio["mean_iou"])
        rows.append(_floor("mean IoU / oracle", gate.oracle_ratio, value))
    for name, limit in gate.classes.items():
        rows.append(_floor(f"IoU of {name}", limit, _value(rendered.iou[name])))
    for name, limit in gate.class_ratios.items():
        value = ratio(_value(rendered.iou[name]), _value(report.oracle.iou[name]))
        rows.append(_floor(f"IoU of {name} / oracle", limit, value))
    if gate.pasted_recall is not None:
        pasted = [r for r in rendered.recall if (r.by, r.group) == ("origin", "pasted")]
        value = pasted[0].value if pasted else None
        rows.append(_floor("recall of pasted objects", gate.pasted_recall, value))
    if baseline is not None:
        check_comparable(report, baseline, names=("this run", "the baseline"))
        rows += _check_baseline(report, baseline)
    return rows


def _check_baseline(report: Report, baseline: Report) -> list[RuleRow]:
    """Hold a report against an earlier one of the same protocol.

    Means over classes take the classes that both have; where that leaves classes out, the widths
    of the intervals are those of the means over all.
    """
    now, before = (_present(side.rendered) for side in (report, baseline))
    oracle_now, oracle_before = (_present(side.oracle) for side in (report, baseline))
    both = now & before
    means = [_mean_over(side, both) for side in (report.rendered, baseline.rendered)]
    all_four = both & oracle_now & oracle_before
    ratios = [_ratio_over(side, all_four) for side in (report, baseline)]
    return [
        _no_class_lost(report, baseline),
        _no_worse("mean_iou", *means),
        _no_worse(
            "acc_valid", report.rendered.scores["acc_valid"], baseline.rendered.scores["acc_valid"]
        ),
        _no_worse("oracle ratio", *ratios),
    ]


def _present(side: SideReport) -> set[str]:
    return {name for name, score in side.iou.items() if score.value is not None}


def _mean_over(side: SideReport, classes: set[str]) -> Score:
    """Mean IoU over some of the classes present."""
    whole = side.scores["mean_iou"]
    if classes == _present(side):
        return whole
    values = [score.value or 0.0 for name, score in side.iou.items() if name in classes]
    return _moved(whole, sum(values) / len(values) if values else None)


def _ratio_over(report: Report, classes: set[str]) -> Score:
    """Mean IoU / that of the oracle, over some of the classes present on both sides."""
    sums = [
        sum(score.value or 0.0 for name, score in side.iou.items() if name in classes)
        for side in (report.rendered, report.oracle)
    ]
    return _moved(report.ratio["mean_iou"], ratio(*sums))


def _moved(score: Score, value: float | None) -> Score:
    """Another score with an interval as wide."""
    if value is None:
        return Score(value=None, low=None, high=None)
    half = _half_width(score)
    return Score(value=value, low=value - half, high=value + half)


def _no_class_lost(report: Report, baseline: Report) -> RuleRow:
    """Whether the labels of the rendered photos still have all classes that they had."""
    rule = "classes against the baseline"
    now, before = (
        {name for name, value in side.rendered.class_accuracy.items() if value is not None}
        for side in (report, baseline)
    )
    lost = [name for name in baseline.rendered.class_accuracy if name in before - now]
    message = f"{rule}: {len(before)} of {len(before)} are there"
    if lost:
        message = f"{rule}: no rendered label has {', '.join(lost)}, which the baseline has"
    return RuleRow(rule=rule, limit=None, value=None, passed=not lost, message=message)


def ratio(part: float | None, whole: float | None) -> float | None:
    """A quotient; None where either is missing or the whole is 0."""
    return None if part is None or not whole else part / whole


def _value(score: Score) -> float | None:
    return score.value


def _floor(rule: str, limit: float, value: float | None, why: str = "") -> RuleRow:
    if value is None:
        message = f"{rule}: nothing to score, expected at least {limit:.4g}"
        return RuleRow(rule=rule, limit=limit, value=None, passed=False, message=message)
    passed = value >= limit
    sign = ">=" if passed else "<"
    message = f"{rule}: {value:.4f} {sign} {limit:.4g}" + ("" if passed else why)
    return RuleRow(rule=rule, limit=limit, value=value, passed=passed, message=message)


def _no_worse(name: str, now: Score, before: Score) -> RuleRow:
    rule = f"{name.replace('_', ' ')} against the baseline"
    if before.value is None:
        message = f"{rule}: the baseline has none"
        return RuleRow(rule=rule, limit=None, value=now.value, passed=True, message=message)
    noise = (_half_width(now) ** 2 + _half_width(before) ** 2) ** 0.5
    limit = before.value - noise
    if now.value is None:
        message = f"{rule}: nothing to score, the baseline has {before.value:.4f}"
        return RuleRow(rule=rule, limit=limit, value=None, passed=False, message=message)
    passed = now.value >= limit
    judged = "within noise or better" if passed else "worse beyond noise"
    message = f"{rule}: {now.value:.4f}, was {before.value:.4f} +- {noise:.4f}: {judged}"
    return RuleRow(rule=rule, limit=limit, value=now.value, passed=passed, message=message)


def _half_width(score: Score) -> float:
    return 0.0 if score.low is None or score.high is None else (score.high - score.low) / 2
