"""How far a run is and how it goes, read from its commit records; also while it is running."""

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import OutputError
from pipeline.output.folder import OutputFolder
from pipeline.output.lock import lock_holder
from pipeline.output.manifest import FAILED
from pipeline.output.results import RunResults
from pipeline.output.summary import PHASES
from pipeline.planning.plan import count_samples, count_shards
from pipeline.planning.quotas import QuotaReport, Tally, read_reports, with_achieved

ERRORS_KEPT = 5
RECENT_COMMITS = 20
COLUMNS = (
    "index", "scene", "status", "error_kind", "error", "program", "events", "instances",
    "pixels",
    *(f"seconds_{phase}" for phase in PHASES),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FailedSample:
    """One failed sample."""

    index: int
    scene: str
    kind: str
    """The phase that failed: read, compose or render."""
    error: str


@dataclass(frozen=True, slots=True)
class OperationCount:
    """What became of one kind of operation over all committed samples."""

    operation: str
    planned: int
    done: int
    skipped: int
    """Left out because it could not be applied to the scene as it was."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How far a run is; counts are over committed shards."""

    out: Path
    running: bool
    """Whether a job holds the folder at this moment."""
    process: int | None
    """The process of that job, on its machine."""
    samples_planned: int
    samples_ok: int
    samples_failed: dict[str, int]
    """By the phase that failed."""
    errors: tuple[FailedSample, ...]
    """The first few failed samples."""
    shards_planned: int
    shards_committed: int
    unreadable_manifests: tuple[str, ...]
    phase_seconds: dict[str, float]
    """Worker time per phase, summed over workers."""
    recent_photos_per_second: float | None
    """Wall-clock rate over the last commits; None where there are fewer than two."""
    operations: tuple[OperationCount, ...]
    events: dict[str, int]
    """What the edits caused, by kind: hidden, removed_small, kept_small, skipped."""
    pasted: dict[str, int] = field(default_factory=dict)
    """Pasted objects that can be seen, by class name, most frequent first."""
    pixels: dict[str, float] = field(default_factory=dict)
    """Of composites: the mean share of pixels by where they come from."""
    quotas: tuple[QuotaReport, ...] = ()
    """Target, forecast and, over good samples so far, what is achieved."""

    @property
    def samples_committed(self) -> int:
        """Samples of committed shards, failed ones included."""
        return self.samples_ok + sum(self.samples_failed.values())

    @property
    def complete(self) -> bool:
        """Whether every planned shard is committed and readable."""
        return self.shards_committed == self.shards_planned and not self.unreadable_manifests

    @property
    def photos_per_worker_second(self) -> float:
        """Good photos per second that a worker spent in any phase."""
        total = sum(self.phase_seconds.values())
        return self.samples_ok / total if total else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated wall-clock seconds until a running job is done; None when not known."""
        if not self.running or not self.recent_photos_per_second:
            return None
        return (self.samples_planned - self.samples_committed) / self.recent_photos_per_second

    @property
    def advice(self) -> str:
        """What to do next, in a sentence."""
        if self.running:
            return "A job is writing here at this moment; nothing to do."
        if self.unreadable_manifests:
            return f"Commit records are damaged: see hdsynth verify {self.out}"
        if not self.complete:
            return "The run is not finished: give the same hdsynth render command again to go on."
        if self.samples_failed:
            return (
                "The run is finished, some samples failed: mend what the errors name, then give "
                "the same hdsynth render command with --retry-failed."
            )
        return "The run is finished and every sample is good."


def read_status(path: str | Path) -> RunStatus:
    """Read how far a run is, without disturbing it.

    Args:
        path: The output folder.

    Raises:
        OutputError: The folder is not an output of hdsynth, or its plan cannot be read.
    """
    out = OutputFolder(Path(path))
    running, process = lock_holder(out.root)
    if running and not out.exists():
        raise OutputError(f"{out.root}: a job is being prepared here; nothing is rendered yet")
    results = RunResults(out)
    shards = count_shards(out.plan)
    committed = [shard for shard in results.committed() if shard < shards]
    quotas = read_reports(out.quotas)
    counts, edits, tallies = _SampleCounts(), _EditCounts(), list[Tally]()
    unreadable = []
    for shard in committed:
        try:
            rows = results.shard_rows(shard, COLUMNS)
        except OutputError as error:
            unreadable.append(str(error))
            continue
        for row in rows:
            counts.add(row)
            if row["status"] != FAILED:
                if quotas:
                    tallies.append(_tally(row["instances"], results.store.size))
            elif row["error_kind"] != "render":
                continue  # its program was never applied
            edits.add(row)
    return RunStatus(
        out=out.root,
        running=running,
        process=process,
        samples_planned=count_samples(out.plan),
        samples_ok=counts.ok,
        samples_failed=dict(counts.failed),
        errors=tuple(counts.errors),
        shards_planned=shards,
        shards_committed=len(committed),
        unreadable_manifests=tuple(unreadable),
        phase_seconds=counts.seconds,
        recent_photos_per_second=_recent_rate(out, committed, results.store.shard_size),
        operations=edits.operations(),
        events=dict(sorted(edits.events.items())),
        pasted=dict(edits.pasted.most_common()),
        pixels={name: total / counts.ok for name, total in counts.pixels.items()},
        quotas=tuple(with_achieved(quotas, tallies)),
    )


@dataclass(slots=True)
class _SampleCounts:
    """How many samples went well, how many failed and why, and the time they took."""

    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    errors: list[FailedSample] = field(default_factory=list)
    pixels: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    def add(self, row: dict[str, Any]) -> None:
        """Count a sample, given its record."""
        for phase in PHASES:
            self.seconds[phase] += row[f"seconds_{phase}"]
        if row["status"] != FAILED:
            self.ok += 1
            self.pixels.update(row["pixels"] or {})
            return
        kind = row["error_kind"]
        self.failed[kind] += 1
        if len(self.errors) < ERRORS_KEPT:
            self.errors.append(FailedSample(row["index"], row["scene"], kind, row["error"]))


@dataclass(slots=True)
class _EditCounts:
    """What became of the edits of samples whose programs were applied."""

    planned: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    pasted: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict[str, Any]) -> None:
        """Count the edits of a sample, given its record."""
        operations = [operation["op"] for operation in json.loads(row["program"])["operations"]]
        self.planned.update(operations)
        for event in map(json.loads, row["events"]):
            self.events[event["kind"]] += 1
            if event["kind"] == "skipped":
                self.skipped[operations[event["operation"]]] += 1
        self.pasted.update(i["class_name"] for i in row["instances"] if i["origin"] == "pasted")

    def operations(self) -> tuple[OperationCount, ...]:
        """The counts by kind of operation, sorted by name."""
        return tuple(
            OperationCount(name, count, count - self.skipped[name], self.skipped[name])
            for name, count in sorted(self.planned.items())
        )


def _tally(instances: list[dict[str, Any]], size: tuple[int, int]) -> Tally:
    """The objects that the record of a sample lists."""
    return Tally(
        classes=np.array([i["class_id"] for i in instances], np.int64),
        visible=np.array([i["visible_fraction"] for i in instances], np.float64),
        areas=np.array([i["area"] for i in instances], np.float64),
        pixels=size[0] * size[1],
    )


def _recent_rate(out: OutputFolder, committed: list[int], shard_size: int) -> float | None:
    """Samples per second over the last commits, by the times of their records.

    A pause between two attempts is far longer than the time between two commits; it ends the
    stretch that is looked at.
    """
    times = []
    for shard in committed:
        try:
            times.append(out.manifest(shard).stat().st_mtime)
        except FileNotFoundError:
            continue  # a job that runs failed samples again took it away just now
    times = sorted(times)[-RECENT_COMMITS:]
    if len(times) < 2:
        return None
    gaps = [later - earlier for earlier, later in pairwise(times)]
    usual = sorted(gaps)[len(gaps) // 2]
    stretch = 0.0
    counted = 0
    for gap in reversed(gaps):
        if gap > 10 * usual:
            break
        stretch += gap
        counted += 1
    return counted * shard_size / stretch if stretch > 0 else None
