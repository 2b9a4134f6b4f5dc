"""What a person says of edits, right or wrong and why, and how often, by kind, class and reason."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from hdmodel.errors import InputError
from hdmodel.settings import Settings

Reason = Literal[
    "cut shape",
    "void over it",
    "odd fill",
    "wrong place",
    "wrong size",
    "wrong order",
    "repeated",
    "odd region",
    "other",
]
Group = Literal["all", "operation", "class", "reason"]
REASON_KEYS: dict[str, Reason] = dict(zip("cvfpsorgt", get_args(Reason), strict=True))
"""The keys that choose the reasons on the page."""
MOST_NOTE = 1000
"""Characters of a note."""
NO_REASON = "no reason given"
Z = 1.959964
"""Standard deviations of a normal distribution within which 95 % of it lie."""


class Mark(Settings):
    """What a person says of one edit."""

    sample: int = Field(ge=0)
    """The number of the sample in the run."""
    position: int = Field(ge=1)
    """Of the operation in the program, from 1."""
    op: str
    class_name: str
    verdict: Literal["right", "wrong"]
    reason: Reason | None = None
    """Why it is wrong; None for what is right, and where nobody said so."""
    note: str = Field(default="", max_length=MOST_NOTE)

    @model_validator(mode="after")
    def _check_reason(self) -> Self:
        if self.verdict == "right" and self.reason is not None:
            raise ValueError(f"expected no reason for what is right, got {self.reason!r}")
        return self


class Marks(Settings):
    """The marks of one page, as `marks.json` holds them."""

    version: Literal[1] = 1
    fingerprint: str
    """Of the run."""
    marks: tuple[Mark, ...] = ()

    @model_validator(mode="after")
    def _check_once(self) -> Self:
        seen: set[tuple[int, int]] = set()
        for mark in self.marks:
            key = (mark.sample, mark.position)
            if key in seen:
                raise ValueError(f"expected one mark per edit, got two of {key}")
            seen.add(key)
        return self


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of the edits that were judged are right, or wrong for a reason."""

    group: Group
    name: str
    count: int
    """Edits that are right; in the group `reason`, those that are wrong for it."""
    judged: int

    @property
    def share(self) -> float:
        """The share of those that were judged, 0..1."""
        return self.count / self.judged

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share."""
        return wilson_interval(self.count, self.judged)

    def to_plain(self) -> dict[str, Any]:
        """The rate with its share and interval as JSON-compatible data."""
        low, high = self.interval
        return {
            "group": self.group,
            "name": self.name,
            "count": self.count,
            "judged": self.judged,
            "share": self.share,
            "low": low,
            "high": high,
        }


def read_marks(path: Path) -> Marks:
    """Read a file of marks.

    Raises:
        InputError: There is no such file, or it does not hold marks.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    return parse_marks(content, origin=str(path))


def parse_marks(content: bytes, *, origin: str) -> Marks:
    """The marks of a JSON text.

    Args:
        content: The text, UTF-8.
        origin: Where it came from, for error messages.

    Raises:
        InputError: It does not hold marks.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{origin}: expected marks in JSON ({error})") from None
    if not isinstance(data, dict):
        raise InputError(f"{origin}: expected marks in JSON, got {type(data).__name__}")
    return Marks.parse(data, origin=origin)


def check_marks(marks: Marks, listing: dict[str, Any]) -> None:
    """Check that marks are of a page.

    Args:
        marks: The marks.
        listing: What `edits.json` of the page holds.

    Raises:
        InputError: They are of another run, or of an edit that the page does not show.
    """
    if marks.fingerprint != listing["fingerprint"]:
        raise InputError(
            f"expected marks of run {listing['fingerprint']}, got those of {marks.fingerprint}"
        )
    shown = {
        (edit["sample"], edit["position"], edit["op"], edit["class_name"])
        for edit in listing["edits"]
    }
    for mark in marks.marks:
        if (mark.sample, mark.position, mark.op, mark.class_name) not in shown:
            raise InputError(
                f"the page shows no edit {mark.position} of sample {mark.sample}, "
                f"{mark.op} of {mark.class_name}"
            )


def rates(marks: Sequence[Mark]) -> list[Rate]:
    """How many edits are right: of all, by operation and class; then why the others are not.

    Groups without any mark are left out, so nothing comes of no marks.
    """
    right = [mark.verdict == "right" for mark in marks]
    judged: dict[Group, list[str]] = {
        "all": ["all"] * len(marks),
        "operation": [mark.op for mark in marks],
        "class": [mark.class_name for mark in marks],
    }
    found = [rate for group, names in judged.items() for rate in _by_name(group, names, right)]
    reasons = [mark.reason or NO_REASON for mark in marks if mark.verdict == "wrong"]
    found += [
        Rate("reason", name, reasons.count(name), len(marks))
        for name in (*get_args(Reason), NO_REASON)
        if name in reasons
    ]
    return found


def _by_name(group: Group, names: Sequence[str], right: Sequence[bool]) -> Iterator[Rate]:
    for name in sorted(set(names)):
        own = [good for there, good in zip(names, right, strict=True) if there == name]
        yield Rate(group, name, sum(own), len(own))


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927), within 0..1.

    Args:
        count: How many of them.
        total: Of how many, at least one.

    Example:
        >>> [round(bound, 3) for bound in wilson_interval(8, 10)]
        [0.49, 0.943]
    """
    middle = (count + Z**2 / 2) / (total + Z**2)
    reach = Z / (total + Z**2) * sqrt(count * (total - count) / total + Z**2 / 4)
    return max(0.0, middle - reach), min(1.0, middle + reach)
