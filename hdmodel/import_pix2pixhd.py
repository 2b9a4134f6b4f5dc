"""Reading the weights files of the original pix2pixHD project into a checkpoint.

The original saves a bare state dict whose keys are positions in nested sequences. The shape of
the network is read off those keys and checked against every tensor.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from hdmodel.architecture import EncoderConfig, GeneratorConfig
from hdmodel.checkpoint import TaxonomyRecord, check_keys, save_checkpoint
from hdmodel.encoder import FeatureEncoder
from hdmodel.errors import CheckpointError
from hdmodel.generator import Generator, build_generator
from hdmodel.weights_file import State, read_state


def import_pix2pixhd(
    generator: Path, encoder: Path | None = None, *, taxonomy: TaxonomyRecord, to: Path
) -> Path:
    """Turn `latest_net_G.pth`, and `latest_net_E.pth` where there is one, into a checkpoint.

    Args:
        generator: The original's generator weights, global or local.
        encoder: The original's encoder weights, for a generator that reads features.
        taxonomy: Of the labels it was trained on.
        to: The checkpoint folder to make.

    Returns:
        The checkpoint folder.

    Raises:
        CheckpointError: A file is unreadable, unsafe, or not such a network; the encoder does not
            belong to the generator; the classes do not fit; the folder exists.
    """
    encoder_network = None if encoder is None else read_encoder(encoder)
    features = 0 if encoder_network is None else encoder_network.config.out_channels
    network = read_generator(generator, num_classes=taxonomy.num_classes, feature_channels=features)
    training = {"imported": "pix2pixHD", "generator_file": generator.name}
    if encoder is not None:
        training["encoder_file"] = encoder.name
    return save_checkpoint(
        to, network, taxonomy=taxonomy, encoder=encoder_network, training=training
    )


def read_generator(file: Path, *, num_classes: int, feature_channels: int = 0) -> Generator:
    """Build the generator that an original weights file holds.

    Args:
        file: `latest_net_G.pth`.
        num_classes: Classes of the label maps it was trained on.
        feature_channels: Channels of the encoder that goes with it; 0 for none.

    Raises:
        CheckpointError: The file is unreadable, unsafe, not such a network, or does not fit.
    """
    state = read_state(file)
    enhancers = sum(re.fullmatch(r"model\d+_1\.1\.weight", key) is not None for key in state)
    outermost = f"model{enhancers}_1" if enhancers else "model"
    stem = _stem(state, outermost, file, expected="a pix2pixHD generator")
    config = GeneratorConfig(
        architecture="local" if enhancers else "global",
        num_classes=num_classes,
        instance_edges=_has_edges(stem.shape[1], num_classes, feature_channels, file),
        feature_channels=feature_channels,
        out_channels=_out_channels(state, f"model{enhancers}_2" if enhancers else "model", file),
        base_channels=stem.shape[0],
        downsamplings=_downsamplings(state, file, heads=0 if enhancers else 1),
        blocks=_blocks(state, "model", file),
        enhancers=enhancers or 1,
        enhancer_blocks=_blocks(state, "model1_2", file) if enhancers else 1,
    )
    with torch.device("meta"):
        network = build_generator(config)
    _assign(network, dict(generator_keys(config)), state, file)
    return network


def read_encoder(file: Path) -> FeatureEncoder:
    """Build the feature encoder that an original weights file (`latest_net_E.pth`) holds.

    Raises:
        CheckpointError: The file is unreadable, unsafe, or not such a network.
    """
    state = read_state(file)
    stem = _stem(state, "model", file, expected="a pix2pixHD encoder")
    config = EncoderConfig(
        in_channels=stem.shape[1],
        out_channels=_out_channels(state, "model", file),
        base_channels=stem.shape[0],
        downsamplings=_downsamplings(state, file, heads=1),
    )
    with torch.device("meta"):
        network = FeatureEncoder(config)
    _assign(network, dict(encoder_keys(config)), state, file)
    return network


def generator_keys(config: GeneratorConfig) -> Iterator[tuple[str, str]]:
    """Pair our name and the original's for every convolution of a generator."""
    prefix = "trunk."
    yield f"{prefix}stem.conv", "model.1"
    position = 4
    for level in range(config.downsamplings):
        yield f"{prefix}down.{level}.conv", f"model.{position}"
        position += 3
    for block in range(config.blocks):
        yield f"{prefix}blocks.{block}.conv1", f"model.{position}.conv_block.1"
        yield f"{prefix}blocks.{block}.conv2", f"model.{position}.conv_block.5"
        position += 1
    for level in range(config.downsamplings):
        yield f"{prefix}up.{level}.conv", f"model.{position}"
        position += 3
    head = f"model.{position + 1}"
    for level in range(config.levels):
        ours, theirs = f"enhancers.{level}.", f"model{level + 1}_"
        yield f"{ours}stem.conv", f"{theirs}1.1"
        yield f"{ours}down.conv", f"{theirs}1.4"
        for block in range(config.enhancer_blocks):
            yield f"{ours}blocks.{block}.conv1", f"{theirs}2.{block}.conv_block.1"
            yield f"{ours}blocks.{block}.conv2", f"{theirs}2.{block}.conv_block.5"
        yield f"{ours}up.conv", f"{theirs}2.{config.enhancer_blocks}"
        head = f"{theirs}2.{config.enhancer_blocks + 4}"
    yield "head.conv", head


def encoder_keys(config: EncoderConfig) -> Iterator[tuple[str, str]]:
    """Pair our name and the original's for every convolution of an encoder."""
    yield "stem.conv", "model.1"
    levels = config.downsamplings
    for level in range(levels):
        yield f"down.{level}.conv", f"model.{4 + 3 * level}"
        yield f"up.{level}.conv", f"model.{4 + 3 * (levels + level)}"
    yield "head.conv", f"model.{5 + 6 * levels}"


def _stem(state: State, sequence: str, file: Path, *, expected: str) -> Tensor:
    weight = state.get(f"{sequence}.1.weight")
    if weight is None or weight.ndim != 4 or 0 in weight.shape:
        first = ", ".join(list(state)[:3])
        found = "a discriminator" if any("layer" in key for key in state) else f"keys {first}"
        raise CheckpointError(f"{file}: looks like {found}, expected {expected}")
    if any(value.ndim == 1 and key.endswith(".weight") for key, value in state.items()):
        raise CheckpointError(f"{file}: trained with batch norm, expected instance norm")
    return weight


def _has_edges(in_channels: int, num_classes: int, feature_channels: int, file: Path) -> bool:
    plain = num_classes + feature_channels
    if in_channels in (plain, plain + 1):
        return in_channels == plain + 1
    parts = f"{num_classes} classes" + (
        f", {feature_channels} features of the encoder" if feature_channels else ""
    )
    hint = (
        "" if feature_channels or in_channels < plain else "; does it need its encoder, net_E.pth?"
    )
    raise CheckpointError(
        f"{file}: the generator reads {in_channels} channels, expected {plain} or {plain + 1} "
        f"({parts}, with or without the boundary map){hint}"
    )


def _blocks(state: State, sequence: str, file: Path) -> int:
    pattern = re.compile(rf"{sequence}\.\d+\.conv_block\.1\.weight")
    count = sum(pattern.fullmatch(key) is not None for key in state)
    if not count:
        raise CheckpointError(f"{file}: {sequence} has no residual blocks, expected a generator")
    return count


def _downsamplings(state: State, file: Path, *, heads: int) -> int:
    """Half of the plain convolutions between the first and the last one."""
    count = sum(re.fullmatch(r"model\.\d+\.weight", key) is not None for key in state)
    strided = count - 1 - heads
    if strided < 2 or strided % 2:
        raise CheckpointError(
            f"{file}: has {strided} strided convolutions, expected as many down as up"
        )
    return strided // 2


def _out_channels(state: State, sequence: str, file: Path) -> int:
    pattern = re.compile(rf"{sequence}\.(\d+)\.bias")
    positions = [int(found[1]) for key in state if (found := pattern.fullmatch(key))]
    if not positions or state[f"{sequence}.{max(positions)}.bias"].ndim != 1:
        raise CheckpointError(f"{file}: {sequence} has no last convolution")
    return max(int(state[f"{sequence}.{max(positions)}.bias"].shape[0]), 1)


def _assign(network: nn.Module, names: Mapping[str, str], state: State, file: Path) -> None:
    """Move the original's tensors into the network, after checking every name and shape."""
    theirs = {
        f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": key
        for key in network.state_dict()
    }
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    check_keys(
        {original: shapes[ours] for original, ours in theirs.items()},
        {key: tuple(value.shape) for key, value in state.items()},
        origin=str(file),
    )
    network.load_state_dict(
        {ours: state[original].float().contiguous() for original, ours in theirs.items()},
        assign=True,
    )
    network.requires_grad_(False).eval()
