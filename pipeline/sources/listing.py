"""Listing: the files of a dataset's folders, joined by name into scenes."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hdmodel.suggestions import did_you_mean
from pipeline.errors import DatasetError
from pipeline.sources.layouts import Layout, Role
from pipeline.sources.root import Root
from pipeline.sources.source import SceneRef

SPLIT = "{split}"
NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Listing:
    """The scenes of a dataset, and the files that belong to none."""

    scenes: tuple[SceneRef, ...]
    orphans: tuple[str, ...]


@dataclass(slots=True)
class Tree:
    """The files below a dataset's root; each folder is listed once."""

    root: Root
    _listed: dict[tuple[str, bool], list[str]] = field(default_factory=dict)

    def has(self, folder: str) -> bool:
        """Whether there is such a folder below the root."""
        return bool(self.root.filesystem.isdir(self.root.full(folder)))

    def folders(self, folder: str) -> list[str]:
        """The names of the folders directly below one, sorted."""
        if not self.has(folder):
            return []
        filesystem = self.root.filesystem
        entries = [path.rstrip("/") for path in filesystem.ls(self.root.full(folder), detail=False)]
        return sorted(path.rsplit("/", 1)[-1] for path in entries if filesystem.isdir(path))

    def files(self, folder: str, *, recursive: bool) -> list[str]:
        """The files below a folder, as sorted paths relative to the root; hidden ones left out."""
        key = folder, recursive
        if key not in self._listed:
            full = self.root.full(folder)
            found = map(self.root.relative, self._walk(full) if recursive else self._direct(full))
            start = len(folder)
            self._listed[key] = sorted(
                path for path in found if "/." not in f"/{path[start:].lstrip('/')}"
            )
        return self._listed[key]

    def _direct(self, full: str) -> list[str]:
        entries: list[str] = self.root.filesystem.ls(full, detail=False)
        return [path for path in entries if not self.root.filesystem.isdir(path)]

    def _walk(self, full: str) -> Iterator[str]:
        if not self.root.is_local:
            yield from self.root.filesystem.find(full)
            return
        # fsspec does not enter linked folders, which is how many people arrange their datasets.
        for folder, _, names in os.walk(full, followlinks=True):
            yield from (f"{folder}/{name}" for name in names)


def list_scenes(tree: Tree, layout: Layout, split: str | None) -> Listing:
    """Join the files of a layout's folders by name.

    Args:
        tree: The dataset's root.
        layout: The kinds of files to look for; kinds that are not wanted are left out of it.
        split: The split to list.

    Raises:
        DatasetError: The split or a folder is missing or empty, or names are ambiguous.
    """
    roles = layout.roles
    if split is not None and SPLIT not in layout.label.folder:
        raise DatasetError(
            f"{tree.root}: split {split!r} was asked for, but the folder of the label maps "
            f"({layout.label.folder}) has no {SPLIT} in it"
        )
    files = {kind: _role_files(tree, role, split) for kind, role in roles.items()}
    _keep_longest_suffix(files)
    if not files["label"]:
        raise _no_labels(tree, layout.label, split)
    joined = {kind: _by_key(tree, found) for kind, found in files.items()}
    scenes: dict[str, SceneRef] = {}
    for key, path in joined["label"].items():
        name = key.rsplit("/", 1)[-1] if layout.name_from == "file" else key.replace("/", "_")
        if name in scenes:
            raise DatasetError(
                f"{tree.root}: {scenes[name].label} and {path} would both be scene {name!r}"
            )
        instance = joined.get("instance", {}).get(key)
        photo = joined.get("photo", {}).get(key)
        scenes[name] = SceneRef(name=name, label=path, instance=instance, photo=photo)
    orphans = sorted(
        path
        for kind, found in joined.items()
        for key, path in found.items()
        if kind != "label" and key not in joined["label"]
    )
    return Listing(tuple(scenes[name] for name in sorted(scenes)), tuple(orphans))


def splits(tree: Tree, template: str) -> list[str]:
    """The splits for which a folder template has a folder, sorted."""
    before, _, after = template.partition(SPLIT)
    parent, _, prefix = before.rpartition("/")
    suffix, _, rest = after.partition("/")
    pattern = re.compile(re.escape(prefix) + "(.+)" + re.escape(suffix))
    found = []
    for name in tree.folders(parent):
        match = pattern.fullmatch(name)
        if match and (not rest or tree.has("/".join(filter(None, (parent, name, rest))))):
            found.append(match[1])
    return found


def _role_files(tree: Tree, role: Role, split: str | None) -> dict[str, tuple[str, int]]:
    """From each file of a role to its key (path below the folder, no suffix) and suffix length."""
    folder, recursive = role.folder, True
    if SPLIT in folder:
        if split is not None:
            folder = folder.replace(SPLIT, split)
        elif folder.endswith(f"/{SPLIT}"):
            folder, recursive = folder.removesuffix(f"/{SPLIT}"), False
        else:
            return {}
    folder = folder.strip("/")
    if not tree.has(folder):
        return {}
    suffixes = sorted(role.suffixes, key=len, reverse=True)
    found = {}
    for path in tree.files(folder, recursive=recursive):
        for suffix in suffixes:
            if path.endswith(suffix):
                key = path[len(folder) :].removesuffix(suffix).lstrip("/")
                found[path] = key, len(suffix)
                break
    return found


def _keep_longest_suffix(files: dict[str, dict[str, tuple[str, int]]]) -> None:
    """Give files that several roles claim (one folder for all) to the role with longest suffix."""
    best: dict[str, int] = {}
    for found in files.values():
        for path, (_, length) in found.items():
            best[path] = max(length, best.get(path, 0))
    for found in files.values():
        for path in [p for p, (_, length) in found.items() if length < best[p]]:
            del found[path]


def _by_key(tree: Tree, found: dict[str, tuple[str, int]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for path, (key, _) in found.items():
        if key in joined:
            raise DatasetError(f"{tree.root}: {joined[key]} and {path} have the same name")
        joined[key] = path
    return joined


def _no_labels(tree: Tree, role: Role, split: str | None) -> DatasetError:
    """Say why there are no label maps, and which splits exist."""
    expected = " or ".join(f"*{suffix}" for suffix in role.suffixes)
    existing = splits(tree, role.folder) if SPLIT in role.folder else []
    known = f"splits that exist: {', '.join(existing) or 'none'}"
    if split is None:
        if existing:
            return DatasetError(f"{tree.root}: a split is needed; {known}")
        return DatasetError(f"{tree.root.name(role.folder)}: no label maps ({expected}) found")
    folder = role.folder.replace(SPLIT, split)
    hint = "" if split in existing else did_you_mean(split, existing, before="; ")
    flat, _, last = role.folder.rpartition("/")
    beside = tree.files(flat, recursive=False) if last == SPLIT and tree.has(flat) else []
    if not existing and any(path.endswith(role.suffixes) for path in beside):
        hint = f"; the label maps lie in {flat} itself, so leave split out"
    if not tree.has(folder):
        return DatasetError(f"{tree.root}: no split {split!r} (no folder {folder}); {known}{hint}")
    held = [path.rsplit("/", 1)[-1] for path in tree.files(folder, recursive=True)]
    shown = f"; it holds {', '.join(held[:NAMES_SHOWN])}, ..." if held else ""
    return DatasetError(
        f"{tree.root}: split {split!r} is empty: no label maps ({expected}) in {folder}{shown}; "
        f"{known}"
    )
