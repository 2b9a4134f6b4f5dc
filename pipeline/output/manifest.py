"""Manifests: one parquet file per shard, one row per sample; a shard without one does not exist."""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hdmodel.atomic import write_atomically
from pipeline.editing.recompose import Event, InstanceRecord
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

PIXEL_SOURCES = ("kept", "donor", "rendered", "seam", "exemplar", "substitute")
"""Where pixels come from that are not all rendered, by the numbers of `pixel_source`."""
PIXELS_TYPE = pa.struct([(name, pa.float32()) for name in PIXEL_SOURCES])

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
        ("pixels", PIXELS_TYPE),
        ("exemplars", pa.list_(pa.string())),
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


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a sample has no photo."""

    kind: Literal["read", "compose", "render"]
    """The phase that failed."""
    error: str


@dataclass(frozen=True, slots=True)
class StyleChoice:
    """The style that was chosen for one key of a sample's instance map."""

    key: int
    class_id: int
    choice: Literal["mode", "source", "donor", "fallback", "mean"]
    """`mode`: of the style bank. `source`, `donor`: of the object in that photo. `fallback`: the
    mean of a photo that does not show the object. `mean`: that of its class in the style bank."""
    mode: int | None
    """The number of the mode, if it is one."""
    scene: str | None
    """The scene whose photo it was taken from, if it was."""
    vector: tuple[float, ...]
    """Feature channels [F]."""

    def text(self) -> str:
        """The choice in a word or two, such as `source` or `mode 3`."""
        return f"mode {self.mode}" if self.choice == "mode" else self.choice


@dataclass(frozen=True, slots=True)
class PixelShares:
    """Where pixels come from that are not all rendered; shares of all of them, 0..1."""

    kept: float
    donor: float
    rendered: float
    seam: float
    exemplar: float
    substitute: float

    @classmethod
    def of(cls, source: npt.NDArray[np.uint8]) -> "PixelShares":
        """The shares of the pixels of a map of `PixelSource` [H, W]."""
        kinds = len(PIXEL_SOURCES)
        counts = np.bincount(source.ravel(), minlength=kinds) / source.size
        return cls(*counts[:kinds].tolist())


@dataclass(frozen=True, slots=True)
class Record:
    """What a run remembers of one sample; a row of a manifest."""

    index: int
    shard: int
    scene: str
    variant: int
    program: str
    """The applied program, JSON."""
    failure: Failure | None = None
    """None if all went well."""
    events: tuple[Event, ...] = ()
    """What the edits removed or skipped."""
    instances: tuple[InstanceRecord, ...] = ()
    styles: tuple[StyleChoice, ...] = ()
    """Of every key of the instance map; empty if the generator reads no features."""
    pixels: PixelShares | None = None
    """None if all are rendered."""
    exemplars: tuple[str, ...] = ()
    """The other scenes that pixels were copied from."""
    label_sha256: str | None = None
    instance_sha256: str | None = None
    photo_sha256: str | None = None
    seconds_read: float = 0.0
    seconds_compose: float = 0.0
    seconds_render: float = 0.0
    seconds_write: float = 0.0
    device: str | None = None
    dtype: str | None = None

    def row(self) -> dict[str, Any]:
        """The record as plain data, under the names of `SCHEMA`."""
        row = asdict(self)
        del row["failure"]
        row["status"] = OK if self.failure is None else FAILED
        row["error_kind"] = self.failure and self.failure.kind
        row["error"] = self.failure and self.failure.error
        row["events"] = [json.dumps(event) for event in row["events"]]
        styles = {choice.key: choice.text() for choice in self.styles}
        for instance in row["instances"]:
            instance["top"], instance["left"], instance["bottom"], instance["right"] = instance.pop(
                "box"
            )
            instance["style"] = styles.get(instance["id"])
        return row


def digest(array: npt.NDArray[Any]) -> str:
    """SHA-256 of an array's elements in C order, little-endian, as hexadecimal text."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def commit_manifest(path: Path, records: Sequence[Record]) -> None:
    """Write a shard's manifest atomically: with it, the shard exists."""
    table = pa.Table.from_pylist([record.row() for record in records], schema=SCHEMA)
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
