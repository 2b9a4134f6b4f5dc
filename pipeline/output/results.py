"""Reading what a run has left so far: one way for everybody, which no lost file passes unseen."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt

from pipeline.errors import OutputError
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import read_manifest
from pipeline.output.store import ARRAYS, LostShardError, Store
from pipeline.taxonomy import Taxonomy


class RunResults:
    """The committed samples of a run: their records and their pixels.

    It can be opened while the run goes on, and sees what is committed at the moment of each call.

    Args:
        out: The output folder.

    Raises:
        OutputError: It is not an output of hdsynth.
    """

    def __init__(self, out: OutputFolder | str | Path) -> None:
        self.folder = out if isinstance(out, OutputFolder) else OutputFolder(Path(out))
        self.record = self.folder.read_config()

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The classes of the label maps."""
        return self.folder.read_taxonomy()

    @cached_property
    def store(self) -> Store:
        """The arrays, for what is known without pixels: sizes and attributes."""
        return Store(self.folder.data)

    def committed(self) -> list[int]:
        """The numbers of the committed shards, sorted."""
        return self.folder.committed()

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The records of all committed samples as plain data, in order of sample number.

        Raises:
            OutputError: A manifest is damaged.
        """
        for shard in self.committed():
            yield from self.shard_rows(shard, columns)

    def shard_rows(self, shard: int, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The records of the samples of a committed shard as plain data.

        Raises:
            OutputError: The manifest is missing or damaged.
        """
        return read_manifest(self.folder.manifest(shard), columns)

    def row(self, index: int, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """The record of one sample as plain data.

        Raises:
            OutputError: Its shard is not committed, or its manifest is damaged.
        """
        shard = index // self.store.shard_size
        path = self.folder.manifest(shard)
        if not path.is_file():
            raise OutputError(
                f"{self.folder.root}: sample {index} is not there yet, its shard {shard} is not "
                "committed; the same hdsynth render command again goes on"
            )
        first = self.store.shard_rows(shard).start
        rows = self.shard_rows(shard, columns)
        if index - first >= len(rows):
            raise OutputError(
                f"{path}: no row for sample {index}; see hdsynth verify {self.folder.root}"
            )
        row: dict[str, Any] = rows[index - first]
        return row

    def pixels(self, name: str, index: int) -> npt.NDArray[Any]:
        """One array of a sample: [H, W], of photos [H, W, 3].

        Args:
            name: One of the run's arrays.
            index: The sample's number.

        Raises:
            OutputError: They are lost or damaged.
        """
        try:
            return self.store.read(name, index)
        except LostShardError as lost:
            raise self._lost(str(lost), index // self.store.shard_size) from None
        except Exception as error:  # zarr raises what its codecs do
            raise OutputError(
                f"{self.folder.data}: sample {index} cannot be read "
                f"({' '.join(str(error).split()) or type(error).__name__}); "
                f"see hdsynth verify {self.folder.root}"
            ) from error

    def maps(self, index: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Photo, label map and instance map of a sample.

        Raises:
            OutputError: They are lost or damaged.
        """
        photo, label, instance = (self.pixels(name, index) for name in ARRAYS)
        return photo, label, instance

    def readable(self, name: str, index: int) -> npt.NDArray[Any] | None:
        """One array of a sample, or None if it is lost or damaged."""
        try:
            return self.pixels(name, index)
        except OutputError:
            return None

    def lost_files(self, shards: Collection[int]) -> Iterator[tuple[int, Path]]:
        """The files of shards that are not there, with the shards' numbers."""
        for shard in shards:
            for file in self.store.lost(shard):
                yield shard, self.folder.data / file

    def check_files(self, shards: Collection[int]) -> None:
        """Look for the files of shards, before anything is computed from them.

        Raises:
            OutputError: One is not there.
        """
        for shard, file in self.lost_files(shards):
            raise self._lost(file.relative_to(self.folder.data).as_posix(), shard)

    def _lost(self, file: str, shard: int) -> OutputError:
        return OutputError(
            f"{self.folder.data / file}: missing, though shard {shard} is committed; "
            f"see hdsynth verify {self.folder.root}"
        )
