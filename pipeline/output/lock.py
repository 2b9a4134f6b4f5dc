"""The lock of an output folder: two jobs never write one, and a dead job never blocks it."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import OutputError

LOCK = ".hdsynth.lock"

_open: set[int] = set()

_HELD = (errno.EWOULDBLOCK, errno.EACCES)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold a folder for one job; the lock goes with the process, however that ends.

    Raises:
        OutputError: Another job holds it.
    """
    descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    _open.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                raise
            raise OutputError(
                f"{root}: another job is writing here (process {_holder(descriptor) or 'unknown'})"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        _open.discard(descriptor)
        os.close(descriptor)


def _let_go() -> None:
    """Close the locks that a forked child got: they are its parent's, and would outlive it."""
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


os.register_at_fork(after_in_child=_let_go)


def lock_holder(root: Path) -> tuple[bool, int | None]:
    """Whether a job holds an output folder at this moment, and its process number if known.

    The folder is not changed. The lock is tried shared and for an instant, so two who look at
    the same time do not see each other.
    """
    try:
        descriptor = os.open(root / LOCK, os.O_RDONLY)
    except OSError:
        return False, None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _HELD:
            raise
        return True, _holder(descriptor)
    else:
        return False, None
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> int | None:
    text = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
    return int(text) if text.isdecimal() else None
