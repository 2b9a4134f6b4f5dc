"""Checkpoints with untrained weights, to try a pipeline before a generator is trained."""

from pathlib import Path

import torch

from hdmodel.architecture import GeneratorConfig
from hdmodel.checkpoint import TaxonomyRecord, save_checkpoint
from hdmodel.generator import build_generator
from hdmodel.layers import initialise


def init_checkpoint(
    config: GeneratorConfig,
    *,
    taxonomy: TaxonomyRecord,
    seed: int,
    to: Path,
) -> Path:
    """Write a checkpoint with random weights (paper, section 3.2: N(0, 0.02)).

    Args:
        config: The shape of the generator; `num_classes` is taken from the taxonomy.
        taxonomy: Of the label maps.
        seed: Of the weights.
        to: The checkpoint folder to make.

    Returns:
        The checkpoint folder.

    Raises:
        CheckpointError: The folder exists or cannot be written.
    """
    generator = build_generator(config.model_copy(update={"num_classes": taxonomy.num_classes}))
    initialise(generator, torch.Generator().manual_seed(seed))
    return save_checkpoint(
        to,
        generator,
        taxonomy=taxonomy,
        training={"initialised": "untrained", "seed": seed},
    )
