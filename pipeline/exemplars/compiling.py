"""Compiling the search for machine code, once per machine where it can be kept."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """Compile a function when it is first called; it runs without the interpreter's lock.

    The result is kept beside the module, or in the user's cache folder; where neither can be
    written, as in containers without a home, each process compiles anew.

    Args:
        options: Further ones of `numba.njit`.
    """

    def decorate(function: F) -> F:
        try:
            made: F = njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no folder to keep it in
            made = njit(nogil=True, **options)(function)
        return made

    return decorate
