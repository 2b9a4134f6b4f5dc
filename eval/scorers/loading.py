"""Loading scorers: folders of `hdsynth train-scorer`, and models that a team already has."""

import hashlib
import json
from functools import partial
from pathlib import Path

import torch
from torch import nn

from eval.errors import EvalError
from eval.measures.features import IMAGENET, FeatureExtractor, imagenet_extractor
from eval.scorers.adapters import load_adapter
from eval.scorers.config import WEIGHTS_FILE, NetworkConfig, Normalisation, read_scorer_config
from eval.scorers.network import build_network, load_weights
from eval.scorers.scorer import NetworkSegmenter, Scorer
from hdmodel.allocator import tune_allocator
from hdmodel.errors import CheckpointError
from hdmodel.layers import place
from pipeline.taxonomy import Taxonomy

FeatureChoice = str
"""none, scorer, imagenet, or a file of Inception-v3 weights."""
FEATURE_SOURCES = ("none", "scorer", "imagenet")
DTYPES = ("float32", "bfloat16", "float16")


def load_scorer(
    path: Path, device: str, *, dtype: str = "float32", features: FeatureChoice = "scorer"
) -> Scorer:
    """Load a scorer, ready to predict.

    Args:
        path: A folder of `hdsynth train-scorer`, or a TorchScript (.pt, .ts, .torchscript) or
            ONNX file with a mapping of its classes beside it (docs/scorers.md).
        device: Where to compute, such as cpu or cuda:0.
        dtype: Of the arithmetic: float32, bfloat16 or float16. Adapted models compute in their own.
        features: Whose features to take: those of the scorer's encoder, of the ImageNet encoder,
            or of Inception-v3. Adapted models have none of their own and take the second.

    Raises:
        CheckpointError: It is no scorer, or damaged, or its weights are not finite.
        EvalError: It cannot be used as asked.
        ConfigError: Its mapping is malformed.
    """
    tune_allocator()
    if dtype not in DTYPES:
        raise EvalError(f"scorer dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    where = torch.device(device)
    if path.is_file():
        scorer = load_adapter(path, device=where)
    else:
        scorer = _load_folder(path, where, dtype=dtype, imagenet=features == "imagenet")
    if features not in FEATURE_SOURCES:
        scorer.with_inception(Path(features))
    return scorer


def _load_folder(path: Path, device: torch.device, *, dtype: str, imagenet: bool) -> Scorer:
    config = read_scorer_config(path)
    file = path / WEIGHTS_FILE
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file, expected the scorer's weights")
    if hashlib.sha256(file.read_bytes()).hexdigest() != config.sha256:
        raise CheckpointError(
            f"{file}: not the weights that scorer.yaml names (SHA-256 differs); copy both again"
        )
    network = build_network(config.network, num_classes=config.num_classes)
    load_weights(network, file)
    place(network.eval().requires_grad_(False), device, torch.channels_last)
    digest = scorer_digest(config.network, config.normalisation, config.taxonomy, config.sha256)
    number_type = getattr(torch, dtype)
    if imagenet:
        name = IMAGENET
        extractor = partial(imagenet_extractor, device, dtype=number_type)
    else:
        assert isinstance(network.encoder, nn.Module)
        name = f"{config.network.encoder_name} of scorer {digest[:12]}"
        extractor = partial(
            FeatureExtractor,
            network.encoder,
            normalisation=config.normalisation,
            dtype=number_type,
        )
    return Scorer(
        NetworkSegmenter(network, config.normalisation, number_type),
        taxonomy=config.taxonomy,
        channels=range(config.num_classes),
        size=config.size,
        sha256=digest,
        about={
            "kind": "hdsynth",
            "path": str(path),
            "network": config.network.to_plain(),
            "normalisation": config.normalisation.to_plain(),
            "dtype": dtype,
            "device": device.type,
            "scores": config.scores,
        },
        seen=config.seen,
        pretrained=config.pretrained,
        features=extractor,
        features_name=name,
        device=device,
    )


def scorer_digest(
    network: NetworkConfig, normalisation: Normalisation, taxonomy: Taxonomy, weights: str
) -> str:
    """A hash of what decides predictions: network, normalisation, classes and weights."""
    content = [network.to_plain(), normalisation.to_plain(), taxonomy.fingerprint, weights]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
