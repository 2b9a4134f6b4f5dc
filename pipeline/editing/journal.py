"""The journal of an attempt: how to undo what was done, should the attempt fail half-way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.editing.cutout import OperationSkipped


class Journal:
    """Notes how to undo each step of the operation that runs."""

    def __init__(self) -> None:
        self._undos: list[Callable[[], None]] = []

    def note(self, undo: Callable[[], None]) -> None:
        """Note how to undo the step just taken."""
        self._undos.append(undo)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Undo what is done inside if it ends with OperationSkipped, which goes on to the caller.

        The steps are undone in reverse, the last one first.
        """
        self._undos.clear()
        try:
            yield
        except OperationSkipped:
            for undo in reversed(self._undos):
                undo()
            raise
