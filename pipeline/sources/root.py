"""Roots: where a dataset lies, on any filesystem that fsspec knows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import fsspec
from fsspec.core import OpenFile
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Root:
    """The top folder of a dataset; small and pickleable."""

    url: str
    """As the user wrote it, for messages."""
    filesystem: Any
    """Of fsspec; it holds what opening needs: the archive of a `zip://` URL, credentials."""
    path: str
    """The folder's path on that filesystem."""

    @classmethod
    def open(cls, url: str) -> "Root":
        """Find a dataset's root.

        Args:
            url: A path, or any URL fsspec knows, chained ones included.

        Raises:
            DatasetError: There is no such folder, or no access to that kind of storage.
        """
        try:
            filesystem, path = fsspec.core.url_to_fs(url)
        except FileNotFoundError:
            raise DatasetError(f"{url}: no such file") from None
        except (ValueError, ImportError, OSError, BadZipFile) as error:
            raise DatasetError(f"{url}: {error}") from None
        if isinstance(filesystem, LocalFileSystem) and ".." in Path(path).parts:
            url = path = str(Path(path).resolve())
        if not filesystem.exists(path):
            raise DatasetError(f"{url}: no such folder")
        if not filesystem.isdir(path):
            raise DatasetError(f"{url}: expected a folder, found a file")
        return cls(url, filesystem, path)

    def __str__(self) -> str:
        return self.url

    @property
    def is_local(self) -> bool:
        """Whether the files can be reached without fsspec, by their path."""
        return isinstance(self.filesystem, LocalFileSystem)

    def full(self, path: str) -> str:
        """The path on the filesystem of a path relative to the root."""
        return f"{self.path.rstrip('/')}/{path}".rstrip("/") if self.path else path

    def relative(self, full: str) -> str:
        """The path relative to the root of a path on the filesystem."""
        # Filesystems without a current folder do not agree on a slash in front.
        return full.strip("/")[len(self.path.strip("/")) :].lstrip("/")

    def name(self, path: str) -> str:
        """What messages call a file below the root: a path or URL that leads to it."""
        first, *rest = self.url.split("::")
        top = first if first.endswith("://") else first.rstrip("/") + "/"
        return "::".join([top + path, *rest])

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder below the root."""
        return bool(self.filesystem.exists(self.full(path)))

    def file(self, path: str) -> OpenFile:
        """A file below the root, to be opened for reading bytes by `with`."""
        return OpenFile(self.filesystem, self.full(path), mode="rb")
