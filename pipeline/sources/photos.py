"""Which scenes of a source have a photo."""

import logging

from hdmodel.errors import InputError
from pipeline.sources.source import SceneRef, Source

log = logging.getLogger("hdsynth.sources")


def scenes_with_photos(
    source: Source, *, otherwise: InputError, where: str | None = None
) -> list[SceneRef]:
    """Select the scenes that have a photo, in order.

    Args:
        source: The dataset.
        otherwise: What is raised if no scene has one.
        where: What a warning calls the dataset if some scenes have none; no warning if not given.

    Raises:
        InputError: `otherwise`.
    """
    refs = [ref for ref in source.scenes if ref.photo is not None]
    if not refs:
        raise otherwise
    if where is not None and (without := len(source.scenes) - len(refs)):
        log.warning("%s: %d of %d scenes have no photo", where, without, len(source.scenes))
    return refs


def names_with_photos(source: Source) -> list[str]:
    """Names of the scenes that have a photo, in order.

    Args:
        source: The dataset.
    """
    return [ref.name for ref in source.scenes if ref.photo is not None]
