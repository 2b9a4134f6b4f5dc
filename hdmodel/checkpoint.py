"""Checkpoints: a folder with `config.yaml` and weights as safetensors, never a pickle.

Reading the configuration and the hash needs no torch; it is imported where weights are.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import Field, PositiveInt

from hdmodel.architecture import EncoderConfig, GeneratorConfig
from hdmodel.atomic import make_durable
from hdmodel.errors import CheckpointError, ConfigError
from hdmodel.settings import Settings, read_yaml

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from hdmodel.encoder import FeatureEncoder
    from hdmodel.generator import Generator

CONFIG_FILE = "config.yaml"
GENERATOR_FILE = "generator.safetensors"
ENCODER_FILE = "encoder.safetensors"

DTYPES = ("float32", "float16", "bfloat16")
_NAMED_AT_MOST = 3


class TaxonomyRecord(Settings):
    """The taxonomy a generator was made for; enough to tell whether a dataset fits."""

    name: str
    version: PositiveInt
    fingerprint: str
    class_names: tuple[str, ...]
    """In order of class id."""

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)


class CheckpointConfig(Settings):
    """What `config.yaml` of a checkpoint holds."""

    format: Literal["hdsynth-checkpoint"] = "hdsynth-checkpoint"
    version: Literal[1] = 1
    generator: GeneratorConfig
    encoder: EncoderConfig | None = None
    taxonomy: TaxonomyRecord
    training: dict[str, Any] = Field(default_factory=dict)
    """Where the weights come from: plain data, for people."""
    sha256: dict[str, str]
    """The digest of every weights file."""

    @property
    def pretrained(self) -> tuple[str, ...] | None:
        """Networks of others that the losses of the training asked; None if that is not known."""
        found = self.training.get("pretrained")
        return tuple(map(str, found)) if isinstance(found, list) else None


def read_checkpoint_config(path: str | Path) -> CheckpointConfig:
    """Read a checkpoint's configuration; needs no torch.

    Raises:
        CheckpointError: The folder or its config is missing, malformed, or not a checkpoint.
    """
    folder = Path(path)
    if folder.is_file():
        hint = "; `hdsynth import-pix2pixhd` reads .pth files" if folder.suffix == ".pth" else ""
        raise CheckpointError(f"{folder}: is a file, expected a checkpoint folder{hint}")
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such checkpoint folder")
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(f"{folder}: not a checkpoint, {CONFIG_FILE} is missing")
    try:
        config = CheckpointConfig.parse(
            read_yaml(folder / CONFIG_FILE), origin=str(folder / CONFIG_FILE)
        )
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    if config.generator.num_classes != config.taxonomy.num_classes:
        raise CheckpointError(
            f"{folder / CONFIG_FILE}: generator.num_classes is {config.generator.num_classes}, "
            f"expected {config.taxonomy.num_classes} as the classes of the taxonomy"
        )
    return config


def generator_hash(path: str | Path) -> str:
    """Hash what decides the photos: the network's configuration and its weights.

    Raises:
        CheckpointError: The checkpoint cannot be read.
    """
    config = read_checkpoint_config(path)
    content = json.dumps(
        [config.generator.to_plain(), _digest(_weights_file(Path(path), GENERATOR_FILE))],
        sort_keys=True,
    )
    return hashlib.sha256(content.encode()).hexdigest()


def load_generator(
    path: str | Path, device: "str | torch.device" = "cpu", dtype: "torch.dtype | str | None" = None
) -> "Generator":
    """Load the generator of a checkpoint, ready to render.

    Args:
        path: The checkpoint folder.
        device: Where to put it.
        dtype: Dtype of the weights and of the arithmetic, or its name (`float32`, `bfloat16`,
            `float16`); float32 if None, whatever the dtype on disk.

    Returns:
        A module in eval mode, without gradients: conditioning (B, C, H, W) to photos
        float32 (B, 3, H, W) in [-1, 1].

    Raises:
        CheckpointError: The checkpoint is missing, damaged, or does not fit its configuration.

    Example:
        >>> import torch
        >>> from configs import folder
        >>> generator = load_generator(folder("checkpoints") / "sample-world")
        >>> conditioning = torch.zeros(1, generator.config.in_channels, 32, 64)
        >>> generator(conditioning).shape
        torch.Size([1, 3, 32, 64])
    """
    import torch

    from hdmodel.generator import build_generator

    config = read_checkpoint_config(path)
    with torch.device("meta"):
        generator = build_generator(config.generator)
    _fill(generator, path, GENERATOR_FILE, device=device, dtype=dtype)
    return generator


def load_encoder(
    path: str | Path, device: "str | torch.device" = "cpu", dtype: "torch.dtype | str | None" = None
) -> "FeatureEncoder":
    """Load the feature encoder of a checkpoint; arguments as for `load_generator`.

    Raises:
        CheckpointError: The checkpoint has no encoder, or cannot be read.
    """
    import torch

    from hdmodel.encoder import FeatureEncoder

    config = read_checkpoint_config(path)
    if config.encoder is None:
        raise CheckpointError(f"{path}: the checkpoint has no encoder")
    with torch.device("meta"):
        encoder = FeatureEncoder(config.encoder)
    _fill(encoder, path, ENCODER_FILE, device=device, dtype=dtype)
    return encoder


def read_tensors(path: str | Path, name: str) -> dict[str, "Tensor"]:
    """Read one weights file of a checkpoint after comparing its digest, on the CPU.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = check_weights(path, name)
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: not a safetensors file ({error})") from None
    return tensors


def check_weights(path: str | Path, name: str) -> Path:
    """Find one weights file of a checkpoint and compare its digest; needs no torch.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    folder = Path(path)
    expected = read_checkpoint_config(folder).sha256.get(name)
    file = _weights_file(folder, name)
    if _digest(file) != expected:
        raise CheckpointError(
            f"{file}: damaged, its SHA-256 is not the one in {CONFIG_FILE} "
            f"({file.stat().st_size} bytes)"
        )
    return file


def save_checkpoint(
    path: str | Path,
    generator: "Generator",
    *,
    taxonomy: TaxonomyRecord,
    encoder: "FeatureEncoder | None" = None,
    training: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    extra_tensors: Mapping[str, Mapping[str, "Tensor"]] | None = None,
) -> Path:
    """Write a checkpoint folder; it appears whole or not at all.

    Args:
        path: The folder to make; it must not exist, or be empty.
        generator: The network to save.
        taxonomy: Its taxonomy.
        encoder: The feature encoder that goes with the generator.
        training: Where the weights come from, as plain data.
        dtype: `float32` or `float16` on disk, for generator and encoder.
        extra_tensors: Further weights files by file name, saved in their own dtype.

    Returns:
        The folder.

    Raises:
        CheckpointError: The folder exists, cannot be written, or weights do not fit the dtype.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder}: already exists, expected a new folder")
    files: dict[str, Mapping[str, Tensor]] = {
        GENERATOR_FILE: _on_disk(generator, getattr(torch, dtype)),
        **(extra_tensors or {}),
    }
    if encoder is not None:
        files[ENCODER_FILE] = _on_disk(encoder, getattr(torch, dtype))
    temporary = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        temporary.mkdir(parents=True)
        for name, tensors in files.items():
            save_file(
                {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
                temporary / name,
            )
        config = CheckpointConfig(
            generator=generator.config,
            encoder=None if encoder is None else encoder.config,
            taxonomy=taxonomy,
            training=dict(training or {}),
            sha256={name: _digest(temporary / name) for name in sorted(files)},
        )
        (temporary / CONFIG_FILE).write_text(
            yaml.safe_dump(config.to_plain(), sort_keys=False, allow_unicode=True),
            encoding="utf-8",
        )
        mode = (temporary / CONFIG_FILE).stat().st_mode
        for file in temporary.iterdir():
            file.chmod(mode)  # safetensors makes files that only their owner can read
            make_durable(file)
        make_durable(temporary)
        temporary.rename(folder)
        make_durable(folder.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{folder}: cannot be written ({reason})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _on_disk(network: "nn.Module", dtype: "torch.dtype") -> dict[str, "Tensor"]:
    tensors = {key: value.detach().to(dtype) for key, value in network.state_dict().items()}
    for key, value in tensors.items():
        if not value.isfinite().all():
            raise CheckpointError(f"{key}: holds values that are not finite in {dtype}")
    return tensors


def _fill(
    network: "nn.Module",
    path: str | Path,
    name: str,
    *,
    device: "str | torch.device",
    dtype: "torch.dtype | str | None",
) -> None:
    """Give a network built on the meta device its weights, and make it ready to render."""
    import torch

    from hdmodel.allocator import tune_allocator

    tune_allocator()
    if isinstance(dtype, str) and dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    number: torch.dtype = (
        getattr(torch, dtype) if isinstance(dtype, str) else dtype or torch.float32
    )
    tensors = read_tensors(path, name)
    check_keys(
        {key: tuple(value.shape) for key, value in network.state_dict().items()},
        {key: tuple(value.shape) for key, value in tensors.items()},
        origin=str(Path(path) / name),
    )
    network.load_state_dict(tensors, assign=True)
    network.requires_grad_(False).eval()
    network.to(device=device, dtype=number)
    if number != torch.float32:  # the layout that `hdmodel.layers.arrange` gives the input
        network.to(memory_format=torch.channels_last)


def check_keys(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], *, origin: str
) -> None:
    """Compare the names and shapes of weights with those of a network.

    Raises:
        CheckpointError: They differ; the message names the first few differences.
    """
    problems = [f"{key} is missing" for key in expected if key not in found]
    problems += [f"{key} is not expected" for key in found if key not in expected]
    problems += [
        f"{key} has shape {found[key]}, expected {shape}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    if problems:
        more = len(problems) - _NAMED_AT_MOST
        shown = "; ".join(problems[:_NAMED_AT_MOST]) + (f"; and {more} more" if more > 0 else "")
        raise CheckpointError(f"{origin}: does not fit the network: {shown}")


def _weights_file(folder: Path, name: str) -> Path:
    file = folder / name
    if not file.is_file():
        raise CheckpointError(f"{folder}: not a whole checkpoint, {name} is missing")
    return file


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
