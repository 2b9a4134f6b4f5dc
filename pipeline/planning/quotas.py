"""Quotas: what a run as a whole should contain, and how much of it one does."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, model_validator

from hdmodel.atomic import write_atomically
from hdmodel.errors import ConfigError
from hdmodel.settings import Settings
from hdmodel.suggestions import did_you_mean
from pipeline.errors import OutputError
from pipeline.taxonomy import Taxonomy

Names = str | tuple[str, ...]
Fraction = Annotated[float, Field(ge=0, le=1)]
Kind = Literal["share", "times", "pixels"]

MANY = 1 << 30
"""No upper limit."""
CLOSE = 0.02
"""Part of a target of numbers or pixels by which a plan may miss it."""


def listed(names: Names) -> tuple[str, ...]:
    """Alternative names as a tuple."""
    return (names,) if isinstance(names, str) else names


class Quota(Settings):
    """What a run should hold: a class with how many, how often or how hidden; or pixel shares.

    A list of classes names alternatives: the first that the taxonomy has counts. A quota of
    alternatives none of which the taxonomy has does not apply, and is reported as such.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    class_: Names | None = Field(default=None, alias="class", min_length=1)
    at_least: int | None = Field(default=None, ge=0, le=1000)
    """Fewest objects of the class in a sample."""
    at_most: int | None = Field(default=None, ge=0, le=1000)
    """Most objects of the class in a sample."""
    occluded: tuple[Fraction, Fraction] | None = None
    """Objects of which edits hide a part between these two; `at_least` says how many, 1 if not
    given."""
    share: float | None = Field(default=None, alias="in", gt=0, le=1)
    """In which share of the samples; all if not given."""
    times: float | None = Field(default=None, ge=0, le=100)
    """How many objects of the class, over those of the source scenes."""
    pixel_share: dict[str, Fraction] | None = Field(default=None, min_length=1)
    """By class, its share of all pixels."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        counts = self.at_least is not None or self.at_most is not None
        if self.pixel_share is not None:
            others = (self.class_, self.at_least, self.at_most, self.occluded, self.share)
            if any(value is not None for value in (*others, self.times)):
                raise ValueError("pixel_share stands alone in its quota")
            if sum(self.pixel_share.values()) > 1:
                raise ValueError("pixel_share: the shares add up to more than 1")
            return self
        if self.class_ is None:
            raise ValueError("a quota needs a class, or a pixel_share")
        if sum((counts or self.occluded is not None, self.times is not None)) != 1:
            raise ValueError(
                "a quota of a class says either at_least and at_most, or occluded, or times"
            )
        if self.times is not None and self.share is not None:
            raise ValueError("times is about the whole run and does not go with in")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least} is above at_most {self.at_most}")
        if self.occluded is not None:
            if not self.occluded[0] < self.occluded[1]:
                raise ValueError("occluded must be [least, most] with least < most")
            if self.at_most is not None:
                raise ValueError("at_most does not go with occluded")
            if self.at_least == 0:
                raise ValueError("at_least 0 asks for nothing")
        if counts and self.at_most is None and self.at_least == 0:
            raise ValueError("at_least 0 asks for nothing")
        return self

    def targets(self, taxonomy: Taxonomy) -> "list[Target]":
        """What is to be reached, class by class; empty if the quota does not apply.

        Raises:
            ConfigError: A class that is not one of several alternatives does not exist.
        """
        if self.pixel_share is not None:
            return [
                Target(
                    "pixels",
                    *_class(name, taxonomy),
                    goal=share,
                    of_stuff=not taxonomy.is_thing[_class(name, taxonomy)[0]],
                )
                for name, share in self.pixel_share.items()
            ]
        assert self.class_ is not None
        names = listed(self.class_)
        name = next((name for name in names if name in taxonomy.class_names), names[0])
        if isinstance(self.class_, tuple) and name not in taxonomy.class_names:
            return []
        class_id, name = _class(name, taxonomy)
        if not taxonomy.is_thing[class_id]:
            raise ConfigError(
                f"quota for {name!r}: {taxonomy.name} tells no single objects of it apart, "
                "so only pixel_share can be asked for"
            )
        if self.times is not None:
            return [Target("times", class_id, name, goal=self.times)]
        low = self.at_least if self.at_least is not None else int(self.occluded is not None)
        return [
            Target(
                "share",
                class_id,
                name,
                goal=self.share or 1.0,
                low=low,
                high=MANY if self.at_most is None else self.at_most,
                occluded=self.occluded,
            )
        ]

    def foreign_text(self, taxonomy: Taxonomy) -> str:
        """Why the quota does not apply."""
        names = ", ".join(listed(self.class_ or ()))
        return f"{names}: does not apply, {taxonomy.name} has no such class"


def _class(name: str, taxonomy: Taxonomy) -> tuple[int, str]:
    names = taxonomy.class_names
    if name not in names:
        hint = did_you_mean(name, names, otherwise=f" (known: {', '.join(names)})")
        raise ConfigError(f"quotas: taxonomy {taxonomy.name} has no class {name!r}{hint}")
    return names.index(name), name


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """The single objects of one sample, planned or rendered."""

    classes: npt.NDArray[np.integer]
    """Class ids [n]."""
    visible: npt.NDArray[np.floating]
    """The part of each object that edits leave visible, 0..1 [n]."""
    areas: npt.NDArray[np.floating]
    """Visible pixels [n]."""
    pixels: int
    """Of the whole sample."""
    stuff: npt.NDArray[np.floating] | None = None
    """Share of the pixels of each stuff class [num_classes]; None where it is not known."""

    def count(self, class_id: int) -> int:
        """The number of objects of a class."""
        return int(np.count_nonzero(self.classes == class_id))


@dataclass(frozen=True, slots=True)
class Target:
    """One thing a run should reach: a mean over its samples."""

    kind: Kind
    """`share`: of the samples that hold between `low` and `high` objects. `times`: objects per
    sample, over those of the source. `pixels`: share of the pixels."""
    class_id: int
    class_name: str
    goal: float
    low: int = 0
    high: int = MANY
    occluded: tuple[float, float] | None = None
    """Count only objects of which edits hide a part between these two."""
    of_stuff: bool = False
    """Whether the class is stuff, of which only `pixels` are known."""

    def measure(self, tally: Tally) -> float:
        """What one sample adds to the mean; NaN where it is not known."""
        own = tally.classes == self.class_id
        if self.kind == "times":
            return float(np.count_nonzero(own))
        if self.kind == "pixels":
            if not self.of_stuff:
                return float(tally.areas[own].sum()) / tally.pixels
            return float("nan") if tally.stuff is None else float(tally.stuff[self.class_id])
        return float(self.low <= self.count(tally) <= self.high)

    def count(self, tally: Tally) -> int:
        """The objects of a sample that count for a share of the samples."""
        if self.occluded is None:
            return tally.count(self.class_id)
        hidden = 1 - tally.visible[tally.classes == self.class_id]
        return int(np.count_nonzero((hidden >= self.occluded[0]) & (hidden <= self.occluded[1])))

    def text(self) -> str:
        """The target in words."""
        if self.kind == "times":
            return f"{self.class_name}: {self.goal:g} times as many as in the source"
        if self.kind == "pixels":
            return f"{self.class_name}: {self.goal:.2%} of the pixels"
        if self.high >= MANY:
            what = f"at least {self.low} {self.class_name}"
        elif self.low == self.high:
            what = f"{self.low or 'no'} {self.class_name}"
        elif self.low:
            what = f"{self.low} to {self.high} {self.class_name}"
        else:
            what = f"at most {self.high} {self.class_name}"
        if self.occluded is not None:
            low, high = self.occluded
            what += f", hidden by {low:.0%} to {high:.0%},"
        return f"{what} in {self.goal:.0%} of the samples"

    def show(self, value: float | None) -> str:
        """A value of this target for people."""
        if value is None:
            return "not known"
        if self.kind == "times":
            return f"{value:.2f} times"
        return f"{value:.2%}" if self.kind == "pixels" else f"{value:.1%}"


@dataclass(frozen=True, slots=True)
class QuotaReport:
    """What became of one target; values are in the target's unit."""

    target: Target | None
    """None if the quota does not apply."""
    text: str
    source: float | None = None
    """What the source scenes hold without edits."""
    source_mean: float | None = None
    """Mean number of objects in a source scene, of `times`."""
    forecast: float | None = None
    """What the planned programs would reach, judged by coarse shapes."""
    achieved: float | None = None
    """What the samples hold that are rendered so far."""
    reasons: tuple[str, ...] = ()
    """Why the forecast falls short."""

    @property
    def met(self) -> bool:
        """Whether the forecast reaches the target, or comes close."""
        if self.target is None or self.forecast is None:
            return False
        goal = self.target.goal
        if self.target.kind == "share":
            return self.forecast >= goal - 1e-9
        return abs(self.forecast - goal) <= max(CLOSE * goal, 1e-9)

    def value(self, mean: float) -> float | None:
        """A mean over samples in the target's unit; None if it is not known."""
        assert self.target is not None
        if np.isnan(mean):
            return None
        if self.target.kind != "times":
            return mean
        return mean / self.source_mean if self.source_mean else None

    def to_plain(self) -> dict[str, Any]:
        """The report as JSON-compatible data."""
        return asdict(self) | {"met": self.met}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The report that `to_plain` gave."""
        data = {key: value for key, value in plain.items() if key != "met"}
        target = data["target"]
        if target is not None:
            occluded = target["occluded"]
            target = Target(**{**target, "occluded": tuple(occluded) if occluded else None})
        return cls(**{**data, "target": target, "reasons": tuple(data["reasons"])})


def quota_lines(reports: Sequence[QuotaReport]) -> list[str]:
    """The reports for people: a line of values each, and one for each reason."""
    lines = []
    for report in reports:
        if report.target is None:
            lines.append(report.text)
            continue
        values = [("source", report.source), ("forecast", report.forecast)]
        if report.achieved is not None:
            values.append(("achieved", report.achieved))
        shown = ", ".join(f"{name} {report.target.show(value)}" for name, value in values)
        lines.append(f"{report.text}: {shown}")
        lines += [f"  because: {reason}" for reason in report.reasons]
    return lines


def write_reports(path: Path, reports: Sequence[QuotaReport]) -> None:
    """Write what a plan comes to, as JSON, atomically."""
    plain = [report.to_plain() for report in reports]
    write_atomically(path, json.dumps(plain, indent=1).encode())


def read_reports(path: Path) -> list[QuotaReport]:
    """Read what `write_reports` wrote.

    Raises:
        OutputError: The file is missing or damaged.
    """
    try:
        return [QuotaReport.from_plain(plain) for plain in json.loads(path.read_bytes())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{path}: not a readable list of quotas ({error})") from None


def with_achieved(reports: Sequence[QuotaReport], tallies: Iterable[Tally]) -> list[QuotaReport]:
    """The reports with what rendered samples hold; None where there are none, or it is not known.

    Args:
        reports: What the plan comes to.
        tallies: The rendered samples.
    """
    targets = [report.target for report in reports if report.target is not None]
    values = [[target.measure(tally) for target in targets] for tally in tallies]
    means = iter(np.mean(values, axis=0) if values else np.full(len(targets), np.nan))
    return [
        report
        if report.target is None
        else replace(report, achieved=report.value(float(next(means))))
        for report in reports
    ]


def check_quotas(
    quotas: Sequence[Quota], *, taxonomy: Taxonomy, protected: Collection[str], origin: str
) -> None:
    """Check that quotas name classes of the taxonomy and do not contradict each other.

    Args:
        quotas: The quotas of a policy.
        taxonomy: The taxonomy of the scenes.
        protected: Names of the classes that no edit touches.
        origin: What to call the policy in messages.

    Raises:
        ConfigError: They cannot all be met, whatever the scenes hold.
    """
    try:
        targets = [target for quota in quotas for target in quota.targets(taxonomy)]
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from None
    for target in targets:
        if target.class_name in protected:
            raise ConfigError(
                f"{origin}: quota for {target.class_name!r}, which constraints.protected lists"
            )
    for one, other in combinations(targets, 2):
        if one.class_id == other.class_id and _contradict(one, other):
            raise ConfigError(f"{origin}: quotas contradict: {one.text()!r} and {other.text()!r}")


def _contradict(one: Target, other: Target) -> bool:
    if one.kind != "share" or other.kind != "share":
        return one.kind == other.kind
    apart = one.low > other.high or other.low > one.high
    return apart and one.goal + other.goal > 1 + 1e-9
