"""The faithfulness filter: which pixels and objects of a run to keep out of a training.

Two passes over real photos find what the scorer is used to; one over the rendered photos writes
the array `faithful` beside the labels, and verdicts on objects into the manifests.

Shape legend: S samples of a shard, H x W pixels.
"""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from apache_beam.utils.shared import Shared
from zarr.codecs import ZstdCodec

from eval.confusion import VOID
from eval.errors import EvalError
from eval.job import EvalSpec, LoadedScorer, Subject, Task, load, subjects
from eval.mapping import ClassMapping
from eval.measures.faithful import (
    FACTOR,
    UNFAITHFUL,
    UNJUDGED,
    ClassLosses,
    ObjectShare,
    ShareLimits,
    faithful_mask,
    is_faithful,
    object_shares,
    share_limits,
)
from hdmodel.atomic import write_atomically
from hdmodel.errors import HdsynthError
from pipeline.errors import RunError
from pipeline.fit import photos_per_batch
from pipeline.output.folder import OutputFolder
from pipeline.output.results import RunResults
from pipeline.output.store import ARRAY_CONFIG, ZSTD_LEVEL, write_rows
from pipeline.progress import progress_bar, watching
from pipeline.rendering.runner import JobRunner

ARRAY = COLUMN = "faithful"
VERDICT_TYPE = pa.list_(
    pa.struct([("id", pa.int32()), ("unfaithful_share", pa.float32()), ("faithful", pa.bool_())])
)


@dataclass(frozen=True, slots=True)
class FilterSummary:
    """What a filter found."""

    factor: float
    class_losses: dict[str, float | None]
    """Mean loss of each class on real photos."""
    limits: dict[str, Any]
    """Shares of unfaithful pixels above which an object is unfaithful, by class and size."""
    judged_pixels: int
    unfaithful_pixels: int
    judged_objects: int
    unfaithful_objects: int


Step = Callable[["FilterSpec", Task, LoadedScorer], dict[str, Any]]
"""Works on a task and gives what the driver is to know of it."""


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """What the workers of a pass are told."""

    spec: EvalSpec
    results: Path
    """Folder for what tasks report to the driver."""
    train_ids: npt.NDArray[np.uint8]
    """From evaluated classes to train ids of the scorer, uint8 [256]."""
    factor: float
    means: npt.NDArray[np.float64] | None = None
    limits: ShareLimits | None = None

    def result(self, task: Task) -> Path:
        """The report of a task."""
        return self.results / f"{task.side}-{task.number:05d}.json"


def check_filter(spec: EvalSpec) -> npt.NDArray[np.uint8]:
    """Check that a filter can be written, and give the scorer's train id of each class.

    Raises:
        EvalError: Labels and predictions have different sizes, or classes do not match one to one.
    """
    protocol = spec.protocol
    if not protocol.rendered_size == protocol.score_size == protocol.input_size:
        raise EvalError(
            "--write-filter: the scorer must see photos at the size of their labels, "
            f"{protocol.rendered_size[0]}x{protocol.rendered_size[1]}; use --protocol as-rendered "
            "and no --input-size"
        )
    return scorer_train_ids(spec.mapping)


def scorer_train_ids(mapping: ClassMapping) -> npt.NDArray[np.uint8]:
    """From evaluated classes to train ids of the scorer, uint8 [256]; void stays void.

    Raises:
        EvalError: Several classes of the scorer stand for one of the data.
    """
    table = np.full(256, VOID, np.uint8)
    for train_id in np.flatnonzero(mapping.prediction_table != VOID):
        evaluated = mapping.prediction_table[train_id]
        if table[evaluated] != VOID:
            raise EvalError(
                f"--write-filter: several classes of the scorer stand for "
                f"{mapping.names[evaluated]!r}, expected one"
            )
        table[evaluated] = train_id
    return table


class FilterShard(beam.DoFn):
    """Does one step of the filter for a task and writes down what the driver is to know."""

    def __init__(self, given: FilterSpec, step: Step) -> None:
        self._given = given
        self._step = step
        self._shared = Shared()

    def setup(self) -> None:
        """Load the scorer, once per process."""
        self._loaded: LoadedScorer = self._shared.acquire(lambda: load(self._given.spec))

    def process(self, task: Task) -> Iterator[int]:
        """Do the step for one task; yields its number."""
        try:
            found = self._step(self._given, task, self._loaded)
        except HdsynthError as error:
            found = {"error": str(error)}
        write_atomically(self._given.result(task), json.dumps(found).encode())
        yield task.number


def measure_losses(given: FilterSpec, task: Task, loaded: LoadedScorer) -> dict[str, Any]:
    """The first step: sums of the losses of each class on real photos."""
    total = ClassLosses.none()
    for _, losses, train_ids in _losses(given, task, loaded):
        total += ClassLosses.of(losses, train_ids)
    return {"total": total.total.tolist(), "pixels": total.pixels.tolist()}


def measure_objects(given: FilterSpec, task: Task, loaded: LoadedScorer) -> dict[str, Any]:
    """The second step: how much of each real object is above its class's limit."""
    shares = []
    for subject, losses, train_ids in _losses(given, task, loaded):
        assert given.means is not None
        mask = faithful_mask(losses, train_ids, given.means, factor=given.factor)
        shares += [
            [s.instance, s.class_id, s.pixels, s.unfaithful]
            for s in object_shares(mask, subject.scene.instance)
            if s.pixels
        ]
    return {"shares": shares}


def write_shard(given: FilterSpec, task: Task, loaded: LoadedScorer) -> dict[str, Any]:
    """The third step: the masks of a shard, then its verdicts: with them the shard is filtered."""
    assert given.means is not None
    assert given.limits is not None
    out = given.spec.out
    store = RunResults(out).store
    rows = store.shard_rows(task.number)
    masks = np.full((rows.stop - rows.start, *store.size), UNJUDGED, np.uint8)
    verdicts: dict[int, list[dict[str, Any]]] = {}
    for subject, losses, train_ids in _losses(given, task, loaded):
        mask = faithful_mask(losses, train_ids, given.means, factor=given.factor)
        masks[subject.index - rows.start] = mask
        verdicts[subject.index] = [
            {
                "id": share.instance,
                "unfaithful_share": share.unfaithful if share.pixels else None,
                "faithful": is_faithful(share, given.limits),
            }
            for share in object_shares(mask, subject.scene.instance)
        ]
    array = zarr.open_group(out.data, mode="r+")[ARRAY]
    assert isinstance(array, zarr.Array)
    write_rows(array.with_config(ARRAY_CONFIG), task.number, rows, masks)
    add_verdicts(out.manifest(task.number), verdicts)
    judged = [v["faithful"] for found in verdicts.values() for v in found]
    return {
        "judged_pixels": int(np.count_nonzero(masks != UNJUDGED)),
        "unfaithful_pixels": int(np.count_nonzero(masks == UNFAITHFUL)),
        "judged_objects": sum(verdict is not None for verdict in judged),
        "unfaithful_objects": sum(verdict is False for verdict in judged),
    }


def _losses(
    given: FilterSpec, task: Task, loaded: LoadedScorer
) -> Iterator[tuple[Subject, npt.NDArray[np.float32], npt.NDArray[np.uint8]]]:
    """The scenes of a task with the losses of their pixels and their train ids [H, W]."""
    spec = given.spec
    waiting = subjects(spec, task)
    size = photos_per_batch(spec.batch_pixels, spec.protocol.input_size)
    while batch := list(islice(waiting, size)):
        photos = np.stack([s.scene.photo for s in batch if s.scene.photo is not None])
        labels = np.stack([s.scene.label for s in batch])
        train_ids = given.train_ids[spec.mapping.target(labels)]
        losses = loaded.scorer.losses(photos, train_ids)
        yield from zip(batch, losses, train_ids, strict=True)


def add_verdicts(path: Path, verdicts: dict[int, list[dict[str, Any]]]) -> None:
    """Add the column `faithful` to a manifest, atomically; an earlier one is replaced.

    Args:
        path: The manifest.
        verdicts: Of the objects of each sample, by its number; others get null.
    """
    table = pq.read_table(path, use_threads=False)
    if COLUMN in table.column_names:
        table = table.drop_columns([COLUMN])
    column = [verdicts.get(index) for index in table["index"].to_pylist()]
    table = table.append_column(pa.field(COLUMN, VERDICT_TYPE), pa.array(column, VERDICT_TYPE))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())


def create_array(out: OutputFolder, *, about: dict[str, Any]) -> None:
    """Create the array `faithful` [N, H, W] where it is not yet; all of it is not judged.

    Args:
        out: The run.
        about: Attributes: how it is made.
    """
    store = RunResults(out).store
    group = zarr.open_group(out.data, mode="r+")
    if ARRAY not in group:
        group.create_array(
            ARRAY,
            shape=(store.samples, *store.size),
            shards=(store.shard_size, *store.size),
            chunks=(1, *store.size),
            dtype=np.uint8,
            compressors=ZstdCodec(level=ZSTD_LEVEL, checksum=True),
            fill_value=UNJUDGED,
            dimension_names=("sample", "y", "x"),
            config=ARRAY_CONFIG,
        )
    group[ARRAY].attrs.put(about)


def write_filter(
    spec: EvalSpec,
    tasks: Sequence[Task],
    *,
    results: Path,
    runner: JobRunner,
    workers: int,
    factor: float = FACTOR,
) -> FilterSummary:
    """Calibrate on the real photos, then write masks and verdicts for the rendered ones.

    Args:
        spec: The evaluation.
        tasks: Its tasks, of both sides.
        results: An empty folder for what the workers report.
        runner: What the passes run on.
        workers: Worker processes here.
        factor: A pixel is unfaithful above so many times its class's mean loss on real photos.

    Raises:
        EvalError: A photo cannot be read, or the scorer gives no losses.
        RunError: A pass stopped.
    """
    train_ids = check_filter(spec)
    real = [task for task in tasks if task.side == "real"]
    rendered = [task for task in tasks if task.side == "rendered"]

    def run(step: Step, todo: Sequence[Task], title: str, **known: Any) -> list[dict[str, Any]]:
        folder = results / step.__name__
        folder.mkdir(parents=True, exist_ok=True)
        given = FilterSpec(spec, folder, train_ids, factor, **known)
        return _run(given, step, todo, title, runner=runner, workers=workers)

    losses = ClassLosses.none()
    for found in run(measure_losses, real, "measuring losses"):
        losses += ClassLosses(np.array(found["total"]), np.array(found["pixels"]))
    means = losses.means
    shares = [
        ObjectShare(*share)
        for found in run(measure_objects, real, "measuring objects", means=means)
        for share in found["shares"]
    ]
    limits = share_limits(shares)
    named = {
        name: None if np.isnan(mean) else float(mean)
        for name, mean in zip(
            spec.mapping.names, means[train_ids[: spec.mapping.num_classes]], strict=True
        )
    }
    create_array(
        spec.out,
        about={
            "values": {"0": "unfaithful", "1": "faithful", "255": "not judged"},
            "factor": factor,
            "scorer": spec.protocol.scorer,
            "class_losses": named,
            "object_limits": limits.to_plain(),
        },
    )
    counts = run(write_shard, rendered, "filtering shards", means=means, limits=limits)
    totals = {key: sum(found[key] for found in counts) for key in counts[0]}
    return FilterSummary(factor, named, limits.to_plain(), **totals)


def _run(
    given: FilterSpec,
    step: Step,
    tasks: Sequence[Task],
    title: str,
    *,
    runner: JobRunner,
    workers: int,
) -> list[dict[str, Any]]:
    """Run a pass and read what its tasks report, in order."""

    def done() -> int:
        return sum(given.result(task).is_file() for task in tasks)

    def build(pipeline: beam.Pipeline) -> object:
        return (
            pipeline
            | "Tasks" >> beam.Create(list(tasks), reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "Filter" >> beam.ParDo(FilterShard(given, step))
        )

    with progress_bar(title, len(tasks)) as advance, watching(done, advance):
        try:
            runner.run(build, workers=min(workers, len(tasks)))
        except RunError as error:
            raise RunError(f"{given.spec.out.root}: the filter stopped: {error}") from error
    found = []
    for task in tasks:
        path = given.result(task)
        if not path.is_file():
            raise EvalError(f"{path}: was not written; run the same command again")
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if "error" in result:
            raise EvalError(result["error"])
        found.append(result)
    return found
