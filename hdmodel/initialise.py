"""Checkpoints with untrained weights, to try a pipeline before a generator is trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hdmodel.architecture import GeneratorConfig
from hdmodel.checkpoint import TaxonomyRecord, save_checkpoint
from hdmodel.generator import build_generator
from hdmodel.layers import initialise


def init_checkpoint(
    config: GeneratorConfig,
    *,
    taxonomy: TaxonomyRecord | Mapping[str, Any],
    seed: int,
    to: Path,
    half: bool = False,
) -> Path:
    """Write a checkpoint with random weights (paper, section 3.2: N(0, 0.02)).

    Args:
        config: The shape of the generator; `num_classes` is taken from the taxonomy.
        taxonomy: `name`, `version`, `fingerprint`, `class_names` of the labels.
        seed: Of the weights.
        to: The checkpoint folder to make.
        half: Whether to store float16.

    Returns:
        The checkpoint folder.

    Raises:
        CheckpointError: The folder exists or cannot be written.
    """
    record = (
        taxonomy
        if isinstance(taxonomy, TaxonomyRecord)
        else TaxonomyRecord.parse(taxonomy, origin="taxonomy")
    )
    generator = build_generator(config.model_copy(update={"num_classes": record.num_classes}))
    initialise(generator, torch.Generator().manual_seed(seed))
    return save_checkpoint(
        to,
        generator,
        taxonomy=record,
        training={"initialised": "untrained", "seed": seed},
        dtype="float16" if half else "float32",
    )
