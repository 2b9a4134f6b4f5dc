"""Regions of stuff: planning edits of them from coarse label maps."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.editing.program import GrowRegion, Operation, RelabelRegion, Skyline
from pipeline.indexing.record import GRID, SceneRecord
from pipeline.planning.policy import GrowEdit, Operations, RelabelEdit
from pipeline.planning.quotas import Names, listed
from pipeline.roles import class_roles
from pipeline.taxonomy import Taxonomy

SKYLINE_POINTS = 33
"""Columns at which a sky line is noted."""
SKYLINE_SHARE = 0.25
"""Share of the columns in which a scene must show a line for others to take it."""

KINDS = ("relabel_region", "grow_region", "skyline")

Edited = tuple[Operation, SceneRecord]


class Regions:
    """Plans edits of stuff.

    Args:
        operations: Which of them, with their ranges; classes that the taxonomy lacks, and those
            that are no surfaces, are passed over.
        records: The scenes whose sky lines may be taken over.
        taxonomy: Their taxonomy.
        protected: Names of classes that do not change.
    """

    def __init__(
        self,
        operations: Operations,
        records: Sequence[SceneRecord],
        *,
        taxonomy: Taxonomy,
        protected: Sequence[str] = (),
    ) -> None:
        surface = class_roles(taxonomy).surface
        self._ids = {c.name: c.id for c in taxonomy.classes if surface[c.id]}
        for name in protected:
            self._ids.pop(name, None)
        self._records = records
        self._operations = operations
        self._relabel = self._pairs(operations.relabel_region)
        self._grow = self._pairs(operations.grow_region)

    def _pairs(self, edit: RelabelEdit | GrowEdit | None) -> list[tuple[str, str]]:
        pairs = edit.pairs if edit else ()
        return [(a, b) for a, b in pairs if a in self._ids and b in self._ids and a != b]

    def draw(
        self,
        kind: str,
        record: SceneRecord,
        rng: np.random.Generator,
        *,
        mirrored: bool,
        relabelled: Collection[str] = (),
    ) -> Edited | None:
        """One edit and the record after it; None if the scene gives no occasion.

        Args:
            kind: One of `KINDS`.
            record: The scene as it is, mirrored if it is.
            rng: The sample's generator; every call takes the same number of draws.
            mirrored: Whether the scene was mirrored before.
            relabelled: Classes of which a region became another before: what is left of them is
                known too coarsely to name a pixel of.
        """
        draws = rng.random(3)
        if kind == "relabel_region":
            return self._draw_relabel(record, draws, mirrored=mirrored, done=relabelled)
        if kind == "grow_region":
            return self._draw_grow(record, draws)
        return self._draw_skyline(record, draws)

    def _draw_relabel(
        self,
        record: SceneRecord,
        draws: npt.NDArray[np.float64],
        *,
        mirrored: bool,
        done: Collection[str],
    ) -> Edited | None:
        present = [
            pair
            for pair in self._relabel
            if pair[0] not in done and (record.grid == self._ids[pair[0]]).any()
        ]
        if not present:
            return None
        of, to = present[int(draws[0] * len(present))]
        mask = record.grid == self._ids[of]
        rows, columns = np.nonzero(mask)
        chosen = int(draws[1] * len(rows))
        row, column = int(rows[chosen]), int(columns[chosen])
        components, _ = ndimage.label(mask, structure=np.ones((3, 3), np.int8))
        grid = record.grid.copy()
        grid[components == components[row, column]] = self._ids[to]
        at = _pixel(row, column, record.size, mirrored=mirrored)
        return RelabelRegion(of=of, to=to, at=at), replace(record, grid=grid)

    def _draw_grow(self, record: SceneRecord, draws: npt.NDArray[np.float64]) -> Edited | None:
        edit = self._operations.grow_region
        present = [
            pair
            for pair in self._grow
            if _touch(record.grid, self._ids[pair[0]], self._ids[pair[1]])
        ]
        if not present or edit is None:
            return None
        of, into = present[int(draws[0] * len(present))]
        low, high = edit.pixels
        pixels = max(1, round((low + (high - low) * float(draws[1])) * record.size[0]))
        return GrowRegion(of=of, into=into, pixels=pixels), record

    def _draw_skyline(self, record: SceneRecord, draws: npt.NDArray[np.float64]) -> Edited | None:
        names, lines = self._skylines
        if not len(lines) or np.isnan(self._line(record.grid[None])).all():
            return None
        chosen = int(draws[0] * len(lines))
        if names[chosen] == record.name:
            chosen = (chosen + 1) % len(lines)
            if names[chosen] == record.name:
                return None
        line = lines[chosen][::-1] if draws[1] < 0.5 else lines[chosen]
        rows = np.clip(np.rint(line * record.size[0]), 1, record.size[0] - 1)
        upper, lower = self._skyline_classes
        operation = Skyline(upper=upper, lower=lower, rows=tuple(int(row) for row in rows))
        return operation, record

    @property
    def _skyline_classes(self) -> tuple[str, str]:
        edit = self._operations.skyline
        assert edit is not None
        return self._first(edit.upper), self._first(edit.lower)

    def _first(self, names: Names) -> str:
        return next((name for name in listed(names) if name in self._ids), "")

    @cached_property
    def _skylines(self) -> tuple[list[str], npt.NDArray[np.float64]]:
        """The names of the scenes that show a line, and the lines, as fractions of the height."""
        if not self._records or not all(self._skyline_classes):
            return [], np.zeros((0, SKYLINE_POINTS))
        found = self._line(np.stack([record.grid for record in self._records]))
        known = ~np.isnan(found)
        cells = np.arange(GRID[1])
        points = np.linspace(0, GRID[1] - 1, SKYLINE_POINTS)
        names, lines = [], []
        for record, line, seen in zip(self._records, found, known, strict=True):
            if seen.mean() >= SKYLINE_SHARE:
                names.append(record.name)
                lines.append(np.interp(points, cells[seen], line[seen]))
        return names, np.array(lines).reshape(-1, SKYLINE_POINTS)

    def _line(self, grids: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Where the lower class begins right below the upper one; NaN where it does not.

        Args:
            grids: Coarse label maps [n, *GRID].

        Returns:
            Fractions of the height [n, GRID[1]].
        """
        upper, lower = (self._ids[name] for name in self._skyline_classes)
        meets = (grids[:, :-1] == upper) & (grids[:, 1:] == lower)
        rows = (meets.argmax(axis=1) + 1) / GRID[0]
        return np.where(meets.any(axis=1), rows, np.nan)


def _touch(grid: npt.NDArray[np.integer], one: int, other: int) -> bool:
    """Whether cells of two classes are 4-adjacent."""
    for first, second in ((grid[:-1], grid[1:]), (grid[:, :-1], grid[:, 1:])):
        if ((first == one) & (second == other)).any() or ((first == other) & (second == one)).any():
            return True
    return False


def _pixel(row: int, column: int, size: tuple[int, int], *, mirrored: bool) -> tuple[int, int]:
    """The pixel whose class the coarse map notes for a cell."""
    height, width = size
    at = (2 * row + 1) * height // (2 * GRID[0])
    source = GRID[1] - 1 - column if mirrored else column
    across = (2 * source + 1) * width // (2 * GRID[1])
    return at, width - 1 - across if mirrored else across
