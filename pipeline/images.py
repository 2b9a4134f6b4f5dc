"""Image files: label maps, instance maps and photos, read and written through fsspec."""

import struct
import zlib
from zipfile import BadZipFile

import fsspec
import numpy as np
import numpy.typing as npt
from fsspec.core import OpenFile
from PIL import Image, UnidentifiedImageError

from pipeline.errors import DatasetError
from pipeline.scene import Photo

_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    BadZipFile,
    Image.DecompressionBombError,
)
_MAP_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")
_PHOTO_MODES = ("RGB", "RGBA", "RGBX", "L", "LA", "P", "PA", "CMYK", "YCbCr")


def read_map(url: str, *, file: OpenFile | None = None) -> npt.NDArray[np.integer]:
    """Read the numbers of a single-channel image: a label or an instance map.

    Palette images give their indices, not their colours.

    Args:
        url: A path, or any URL fsspec knows.
        file: The file itself where it is known; then `url` is only its name in messages.

    Returns:
        Integer array [H, W]: uint8, uint16 or int32, as in the file.

    Raises:
        DatasetError: The file is missing, truncated or no image, or holds colours.
    """
    picture = _decode(url, file)
    if picture.mode not in _MAP_MODES:
        raise DatasetError(
            f"{url}: expected one channel of ids (8, 16 or 32 bits, or a palette), got "
            f"{picture.mode}; turn colours into ids first"
        )
    values = np.asarray(picture)
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def read_photo(url: str, *, file: OpenFile | None = None) -> Photo:
    """Read a photo as RGB, uint8 [H, W, 3]; grey photos are repeated, transparency is dropped.

    Args:
        url: A path, or any URL fsspec knows.
        file: The file itself where it is known; then `url` is only its name in messages.

    Raises:
        DatasetError: The file is missing, truncated or no image, or has more than 8 bits.
    """
    picture = _decode(url, file)
    if picture.mode not in _PHOTO_MODES:
        raise DatasetError(f"{url}: expected an 8-bit photo, got mode {picture.mode}")
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def write_map(url: str, values: npt.NDArray[np.integer]) -> None:
    """Write ids as a PNG: 8-bit for uint8 arrays, else 16-bit.

    Args:
        url: A path, or any URL fsspec knows.
        values: Integer array [H, W], 0..65535.

    Raises:
        ValueError: A value does not fit 16 bits.
    """
    if values.dtype == np.uint8:
        _encode(url, Image.fromarray(np.ascontiguousarray(values)))
        return
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise ValueError(f"{url}: a PNG map holds 0..65535, got {low}..{high}")
    _encode(url, Image.fromarray(np.ascontiguousarray(values, dtype=np.uint16)))


def write_photo(url: str, photo: Photo) -> None:
    """Write a photo as a PNG.

    Args:
        url: A path, or any URL fsspec knows.
        photo: RGB, uint8 [H, W, 3].
    """
    _encode(url, Image.fromarray(np.ascontiguousarray(photo)))


def _decode(url: str, file: OpenFile | None) -> Image.Image:
    try:
        with file or fsspec.open(url, "rb") as stream, Image.open(stream) as picture:
            picture.load()
            return picture.copy() if picture.readonly else picture
    except FileNotFoundError:
        raise DatasetError(f"{url}: no such file") from None
    except UnidentifiedImageError:
        raise DatasetError(
            f"{url}: cannot be read as an image (empty, or of no kind of image that is known)"
        ) from None
    except _DECODER_ERRORS as error:
        raise DatasetError(f"{url}: cannot be read as an image ({error})") from None


def _encode(url: str, picture: Image.Image) -> None:
    with fsspec.open(url, "wb") as file:
        picture.save(file, format="PNG")
