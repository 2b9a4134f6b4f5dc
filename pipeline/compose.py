"""Composing: from the plan of a shard to its edited label and instance maps.

Shape legend: S samples of a shard, H x W pixels.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.donors import DonorBank
from pipeline.editing.operations import Donors
from pipeline.editing.recompose import InstanceRecord, Recomposed, recompose
from pipeline.errors import DatasetError
from pipeline.fit import FitMode, fit
from pipeline.manifest import Record
from pipeline.plan import PlanRow
from pipeline.scene import Scene
from pipeline.sources import Source
from pipeline.taxonomy import Taxonomy

CACHE_BYTES = 512 << 20


@dataclass(frozen=True, slots=True, eq=False)
class ComposedShard:
    """The edited maps of a shard; those of failed samples are zero."""

    shard: int
    records: list[Record]
    label: npt.NDArray[np.unsignedinteger]
    """Class ids [S, H, W]."""
    instance: npt.NDArray[np.int32]
    """Instance ids [S, H, W]."""
    origin: npt.NDArray[np.uint16]
    """Which operation put a pixel there, as in `Recomposed` [S, H, W]."""

    @property
    def nbytes(self) -> int:
        """Bytes of the maps."""
        return self.label.nbytes + self.instance.nbytes + self.origin.nbytes


class SceneReader:
    """Reads scenes of a source at the size of the job, keeping the last ones in memory.

    Args:
        source: Where scenes come from.
        taxonomy: Their taxonomy.
        size: Height and width they are fitted to.
        mode: How they are fitted.
        photo: Whether to read their photos too.
        cache_bytes: Size of the scenes to keep; at least two are.
    """

    def __init__(
        self,
        source: Source,
        taxonomy: Taxonomy,
        *,
        size: tuple[int, int],
        mode: FitMode,
        photo: bool = False,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._source = source
        self._taxonomy = taxonomy
        self.size = size
        self._mode = mode
        self._photo = photo
        height, width = size
        scene_bytes = height * width * (taxonomy.label_dtype.itemsize + 4 + 3 * photo)
        self._capacity = max(2, cache_bytes // scene_bytes)
        self._scenes: OrderedDict[str, Scene] = OrderedDict()
        self.seconds = 0.0
        """Time spent reading files so far."""

    def __call__(self, name: str) -> Scene:
        """The maps of a scene and, if asked for, its photo, fitted.

        Raises:
            DatasetError: One of its files cannot be used.
        """
        if name in self._scenes:
            self._scenes.move_to_end(name)
            return self._scenes[name]
        start = perf_counter()
        try:
            scene = self._source.read(name, photo=self._photo)
            scene = fit(scene, self.size, self._mode, taxonomy=self._taxonomy)
        finally:
            self.seconds += perf_counter() - start
        self._scenes[name] = scene
        if len(self._scenes) > self._capacity:
            self._scenes.popitem(last=False)
        return scene


def photo_reader(
    source: Source, taxonomy: Taxonomy, *, size: tuple[int, int], mode: FitMode
) -> SceneReader:
    """A reader of scenes with their photos, for those who keep what they make of them."""
    return SceneReader(source, taxonomy, size=size, mode=mode, photo=True, cache_bytes=0)


def donor_photo_reader(bank: DonorBank) -> SceneReader:
    """A reader of the scenes that a bank's donors come from, with their photos.

    Raises:
        DatasetError: The bank's dataset is no longer where it was.
    """
    return photo_reader(bank.open_source(), bank.taxonomy, size=bank.info.size, mode=bank.info.fit)


def compose_sample(
    row: PlanRow, read: SceneReader, donors: Donors, taxonomy: Taxonomy
) -> Recomposed:
    """Apply the program of a sample to its scene.

    Raises:
        DatasetError: A file of the scene cannot be used, or a donor's scene is unknown.
    """
    return recompose(row.parsed_program(), read(row.scene), donors, taxonomy=taxonomy)


def compose_shard(
    shard: int, rows: Sequence[PlanRow], read: SceneReader, donors: Donors, taxonomy: Taxonomy
) -> ComposedShard:
    """Compose the samples of a shard; one that fails is recorded, and its neighbours go on."""
    height, width = read.size
    label = np.zeros((len(rows), height, width), taxonomy.label_dtype)
    instance = np.zeros((len(rows), height, width), np.int32)
    origin = np.zeros((len(rows), height, width), np.uint16)
    records = []
    for position, row in enumerate(rows):
        record = Record(
            index=row.index,
            shard=row.shard,
            scene=row.scene,
            variant=row.variant,
            program=row.program,
        )
        records.append(record)
        start, read_before = perf_counter(), read.seconds
        try:
            result = compose_sample(row, read, donors, taxonomy)
        except DatasetError as error:
            record.fail("read", str(error))
        except Exception as error:  # noqa: BLE001 - whatever a sample breaks is recorded with it
            record.fail("compose", f"{type(error).__name__}: {error}")
        else:
            label[position] = result.scene.label
            instance[position] = result.scene.instance
            origin[position] = result.origin
            record.instances = [instance_row(item) for item in result.instances]
            record.events = [json.dumps(asdict(event)) for event in result.log]
        record.seconds_read = read.seconds - read_before
        record.seconds_compose = perf_counter() - start - record.seconds_read
    return ComposedShard(shard, records, label, instance, origin)


def instance_row(item: InstanceRecord) -> dict[str, Any]:
    """An instance record as a row of the manifest."""
    row = asdict(item)
    row["top"], row["left"], row["bottom"], row["right"] = row.pop("box")
    return row
