"""The report of an evaluation: what `report.json` holds, with its version."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from eval.errors import EvalError
from eval.measures.intervals import Interval
from eval.protocol import ScoreProtocol, differences
from eval.scores import HEADLINE
from hdmodel.atomic import write_atomically
from hdmodel.errors import ConfigError
from hdmodel.settings import Settings

SCHEMA_VERSION = 1
REPORT = "report.json"
SIZES = ("rendered_size", "score_size", "input_size")
"""The keys of a protocol that are H, W."""


class Score(Settings):
    """A score with its 95 % interval; None is NaN: nothing to score."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, interval: Interval) -> Self:
        """A score as JSON can hold it."""
        return cls(
            value=finite(interval.value), low=finite(interval.low), high=finite(interval.high)
        )


class ClassRow(Settings):
    """An evaluated class."""

    name: str
    category: str
    color: tuple[int, int, int]
    is_thing: bool


class ImageRow(Settings):
    """A photo among the best or worst."""

    index: int
    scene: str
    acc_valid: float | None
    mean_iou: float | None


class RecallRow(Settings):
    """How many objects of a group can be read."""

    by: Literal["all", "origin", "class", "size", "pixels"]
    group: str
    objects: int
    readable: int
    value: float | None


class PixelSourceRow(Settings):
    """The scores of the pixels of composites that come from one source."""

    source: str
    share: float
    """Of all pixels, 0..1."""
    acc_valid: float | None
    mean_iou: float | None


class SideReport(Settings):
    """The scores of the rendered photos, or of the real ones: the oracle."""

    images: int
    scenes: int
    """From how many scenes they were made."""
    pixels: int
    void_share: float
    """Share of the pixels whose target is void, 0..1."""
    scores: dict[str, Score]
    """The keys of `HEADLINE`."""
    iou: dict[str, Score]
    """Per class; None where a class is absent."""
    class_accuracy: dict[str, float | None]
    category_iou: dict[str, float | None]
    mean_category_iou: float | None
    boundary_iou: dict[str, float | None]
    """Per thing class."""
    mean_boundary_iou: float | None
    recall: list[RecallRow]
    confusion: list[list[int]]
    """Pixels, rows targets, columns predictions; the last of each is void."""
    worst: list[ImageRow]
    best: list[ImageRow]
    pixel_sources: list[PixelSourceRow] = Field(default_factory=list)
    """Of composites: the scores of kept, donor, rendered, seam and exemplar pixels apart."""


class ExcludedRow(Settings):
    """A sample of the run that was not scored."""

    index: int | None
    """None for a shard that is not committed."""
    shard: int
    reason: str


class RunRow(Settings):
    """The run whose photos were scored."""

    path: str
    name: str
    config_fingerprint: str
    generator_hash: str | None
    samples: int
    """Planned samples."""
    scored: int
    excluded_samples: int
    """How many samples were not scored."""
    excluded: list[ExcludedRow]
    """The first of them."""
    photo: str = "rendered"
    """Where their pixels come from: rendered, composite or exemplar."""
    exclude_near: int = 0
    """How many scenes before and after their own nothing was copied from."""
    exemplars: int = 0
    """From the photos of how many scenes pixels were kept or copied."""
    exemplars_seen: int = 0
    """How many of these the scorer learnt from."""
    pretrained: list[str] | None = None
    """Networks of others that the losses of the generator's training asked; None: unknown."""
    shared: list[str] | None = None
    """Those of them that the scorer may have begun with: it is not independent. None: unknown."""


class RealRow(Settings):
    """The real photos beside them."""

    root: str
    format: str
    split: str | None
    photos: int
    without_photo: int = 0
    """Scenes that have no photo, and were left out."""
    seen: int = 0
    """How many of the photos the scorer learnt from."""


class RuleRow(Settings):
    """A rule of the gate and what came of it."""

    rule: str
    limit: float | None
    value: float | None
    passed: bool
    message: str


class Distances(Settings):
    """How far the rendered photos are from the real ones as sets, by features of a network."""

    features: str
    """Which network's features."""
    fid: bool
    """Whether it is Inception-v3, and the distances are FID and KID."""
    rendered: int
    """Of how many rendered photos."""
    real: int
    """Of how many real photos."""
    frechet: float | None
    """Fréchet distance; biased by the number of photos."""
    kernel: float | None
    """Squared kernel distance, unbiased: around 0 for photos that cannot be told apart."""
    kernel_std: float | None


class DiversityRow(Settings):
    """How different photos of the same label map look."""

    mean: float
    """Mean perceptual distance of two photos of one label map."""
    std: float | None
    label_maps: int
    pairs: int


class FilterRow(Settings):
    """What a filter marked; see `eval.filter`."""

    factor: float
    class_losses: dict[str, float | None]
    limits: dict[str, Any]
    judged_pixels: int
    unfaithful_pixels: int
    judged_objects: int
    unfaithful_objects: int


class Report(Settings):
    """An evaluation."""

    schema_version: Literal[1] = 1
    hdsynth: str
    """Version that made it."""
    protocol_id: str
    protocol: dict[str, Any]
    scorer: dict[str, Any]
    run: RunRow
    real: RealRow
    classes: list[ClassRow]
    unscored_classes: list[str]
    """Classes of the data that the scorer does not know; counted as void."""
    unasked_classes: list[str]
    """Classes of the scorer that the data do not have."""
    rendered: SideReport
    oracle: SideReport
    ratio: dict[str, Score]
    """Rendered / oracle, for the keys of `HEADLINE`; of means over classes, over the classes
    present on both sides."""
    oracle_is_poor: bool
    warnings: list[str]
    bootstrap: dict[str, float]
    """Replicates, seed and level of the intervals."""
    distances: Distances | None = None
    diversity: DiversityRow | None = None
    filter: FilterRow | None = None
    gate: list[RuleRow] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        """Check what the types of the fields leave open: the keys of mappings."""
        _check_keys("protocol", self.protocol, [field.name for field in fields(ScoreProtocol)])
        for key in SIZES:
            size = self.protocol[key]
            if not (
                isinstance(size, (list, tuple))
                and len(size) == 2
                and all(isinstance(length, int) and length > 0 for length in size)
            ):
                raise ValueError(f"protocol.{key}: expected a height and a width, got {size!r}")
        names = [row.name for row in self.classes]
        for side in ("rendered", "oracle"):
            scores: SideReport = getattr(self, side)
            _check_keys(f"{side}.scores", scores.scores, HEADLINE)
            _check_keys(f"{side}.iou", scores.iou, names)
            _check_keys(f"{side}.class_accuracy", scores.class_accuracy, names)
        _check_keys("ratio", self.ratio, HEADLINE)
        return self

    @property
    def failed_rules(self) -> list[RuleRow]:
        """The rules of the gate that are violated."""
        return [rule for rule in self.gate if not rule.passed]

    def save(self, folder: Path) -> Path:
        """Write `report.json` into a folder, atomically."""
        path = folder / REPORT
        write_atomically(path, json.dumps(self.to_plain(), indent=1, allow_nan=False).encode())
        return path


def _check_keys(where: str, data: Mapping[str, object], wanted: Iterable[str]) -> None:
    """Check that a mapping has some keys.

    Raises:
        ValueError: It lacks one.
    """
    for key in wanted:
        if key not in data:
            raise ValueError(f"missing key '{where}.{key}'")


def read_report(path: Path) -> Report:
    """Read a report from its file, or from the folder that holds it.

    Raises:
        EvalError: There is none, or it is damaged or of another schema version.
    """
    file = path / REPORT if path.is_dir() else path
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EvalError(f"{file}: no such report; hdsynth eval --report DIR writes one") from None
    except (OSError, ValueError) as error:
        raise EvalError(f"{file}: not a readable report ({error})") from None
    if not isinstance(data, dict) or "schema_version" not in data:
        raise EvalError(f"{file}: not a report of hdsynth eval, which has a schema_version")
    version = data["schema_version"]
    if version != SCHEMA_VERSION:
        raise EvalError(
            f"{file}: report of schema version {version!r}, expected {SCHEMA_VERSION}; "
            "make it again with this version of hdsynth"
        )
    try:
        return Report.parse(data, origin=str(file))
    except ConfigError as error:
        raise EvalError(str(error)) from None


def check_comparable(one: Report, other: Report, *, names: tuple[str, str]) -> None:
    """Refuse to compare scores of different protocols.

    Args:
        one: A report.
        other: Another.
        names: What to call them.

    Raises:
        EvalError: Their protocols differ; the message says in what.
    """
    if one.protocol_id == other.protocol_id:
        return
    lines = "".join(f"\n  {line}" for line in differences(one.protocol, other.protocol))
    raise EvalError(
        f"{names[0]} and {names[1]} were scored under different protocols "
        f"({one.protocol_id}, {other.protocol_id}) and cannot be compared; these differ:{lines}"
    )


def finite(value: float) -> float | None:
    """A number as JSON can hold it: None for NaN."""
    return float(value) if math.isfinite(value) else None
