"""Weights files of other projects: state dicts that torch saved (.pth)."""

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from hdmodel.errors import CheckpointError

State = Mapping[str, Tensor]

# What torch.load raises on files that are not what they claim to be.
_UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)

# Old releases of torch gave instance norm buffers that it never read.
_UNUSED = re.compile(r"\.(running_mean|running_var|num_batches_tracked)$")


def read_state(file: Path) -> State:
    """Read the tensors of a weights file, without buffers that nobody needs.

    Only weights are ever unpickled, never code.

    Raises:
        CheckpointError: The file is missing, unreadable, unsafe, or holds something else.
    """
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that it then refuses
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise CheckpointError(f"{file}: {_reason(error)}") from None
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointError(
            f"{file}: holds a {type(loaded).__name__}, expected a state dict of tensors"
        )
    state: dict[str, Tensor] = {}
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{file}: entry {key!r} is a {type(value).__name__}, expected named tensors"
            )
        name = key.removeprefix("module.")
        if _UNUSED.search(name):
            continue
        if not value.is_floating_point() or value.layout != torch.strided:
            raise CheckpointError(f"{file}: {name} is {value.dtype}, expected a floating tensor")
        state[name] = value
    return state


def _reason(error: Exception) -> str:
    """One line for what torch.load says in many, without its advice to trust the file."""
    text = " ".join(str(error).split())
    if found := re.search(r"Unsupported (?:global|class): (?:GLOBAL )?([\w.]+)", text):
        return f"holds code or objects ({found[1]}), expected weights alone"
    if isinstance(error, pickle.UnpicklingError):
        return "not a readable .pth file (no pickle of weights)"
    return f"not a readable .pth file, damaged or cut short ({text[:120] or type(error).__name__})"
