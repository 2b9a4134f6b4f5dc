"""The output folder of a job: its layout, its lock, its config record, its leftovers."""

import errno
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hdmodel.settings import read_yaml
from pipeline.config import fingerprint
from pipeline.errors import OutputError
from pipeline.taxonomy import Taxonomy

OWN_ENTRIES = ("config.yaml", "plan.parquet", "taxonomy.yaml", "data.zarr", "manifest")
LOCK = ".hdsynth.lock"


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Paths inside one output folder (`OUT` in the documentation)."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved config and its fingerprint."""
        return self.root / "config.yaml"

    @property
    def plan(self) -> Path:
        """One row per sample, written before anything is rendered."""
        return self.root / "plan.parquet"

    @property
    def taxonomy(self) -> Path:
        """The taxonomy that gives the ids their meaning."""
        return self.root / "taxonomy.yaml"

    @property
    def data(self) -> Path:
        """The zarr group."""
        return self.root / "data.zarr"

    @property
    def manifests(self) -> Path:
        """The folder of commit records."""
        return self.root / "manifest"

    def manifest(self, shard: int) -> Path:
        """The commit record of a shard."""
        return self.manifests / f"shard-{shard:05d}.parquet"

    def committed(self) -> list[int]:
        """The numbers of the committed shards, sorted."""
        if not self.manifests.is_dir():
            return []
        return sorted(
            int(match[1])
            for path in self.manifests.iterdir()
            if (match := re.fullmatch(r"shard-(\d{5,})\.parquet", path.name))
        )

    def exists(self) -> bool:
        """Whether a job was started here."""
        return self.config.is_file()

    def read_config(self) -> dict[str, Any]:
        """The record of the job: keys `fingerprint`, `identity`, `config`, `versions`.

        Raises:
            OutputError: The folder is not an output of hdsynth.
        """
        if not self.exists():
            raise OutputError(f"{self.root}: not an output of hdsynth render (no config.yaml)")
        record = read_yaml(self.config)
        if missing := {"fingerprint", "identity", "config"} - record.keys():
            raise OutputError(f"{self.config}: key {sorted(missing)[0]!r} is missing")
        return record

    def read_taxonomy(self) -> Taxonomy:
        """The taxonomy the output was made with."""
        return Taxonomy.parse(read_yaml(self.taxonomy), origin=str(self.taxonomy))

    def check_target(self, *, overwrite: bool) -> None:
        """Check, without writing, that a job may use the folder.

        Raises:
            OutputError: It is not a folder, not writable, or holds files of somebody else.
        """
        if not self.root.exists():
            parent = self.root.absolute().parent
            while not parent.exists():
                parent = parent.parent
            if not parent.is_dir():
                raise OutputError(f"{self.root}: cannot be created, {parent} is not a folder")
            if not os.access(parent, os.W_OK | os.X_OK):
                raise OutputError(f"{self.root}: cannot be created, {parent} is not writable")
            return
        if not self.root.is_dir():
            raise OutputError(f"{self.root}: expected a folder, found a file")
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise OutputError(f"{self.root}: not writable")
        if self.exists():
            return
        found = {path.name for path in self.root.iterdir() if not is_temporary(path.name)}
        # The lock file marks a folder whose job was killed before its config was written.
        foreign = sorted(found - {LOCK, *OWN_ENTRIES} if LOCK in found else found)
        if foreign:
            advice = " (--overwrite replaces only outputs of hdsynth)" if overwrite else ""
            raise OutputError(
                f"{self.root}: not empty and not an output of hdsynth render; "
                f"it holds {foreign[0]!r}{advice}"
            )

    def check_same_job(self, identity: Mapping[str, Any]) -> None:
        """Check that the folder holds the same job, so that it can be resumed.

        Raises:
            OutputError: Something that decides the samples differs; the message is the difference.
        """
        record = self.read_config()
        if record["fingerprint"] == fingerprint(identity):
            return
        before, now = _flatten(record["identity"]), _flatten(identity)
        changed = [
            f"  {key}: was {before.get(key)!r}, now {now.get(key)!r}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        raise OutputError(
            f"{self.root}: holds another job; these keys differ:\n"
            + "\n".join(changed)
            + "\nUse the same settings to resume, another --out, or --overwrite to start again."
        )

    def write_config(
        self, identity: Mapping[str, Any], config: Mapping[str, Any], versions: Mapping[str, str]
    ) -> None:
        """Write the record of the job; last of the files that are made before rendering."""
        record = {
            "fingerprint": fingerprint(identity),
            "versions": dict(versions),
            "config": dict(config),
            "identity": dict(identity),
        }
        write_atomically(self.config, yaml.safe_dump(record, sort_keys=False).encode())

    def clear(self) -> None:
        """Delete what a job left here, the config record first, and nothing else."""
        for name in OWN_ENTRIES:
            path = self.root / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def sweep(self) -> list[Path]:
        """Delete the temporary files of killed writers and return their paths."""
        leftovers = [
            path
            for folder in (self.root, self.manifests, self.data)
            if folder.is_dir()
            for path in (folder.rglob("*") if folder == self.data else folder.iterdir())
            if is_temporary(path.name)
        ]
        for path in leftovers:
            path.unlink(missing_ok=True)
        return leftovers

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one job; the lock goes with the process, however it ends.

        Raises:
            OutputError: Another job holds it.
        """
        descriptor = os.open(self.root / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
                raise OutputError(
                    f"{self.root}: another job is writing here (process {holder or 'unknown'})"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)


def temporary_name(name: str) -> str:
    """A unique name for a file that is renamed to `name` once it is whole."""
    return f".{name}.{uuid.uuid4().hex}.tmp"


def is_temporary(name: str) -> bool:
    """Whether a file name is of a writer that did not finish (ours, or zarr's)."""
    return (name.startswith(".") and name.endswith(".tmp")) or name.endswith(".partial")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    temporary = path.with_name(temporary_name(path.name))
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{name}.")
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat
