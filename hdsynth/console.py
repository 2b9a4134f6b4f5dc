"""What commands show: results on stdout, progress on stderr."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)

PLAIN_LINES = 10
"""How many progress lines a whole job prints where there is no terminal."""


def print_json(data: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Print one JSON object, and nothing else, on stdout."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a job is: a bar on a terminal, else about ten plain lines, all on stderr.

    Args:
        description: What is being done, such as "drawing scenes".
        total: The number of steps of the whole job.

    Yields:
        A function to call with the number of steps done so far.
    """
    if stderr.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=stderr) as bar:
            task = bar.add_task(description, total=total)
            yield lambda done: bar.update(task, completed=done)
        return

    shown = 0

    def show(done: int) -> None:
        nonlocal shown
        lines = done * PLAIN_LINES // total if total else 0
        if lines > shown:
            shown = lines
            stderr.print(f"{description}: {done}/{total}", markup=False, soft_wrap=True)

    yield show
