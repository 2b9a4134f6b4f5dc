"""Checkpoints with untrained weights, to try a pipeline before a generator is trained."""

from pathlib import Path

import numpy as np
import torch

from hdmodel.architecture import EncoderConfig, GeneratorConfig
from hdmodel.checkpoint import (
    ENCODER_FILE,
    TaxonomyRecord,
    read_checkpoint_config,
    save_checkpoint,
)
from hdmodel.encoder import FeatureEncoder
from hdmodel.generator import build_generator
from hdmodel.layers import initialise
from hdmodel.styles import MIN_AREA, cluster_styles, save_styles


def init_checkpoint(
    config: GeneratorConfig,
    *,
    encoder: EncoderConfig | None = None,
    taxonomy: TaxonomyRecord,
    seed: int,
    to: Path,
) -> Path:
    """Write a checkpoint with random weights (paper, section 3.2: N(0, 0.02)).

    With an encoder it also gets a style bank of one random style per class.

    Args:
        config: The shape of the generator; `num_classes` is taken from the taxonomy.
        encoder: The shape of the encoder, for generators that read features.
        taxonomy: Of the label maps.
        seed: Of the weights.
        to: The checkpoint folder to make.

    Returns:
        The checkpoint folder.

    Raises:
        CheckpointError: The folder exists or cannot be written.
    """
    random = torch.Generator().manual_seed(seed)
    generator = build_generator(config.model_copy(update={"num_classes": taxonomy.num_classes}))
    initialise(generator, random)
    network = None if encoder is None else FeatureEncoder(encoder)
    if network is not None:
        initialise(network, random)
    save_checkpoint(
        to,
        generator,
        taxonomy=taxonomy,
        encoder=network,
        training={"initialised": "untrained", "seed": seed},
    )
    if encoder is not None:
        classes = np.arange(taxonomy.num_classes)
        features = 2 * torch.rand((len(classes), encoder.out_channels), generator=random) - 1
        save_styles(
            to,
            cluster_styles(
                features.numpy(),
                classes,
                np.full(len(classes), MIN_AREA),
                num_classes=len(classes),
                categories=[""] * len(classes),
                encoder_sha256=read_checkpoint_config(to).sha256[ENCODER_FILE],
                seed=seed,
                provenance={"initialised": "untrained"},
            ),
        )
    return to
