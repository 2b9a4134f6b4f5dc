"""The output folder of a job: its layout, its config record, its leftovers."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hdmodel.atomic import write_atomically
from hdmodel.errors import ConfigError
from hdmodel.settings import flattened, read_yaml
from pipeline.errors import OutputError
from pipeline.output.lock import LOCK
from pipeline.taxonomy import Taxonomy

OWN_ENTRIES = (
    "config.yaml", "plan.parquet", "quotas.json", "priors.json", "taxonomy.yaml", "donors",
    "exemplars.parquet", "data.zarr", "manifest",
)  # fmt: skip

_TEMPORARY = re.compile(
    r"\.(config\.yaml|taxonomy\.yaml|plan\.parquet|quotas\.json|priors\.json|exemplars\.parquet|donors"
    r"|shard-\d+\.parquet)\.[0-9a-f]{32}\.tmp"
)


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
    def quotas(self) -> Path:
        """What the policy's quotas ask for, and what the plan comes to."""
        return self.root / "quotas.json"

    @property
    def taxonomy(self) -> Path:
        """The taxonomy that gives the ids their meaning."""
        return self.root / "taxonomy.yaml"

    @property
    def priors(self) -> Path:
        """What the scenes told about places, sizes and numbers of objects."""
        return self.root / "priors.json"

    @property
    def exemplars(self) -> Path:
        """What is where in the photos that pixels are copied from, in runs that copy some."""
        return self.root / "exemplars.parquet"

    @property
    def donors(self) -> Path:
        """The donor bank whose objects are pasted."""
        return self.root / "donors"

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
        """Whether a job of hdsynth was started here."""
        try:
            self.read_config()
        except OutputError:
            return False
        return True

    def read_config(self) -> dict[str, Any]:
        """The record of the job: keys `fingerprint`, `identity`, `config`, `versions`.

        Raises:
            OutputError: The folder is not an output of hdsynth.
        """
        try:
            record = read_yaml(self.config) if self.config.is_file() else {}
        except ConfigError as error:
            raise OutputError(f"{self.root}: not an output of hdsynth render ({error})") from None
        parts = [record.get(key) for key in ("identity", "config", "versions")]
        if "fingerprint" in record and all(isinstance(part, dict) for part in parts):
            return record
        if (self.root / "metrics.csv").is_file():
            raise OutputError(
                f"{self.root}: the folder of a training, expected an output of hdsynth render"
            )
        raise OutputError(f"{self.root}: not an output of hdsynth render, which has a config.yaml")

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
        found = {path.name for path in self.root.iterdir()}
        # The lock file marks a folder whose job was killed before its config was written.
        if LOCK in found:
            found -= {LOCK, *OWN_ENTRIES, *(name for name in found if _TEMPORARY.fullmatch(name))}
        if found:
            advice = " (--overwrite replaces only outputs of hdsynth)" if overwrite else ""
            raise OutputError(
                f"{self.root}: not empty and not an output of hdsynth render; "
                f"it holds {min(found)!r}{advice}"
            )

    def check_same_job(self, identity: Mapping[str, Any]) -> None:
        """Check that the folder holds the same job, so that it can be resumed.

        Raises:
            OutputError: Something that decides the samples differs; the message is the difference.
        """
        record = self.read_config()
        if record["fingerprint"] == fingerprint(identity):
            return
        before, now = flattened(record["identity"]), flattened(identity)
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
            _delete(self.root / name)

    def leftovers(self) -> list[Path]:
        """The temporary files of killed writers, ours and zarr's, sorted."""
        found = [
            path
            for folder in (self.root, self.manifests)
            if folder.is_dir()
            for path in folder.iterdir()
            if _TEMPORARY.fullmatch(path.name)
        ]
        return sorted(found + list(self.data.rglob("*.partial")))

    def sweep(self) -> list[Path]:
        """Delete the temporary files of killed writers and return their paths."""
        leftovers = self.leftovers()
        for path in leftovers:
            _delete(path)
        return leftovers


def fingerprint(identity: Mapping[str, Any]) -> str:
    """A hash of a job's identity: equal fingerprints mean equal samples."""
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _delete(path: Path) -> None:
    """Delete a file, or a folder and what it holds, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
