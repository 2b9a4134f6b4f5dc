"""Plans: one row per output sample, made and written before anything is rendered."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from hdmodel.atomic import write_atomically
from pipeline.editing.program import Program
from pipeline.errors import OutputError
from pipeline.placing.priors import Priors
from pipeline.planning.donor_use import DonorUse
from pipeline.planning.quotas import QuotaReport

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("shard", pa.int32()),
        ("scene", pa.string()),
        ("variant", pa.int32()),
        ("seed", pa.int64()),
        ("program", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One output sample: which scene, edited how."""

    index: int
    shard: int
    scene: str
    variant: int
    """How many earlier samples use the same scene."""
    seed: int
    """The run's seed; with `index` it keys the sample's random generator."""
    program: str
    """The edit program, JSON."""

    def parsed_program(self) -> Program:
        """The edit program.

        Raises:
            OutputError: It is not a program of this version.
        """
        try:
            return Program.model_validate_json(self.program)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise OutputError(
                f"the program of sample {self.index} is not one of this version of hdsynth "
                f"({where}: {first['msg']}); render the job anew, into another folder"
            ) from None


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done to every sample, and what that comes to."""

    rows: list[PlanRow]
    """By sample."""
    quotas: list[QuotaReport]
    priors: Priors
    """By which objects were placed."""
    donor_use: DonorUse
    told: dict[str, float] | None
    """By class, how well the critic tells real objects from proposed places, as the area under the
    curve: those whose places it chose; None where places were drawn without a critic."""


def assign_scene(index: int, scenes: Sequence[str]) -> tuple[str, int]:
    """The source scene of a sample and its variant number: scenes take turns."""
    return scenes[index % len(scenes)], index // len(scenes)


def write_plan(path: Path, rows: Sequence[PlanRow], *, shard_size: int) -> None:
    """Write the plan atomically; each shard is a parquet row group, so workers read their own."""
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, SCHEMA, compression="zstd") as writer:
        for start in range(0, len(rows), shard_size):
            part = [asdict(row) for row in rows[start : start + shard_size]]
            writer.write_table(pa.Table.from_pylist(part, schema=SCHEMA))
    write_atomically(path, buffer.getvalue())


def read_shard_plan(path: Path, shard: int) -> list[PlanRow]:
    """The rows of one shard.

    Raises:
        OutputError: The plan is missing or damaged, or has no such shard.
    """
    try:
        with pq.ParquetFile(path) as file:
            if not 0 <= shard < file.num_row_groups:
                raise OutputError(f"{path}: no shard {shard}, the plan has {file.num_row_groups}")
            return [PlanRow(**row) for row in file.read_row_group(shard).to_pylist()]
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{path}: not a readable plan ({error})") from None


def check_programs(path: Path) -> None:
    """Check that this version can read the programs of a plan, which are all of one version.

    Raises:
        OutputError: It cannot, or the plan is missing or damaged.
    """
    for row in read_shard_plan(path, 0)[:1]:
        row.parsed_program()


def count_samples(path: Path) -> int:
    """The number of samples planned."""
    rows: int = _metadata(path).num_rows
    return rows


def count_shards(path: Path) -> int:
    """The number of shards planned."""
    groups: int = _metadata(path).num_row_groups
    return groups


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{path}: not a readable plan ({error})") from None
