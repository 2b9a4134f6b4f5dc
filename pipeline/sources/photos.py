"""The scenes of a source that have a photo."""

import logging

from pipeline.errors import DatasetError
from pipeline.sources.source import SceneRef, Source


def scenes_with_photos(
    source: Source, *, where: str, purpose: str, log: logging.Logger
) -> list[SceneRef]:
    """The scenes that have a photo, in the source's order; a warning counts the others.

    Args:
        source: The scenes.
        where: What messages call them, such as "split 'val'".
        purpose: What photos are needed for, such as "some to train on".
        log: Gets the warning.

    Raises:
        DatasetError: None has one.
    """
    refs = [ref for ref in source.scenes if ref.photo is not None]
    if not refs:
        raise DatasetError(f"{where} has no photos, expected {purpose}")
    if without := len(source.scenes) - len(refs):
        log.warning("%s: %d of %d scenes have no photo", where, without, len(source.scenes))
    return refs
