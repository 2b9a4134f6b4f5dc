"""Image files: round trips with Pillow as the other side, and what broken files say."""

from io import BytesIO
from pathlib import Path

import fsspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pipeline.errors import DatasetError
from pipeline.images import read_map, read_photo, write_map, write_photo

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


@same_folder
@given(values=hnp.arrays(st.sampled_from([np.uint8, np.uint16, np.int32]), SHAPES,
                         elements=st.integers(0, 255)))  # fmt: skip
def test_map_round_trip_small_values(tmp_path: Path, values: npt.NDArray[np.integer]) -> None:
    path = tmp_path / "map.png"
    write_map(str(path), values)
    with Image.open(path) as picture:
        assert picture.mode == ("L" if values.dtype == np.uint8 else "I;16")
        np.testing.assert_array_equal(np.array(picture), values)
    np.testing.assert_array_equal(read_map(str(path)), values)


@same_folder
@given(values=hnp.arrays(np.int32, SHAPES, elements=st.integers(0, 65535)))
def test_map_round_trip_16_bits(tmp_path: Path, values: npt.NDArray[np.int32]) -> None:
    path = tmp_path / "map.png"
    write_map(str(path), values)
    read = read_map(str(path))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, values)


@same_folder
@given(indices=hnp.arrays(np.uint8, SHAPES), seed=st.integers(0, 99))
def test_palette_gives_indices(tmp_path: Path, indices: npt.NDArray[np.uint8], seed: int) -> None:
    path = tmp_path / "palette.png"
    picture = Image.fromarray(indices)
    picture.putpalette(np.random.default_rng(seed).integers(0, 256, 768).tolist())
    assert picture.mode == "P"
    picture.save(path)
    np.testing.assert_array_equal(read_map(str(path)), indices)


def test_32_bit_map(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    values = np.array([[0, 999_999], [-1, 70_000]], np.int32)
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(read_map(str(path)), values)


def test_one_bit_map(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    Image.fromarray(np.array([[True, False]])).save(path)
    read = read_map(str(path))
    assert read.dtype == np.uint8
    assert read.tolist() == [[1, 0]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_are_no_map(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "colors.png"
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(DatasetError, match=rf"colors\.png: expected one channel.*got {mode}"):
        read_map(str(path))


@same_folder
@given(photo=hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_photo_round_trip(tmp_path: Path, photo: npt.NDArray[np.uint8]) -> None:
    path = tmp_path / "photo.png"
    write_photo(str(path), photo)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.array(picture), photo)
    np.testing.assert_array_equal(read_photo(str(path)), photo)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_other_photos_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "photo.tif"
    Image.new("RGB", (5, 4), (204, 204, 204)).convert(mode).save(path)
    photo = read_photo(str(path))
    assert photo.shape == (4, 5, 3)
    assert np.abs(photo.astype(int) - 204).max() <= 1


def test_16_bit_photo_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(path)
    with pytest.raises(DatasetError, match="expected an 8-bit photo"):
        read_photo(str(path))


@pytest.mark.parametrize("read", [read_map, read_photo])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_truncated(tmp_path: Path, read: object, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    data = buffer.getvalue()
    path = tmp_path / "broken.png"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DatasetError, match=r"broken\.png: cannot be read as an image"):
        read(str(path))  # type: ignore[operator]


@pytest.mark.parametrize("offset", range(20, 300, 19))
def test_flipped_bytes_are_noticed(tmp_path: Path, offset: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    assert offset < len(data) - 12  # before the end marker
    data[offset] ^= 0xFF
    path = tmp_path / "flipped.png"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"flipped\.png: cannot be read"):
        read_map(str(path))


def test_not_an_image_and_missing(tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    for content in ("hello", ""):
        path.write_text(content)
        with pytest.raises(DatasetError) as failure:
            read_map(str(path))
        reason = "cannot be read as an image (empty, or of no kind of image that is known)"
        assert str(failure.value) == f"{path}: {reason}"
    with pytest.raises(DatasetError, match=r"absent\.png: no such file"):
        read_map(str(tmp_path / "absent.png"))


def test_values_beyond_16_bits_are_refused(tmp_path: Path) -> None:
    for value in (-1, 65536):
        with pytest.raises(ValueError, match=str(value)):
            write_map(str(tmp_path / "map.png"), np.array([[value]], np.int32))


def test_other_filesystems() -> None:
    values = np.array([[1, 2], [3, 26001]], np.int32)
    write_map("memory://images/map.png", values)
    np.testing.assert_array_equal(read_map("memory://images/map.png"), values)
    fsspec.filesystem("memory").rm("/images", recursive=True)
