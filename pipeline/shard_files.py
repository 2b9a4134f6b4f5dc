"""Where the files of a shard lie inside the zarr group of a run."""

from pathlib import Path

ARRAYS = ("photo", "label", "instance")


def shard_file(data: Path, array: str, shard: int) -> Path:
    """The file of one shard of an array, as zarr's default chunk keys name it.

    Args:
        data: The zarr group's folder.
        array: One of `ARRAYS`.
        shard: The shard's number.
    """
    inner = ("0", "0", "0") if array == "photo" else ("0", "0")
    return data.joinpath(array, "c", str(shard), *inner)
