"""Priors: where the objects of a dataset stand, how tall they are there, and how many there are."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hdmodel.atomic import write_atomically
from hdmodel.settings import Settings
from pipeline.donors.bank import DonorIndex
from pipeline.errors import DatasetError, TaxonomyError
from pipeline.indexing.record import GRID, SceneRecord
from pipeline.placing.evidence import (
    SeenObjects,
    crowding,
    kin_of,
    place_preferences,
    rooms_kept,
    scene_horizon,
)
from pipeline.placing.locations import (
    MARGINS,
    contact_cells,
    location_maps,
    places_offered,
    support_shares,
)
from pipeline.placing.perspective import NEAREST_ROW, Perspective, View
from pipeline.roles import class_roles
from pipeline.taxonomy import Taxonomy

FEW_WHOLE = 5
"""Classes with fewer whole objects are measured on those with hidden parts, too."""
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of the counts per scene."""
MOST_TALLER = 2.0
"""An object is believed to be taller than others, or smaller, by so many deviations at most."""
HIDDEN_QUANTILE, GAP_QUANTILE = 0.95, 0.05

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]
Share = Annotated[float, Field(ge=0, le=1)]


Row = Annotated[int, Field(ge=0, lt=GRID[0])]
Column = Annotated[int, Field(ge=0, lt=GRID[1])]
Count = Annotated[int, Field(ge=1)]


class CountPrior(Settings):
    """How many objects of a class a scene holds."""

    mean: float = Field(ge=0)
    variance: float = Field(ge=0)
    quantiles: tuple[float, ...] = Field(min_length=len(QUANTILES), max_length=len(QUANTILES))
    """At `QUANTILES`."""


class ClassPrior(Settings):
    """What is known of one thing class; sizes are fractions of those of the picture."""

    name: str
    objects: int = Field(ge=0)
    whole: int = Field(ge=0)
    """Objects seen in one piece: those that tell heights."""
    size: float = Field(gt=0)
    """Object height over the distance of its contact row from the horizon."""
    sigma: float = Field(gt=0)
    """Scatter of ln height."""
    support: dict[str, Share]
    """Surfaces the class may stand on, and which share of its objects does."""
    preference: dict[str, Annotated[tuple[float, ...], Field(min_length=5, max_length=5)]]
    """For each of them, by the distance from its edge (`MARGINS`): the share of the class's objects
    that stand there, over what there would be of it at the places where the class stands, if it did
    not care."""
    count: CountPrior
    max_overlap: Share
    """95 % of the objects have no larger share of their box hidden by boxes of nearer ones."""
    alone: Share
    """Share of the objects whose box overlaps no other one."""
    min_gap: float
    """95 % of the objects keep at least this distance, in their own widths, from the nearest
    object of similar depth; negative where boxes overlap."""
    contacts: tuple[tuple[Row, Column, Count], ...]
    """Where objects stand: row and column of the coarse grid, and how many do."""


class PriorsFile(Settings):
    """What a priors file holds."""

    version: Literal[2] = 2
    taxonomy: str
    fingerprint: str
    """Of the taxonomy."""
    scenes: int = Field(ge=0)
    horizon: float
    """Row of the horizon over picture height: the median of the scenes."""
    spread: float = Field(gt=0)
    """Standard deviation of the scenes' horizons."""
    room: float
    """How far vehicles keep behind vehicles, at least nine in ten, as `rooms_behind` has it."""
    room_of_others: float
    """How far other objects do."""
    grid: tuple[int, int] = GRID
    classes: tuple[ClassPrior, ...]
    """The thing classes, by id."""


@dataclass(frozen=True, eq=False)
class Priors:
    """Fitted priors, ready for lookups by class id."""

    content: PriorsFile
    taxonomy: Taxonomy

    @classmethod
    def fit(cls, records: Sequence[SceneRecord], taxonomy: Taxonomy) -> Self:
        """Fit the priors of a dataset.

        Robust against mislabelled objects: medians and quantiles throughout. Classes with few
        objects borrow from their category, and that from all classes.

        Args:
            records: The scenes, all of one taxonomy; sizes may differ.
            taxonomy: Their taxonomy.
        """
        objects = SeenObjects.collect(records)
        measured = np.bincount(objects.classes[objects.whole], minlength=taxonomy.num_classes)
        rare = measured[objects.classes] < FEW_WHOLE
        whole = objects.whole | (rare & (objects.ground >= 0) & ~objects.truncated)
        perspective = Perspective.fit(
            objects.boxes[whole, 2],
            objects.boxes[whole, 2] - objects.boxes[whole, 0],
            objects.classes[whole],
            objects.scenes[whole],
            categories=[c.category for c in taxonomy.classes],
        )
        hidden, gaps, alone = crowding(objects, perspective.horizon)
        standing = objects.ground >= 0
        classes, grounds = objects.classes[standing], objects.ground[standing]
        contacts = contact_cells(objects.boxes[standing], classes, taxonomy=taxonomy)
        locations = location_maps(contacts, taxonomy)
        support = support_shares(classes, grounds, taxonomy=taxonomy)
        horizons = [scene_horizon(perspective, objects, n, r) for n, r in enumerate(records)]
        offered = places_offered(records, locations, horizons, taxonomy)
        preference = place_preferences(records, horizons, objects, support, offered, taxonomy)
        names = taxonomy.class_names
        entries = []
        for class_id in np.flatnonzero(taxonomy.is_thing):
            own = objects.classes == class_id
            counts = np.bincount(objects.scenes[own], minlength=len(records)) if records else [0]
            near = kin_of(objects.classes, int(class_id), taxonomy)
            grounds = np.flatnonzero(support[class_id])
            entries.append(
                ClassPrior(
                    name=names[class_id],
                    objects=int(own.sum()),
                    whole=int(measured[class_id]),
                    size=_rounded(np.exp(perspective.log_sizes[class_id])),
                    sigma=_rounded(perspective.sigmas[class_id]),
                    support={names[g]: _rounded(support[class_id, g]) for g in grounds},
                    preference={
                        names[g]: tuple(map(_rounded, preference[class_id, g])) for g in grounds
                    },
                    count=CountPrior(
                        mean=_rounded(np.mean(counts)),
                        variance=_rounded(np.var(counts)),
                        quantiles=tuple(_rounded(q) for q in np.quantile(counts, QUANTILES)),
                    ),
                    max_overlap=_rounded(_quantile(hidden[near], HIDDEN_QUANTILE, empty=0.0)),
                    alone=_rounded(alone[near].mean() if near.any() else 1.0),
                    min_gap=_rounded(_quantile(gaps[near], GAP_QUANTILE, empty=0.0)),
                    contacts=contacts[int(class_id)],
                )
            )
        room, room_of_others = rooms_kept(horizons, records, taxonomy)
        content = PriorsFile(
            taxonomy=taxonomy.name,
            fingerprint=taxonomy.fingerprint,
            scenes=len(records),
            horizon=_rounded(perspective.horizon),
            spread=max(_rounded(perspective.spread), 1e-4),
            room=_rounded(room),
            room_of_others=_rounded(room_of_others),
            classes=tuple(entries),
        )
        return cls(content, taxonomy)

    def save(self, path: Path) -> None:
        """Write the priors as JSON; the file is there whole or not at all."""
        write_atomically(path, (_pretty(self.content.to_plain()) + "\n").encode())

    @classmethod
    def load(cls, path: Path, taxonomy: Taxonomy) -> Self:
        """Read priors that `save` wrote.

        Raises:
            DatasetError: There is no such file, it is not JSON, or names other classes.
            ConfigError: It is JSON, but not priors.
            TaxonomyError: It was fitted to scenes of another taxonomy.
        """
        content = read_priors(path)
        if content.fingerprint != taxonomy.fingerprint:
            raise TaxonomyError(
                f"{path}: fitted to taxonomy {content.taxonomy!r} ({content.fingerprint}), "
                f"but the scenes have {taxonomy.name!r} ({taxonomy.fingerprint})"
            )
        things = [c.name for c in taxonomy.classes if c.is_thing]
        if (named := [entry.name for entry in content.classes]) != things:
            raise DatasetError(f"{path}: classes: expected {things}, got {named}")
        grounds = {name for e in content.classes for name in (*e.support, *e.preference)}
        if unknown := sorted(grounds - set(taxonomy.class_names)):
            raise DatasetError(f"{path}: support names an unknown class {unknown[0]!r}")
        return cls(content, taxonomy)

    @cached_property
    def sha256(self) -> str:
        """A hash of all that the priors say."""
        return hashlib.sha256(_pretty(self.content.to_plain()).encode()).hexdigest()

    def view(self, record: SceneRecord, *, without: Sequence[int] = ()) -> View:
        """A scene's horizon and how sure it is, in rows: shared, corrected by its whole objects.

        Args:
            record: The scene.
            without: Objects, by position, that are not asked.
        """
        objects = SeenObjects.collect([record])
        asked = objects.whole.copy()
        asked[list(without)] = False
        rows, classes = objects.boxes[asked] * record.size[0], objects.classes[asked]
        return self._perspective.view(
            rows[:, 2], rows[:, 2] - rows[:, 0], classes, height=record.size[0]
        )

    def log_height(
        self, class_id: int | Integers, rows: Floats, view: View, *, height: int
    ) -> tuple[Floats, Floats]:
        """Mean and standard deviation of ln height in pixels, of objects that stand on some rows.

        Args:
            class_id: Class ids of things, one or [n].
            rows: Lower edges of the boxes in pixels [n].
            view: Of the scene.
            height: Height of the picture in pixels.
        """
        return self._perspective.log_height(class_id, rows, view, height=height)

    def usual_log_heights(self, donors: DonorIndex) -> Floats:
        """Ln heights in pixels that others of their class would have where donors stand [n].

        An object that is taller than others where it was seen is so elsewhere, as far as the
        horizon of its scene is known. Of donors that the picture's border cuts it is their own
        height.

        Args:
            donors: The donors.
        """
        height, perspective = donors.size[0], self._perspective
        tall = np.log(donors.heights)
        rows, heights = donors.boxes[:, 2] / height, donors.heights / height
        whole, scenes, classes = donors.whole, donors.scenes, donors.classes
        horizons, doubts = perspective.horizons(
            rows[whole], heights[whole], classes[whole], scenes[whole], count=len(donors.names)
        )
        usual = np.empty(len(donors))
        for class_id in np.unique(classes):
            own = classes == class_id
            above = np.maximum(rows[own] - horizons[scenes[own]], NEAREST_ROW)
            sigma = perspective.sigmas[class_id]
            taller = tall[own] - perspective.log_sizes[class_id] - np.log(above * height)
            known = sigma**2 / (sigma**2 + (doubts[scenes[own]] / above) ** 2)
            usual[own] = tall[own] - np.clip(
                known * taller, -MOST_TALLER * sigma, MOST_TALLER * sigma
            )
        return np.where(donors.cut_sides > 0, tall, usual)

    def location(self, class_id: int) -> Floats:
        """How likely objects of a class stand in each cell of the coarse grid; sums to 1 [GRID]."""
        location: Floats = self._locations[class_id]
        return location

    def support(self, class_id: int) -> Floats:
        """How likely a class stands on each class; 0 where it must not [num_classes]."""
        shares: Floats = self._supports[class_id]
        return shares

    def preference(self, class_id: int) -> Floats:
        """How much likelier a place becomes by its ground and the distance from the ground's edge.

        0 on ground that cannot carry the class [num_classes, len(MARGINS) + 1].
        """
        shares: Floats = self._preferences[class_id]
        return shares

    def rooms(self, class_ids: Integers) -> Floats:
        """How far objects of some classes keep behind vehicles, as `rooms_behind` has it [n]."""
        sided = class_roles(self.taxonomy).sided[class_ids]
        return np.where(sided, self.content.room, self.content.room_of_others)

    def counts(self, class_id: int) -> CountPrior:
        """How many objects of a class a scene holds."""
        return self._entries[class_id].count

    def max_overlap(self, class_id: int) -> float:
        """Share of a box that is usually hidden at most by boxes of nearer objects."""
        return self._entries[class_id].max_overlap

    def alone(self, class_id: int) -> float:
        """Share of the objects whose box overlaps no other one."""
        return self._entries[class_id].alone

    def min_gap(self, class_id: int) -> float:
        """Distance usually kept from objects of similar depth, in own widths."""
        return self._entries[class_id].min_gap

    @cached_property
    def _entries(self) -> dict[int, ClassPrior]:
        ids = {c.name: c.id for c in self.taxonomy.classes}
        return {ids[entry.name]: entry for entry in self.content.classes}

    @cached_property
    def _perspective(self) -> Perspective:
        count = self.taxonomy.num_classes
        log_sizes, sigmas, counts = np.zeros(count), np.ones(count), np.zeros(count, np.int64)
        for class_id, entry in self._entries.items():
            log_sizes[class_id], sigmas[class_id] = np.log(entry.size), entry.sigma
            counts[class_id] = entry.whole
        return Perspective(self.content.horizon, self.content.spread, log_sizes, sigmas, counts)

    @cached_property
    def _locations(self) -> Floats:
        contacts = {class_id: entry.contacts for class_id, entry in self._entries.items()}
        return location_maps(contacts, self.taxonomy)

    @cached_property
    def _supports(self) -> Floats:
        return self._table({c: entry.support for c, entry in self._entries.items()}, ())

    @cached_property
    def _preferences(self) -> Floats:
        margins = (len(MARGINS) + 1,)
        return self._table({c: entry.preference for c, entry in self._entries.items()}, margins)

    def _table(self, entries: Mapping[int, Mapping[str, Any]], shape: tuple[int, ...]) -> Floats:
        """What is said about classes and surfaces, 0 elsewhere [num_classes, num_classes, ...]."""
        ids = {c.name: c.id for c in self.taxonomy.classes}
        table = np.zeros((len(ids), len(ids), *shape))
        for class_id, values in entries.items():
            for name, value in values.items():
                table[class_id, ids[name]] = value
        return table


def read_priors(path: Path) -> PriorsFile:
    """Read a priors file without its taxonomy.

    Raises:
        DatasetError: There is no such file, or it is not JSON.
        ConfigError: It is JSON, but not priors.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; make it with hdsynth priors fit") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DatasetError(f"{path}: not a priors file ({error})") from None
    if not isinstance(data, dict):
        raise DatasetError(f"{path}: not a priors file (holds a {type(data).__name__})")
    content = PriorsFile.parse(data, origin=str(path))
    if content.grid != GRID:
        raise DatasetError(f"{path}: grid: expected {GRID}, got {content.grid}; fit it again")
    return content


def _quantile(values: Floats, at: float, *, empty: float) -> float:
    values = values[~np.isnan(values)]
    return float(np.quantile(values, at)) if len(values) else empty


def _rounded(value: Any) -> float:  # noqa: ANN401 - any NumPy scalar
    return round(float(value), 4)


def _pretty(value: Any, indent: str = "") -> str:  # noqa: ANN401 - plain data
    """JSON with a line per key, and lists of numbers on one line."""
    inner = indent + "  "
    if isinstance(value, dict) and any(isinstance(v, dict | list) for v in value.values()):
        lines = (f"{inner}{json.dumps(k)}: {_pretty(v, inner)}" for k, v in value.items())
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(v, dict) for v in value):
        return "[\n" + ",\n".join(inner + _pretty(v, inner) for v in value) + f"\n{indent}]"
    return json.dumps(value)
