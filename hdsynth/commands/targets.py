"""New folders that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill under a temporary name beside the target, renamed to it at the end.

    If anything goes wrong in between, the target is left as it was.

    Raises:
        OutputError: The target exists and is not an empty folder.
    """
    from pipeline.output.targets import check_new

    check_new(target)
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        yield partial
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
