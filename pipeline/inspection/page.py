"""Folders that hold a page of ours: a file of HTML, its pictures, and what else belongs to it."""

import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from PIL import Image

from pipeline.errors import OutputError
from pipeline.output.targets import check_new
from pipeline.scene import Photo

MARKER = '<meta name="generator" content="hdsynth preview">'
PAGE, IMAGES = "index.html", "images"
JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a page, or a note in its place."""

    title: str
    file: str | None = None
    """Path relative to the page."""
    note: str | None = None
    alt: str = ""
    width: int = 0
    """In pixels, as is `height`."""
    height: int = 0
    pixelated: bool = False


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


def save_map(drawn: Photo, to: Path, file: str, *, title: str, alt: str) -> Picture:
    """Save a drawn map as PNG.

    Args:
        drawn: RGB, uint8 [h, w, 3].
        to: The folder of the page.
        file: Path in that folder.
        title: What the page calls the picture.
        alt: What it says to who cannot see it.
    """
    Image.fromarray(drawn).save(to / file, optimize=True)
    height, width = drawn.shape[:2]
    return Picture(title, file, alt=alt, width=width, height=height, pixelated=True)


def save_photo(photo: Photo, to: Path, file: str, *, title: str, alt: str) -> Picture:
    """Save a photo as JPEG; the arguments are those of `save_map`."""
    Image.fromarray(photo).save(to / file, quality=JPEG_QUALITY, optimize=True)
    height, width = photo.shape[:2]
    return Picture(title, file, alt=alt, width=width, height=height)


def environment() -> Environment:
    """The templates of the pages."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
