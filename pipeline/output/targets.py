"""Folders that commands write into."""

from pathlib import Path

from pipeline.errors import OutputError


def check_new(target: Path) -> None:
    """Refuse a target that exists, unless it is an empty folder.

    Raises:
        OutputError: There is something already.
    """
    if target.is_dir():
        if any(target.iterdir()):
            raise OutputError(f"{target}: expected a new or empty folder, but it holds files")
    elif target.exists() or target.is_symlink():
        raise OutputError(f"{target}: expected a new or empty folder, but it is a file")
