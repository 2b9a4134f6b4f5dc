"""Whether our packages, whose names are common words, all come from one installation."""

import importlib.util
from pathlib import Path

import hdsynth

PACKAGES = ("hdsynth", "hdmodel", "pipeline", "eval", "configs")


def misplaced_package() -> str | None:
    """What is wrong if a package would be imported from elsewhere than hdsynth; else None.

    Nothing is imported to find out, as a user's own `pipeline.py` could do anything.
    """
    root = Path(str(hdsynth.__file__)).parent.parent
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None:
            return f"package {name!r} is missing from {root}; install hdsynth again"
        folders = spec.submodule_search_locations
        found = next(iter(folders), None) if folders is not None else spec.origin
        expected = root / name
        if found is None or Path(found).resolve() != expected.resolve():
            return (
                f"Python would import {name!r} from {found}, but hdsynth needs its own in "
                f"{expected}; rename that file or folder, or keep it off the Python path "
                "(PYTHONPATH, or the working folder under `python -m`)"
            )
    return None
