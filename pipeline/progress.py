"""Progress of a run, read from its commit records, so that it is true for every runner."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

POLL_SECONDS = 0.5
LINE_SECONDS = 10.0

Advance = Callable[[int], None]


@contextmanager
def progress_bar(title: str, total: int, *, done: int = 0) -> Iterator[Advance]:
    """Show progress on stderr: a bar on a terminal, a plain line now and then otherwise.

    Args:
        title: What is going on.
        total: The count that means done.
        done: The count at the start.

    Yields:
        A function that takes the count reached so far.
    """
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield _plain_lines(console, title, total, first=done)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task(title, total=total, completed=done)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def watching(count: Callable[[], int], advance: Advance) -> Iterator[None]:
    """Poll a count from a background thread and report it, while the block runs."""
    stopped = threading.Event()

    def poll() -> None:
        while not stopped.wait(POLL_SECONDS):
            advance(count())

    thread = threading.Thread(target=poll, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        advance(count())


def _plain_lines(console: Console, title: str, total: int, *, first: int) -> Advance:
    start = monotonic()
    state = {"done": -1, "shown": start - LINE_SECONDS}

    def advance(done: int) -> None:
        now = monotonic()
        due = now - state["shown"] >= LINE_SECONDS or done >= total
        if done == state["done"] or not due:
            return
        left = ""
        if first < done < total:
            left = f", {(now - start) * (total - done) / (done - first):.0f} s left"
        console.print(f"{title}: {done}/{total}{left}", highlight=False, soft_wrap=True)
        state.update(done=done, shown=now)

    return advance
