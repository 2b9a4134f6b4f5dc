"""The training of a scorer as a file describes it: the network, and which photos to train on."""

from pathlib import Path

from eval.scorers.config import ScorerTraining
from hdmodel.settings import read_yaml
from pipeline.training.job import TrainingScenesConfig, WorldScenesConfig
from pipeline.training.scenes import DatasetScenes, WorldScenes


class ScorerJob(ScorerTraining):
    """A training on scenes that hdsynth can read or draw."""

    dataset: TrainingScenesConfig


def read_scorer_job(path: Path) -> ScorerJob:
    """Read the YAML file of a scorer's training.

    Raises:
        ConfigError: The file is missing or malformed.
    """
    return ScorerJob.parse(read_yaml(path), origin=str(path))


def open_scorer_scenes(job: ScorerJob) -> WorldScenes | DatasetScenes:
    """The scenes that the training of a scorer asks for.

    Raises:
        DatasetError: The dataset cannot be used.
        ConfigError: Keys do not go together.
        TaxonomyError: There is no such taxonomy, or the data have another one.
    """
    if isinstance(job.dataset, WorldScenesConfig):
        return WorldScenes(job.dataset, validation=job.validation)
    return DatasetScenes(job.dataset, validation=job.validation)
