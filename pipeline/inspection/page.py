"""Folders that hold a page of ours: a file of HTML, its pictures, and what else belongs to it."""

import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from pipeline.errors import OutputError
from pipeline.output.targets import check_new

MARKER = '<meta name="generator" content="hdsynth preview">'
PAGE, IMAGES = "index.html", "images"


def check_page_target(to: Path, *, entries: Collection[str]) -> None:
    """Refuse a folder that holds something else than an earlier page of ours.

    Args:
        to: The folder, which need not exist.
        entries: The names that a page of this kind has in its folder.

    Raises:
        OutputError: It is a file, or a folder with something else.
    """
    found = {entry.name for entry in to.iterdir()} if to.is_dir() else set()
    if not found:
        check_new(to)
        return
    page = to / PAGE
    ours = found <= set(entries) and page.is_file() and MARKER in page.read_text("utf-8")
    if not ours:
        foreign = sorted(found - set(entries)) or sorted(found)
        raise OutputError(
            f"{to}: expected a new or empty folder, or an earlier preview; it holds {foreign[0]!r}"
        )


@contextmanager
def page_folder(target: Path) -> Iterator[Path]:
    """A folder to fill under a temporary name, which takes the place of the target at the end.

    It has an empty folder for pictures. If anything goes wrong in between, the target stays as it
    was.

    Args:
        target: The resolved path; what is there may be replaced (`check_page_target`).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    (partial / IMAGES).mkdir(parents=True)
    try:
        yield partial
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def environment() -> Environment:
    """The templates of the pages."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
