"""Naming the nearest known name to one that is not known."""

import difflib
from collections.abc import Iterable

CUTOFF = 0.6


def did_you_mean(
    name: str,
    known: Iterable[str],
    *,
    before: str = ", ",
    otherwise: str = "",
    cutoff: float = CUTOFF,
) -> str:
    """End an error message with the known name that is most like an unknown one.

    Args:
        name: What was given.
        known: What could have been meant.
        before: What stands before the question.
        otherwise: What is said when nothing known is alike.
        cutoff: How alike the nearest name must be, from 0 to 1 (`difflib`'s ratio).

    Example:
        >>> "unknown class 'caar'" + did_you_mean("caar", ["car", "bus"])
        "unknown class 'caar', did you mean 'car'?"
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"{before}did you mean {near[0]!r}?" if near else otherwise
