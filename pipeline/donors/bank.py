"""Donors: the objects of a dataset that may be put into other scenes, and the bank of their shapes.

A donor bank is a folder: `bank.yaml` says where its scenes come from, `taxonomy.yaml` what the
ids mean, `index.parquet` has a row per object, and `masks.bin` the objects' shapes as packed bits;
after each completed shape follows the part of it that is made up.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hdmodel.atomic import make_durable, temporary_name
from hdmodel.errors import ConfigError
from hdmodel.settings import Settings, read_yaml
from pipeline.donors.completeness import WHOLE, completeness
from pipeline.donors.shapes import map_bytes, mask_bytes, shape_offsets, unpacked_mask
from pipeline.editing.cutout import Cutout, OperationSkipped
from pipeline.errors import DatasetError
from pipeline.fit import FitMode
from pipeline.indexing.record import SILHOUETTE, SceneRecord
from pipeline.scene import INSTANCES_PER_CLASS
from pipeline.sources import DatasetConfig, Source, open_source
from pipeline.sources.reading import SceneReader, photo_reader
from pipeline.taxonomy import Taxonomy

INFO, TAXONOMY, INDEX, MASKS = "bank.yaml", "taxonomy.yaml", "index.parquet", "masks.bin"
FILES = (INFO, TAXONOMY, INDEX, MASKS)

SCHEMA = pa.schema(
    [
        ("scene", pa.string()),
        ("id", pa.int32()),
        ("top", pa.int32()),
        ("left", pa.int32()),
        ("bottom", pa.int32()),
        ("right", pa.int32()),
        ("area", pa.int32()),
        ("ground", pa.int16()),
        ("cut_sides", pa.uint8()),
        ("hidden_sides", pa.uint8()),
        ("pieces", pa.int16()),
        ("companion", pa.int16()),
        ("partner", pa.int32()),
        ("silhouette", pa.binary(SILHOUETTE[0] * SILHOUETTE[1] // 8)),
        ("obscured", pa.float32()),
        ("completeness", pa.float32()),
        ("completed", pa.float32()),
        ("offset", pa.int64()),
    ]
)
BOX = ("top", "left", "bottom", "right")

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class DonorIndex:
    """The donors of a dataset as columns, scene by scene, those of a scene sorted by id."""

    size: tuple[int, int]
    """Height and width of all scenes, in pixels."""
    names: tuple[str, ...]
    """Names of the scenes that have donors."""
    scenes: npt.NDArray[np.int32]
    """The donor's scene, as a position in `names` [n]."""
    ids: npt.NDArray[np.int32]
    """Instance ids in their scenes [n]."""
    boxes: npt.NDArray[np.int32]
    """Top, left, bottom, right in pixels, in their scenes [n, 4]; the last two are exclusive."""
    areas: npt.NDArray[np.int32]
    """Visible pixels [n]."""
    ground: npt.NDArray[np.int16]
    """The surface they stand on [n]."""
    cut_sides: npt.NDArray[np.uint8]
    """The sides at which the picture's border cuts them, as in `SceneRecord` [n]."""
    hidden_sides: npt.NDArray[np.uint8]
    """The sides at which something nearer hides them [n]."""
    pieces: npt.NDArray[np.int16]
    """Into how many pieces they fall [n]."""
    companions: npt.NDArray[np.int16]
    """The class of what touches them most; -1 if nothing does [n]."""
    partners: npt.NDArray[np.int32]
    """The id of what is one with them, as a rider with a bicycle; 0 if nothing is [n]."""
    silhouettes: npt.NDArray[np.uint8]
    """Their visible shapes, coarsely, as in `SceneRecord` [n, b]."""
    obscured: npt.NDArray[np.float32]
    """The share of their contours that something nearer may hide, 0..1 [n]."""
    completeness: npt.NDArray[np.float32]
    """How completely they are seen, 0..1, judged among all donors of the index [n]."""
    completed: npt.NDArray[np.float32]
    """The share of their shapes that is made up, 0..1; 0 for all but completed ones [n]."""

    @classmethod
    def of(cls, records: Sequence[SceneRecord], *, min_area: int = 1) -> Self:
        """Collect the objects that stand on a known surface.

        Args:
            records: Scenes of one size; at least one.
            min_area: Visible pixels that an object must have.
        """
        return cls.joined([cls.of_scene(record, min_area=min_area) for record in records]).judged()

    @classmethod
    def of_scene(cls, record: SceneRecord, *, min_area: int) -> Self:
        """Collect those of one scene, whose completeness is not judged yet."""
        rows = donors_of(record, min_area=min_area)
        columns = {name: getattr(record, name)[rows] for name in _SHARED}
        scenes = np.zeros(len(rows), np.int32)
        zeros = np.zeros(len(rows), np.float32)
        names = (record.name,)
        return cls(record.size, names, scenes, **columns, completeness=zeros, completed=zeros)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The donors of several indices, at least one, one after the other; not judged yet."""
        kept = [part for part in parts if len(part)] or [parts[0].select(np.zeros(0, np.intp))]
        starts = np.cumsum([0, *(len(part.names) for part in kept)])
        scenes = [part.scenes + start for part, start in zip(kept, starts[:-1], strict=True)]
        columns = (*_SHARED, "completed")
        return cls(
            size=parts[0].size,
            names=tuple(name for part in kept if len(part) for name in part.names),
            scenes=np.concatenate(scenes).astype(np.int32),
            **{name: np.concatenate([getattr(part, name) for part in kept]) for name in columns},
            completeness=np.zeros(sum(map(len, kept)), np.float32),
        )

    def judged(self) -> Self:
        """The same donors, their completeness judged among them."""
        judged = completeness(
            classes=self.classes,
            scenes=self.scenes,
            boxes=self.boxes,
            silhouettes=self.silhouettes,
            obscured=self.obscured,
            single=(self.cut_sides == 0) & (self.pieces == 1),
            seen=self.completed == 0,
        )
        return replace(self, completeness=judged)

    @property
    def classes(self) -> npt.NDArray[np.int32]:
        """Class ids [n]."""
        return self.ids // INSTANCES_PER_CLASS

    @property
    def heights(self) -> npt.NDArray[np.int32]:
        """Heights of the boxes, in pixels [n]."""
        return self.boxes[:, 2] - self.boxes[:, 0]

    @property
    def whole(self) -> Flags:
        """Which donors are in one piece, not cut, and seen completely [n]."""
        single: Flags = (self.cut_sides == 0) & (self.pieces == 1)
        return single & (self.completeness >= WHOLE)

    @property
    def keys(self) -> list[tuple[str, int]]:
        """The scene and the instance id of each donor [n]."""
        names = (self.names[scene] for scene in self.scenes.tolist())
        return list(zip(names, self.ids.tolist(), strict=True))

    @property
    def partner_rows(self) -> npt.NDArray[np.intp]:
        """The donor that is one with each, by position; -1 where the index has none [n]."""
        keys = self.scenes.astype(np.int64) << 32
        own, wanted = keys + self.ids, keys + self.partners
        found = np.searchsorted(own, wanted).clip(0, max(len(self) - 1, 0))
        there = (self.partners > 0) & (own[found] == wanted) if len(self) else self.partners > 0
        return np.where(there, found, -1)

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: npt.NDArray[Any]) -> Self:
        """The donors of some rows: flags [n], or positions; the names stay."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _COLUMNS})

    def only_seen(self) -> Self:
        """Those of which nothing is made up, nor of what is one with them."""
        made_up, partners = self.completed > 0, self.partner_rows
        return self.select(~made_up & ~((partners >= 0) & made_up[partners]))


_COLUMNS = tuple(field.name for field in fields(DonorIndex) if field.name not in ("size", "names"))
_SHARED = tuple(name for name in _COLUMNS if name not in ("scenes", "completeness", "completed"))
"""The columns that scene records have too."""


def donors_of(record: SceneRecord, *, min_area: int) -> npt.NDArray[np.intp]:
    """The positions of a scene's objects that stand on a surface and are not tiny."""
    return np.flatnonzero((record.ground >= 0) & (record.areas >= min_area))


class BankInfo(Settings):
    """What a bank's `bank.yaml` says."""

    donor_bank: Literal[2] = 2
    """Version of the format."""
    dataset: DatasetConfig
    """Where the scenes lie; their photos are read from there."""
    size: tuple[int, int]
    """Height and width to which they were fitted, in pixels."""
    fit: FitMode
    objects: int
    sha256: str
    """Of index, shapes, size and the taxonomy's meaning."""
    masks_sha256: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class DonorBank:
    """A donor bank on disk, its shapes read only when they are asked for."""

    path: Path
    info: BankInfo
    taxonomy: Taxonomy
    index: DonorIndex
    _positions: Mapping[str, int]
    """Of the scenes, by name."""
    _offsets: npt.NDArray[np.int64]
    """Where in the file each shape begins, in bytes [n]."""
    _masks: npt.NDArray[np.uint8]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a bank.

        Raises:
            DatasetError: It is not a donor bank, or it is damaged.
        """
        info = _read_info(path)
        try:
            taxonomy = Taxonomy.parse(read_yaml(path / TAXONOMY), origin=str(path / TAXONOMY))
            table = pq.read_table(path / INDEX, use_threads=False)
            masks = map_bytes(path / MASKS)
        except (ConfigError, OSError, pa.ArrowException) as error:
            raise _damaged(path, str(error)) from None
        if not table.schema.equals(SCHEMA):
            raise _damaged(path, f"{INDEX} has other columns than a bank of this version")
        index, offsets = _from_table(table, info.size)
        if content_hash(index, info.masks_sha256, taxonomy) != info.sha256:
            raise _damaged(path, f"{INDEX} or {TAXONOMY} is not as it was written")
        if len(masks) != (wanted := int(shape_offsets(index.boxes, index.completed)[-1])):
            raise _damaged(path, f"{MASKS} has {len(masks)} bytes, expected {wanted}")
        positions = {name: position for position, name in enumerate(index.names)}
        return cls(path, info, taxonomy, index, positions, offsets, masks)

    @property
    def sha256(self) -> str:
        """A hash of all that the bank says but for where its scenes lie."""
        return self.info.sha256

    def check_masks(self) -> None:
        """Read all shapes once.

        Raises:
            DatasetError: They are not as they were written.
        """
        if hashlib.sha256(self._masks.data).hexdigest() != self.info.masks_sha256:
            raise _damaged(self.path, f"{MASKS} is not as it was written")

    def cutout(self, scene: str, instance: int) -> Cutout:
        """The shape of a donor, where it lies in its own scene.

        Args:
            scene: The name of its scene.
            instance: Its id there.

        Raises:
            DatasetError: The bank has nothing of that scene.
            OperationSkipped: The scene has no such donor.
        """
        row = self._row(scene, instance)
        return self._shape(row, self._bits(row))

    def seen(self, scene: str, instance: int) -> Cutout:
        """The shape of a donor without what is made up; else, and as to errors, as `cutout`."""
        row = self._row(scene, instance)
        shape = self._shape(row, self._bits(row) & ~self._bits(row, made_up=True))
        tightened = shape.tightened()
        assert tightened is not None
        return tightened

    def made_up(self, scene: str, instance: int) -> npt.NDArray[np.bool_]:
        """Which pixels of the box of `cutout` are made up, bool [h, w]; raises as that does."""
        row = self._row(scene, instance)
        return self._shape(row, self._bits(row, made_up=True)).mask

    def _row(self, scene: str, instance: int) -> int:
        index = self.index
        position = self._positions.get(scene)
        if position is None:
            raise DatasetError(
                f"{self.path}: the donor bank has nothing of scene {scene!r}, "
                f"expected one of its {len(index.names)} scenes"
            )
        start, end = np.searchsorted(index.scenes, [position, position + 1])
        row = int(start + np.searchsorted(index.ids[start:end], instance))
        if row == end or index.ids[row] != instance:
            raise OperationSkipped(f"the donor bank has no object {instance} of scene {scene!r}")
        return row

    def _bits(self, row: int, *, made_up: bool = False) -> npt.NDArray[np.uint8]:
        """The packed shape of a row, or its made-up part."""
        length = int(mask_bytes(self.index.boxes[row]))
        if made_up and self.index.completed[row] == 0:
            return np.zeros(length, np.uint8)
        offset = int(self._offsets[row]) + made_up * length
        return self._masks[offset : offset + length]

    def _shape(self, row: int, bits: npt.NDArray[np.uint8]) -> Cutout:
        top, left, bottom, right = self.index.boxes[row].tolist()
        return Cutout(top, left, unpacked_mask(bits, (bottom - top, right - left)))

    def open_source(self) -> Source:
        """The dataset that the scenes come from, with their photos.

        Raises:
            DatasetError: It is no longer where it was.
        """
        config = self.info.dataset.model_copy(update={"taxonomy": str(self.path / TAXONOMY)})
        return open_source(config)

    def check_fits(self, *, size: tuple[int, int], taxonomy: Taxonomy) -> None:
        """Check that the donors can go into scenes of some size and taxonomy.

        Raises:
            DatasetError: They cannot.
        """
        if self.info.size != size:
            (tall, wide), (height, width) = self.info.size, size
            raise DatasetError(
                f"{self.path}: donors of scenes of {tall}x{wide}, expected {height}x{width} as in "
                f"the job (hdsynth donors build --size {height}x{width})"
            )
        if self.taxonomy.fingerprint != taxonomy.fingerprint:
            raise DatasetError(
                f"{self.path}: donors of taxonomy {self.taxonomy.name!r}, expected the classes of "
                f"{taxonomy.name!r} as in the job"
            )
        kinds = [[c.void for c in t.classes] for t in (self.taxonomy, taxonomy)]
        if kinds[0] != kinds[1] or self.taxonomy.together != taxonomy.together:
            raise DatasetError(
                f"{self.path}: donors measured with other kinds of void, or other things that go "
                f"together, than taxonomy {taxonomy.name!r} says now; build the bank again"
            )

    def copy_to(self, target: Path) -> None:
        """Copy the bank to a new folder, which appears when it is whole."""
        temporary = target.with_name(temporary_name(target.name))
        try:
            temporary.mkdir(parents=True)
            for name in FILES:
                shutil.copyfile(self.path / name, temporary / name)
            settle(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def settle(temporary: Path, target: Path) -> None:
    """Give a whole bank its name, once it would survive a power cut."""
    for name in FILES:
        make_durable(temporary / name)
    make_durable(temporary)
    temporary.replace(target)
    make_durable(target.parent)


def content_hash(index: DonorIndex, masks_sha256: str, taxonomy: Taxonomy) -> str:
    """The hash of a bank: of columns, names, size, shapes, and what the ids mean."""
    content = hashlib.sha256(
        "\n".join(
            (masks_sha256, taxonomy.fingerprint, repr(index.size), *map(repr, index.names))
        ).encode()
    )
    for name in _COLUMNS:
        content.update(np.ascontiguousarray(getattr(index, name)).data)
    return content.hexdigest()


def to_table(index: DonorIndex) -> pa.Table:
    """The index as a table, a row per donor; shapes lie in the file in the same order."""
    boxes = dict(zip(BOX, index.boxes.T, strict=True))
    names = np.array(index.names, dtype=object)
    columns = {
        "scene": names[index.scenes],
        "id": index.ids,
        **boxes,
        "area": index.areas,
        "ground": index.ground,
        "cut_sides": index.cut_sides,
        "hidden_sides": index.hidden_sides,
        "pieces": index.pieces,
        "companion": index.companions,
        "partner": index.partners,
        "silhouette": [row.tobytes() for row in index.silhouettes],
        "obscured": index.obscured,
        "completeness": index.completeness,
        "completed": index.completed,
        "offset": shape_offsets(index.boxes, index.completed)[:-1],
    }
    return pa.table([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


def _from_table(table: pa.Table, size: tuple[int, int]) -> tuple[DonorIndex, npt.NDArray[np.int64]]:
    """The index of a table, and the offsets of the shapes."""
    scene = table["scene"].combine_chunks().dictionary_encode()

    def column(name: str) -> Any:  # noqa: ANN401 - of any dtype
        return table[name].to_numpy()

    index = DonorIndex(
        size=size,
        names=tuple(scene.dictionary.to_pylist()),
        scenes=scene.indices.to_numpy(),
        ids=column("id"),
        boxes=np.stack([column(name) for name in BOX], axis=1),
        areas=column("area"),
        ground=column("ground"),
        cut_sides=column("cut_sides"),
        hidden_sides=column("hidden_sides"),
        pieces=column("pieces"),
        companions=column("companion"),
        partners=column("partner"),
        silhouettes=_silhouettes(table["silhouette"]),
        obscured=column("obscured"),
        completeness=column("completeness"),
        completed=column("completed"),
    )
    return index, column("offset")


def _silhouettes(column: pa.ChunkedArray) -> npt.NDArray[np.uint8]:
    """Packed silhouettes [n, b] of a column of bytes."""
    packed = np.frombuffer(b"".join(column.to_pylist()), np.uint8)
    return packed.reshape(len(column), SILHOUETTE[0] * SILHOUETTE[1] // 8)


def _read_info(path: Path) -> BankInfo:
    if not (path / INFO).is_file():
        raise DatasetError(
            f"{path}: not a donor bank, expected a folder with {INFO} "
            "(hdsynth donors build makes one)"
        )
    try:
        return BankInfo.parse(read_yaml(path / INFO), origin=str(path / INFO))
    except ConfigError as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, reason: str) -> DatasetError:
    reason = " ".join(reason.split())
    return DatasetError(f"{path}: not a whole donor bank of this version ({reason})")


def donor_photo_reader(bank: DonorBank) -> SceneReader:
    """A reader of the scenes that a bank's donors come from, with their photos.

    Raises:
        DatasetError: The bank's dataset is no longer where it was.
    """
    return photo_reader(bank.open_source(), bank.taxonomy, size=bank.info.size, mode=bank.info.fit)
