"""Counts: what is remembered of each scored photo, as integers, one parquet file per shard.

Integers add up to the same sums in any order, so a result does not depend on who counted what.

Shape legend: N images, K evaluated classes, T of them things, S sources of pixels.
"""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from eval.confusion import Counts, count_pairs
from eval.errors import EvalError
from eval.mapping import ClassMapping
from eval.measures.boundaries import boundary_counts
from eval.measures.recall import ObjectScore, score_objects
from hdmodel.atomic import write_atomically
from pipeline.output.manifest import PIXEL_SOURCES
from pipeline.scene import InstanceMap

Side = Literal["rendered", "real"]
FINGERPRINT = b"hdsynth.eval"
MOST_FEATURES = 50_000
"""Photos whose features are in memory at a time: those of a million would take gigabytes."""

OBJECT_TYPE = pa.struct(
    [
        ("id", pa.int32()),
        ("evaluated", pa.int32()),
        ("area", pa.int32()),
        ("correct", pa.int32()),
        ("origin", pa.string()),
        ("pixels", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("scene", pa.string()),
        ("cells", pa.list_(pa.int32())),
        ("pixels", pa.list_(pa.int32())),
        ("source_cells", pa.list_(pa.int32())),
        ("source_pixels", pa.list_(pa.int32())),
        ("boundary_shared", pa.list_(pa.int32())),
        ("boundary_union", pa.list_(pa.int32())),
        ("objects", pa.list_(OBJECT_TYPE)),
        ("features", pa.list_(pa.float32())),
    ]
)


@dataclass(slots=True)
class ImageCounts:
    """What is counted in one photo; the columns of a counts file."""

    index: int
    """The sample's number in the run, or the photo's among the real ones."""
    scene: str
    cells: npt.NDArray[np.int32]
    """Cells of the flattened confusion matrix [K+1, K+1] that are not zero, sorted."""
    pixels: npt.NDArray[np.int32]
    """The pixels in each of them."""
    boundary_shared: npt.NDArray[np.int32]
    """Pixels in the bands of both target and prediction, per thing class, int32 [T]."""
    boundary_union: npt.NDArray[np.int32]
    """Pixels in either band, int32 [T]."""
    objects: list[ObjectScore] = field(default_factory=list)
    features: npt.NDArray[np.float32] | None = None
    """Pooled features of an image network, if they were asked for."""
    source_cells: npt.NDArray[np.int32] | None = None
    """Of composites: the same cells apart by where pixels come from, flattened [S, K+1, K+1]."""
    source_pixels: npt.NDArray[np.int32] | None = None
    """The pixels in each of these."""


@dataclass(frozen=True, slots=True)
class CountsFolder:
    """The counts files of an evaluation."""

    root: Path

    def file(self, side: Side, number: int) -> Path:
        """The counts of a shard of rendered photos, or of a block of real ones."""
        return self.root / f"{side}-{number:05d}.parquet"

    def error(self, side: Side, number: int) -> Path:
        """What was wrong with a photo of a shard or block, if anything was: text."""
        return self.file(side, number).with_suffix(".error")

    def is_done(self, side: Side, number: int, fingerprint: str) -> bool:
        """Whether a file is there and counts the same photos under the same protocol."""
        try:
            metadata = pq.read_schema(self.file(side, number)).metadata or {}
        except (OSError, pa.ArrowException):
            return False
        return metadata.get(FINGERPRINT) == fingerprint.encode()


def count_image(
    index: int,
    scene: str,
    target: npt.NDArray[np.uint8],
    instance: InstanceMap,
    prediction: npt.NDArray[np.uint8],
    *,
    mapping: ClassMapping,
    band: int,
    origins: dict[int, str],
    default_origin: str,
    pixel_source: npt.NDArray[np.uint8] | None = None,
) -> ImageCounts:
    """Compare a prediction with its target.

    Args:
        index: The photo's number.
        scene: Its name.
        target: Evaluated classes or void, uint8 [H, W].
        instance: Instance ids [H, W].
        prediction: Evaluated classes or void, uint8 [H, W].
        mapping: The evaluated classes.
        band: Width of the bands along outlines, in pixels.
        origins: Where objects come from, by id.
        default_origin: Where all others come from.
        pixel_source: Of composites: where pixels come from, uint8 [H, W].

    Raises:
        EvalError: The shapes differ.
    """
    flat = count_pairs(target, prediction, num_classes=mapping.num_classes).ravel()
    cells = np.flatnonzero(flat)
    apart = None
    if pixel_source is not None:
        apart = np.stack(
            [
                count_pairs(
                    target[pixel_source == source],
                    prediction[pixel_source == source],
                    num_classes=mapping.num_classes,
                )
                for source in range(len(PIXEL_SOURCES))
            ]
        ).ravel()
    source_cells = None if apart is None else np.flatnonzero(apart)
    bands = boundary_counts(target, prediction, classes=mapping.things, width=band)
    return ImageCounts(
        index=index,
        scene=scene,
        cells=cells.astype(np.int32),
        pixels=flat[cells].astype(np.int32),
        boundary_shared=bands[0].astype(np.int32),
        boundary_union=bands[1].astype(np.int32),
        objects=score_objects(
            target,
            instance,
            prediction,
            origins=origins,
            default_origin=default_origin,
            pixel_source=pixel_source,
        ),
        source_cells=None if source_cells is None else source_cells.astype(np.int32),
        source_pixels=None if apart is None else apart[source_cells].astype(np.int32),
    )


def commit_counts(path: Path, counts: Sequence[ImageCounts], *, fingerprint: str) -> None:
    """Write the counts of a shard atomically.

    Args:
        path: The file.
        counts: Of its photos, in order.
        fingerprint: Of what was counted; see `CountsFolder.is_done`.
    """
    rows = [
        {name: getattr(c, name) for name in SCHEMA.names if name != "objects"}
        | {"objects": [asdict(item) for item in c.objects]}
        for c in counts
    ]
    schema = SCHEMA.with_metadata({FINGERPRINT: fingerprint.encode()})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())


@dataclass(frozen=True, slots=True, eq=False)
class SideCounts:
    """The counts of all photos of one side, in order of their numbers."""

    index: npt.NDArray[np.int64]
    """[N]."""
    scene: list[str]
    confusion: Counts
    """Sum over the photos, int64 [K+1, K+1]."""
    correct: npt.NDArray[np.int64]
    """Pixels of each class that are predicted as it, per photo, int64 [N, K]."""
    targets: npt.NDArray[np.int64]
    """Pixels of each class, int64 [N, K]."""
    predicted: npt.NDArray[np.int64]
    """Pixels predicted as each class where the target is not void, int64 [N, K]."""
    total: npt.NDArray[np.int64]
    """All pixels, int64 [N]."""
    boundary: Counts
    """Shared and united pixels of the bands, int64 [2, T]."""
    object_class: npt.NDArray[np.int32]
    """Evaluated class of each object of all photos."""
    object_area: npt.NDArray[np.int32]
    object_correct: npt.NDArray[np.int32]
    object_origin: npt.NDArray[np.str_]
    object_pixels: npt.NDArray[np.str_]
    """Empty unless the photos are composites."""
    features: npt.NDArray[np.float32] | None
    """Of all photos, or of every n-th [M, F]; None if they were not asked for."""
    by_source: Counts | None = None
    """Of composites: `confusion` apart by where pixels come from, int64 [S, K+1, K+1]."""

    def __len__(self) -> int:
        """N."""
        return len(self.index)


def read_counts(
    files: Sequence[Path], *, num_classes: int, num_things: int, most_features: int = MOST_FEATURES
) -> SideCounts:
    """Read the counts of a side.

    Args:
        files: Its counts files, in order.
        num_classes: K.
        num_things: T.
        most_features: Features of more photos are not kept; they are of every n-th photo then.

    Raises:
        EvalError: A file cannot be read.
    """
    step = max(1, -(-sum(_rows(path) for path in files) // most_features))
    before = 0
    side = num_classes + 1
    confusion = np.zeros(side * side, np.int64)
    boundary = np.zeros((2, num_things), np.int64)
    by_source = np.zeros(len(PIXEL_SOURCES) * side * side, np.int64)
    has_sources = False
    scenes: list[str] = []
    parts: dict[str, list[npt.NDArray[Any]]] = {}
    for path in files:
        try:
            table = pq.read_table(path, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise EvalError(f"{path}: not a readable counts file ({error})") from None
        cells, rows = _flat(table["cells"])
        pixels, _ = _flat(table["pixels"])
        pixels = pixels.astype(np.int64)
        np.add.at(confusion, cells, pixels)
        if table["source_cells"].null_count < table.num_rows:
            has_sources = True
            source_pixels = _flat(table["source_pixels"])[0].astype(np.int64)
            np.add.at(by_source, _flat(table["source_cells"])[0], source_pixels)
        scenes += table["scene"].to_pylist()
        images = table.num_rows
        target, prediction = np.divmod(cells, side)
        valid = target < num_classes
        known = valid & (prediction < num_classes)
        found = {
            "index": table["index"].to_numpy(),
            "correct": _table(rows, target, pixels, known & (target == prediction), images, side),
            "targets": _table(rows, target, pixels, valid, images, side),
            "predicted": _table(rows, prediction, pixels, known, images, side),
            "total": np.bincount(rows, pixels, images).astype(np.int64),
        }
        for place, name in enumerate(("boundary_shared", "boundary_union")):
            values, _ = _flat(table[name])
            boundary[place] += values.reshape(images, num_things).sum(axis=0, dtype=np.int64)
        objects = pa.concat_arrays(
            [pa.array([], OBJECT_TYPE), *(c.flatten() for c in table["objects"].chunks)]
        )
        for name in ("evaluated", "area", "correct"):
            found[f"object_{name}"] = objects.field(name).to_numpy(zero_copy_only=False)
        for name in ("origin", "pixels"):
            found[f"object_{name}"] = np.array(objects.field(name).to_pylist(), np.str_)
        if images and table["features"].null_count == 0:
            features = _flat(table["features"])[0].reshape(images, -1)
            found["features"] = features[-before % step :: step]
        before += images
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    return SideCounts(
        index=joined["index"],
        scene=scenes,
        confusion=confusion.reshape(side, side),
        correct=joined["correct"],
        targets=joined["targets"],
        predicted=joined["predicted"],
        total=joined["total"],
        boundary=boundary,
        object_class=joined["object_evaluated"].astype(np.int32),
        object_area=joined["object_area"].astype(np.int32),
        object_correct=joined["object_correct"].astype(np.int32),
        object_origin=joined["object_origin"],
        object_pixels=joined["object_pixels"],
        features=joined.get("features"),
        by_source=by_source.reshape(-1, side, side) if has_sources else None,
    )


def _rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise EvalError(f"{path}: not a readable counts file ({error})") from None


def _flat(column: pa.ChunkedArray) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """The values of a list column one after another, and the row of each."""
    lists = column.combine_chunks()
    lengths = np.diff(lists.offsets.to_numpy())
    values = lists.flatten().to_numpy(zero_copy_only=False)
    return values, np.repeat(np.arange(len(lengths)), lengths)


def _table(
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.integer],
    pixels: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.bool_],
    images: int,
    side: int,
) -> npt.NDArray[np.int64]:
    """Sums of the chosen cells' pixels by image and class, int64 [images, K]."""
    sums = np.zeros((images, side), np.int64)
    np.add.at(sums, (rows[chosen], columns[chosen]), pixels[chosen])
    return sums[:, : side - 1]
