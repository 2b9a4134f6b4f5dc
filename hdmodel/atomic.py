"""Files that are there whole or not at all, also after a power cut."""

import os
import uuid
from pathlib import Path


def temporary_name(name: str) -> str:
    """Make a unique name for a file that is renamed to `name` once it is whole."""
    return f".{name}.{uuid.uuid4().hex}.tmp"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, make it durable, and rename it."""
    temporary = path.with_name(temporary_name(path.name))
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        make_durable(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def make_durable(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
