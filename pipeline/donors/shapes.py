"""Shapes of donors in the file of a bank: packed bits, each in whole bytes, one after the other.

After each completed shape follows the part of it that is made up.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt


def packed_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """A mask, bool [h, w], as bits."""
    return np.packbits(mask.ravel()).tobytes()


def shape_offsets(
    boxes: npt.NDArray[np.int32], completed: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """Where the shape of each donor begins in the file, and where the last ends, in bytes [n + 1].

    Args:
        boxes: Top, left, bottom, right in pixels [n, 4].
        completed: The share of each shape that is made up; such shapes take up twice as much [n].
    """
    lengths = mask_bytes(boxes) * (1 + (completed > 0))
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def mask_bytes(boxes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Bytes that the packed mask of each box takes up [...].

    Args:
        boxes: Top, left, bottom, right in pixels [..., 4].
    """
    sides = boxes[..., 2:].astype(np.int64) - boxes[..., :2]
    lengths: npt.NDArray[np.int64] = -(-sides.prod(axis=-1) // 8)
    return lengths


def unpacked_mask(bits: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """A mask of packed bits, bool [*size]."""
    mask: npt.NDArray[np.bool_] = np.unpackbits(bits, count=size[0] * size[1]).view(np.bool_)
    return mask.reshape(size)


def map_bytes(path: Path) -> npt.NDArray[np.uint8]:
    """A file's bytes, read as they are needed [n]."""
    if path.stat().st_size == 0:
        return np.zeros(0, np.uint8)
    return np.memmap(path, np.uint8, mode="r")
