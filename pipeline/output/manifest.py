"""Manifests: one parquet file per shard, one row per sample; a shard without one does not exist."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hdmodel.atomic import write_atomically
from pipeline.errors import OutputError

OK = "ok"
FAILED = "failed"

INSTANCE_TYPE = pa.struct(
    [
        ("id", pa.int32()),
        ("class_id", pa.int32()),
        ("class_name", pa.string()),
        ("top", pa.int32()),
        ("left", pa.int32()),
        ("bottom", pa.int32()),
        ("right", pa.int32()),
        ("area", pa.int32()),
        ("visible_fraction", pa.float32()),
        ("origin", pa.string()),
        ("donor", pa.string()),
        ("donor_instance", pa.int32()),
        ("source_instance", pa.int32()),
        ("style", pa.string()),
    ]
)

STYLE_TYPE = pa.struct(
    [
        ("key", pa.int32()),
        ("class_id", pa.int32()),
        ("choice", pa.string()),
        ("mode", pa.int32()),
        ("scene", pa.string()),
        ("vector", pa.list_(pa.float32())),
    ]
)

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("shard", pa.int32()),
        ("scene", pa.string()),
        ("variant", pa.int32()),
        ("status", pa.string()),
        ("error_kind", pa.string()),
        ("error", pa.string()),
        ("program", pa.string()),
        ("events", pa.list_(pa.string())),
        ("instances", pa.list_(INSTANCE_TYPE)),
        ("styles", pa.list_(STYLE_TYPE)),
        ("label_sha256", pa.string()),
        ("instance_sha256", pa.string()),
        ("photo_sha256", pa.string()),
        ("seconds_read", pa.float64()),
        ("seconds_compose", pa.float64()),
        ("seconds_render", pa.float64()),
        ("seconds_write", pa.float64()),
        ("device", pa.string()),
        ("dtype", pa.string()),
    ]
)


@dataclass(slots=True)
class Record:
    """What a run remembers of one sample; the columns of a manifest."""

    index: int
    shard: int
    scene: str
    variant: int
    program: str
    """The applied program, JSON."""
    status: str = OK
    error_kind: str | None = None
    """The stage that failed: read, compose or render."""
    error: str | None = None
    events: list[str] = field(default_factory=list)
    """What the edits removed or skipped, JSON each."""
    instances: list[dict[str, Any]] = field(default_factory=list)
    styles: list[dict[str, Any]] = field(default_factory=list)
    """What every key of the instance map looks like; empty if the generator reads no features."""
    label_sha256: str | None = None
    instance_sha256: str | None = None
    photo_sha256: str | None = None
    seconds_read: float = 0.0
    seconds_compose: float = 0.0
    seconds_render: float = 0.0
    seconds_write: float = 0.0
    device: str | None = None
    dtype: str | None = None

    def fail(self, kind: str, error: str) -> None:
        """Mark the sample as failed at a stage."""
        self.status, self.error_kind, self.error = FAILED, kind, error


def digest(array: npt.NDArray[Any]) -> str:
    """SHA-256 of an array's elements in C order, little-endian, as hexadecimal text."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def commit_manifest(path: Path, records: Sequence[Record]) -> None:
    """Write a shard's manifest atomically: with it, the shard exists."""
    table = pa.Table.from_pylist([asdict(record) for record in records], schema=SCHEMA)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())


def read_manifest(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The rows of one manifest as plain data.

    Raises:
        OutputError: The file is missing, damaged or not a manifest.
    """
    try:
        # One thread: pyarrow's pool would be started anew in every worker process.
        table = pq.read_table(path, columns=list(columns) if columns else None, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{path}: not a readable manifest ({error})") from None
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def read_manifests(folder: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of all manifests of a run, in order of sample number."""
    for path in sorted(folder.glob("shard-*.parquet"), key=lambda p: (len(p.name), p.name)):
        yield from read_manifest(path, columns)
