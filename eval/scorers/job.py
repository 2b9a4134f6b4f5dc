"""The training of a scorer as a file describes it: the network, and which photos to train on."""

from eval.scorers.config import ScorerTraining
from pipeline.training.job import TrainingScenesConfig


class ScorerJob(ScorerTraining):
    """A training on scenes that hdsynth can read or draw."""

    dataset: TrainingScenesConfig
