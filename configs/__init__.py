"""The configurations shipped with hdsynth, found by kind and name."""

from importlib.resources import files
from pathlib import Path

KINDS = ("taxonomies", "models", "scorers", "policies", "jobs", "checkpoints")


def folder(kind: str) -> Path:
    """The folder of one kind of shipped configuration (see `KINDS`)."""
    return Path(str(files(__name__))) / kind


def names(kind: str) -> list[str]:
    """The names of what is shipped of a kind, sorted."""
    return sorted(
        path.stem if path.suffix == ".yaml" else path.name
        for path in folder(kind).iterdir()
        if path.suffix == ".yaml" or path.is_dir()
    )


def find(kind: str, name_or_path: str | Path) -> Path:
    """The file of a shipped configuration given its name, or the path itself if it names a file.

    A plain word is a shipped name; anything with a folder or a suffix is a path. The path
    returned may not exist: whoever reads it says so.
    """
    path = Path(name_or_path)
    if path.suffix or len(path.parts) > 1:
        return path
    shipped = folder(kind) / f"{name_or_path}.yaml"
    return shipped if shipped.exists() else path
