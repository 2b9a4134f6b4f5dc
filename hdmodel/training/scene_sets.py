"""Where the scenes of a training come from."""

from typing import Protocol

from hdmodel.training.batches import Samples
from hdmodel.training.config import Size


class SceneSets(Protocol):
    """Where the scenes of a training come from."""

    def training(self, size: Size) -> Samples:
        """Give the scenes to train on, at a height and width in pixels."""
        ...

    def validation(self, size: Size) -> Samples:
        """Give scenes that are not trained on, at a height and width in pixels; may be none."""
        ...
