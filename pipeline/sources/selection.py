"""Which scenes of a dataset are used: by the pattern of their names, and by halves."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pipeline.errors import DatasetError
from pipeline.sources.config import DatasetConfig
from pipeline.sources.source import SceneRef

RUN = 16
"""Scenes in a row, in the order of their names, that go to the same half: those of a drive that
follow each other are nearly alike."""


def select_scenes(
    scenes: Sequence[SceneRef], config: DatasetConfig, *, where: str
) -> tuple[SceneRef, ...]:
    """The scenes that a configuration leaves of a dataset's.

    Args:
        scenes: All of them, sorted by name.
        config: Of the dataset.
        where: What to call it in messages.

    Raises:
        DatasetError: None is left, or a pattern matches none.
    """
    chosen = [s for k, s in enumerate(scenes) if config.half in (None, k // RUN % 2 + 1)]
    for key, patterns, wanted in (
        ("only", config.only, True),
        ("without", config.without, False),
    ):
        for pattern in patterns:
            if not any(fnmatchcase(scene.name, pattern) for scene in scenes):
                raise DatasetError(
                    f"{where}: {key} {pattern!r} matches the name of no scene "
                    f"(the first of {len(scenes)} is {scenes[0].name!r})"
                )
        if patterns:
            chosen = [
                scene
                for scene in chosen
                if any(fnmatchcase(scene.name, pattern) for pattern in patterns) == wanted
            ]
    if not chosen:
        raise DatasetError(f"{where}: only, without and half leave none of {len(scenes)} scenes")
    return tuple(chosen)
