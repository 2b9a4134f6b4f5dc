"""Work on many scenes or shards in threads: results in order, progress shown."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipeline.progress import progress_bar

MAX_THREADS = 8
THREADS_PER_CORE = 2
"""Reading waits for the disk half of the time."""

T = TypeVar("T")
R = TypeVar("R")


def map_in_threads(work: Callable[[T], R], items: Sequence[T], *, title: str) -> Iterator[R]:
    """What `work` makes of each item, in order; the results so far are shown as progress.

    Args:
        work: Called in several threads at once.
        items: What it is called with.
        title: What is going on, for the progress bar.

    Example:
        >>> list(map_in_threads(abs, [-1, 2, -3], title="example"))
        [1, 2, 3]
    """
    threads = min(MAX_THREADS, THREADS_PER_CORE * (os.cpu_count() or 1))
    with (
        progress_bar(title, len(items)) as advance,
        ThreadPoolExecutor(max_workers=threads) as pool,
    ):
        for done, result in enumerate(pool.map(work, items), start=1):
            yield result
            advance(done)
