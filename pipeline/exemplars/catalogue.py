"""The catalogue of exemplars: which photos there are to draw from, and what is where in them.

It is made of scene records, saved with a run as `exemplars.parquet`, a row per scene, and opened by
every worker: about a kilobyte per scene and 56 bytes per object in memory.
"""

import bisect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hdmodel.atomic import write_atomically
from pipeline.editing.boxes import Box
from pipeline.errors import OutputError
from pipeline.indexing.record import (
    GRID,
    SILHOUETTE,
    SceneRecord,
    silhouette,
    unpacked_silhouettes,
)
from pipeline.scene import INSTANCES_PER_CLASS, LabelMap

SILHOUETTE_BYTES = SILHOUETTE[0] * SILHOUETTE[1] // 8
CELLS = (16, 32)
"""Rows and columns of the map by which layouts are compared."""
RARE = 1.02
"""A class with a share s of all cells weighs 1 / ln(RARE + s), as in ENet: rare ones count more."""
ALIKE_PARTS = 7
"""How many times more agreement counts with what no photo chosen before shows."""
STRETCHED = 0.5
"""What a factor of e between the aspect ratios of two objects costs, in shares of agreement."""
ENLARGED, REDUCED = 0.25, 0.05
"""What enlarging or reducing an object e times costs, likewise."""
ELSEWHERE = 0.2
"""What an object costs that was seen at the other end of the picture, likewise: they turn with it.
"""
AS_GOOD = 0.08
"""Objects that fit worse than the best by less are as good: one of them is drawn."""
COMPARED = 4096
"""Of more objects only so many, those whose size and aspect ratio fit best, are compared."""

SCHEMA = pa.schema(
    [
        ("scene", pa.string()),
        ("size", pa.list_(pa.int32())),
        ("pixels", pa.list_(pa.int32())),
        ("cells", pa.list_(pa.uint16())),
        ("ids", pa.list_(pa.int32())),
        ("boxes", pa.list_(pa.int32())),
        ("silhouettes", pa.binary()),
    ]
)


@dataclass(frozen=True, slots=True)
class Fit:
    """An object of the catalogue that may stand for another."""

    scene: str
    instance: int
    box: Box
    mirrored: bool
    agreement: float
    """Intersection over union of both shapes, less what differs in size, stretch and place; 1 at
    most."""


@dataclass(frozen=True, eq=False)  # no slots: tables are made when they are first needed
class Catalogue:
    """What is where in some photos."""

    size: tuple[int, int]
    """Height and width of all scenes, in pixels."""
    names: tuple[str, ...]
    """Of the scenes, sorted [n]."""
    pixels: npt.NDArray[np.int32]
    """Pixels of each class in each scene [n, num_classes]."""
    cells: npt.NDArray[np.uint16]
    """Class ids at the centres of cells [n, *CELLS]."""
    scenes: npt.NDArray[np.int32]
    """The scene of each object, as a position in `names` [m]."""
    ids: npt.NDArray[np.int32]
    """Instance ids of objects [m]."""
    boxes: npt.NDArray[np.int32]
    """Top, left, bottom, right in pixels; the last two are exclusive [m, 4]."""
    silhouettes: npt.NDArray[np.uint8]
    """Shapes of objects, as in `SceneRecord` [m, b]."""

    @classmethod
    def of(cls, records: Sequence[SceneRecord]) -> Self:
        """Collect what records say.

        Args:
            records: Of scenes with photos, all of one size; at least one.
        """
        ordered = sorted(records, key=lambda record: record.name)
        counts = [len(record.ids) for record in ordered]
        return cls(
            size=ordered[0].size,
            names=tuple(record.name for record in ordered),
            pixels=np.stack([record.pixels for record in ordered]),
            cells=np.stack([coarse_cells(record.grid) for record in ordered]),
            scenes=np.repeat(np.arange(len(ordered), dtype=np.int32), counts),
            ids=np.concatenate([record.ids for record in ordered]),
            boxes=np.concatenate([record.boxes for record in ordered]),
            silhouettes=np.concatenate([record.silhouettes for record in ordered]),
        )

    def save(self, path: Path) -> None:
        """Write it atomically."""
        starts = np.searchsorted(self.scenes, np.arange(len(self.names) + 1))
        parts = [slice(first, last) for first, last in pairwise(starts.tolist())]
        table = pa.table(
            {
                "scene": list(self.names),
                "size": [list(self.size)] * len(self.names),
                "pixels": list(self.pixels),
                "cells": list(self.cells.reshape(len(self.names), -1)),
                "ids": [self.ids[part] for part in parts],
                "boxes": [self.boxes[part].ravel() for part in parts],
                "silhouettes": [self.silhouettes[part].tobytes() for part in parts],
            },
            schema=SCHEMA,
        )
        content = pa.BufferOutputStream()
        pq.write_table(table, content, compression="zstd")
        write_atomically(path, content.getvalue().to_pybytes())

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read one.

        Raises:
            OutputError: The file is missing or damaged.
        """
        try:
            table = pq.read_table(path, use_threads=False)
            if not table.schema.equals(SCHEMA) or not len(table):
                raise ValueError("has other columns than a catalogue of this version, or no rows")
            counts = np.diff(table["ids"].combine_chunks().offsets.to_numpy())
            shapes = b"".join(table["silhouettes"].to_pylist())
            return cls(
                size=tuple(table["size"][0].as_py()),
                names=tuple(table["scene"].to_pylist()),
                pixels=_flat(table, "pixels").reshape(len(table), -1),
                cells=_flat(table, "cells").reshape(-1, *CELLS),
                scenes=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
                ids=_flat(table, "ids"),
                boxes=_flat(table, "boxes").reshape(-1, 4),
                silhouettes=np.frombuffer(shapes, np.uint8).reshape(-1, SILHOUETTE_BYTES),
            )
        except (OSError, ValueError, pa.ArrowException) as error:
            raise OutputError(f"{path}: not a readable catalogue of exemplars ({error})") from None

    def classes(self, *, without: Collection[str] = ()) -> npt.NDArray[np.bool_]:
        """Which classes some scene shows, bool [num_classes].

        Args:
            without: Names of scenes to leave out.
        """
        left_out = self.pixels[self._positions(without)] > 0
        shown: npt.NDArray[np.bool_] = self._scenes_with > left_out.sum(axis=0)
        return shown

    def near(self, name: str, *, reach: int) -> frozenset[str]:
        """A scene and those whose names come right before and after it, which often show the same.

        Args:
            name: Of a scene, of this catalogue or not.
            reach: How many on each side.
        """
        at = bisect.bisect_left(self.names, name)
        after = at + (at < len(self.names) and self.names[at] == name)
        return frozenset((name, *self.names[max(at - reach, 0) : after + reach]))

    def showing(self, class_id: int, *, without: Collection[str], count: int) -> list[str]:
        """The scenes that show most of a class.

        Args:
            class_id: The class.
            without: Names of scenes to leave out.
            count: How many to find, at most.
        """
        return list(self._best(self.pixels[:, class_id], without=without, count=count))

    def alike(
        self, cells: npt.NDArray[np.uint16], *, without: Collection[str], count: int
    ) -> list[str]:
        """The scenes whose layouts together resemble one, the most alike first.

        Each next one is chosen for what it shows where it should that none before it does.

        Args:
            cells: Of the layout [*CELLS].
            without: Names of scenes to leave out.
            count: How many to find, at most.
        """
        weights = self._weights[cells].ravel()
        agrees = (self.cells == cells).reshape(len(self.names), -1)
        whole = agrees @ weights
        missing = weights.copy()
        chosen: list[str] = []
        while len(chosen) < count:
            gain = ALIKE_PARTS * (agrees @ missing) + whole if chosen else whole
            found = next(self._best(gain + 1, without={*without, *chosen}, count=1), None)
            if found is None:
                break
            chosen.append(found)
            missing[agrees[bisect.bisect_left(self.names, found)]] = 0
        return chosen

    def fitting(
        self,
        class_id: int,
        mask: npt.NDArray[np.bool_],
        box: Box,
        *,
        without: Collection[str],
        draw: int,
    ) -> Fit | None:
        """An object of a class whose shape, size and place fit; None if the class has none.

        Args:
            class_id: The class.
            mask: The pixels of the object that it is to stand for, in its box, bool [h, w].
            box: Where that is: top, left, bottom, right in pixels.
            without: Names of scenes to leave out.
            draw: Decides between objects that fit equally well.
        """
        rows = self._of_class.get(class_id, np.zeros(0, np.intp))
        rows = rows[~np.isin(self.scenes[rows], self._positions(without))]
        if not len(rows):
            return None
        cost = self._size_cost(rows, mask.shape)
        if len(rows) > COMPARED:
            nearest = np.sort(np.argsort(cost, kind="stable")[:COMPARED])
            rows, cost = rows[nearest], cost[nearest]
        shapes = unpacked_silhouettes(self.silhouettes[rows]).reshape(len(rows), -1)
        shapes = shapes.astype(np.float32)  # sums of up to 256 ones are exact
        sizes = shapes.sum(axis=1)
        wanted = silhouette(mask)
        middles = self.boxes[rows, 1] + self.boxes[rows, 3]
        fits = []
        for mirrored in (False, True):
            cells = (wanted[:, ::-1] if mirrored else wanted).ravel()
            shared = shapes @ cells.astype(np.float32)
            there = 2 * self.size[1] - middles if mirrored else middles
            away = np.abs(there - box[1] - box[3]) / (2 * self.size[1])
            agreement = shared / np.maximum(sizes + cells.sum() - shared, 1)
            fits.append(agreement - cost - ELSEWHERE * away)
        found = np.concatenate(fits)
        good = np.flatnonzero(found >= found.max() - AS_GOOD)
        chosen = int(good[draw % len(good)])
        row = rows[chosen % len(rows)]
        top, left, bottom, right = self.boxes[row].tolist()
        return Fit(
            scene=self.names[self.scenes[row]],
            instance=int(self.ids[row]),
            box=(top, left, bottom, right),
            mirrored=chosen >= len(rows),
            agreement=float(found[chosen]),
        )

    def _size_cost(
        self, rows: npt.NDArray[np.intp], shape: tuple[int, ...]
    ) -> npt.NDArray[np.float64]:
        """What stretching and scaling some objects to a height and width costs."""
        boxes = self.boxes[rows].astype(np.float64)
        tall, wide = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        height, width = shape
        stretch = np.abs(np.log(wide / tall * (height / width)))
        growth = np.log(np.sqrt(height * width / (tall * wide)))
        cost: npt.NDArray[np.float64] = (
            STRETCHED * stretch + np.where(growth > 0, ENLARGED, -REDUCED) * growth
        )
        return cost

    def _positions(self, names: Collection[str]) -> list[int]:
        """Where these of the names are that are in the catalogue."""
        return [
            at
            for name in names
            if (at := bisect.bisect_left(self.names, name)) < len(self.names)
            and self.names[at] == name
        ]

    def _best(
        self, scores: npt.NDArray[np.integer], *, without: Collection[str], count: int
    ) -> Iterator[str]:
        """The scenes with the highest scores above 0, the first of equals first."""
        found = 0
        for position in np.argsort(-scores, kind="stable").tolist():
            if found == count or scores[position] <= 0:
                return
            if self.names[position] not in without:
                found += 1
                yield self.names[position]

    @cached_property
    def _scenes_with(self) -> npt.NDArray[np.int64]:
        """How many scenes show each class [num_classes]."""
        scenes: npt.NDArray[np.int64] = (self.pixels > 0).sum(axis=0)
        return scenes

    @cached_property
    def _of_class(self) -> dict[int, npt.NDArray[np.intp]]:
        """The objects of each class that has some."""
        classes = self.ids // INSTANCES_PER_CLASS
        return {c: np.flatnonzero(classes == c) for c in np.unique(classes).tolist()}

    @cached_property
    def _weights(self) -> npt.NDArray[np.int32]:
        """What each class counts, in thousandths: whole numbers, so that sums are exact [c]."""
        shares = self.pixels.sum(axis=0, dtype=np.int64) / self.pixels.sum(dtype=np.int64)
        weights: npt.NDArray[np.int32] = np.rint(1000 / np.log(RARE + shares)).astype(np.int32)
        return weights


def coarse_cells(grid: LabelMap) -> npt.NDArray[np.uint16]:
    """The cells of a scene, from its coarse label map.

    Args:
        grid: As in `SceneRecord` [*GRID].
    """
    rows, columns = (g // c for g, c in zip(GRID, CELLS, strict=True))
    return grid[rows // 2 :: rows, columns // 2 :: columns].astype(np.uint16)


def cells_of(label: LabelMap) -> npt.NDArray[np.uint16]:
    """The cells of a label map, as `coarse_cells` has them of its record.

    Args:
        label: Class ids [H, W].
    """
    rows, columns = (
        (2 * ((g // c) * np.arange(c) + g // c // 2) + 1) * length // (2 * g)
        for g, c, length in zip(GRID, CELLS, label.shape, strict=True)
    )
    cells: npt.NDArray[np.uint16] = label[rows[:, None], columns].astype(np.uint16)
    return cells


def _flat(table: pa.Table, name: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = table[name].combine_chunks().flatten().to_numpy()
    return values
