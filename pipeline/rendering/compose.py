"""Composing: from the plan of a shard to its edited label and instance maps.

Shape legend: S samples of a shard, H x W pixels.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.editing.operations import Donors
from pipeline.editing.recompose import InstanceRecord, Recomposed, recompose
from pipeline.errors import DatasetError
from pipeline.output.manifest import Record
from pipeline.planning.plan import PlanRow
from pipeline.sources.reading import SceneReader
from pipeline.taxonomy import Taxonomy


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
