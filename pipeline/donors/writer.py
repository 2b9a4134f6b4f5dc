"""Writing donor banks, one scene at a time."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import yaml

from hdmodel.atomic import temporary_name
from pipeline.donors.bank import (
    INDEX,
    INFO,
    MASKS,
    TAXONOMY,
    BankInfo,
    DonorBank,
    DonorIndex,
    content_hash,
    donors_of,
    settle,
    to_table,
)
from pipeline.donors.completion import (
    CompletedDonor,
    complete_donors,
    hidden_donors,
    with_completed,
)
from pipeline.donors.shapes import map_bytes, packed_mask, shape_offsets, unpacked_mask
from pipeline.donors.surroundings import PackedSurroundings
from pipeline.fit import FitMode, fit
from pipeline.indexing.index import measure_scenes, warn_without_objects
from pipeline.indexing.record import SceneRecord, index_scene
from pipeline.output.targets import check_new
from pipeline.roles import class_roles
from pipeline.scene import InstanceMap, Scene
from pipeline.sources import DatasetConfig, Source, open_source
from pipeline.sources.config import resolved_dataset
from pipeline.taxonomy import Taxonomy
from pipeline.threads import map_in_threads

MIN_AREA = 8
"""Objects with fewer visible pixels are no donors."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedScene:
    """A scene's record, and the shapes of its donors as packed bits, one after the other."""

    record: SceneRecord
    masks: bytes
    hidden: Mapping[int, PackedSurroundings] = field(default_factory=dict)
    """What lies around donors that may be completed, by instance id."""


def pack_scene(record: SceneRecord, instance: InstanceMap) -> PackedScene:
    """Pack the shapes of a scene's donors, each into whole bytes.

    Args:
        record: The scene's record.
        instance: Its instance map, int32 [H, W].
    """
    packed = []
    for row in donors_of(record, min_area=MIN_AREA):
        top, left, bottom, right = record.boxes[row]
        mask = instance[top:bottom, left:right] == record.ids[row]
        packed.append(packed_mask(mask))
    return PackedScene(record, b"".join(packed))


def collect(scene: Scene, taxonomy: Taxonomy, *, complete: bool) -> PackedScene:
    """Measure a scene and pack its donors.

    Args:
        scene: The scene.
        taxonomy: Its taxonomy.
        complete: Whether to keep what hidden donors are completed with.
    """
    record = index_scene(scene, taxonomy)
    packed = pack_scene(record, scene.instance)
    if not complete:
        return packed
    hidden = hidden_donors(scene, record, class_roles(taxonomy), min_area=MIN_AREA)
    return replace(packed, hidden=hidden)


class BankWriter:
    """Collects scenes for a bank; made by `new_bank`."""

    def __init__(
        self,
        folder: Path,
        *,
        dataset: DatasetConfig,
        size: tuple[int, int],
        fit: FitMode,
        taxonomy: Taxonomy,
    ) -> None:
        self._folder = folder
        self._dataset = resolved_dataset(dataset)
        self._size = size
        self._fit: FitMode = fit
        self._taxonomy = taxonomy
        self._masks = (folder / MASKS).open("wb")
        self._digest = hashlib.sha256()
        self._parts: list[DonorIndex] = []
        self._hidden: dict[tuple[str, int], PackedSurroundings] = {}

    def add(self, scene: PackedScene) -> None:
        """Append a scene."""
        self._write(scene.masks)
        name = scene.record.name
        self._hidden.update({(name, number): around for number, around in scene.hidden.items()})
        # The record itself, with its map, need not be kept.
        self._parts.append(DonorIndex.of_scene(scene.record, min_area=MIN_AREA))

    def finish(self) -> None:
        """Complete donors, if their surroundings were kept, and write all but the shapes."""
        index = DonorIndex.joined(self._parts).judged()
        if self._hidden:
            index = self._complete(index)
        self._masks.close()
        pq.write_table(to_table(index), self._folder / INDEX, compression="zstd")
        taxonomy = yaml.safe_dump(
            self._taxonomy.to_plain(), sort_keys=False, default_flow_style=None
        )
        (self._folder / TAXONOMY).write_text(taxonomy, encoding="utf-8")
        masks = self._digest.hexdigest()
        info = BankInfo(
            dataset=self._dataset,
            size=self._size,
            fit=self._fit,
            objects=len(index),
            sha256=content_hash(index, masks, self._taxonomy),
            masks_sha256=masks,
            versions={name: version(name) for name in ("hdsynth", "numpy", "pyarrow")},
        )
        text = yaml.safe_dump(info.to_plain(), sort_keys=False)
        (self._folder / INFO).write_text(text, encoding="utf-8")

    def _complete(self, index: DonorIndex) -> DonorIndex:
        """Complete donors, and write the shapes anew if there are any; their index."""
        self._masks.close()
        seen, before = self._folder / MASKS, self._folder / f"{MASKS}.seen"
        seen.replace(before)
        masks = map_bytes(before)
        starts = shape_offsets(index.boxes, index.completed)

        def read(row: int) -> npt.NDArray[np.bool_]:
            top, left, bottom, right = index.boxes[row].tolist()
            return unpacked_mask(masks[starts[row] : starts[row + 1]], (bottom - top, right - left))

        found = complete_donors(index, self._hidden, read)
        self._masks, self._digest = seen.open("wb"), hashlib.sha256()
        for row, (start, end) in enumerate(pairwise(starts.tolist())):
            donor = found.get(row)
            self._write(masks[start:end].tobytes() if donor is None else _both(donor))
        before.unlink()
        return with_completed(index, found)

    def _write(self, shapes: bytes) -> None:
        self._masks.write(shapes)
        self._digest.update(shapes)

    def close(self) -> None:
        """Close the file of shapes."""
        self._masks.close()


def _both(donor: CompletedDonor) -> bytes:
    """A completed shape, and the part of it that is made up."""
    return packed_mask(donor.mask) + packed_mask(donor.made_up)


@contextmanager
def new_bank(
    target: Path,
    *,
    dataset: DatasetConfig,
    size: tuple[int, int],
    fit: FitMode,
    taxonomy: Taxonomy,
) -> Iterator[BankWriter]:
    """Write a bank into a new or empty folder, which appears when it is whole.

    Nothing is left if an error ends it.

    Args:
        target: The folder.
        dataset: Where the scenes come from.
        size: Height and width to which they are fitted.
        fit: How they are fitted.
        taxonomy: Their taxonomy.
    """
    target = target.absolute()
    temporary = target.with_name(temporary_name(target.name))
    temporary.mkdir(parents=True)
    try:
        writer = BankWriter(temporary, dataset=dataset, size=size, fit=fit, taxonomy=taxonomy)
        try:
            yield writer
            writer.finish()
        finally:
            writer.close()
        settle(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def build_bank(
    to: Path,
    dataset: DatasetConfig,
    *,
    size: tuple[int, int],
    mode: FitMode,
    limit: int | None = None,
    complete: bool = False,
) -> DonorBank:
    """Collect the donors of a dataset.

    Args:
        to: A new or empty folder.
        dataset: Scenes; photos are not read.
        size: Height and width to which they are fitted.
        mode: How they are fitted.
        limit: Use at most so many scenes, spread evenly; all if none is given.
        complete: Whether to make up the hidden parts of donors.

    Raises:
        OutputError: `to` holds something.
        DatasetError: A file cannot be used.
    """
    check_new(to)
    source = open_source(dataset)
    names = [ref.name for ref in source.scenes]
    if limit is not None and limit < len(names):
        names = [names[position * len(names) // limit] for position in range(limit)]

    def pack(name: str) -> PackedScene:
        scene = fit(source.read(name, photo=False), size, mode, taxonomy=source.taxonomy)
        return collect(scene, source.taxonomy, complete=complete)

    with new_bank(to, dataset=dataset, size=size, fit=mode, taxonomy=source.taxonomy) as writer:
        for packed in map_in_threads(pack, names, title="collecting donors"):
            writer.add(packed)
    return DonorBank.open(to)


def index_and_collect(
    to: Path,
    dataset: DatasetConfig,
    source: Source,
    names: Sequence[str],
    *,
    size: tuple[int, int],
    mode: FitMode,
    complete: bool,
) -> tuple[list[SceneRecord], DonorBank]:
    """Index the scenes of a job and collect their donors, each scene read once.

    Args:
        to: A new folder for the bank.
        dataset: What `source` was opened from.
        source: The dataset; photos are not read.
        names: The scenes of it.
        size: Height and width to which they are fitted.
        mode: How they are fitted.
        complete: Whether to make up the hidden parts of donors.

    Raises:
        DatasetError: Files are unreadable or do not fit; the message names the first few.
    """
    taxonomy = source.taxonomy

    def pack(scene: Scene) -> PackedScene:
        return collect(scene, taxonomy, complete=complete)

    records = []
    with new_bank(to, dataset=dataset, size=size, fit=mode, taxonomy=taxonomy) as writer:
        for packed in measure_scenes(source, names, pack, size=size, mode=mode):
            records.append(packed.record)
            writer.add(packed)
        warn_without_objects(records)
    return records, DonorBank.open(to)
