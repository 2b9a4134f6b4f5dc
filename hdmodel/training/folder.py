"""The output folder of a training: its configuration, its checkpoints, which is last and best."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hdmodel.atomic import temporary_name, write_atomically
from hdmodel.checkpoint import (
    CheckpointConfig,
    TaxonomyRecord,
    check_weights,
    read_checkpoint_config,
)
from hdmodel.errors import CheckpointError, ConfigError
from hdmodel.settings import flattened, read_yaml
from hdmodel.training.config import TrainConfig

MAY_CHANGE = (
    "dataset.root",
    "loaders",
    "recompute",
    "log_every",
    "picture_every",
    "save_every",
)
"""Keys that decide nothing of what is learnt; all others must stay as they are."""

VALIDATION = "validation_l1"


@dataclass(frozen=True, slots=True)
class TrainingFolder:
    """Paths inside the output folder of a training (`OUT` in the documentation)."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration and the taxonomy."""
        return self.root / "config.yaml"

    @property
    def metrics(self) -> Path:
        """The losses over time."""
        return self.root / "metrics.csv"

    @property
    def pictures(self) -> Path:
        """The sheets of pictures."""
        return self.root / "samples"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints that training can go on from."""
        return self.root / "checkpoints"

    @property
    def last(self) -> Path:
        """A link to the newest checkpoint."""
        return self.root / "last"

    @property
    def best(self) -> Path:
        """A link to the checkpoint with the smallest error on the validation scenes."""
        return self.root / "best"

    @property
    def final(self) -> Path:
        """The checkpoint of a training that came to its end, without what only training needs."""
        return self.root / "final"

    def checkpoint(self, step: int) -> Path:
        """Name the checkpoint after a number of updates."""
        return self.checkpoints / f"step-{step:07d}"

    def saved(self) -> list[Path]:
        """List all checkpoints that are there, oldest first."""
        found = {
            int(match[1]): path
            for path in self.checkpoints.glob("step-*")
            if (match := re.fullmatch(r"step-(\d{7,})", path.name))
        }
        return [path for _, path in sorted(found.items())]

    def claim(self, config: TrainConfig, taxonomy: TaxonomyRecord, *, scenes: int) -> None:
        """Write the configuration into a new folder, or compare it with the one that is there.

        Args:
            config: The training run.
            taxonomy: Of its label maps.
            scenes: How many there are to train on: their order and epochs depend on it.

        Raises:
            ConfigError: The folder holds another training, or files of somebody else.
        """
        record = {
            "scenes": scenes,
            "taxonomy": taxonomy.to_plain(),
            "config": config.to_plain(),
        }
        if self.config.is_file():
            self._compare(record)
        elif self.root.is_dir() and any(not p.name.startswith(".") for p in self.root.iterdir()):
            raise ConfigError(f"{self.root}: is not empty and no training, expected a new folder")
        self.root.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config, yaml.safe_dump(record, sort_keys=False).encode())

    def _compare(self, record: Mapping[str, Any]) -> None:
        before, now = flattened(read_yaml(self.config)), flattened(record)
        changed = [
            f"  {key}: was {before.get(key, 'absent')!r}, now {now.get(key, 'absent')!r}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and key.removeprefix("config.") not in MAY_CHANGE
        ]
        if changed:
            raise ConfigError(
                f"{self.root}: holds another training; these keys differ:\n"
                + "\n".join(changed)
                + "\nUse the same settings to go on, or another --out."
            )

    def settle(self) -> None:
        """Bring the links up to date with the newest checkpoint, and delete what they leave.

        To be called after each save, and before going on: a training may have been killed
        between the two.
        """
        for folder in (self.root, self.checkpoints):
            for leftover in folder.glob(".*.tmp"):
                _delete(leftover)
        saved = self.saved()
        if not saved:
            return
        newest = saved[-1]
        _link(self.last, newest)
        if self._beats_best(read_checkpoint_config(newest)):
            _link(self.best, newest)
        kept = {newest.name, self.best.resolve().name}
        for path in saved:
            if path.name not in kept:
                shutil.rmtree(path)

    def is_final(self, record: Mapping[str, Any]) -> bool:
        """Say whether the final checkpoint is there and comes from the training a record says."""
        try:
            config = read_checkpoint_config(self.final)
            for name in config.sha256:
                check_weights(self.final, name)
        except CheckpointError:
            return False
        return config.training == record

    def _beats_best(self, newest: CheckpointConfig) -> bool:
        """Whether a checkpoint renders finer than the best so far, or the same size better."""
        if not self.best.exists():
            return True
        best = read_checkpoint_config(self.best)
        levels, error = newest.generator.levels, newest.training.get(VALIDATION)
        if levels != best.generator.levels:
            return levels > best.generator.levels
        least = best.training.get(VALIDATION)
        return error is None or least is None or error < least


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _link(link: Path, target: Path) -> None:
    """Point a link at a folder beside or below it, atomically."""
    temporary = link.with_name(temporary_name(link.name))
    temporary.symlink_to(target.relative_to(link.parent))
    temporary.replace(link)
