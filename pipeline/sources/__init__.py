"""Sources: datasets on disk as scenes, whatever their format."""

from pipeline.sources.config import FORMATS, DatasetConfig
from pipeline.sources.opening import open_source
from pipeline.sources.source import Problem, Reading, SceneRef, Source

__all__ = [
    "FORMATS",
    "DatasetConfig",
    "Problem",
    "Reading",
    "SceneRef",
    "Source",
    "open_source",
]
