"""Regions of stuff: planning edits of them from coarse label maps."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.editing.program import GrowRegion, Operation, RelabelRegion, Skyline
from pipeline.editing.regions import LOW_CLASSES
from pipeline.indexing.record import GRID, SceneRecord
from pipeline.planning.policy import GrowEdit, Operations, RelabelEdit
from pipeline.planning.quotas import Names, listed
from pipeline.roles import class_roles
from pipeline.taxonomy import Taxonomy

SKYLINE_POINTS = GRID[1]
"""Columns at which a sky line is noted."""
STRAIGHT = 1.2 / GRID[0]
"""Lines of roofs run straight between points if they miss the others by less than this part of the
picture's height."""
SKYLINE_SHARE = 0.25
"""Share of the columns in which a scene must show a line for others to take it."""

FEWEST = 30
"""Regions of fewer cells of the coarse map stay what they are."""
SOLID = 0.75
"""Regions stay if less than this part of them is left without their twigs, such as bare trees."""
USUAL = 1.0
"""Regions only become a class that is there so often, compared with where it is elsewhere."""
HANGING = 0.25
"""What has more of its lower edge above other things that stand does not become a fence or wall."""
SPREAD = (2.0, 24.0)
"""How far a place and those around it count as one, in cells: rows, columns."""

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
        roles = class_roles(taxonomy)
        self._ids = {c.name: c.id for c in taxonomy.classes if roles.surface[c.id]}
        self._built, self._stands = roles.built, roles.built | roles.grown
        for name in protected:
            self._ids.pop(name, None)
        self._records = records
        self._operations = operations
        self._relabel = self._pairs(operations.relabel_region)
        self._grow = self._pairs(operations.grow_region)
        self._habitats: dict[int, tuple[npt.NDArray[np.float64], float]] = {}

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
        found = [
            (pair, parts)
            for pair in self._relabel
            if pair[0] not in done and (parts := self._where(pair, record.grid)).any()
        ]
        if not found:
            return None
        (of, to), parts = found[int(draws[0] * len(found))]
        rows, columns = np.nonzero(parts)
        chosen = int(draws[1] * len(rows))
        row, column = int(rows[chosen]), int(columns[chosen])
        grid = record.grid.copy()
        grid[parts == parts[row, column]] = self._ids[to]
        at = _pixel(row, column, record.size, mirrored=mirrored)
        return RelabelRegion(of=of, to=to, at=at, seed=_seed(draws[2])), replace(record, grid=grid)

    def _where(
        self, pair: tuple[str, str], grid: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.integer]:
        """The regions of a scene that may become another class, numbered; 0 elsewhere [GRID]."""
        of, to = (self._ids[name] for name in pair)
        parts, count = ndimage.label(grid == of, structure=np.ones((3, 3), np.int8))
        if not self._records:
            return parts
        solid = ndimage.binary_opening(parts > 0, np.ones((2, 2), np.bool_))
        number = np.arange(count + 1)
        areas, cores = (ndimage.sum_labels(mask, parts, number) for mask in (parts > 0, solid))
        usual, largest = self._habitat(to)
        places = ndimage.mean(usual, parts, number) if count else np.zeros(1)
        kept = (areas >= FEWEST) & (areas <= largest)
        kept &= (cores >= SOLID * areas) & (places >= USUAL)
        if pair[1] in LOW_CLASSES:
            feet = (parts[:-1] > 0) & (parts[1:] != parts[:-1])
            hanging = feet & self._stands[grid[1:]]
            lengths, hung = (ndimage.sum_labels(m, parts[:-1], number) for m in (feet, hanging))
            kept &= hung <= HANGING * lengths
        kept[0] = False
        return np.where(kept[parts], parts, 0)

    def _habitat(self, class_id: int) -> tuple[npt.NDArray[np.float64], float]:
        """Where in the scenes a class is, and how large; anywhere if no scene shows it.

        Returns:
            How often it is in each cell or near it, over the mean of the cells where it ever is
            [GRID]; the size of its largest region, in cells.
        """
        if class_id not in self._habitats:
            masks = [record.grid == class_id for record in self._records]
            count = np.stack(masks).sum(axis=0).astype(np.float64)
            if not count.any():
                return np.ones(GRID), np.inf
            parts = [ndimage.label(mask, structure=np.ones((3, 3), np.int8))[0] for mask in masks]
            largest = max(np.bincount(part[part > 0], minlength=1).max() for part in parts)
            count = ndimage.gaussian_filter(count + count[:, ::-1], SPREAD)
            self._habitats[class_id] = count / count[count > 0].mean(), float(largest)
        return self._habitats[class_id]

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
        operation = GrowRegion(of=of, into=into, pixels=pixels, seed=_seed(draws[2]))
        return operation, record

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
        operation = Skyline(
            upper=upper,
            lower=lower,
            rows=tuple(int(row) for row in rows),
            seed=_seed(draws[2]),
        )
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
        built = bool(self._built[self._ids[self._skyline_classes[1]]])
        names, lines = [], []
        for record, line, seen in zip(self._records, found, known, strict=True):
            if seen.mean() >= SKYLINE_SHARE:
                names.append(record.name)
                whole = np.interp(points, cells[seen], line[seen])
                lines.append(_straightened(whole) if built else whole)
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


def _seed(draw: float) -> int:
    return int(draw * 2**31)


def _straightened(line: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A line as straight pieces between few of its points (Douglas and Peucker) [n]."""
    columns = np.arange(len(line))
    corners, pieces = [0, len(line) - 1], [(0, len(line) - 1)]
    while pieces:
        first, last = pieces.pop()
        piece = np.interp(columns[first : last + 1], [first, last], [line[first], line[last]])
        missed = np.abs(piece - line[first : last + 1])
        if missed.max() > STRAIGHT:
            corner = first + int(missed.argmax())
            corners.append(corner)
            pieces += [(first, corner), (corner, last)]
    corners.sort()
    return np.interp(columns, corners, line[corners])


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
