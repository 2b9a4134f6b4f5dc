"""The Beam job of an evaluation: numbers of shards in, committed counts out.

Shape legend: B photos of a batch, H x W pixels.
"""

import hashlib
import json
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from eval.counts import CountsFolder, ImageCounts, Side, commit_counts, count_image
from eval.errors import EvalError
from eval.mapping import ClassMapping
from eval.measures.boundaries import band_width
from eval.protocol import ScoreProtocol, resize_map, scored_scene
from hdmodel.allocator import tune_allocator
from hdmodel.atomic import write_atomically
from hdmodel.errors import HdsynthError
from pipeline.devices import Lease, candidate_devices, lease_device
from pipeline.fit import photos_per_batch
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import OK, read_manifest
from pipeline.output.results import RunResults
from pipeline.output.store import PIXEL_SOURCE
from pipeline.scene import Photo, Scene
from pipeline.sources import DatasetConfig, Source
from pipeline.sources.config import is_url
from pipeline.sources.source import find_ref
from pipeline.taxonomy import Taxonomy

NAMESPACE = "hdsynth.eval"
LOCAL_URL = "file://"
COLUMNS = ("index", "scene", "status", "instances")
IDENTITY = ("index", "scene", "status", "label_sha256", "instance_sha256", "photo_sha256")
"""Columns of a manifest that tell the photos of a shard from others."""


class PhotoScorer(Protocol):
    """What the job asks of a scorer; `eval.scorers.scorer.Scorer` is one."""

    @property
    def taxonomy(self) -> Taxonomy:
        """The taxonomy whose train ids it predicts."""

    @property
    def sha256(self) -> str:
        """Of its weights."""

    @property
    def seen(self) -> frozenset[str]:
        """Names of the scenes that it learnt from, as far as they are known."""

    @property
    def pretrained(self) -> frozenset[str] | None:
        """Networks of others whose weights it may have begun with; None if that is not known."""

    def describe(self) -> dict[str, Any]:
        """What it is, for reports."""

    def predict(self, photo: Photo, /) -> npt.NDArray[np.uint8]:
        """Train ids uint8 [B, H, W] of photos uint8 [B, H, W, 3]."""

    def losses(self, photo: Photo, train_ids: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]:
        """Cross entropy float32 [B, H, W] against train ids uint8 [B, H, W]; NaN where ignored."""

    def features(self, photo: Photo, /) -> npt.NDArray[np.float32]:
        """Pooled features float32 [B, F] of photos uint8 [B, H, W, 3]."""

    def feature_maps(self, photo: Photo, /) -> list[npt.NDArray[np.float32]]:
        """Features of each stage of the encoder, float32 [B, C, h, w]."""

    @property
    def features_name(self) -> str:
        """Whose features they are."""


OpenScorer = Callable[[str], PhotoScorer]
"""Loads the scorer onto a device; pickled into the pipeline."""


@dataclass(frozen=True, slots=True)
class Task:
    """A shard of rendered photos, or a block of real ones."""

    side: Side
    number: int


@dataclass(frozen=True, slots=True)
class EvalSpec:
    """All that workers need to know; small, and pickled into the pipeline."""

    out: OutputFolder
    taxonomy: Taxonomy
    real: Source
    real_dataset: DatasetConfig
    """What `real` was opened from, with paths that mean the same everywhere."""
    real_scenes: tuple[str, ...]
    """The scenes to score, in order."""
    block: int
    """Real photos per task."""
    protocol: ScoreProtocol
    mapping: ClassMapping
    open_scorer: OpenScorer
    device: str
    batch_pixels: int
    counts: CountsFolder
    features: str | None = None
    """Whose features to keep of each photo, for distances between sets of photos."""

    def real_block(self, number: int) -> range:
        """Places in `real_scenes` of a block."""
        return range(len(self.real_scenes))[number * self.block : (number + 1) * self.block]

    def fingerprint(self, task: Task) -> str:
        """A hash of the photos of a task and of how they are scored.

        Raises:
            OutputError: The manifest of a shard cannot be read.
        """
        protocol = self.protocol.to_plain()
        del protocol["rendered"], protocol["real"]
        photos: object
        if task.side == "rendered":
            photos = read_manifest(self.out.manifest(task.number), IDENTITY)
        else:
            names = [self.real_scenes[place] for place in self.real_block(task.number)]
            stamps = [[name, *real_stamps(self.real, self.real_dataset, name)] for name in names]
            photos = [self.real_dataset.to_plain(), stamps]
        text = json.dumps([protocol, self.features, photos], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def real_stamps(source: Source, dataset: DatasetConfig, name: str) -> list[list[object]]:
    """Path, size in bytes and time of change in ns of the files of a real scene.

    Of samples of an output of hdsynth it is the manifest of their shard, which changes with them.

    Args:
        source: The dataset.
        dataset: What it was opened from.
        name: The scene.

    Returns:
        A list per file; empty where the files are not local. Size and time of a file that cannot
        be found are None.
    """
    if is_url(dataset.root) and not dataset.root.startswith(LOCAL_URL):
        return []
    top = Path(dataset.root.removeprefix(LOCAL_URL))
    ref = find_ref(source.scenes, name)
    if ref.index is None:
        files = [top / path for path in (ref.label, ref.instance, ref.photo) if path is not None]
    else:
        run = RunResults(top)
        files = [run.folder.manifest(ref.index // run.store.shard_size)]
    return [_stamp(path) for path in files]


def _stamp(path: Path) -> list[object]:
    try:
        found = path.stat()
    except OSError:
        return [str(path), None, None]
    return [str(path), found.st_size, found.st_mtime_ns]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A scene to be scored, and what is known of its objects."""

    index: int
    scene: Scene
    origins: dict[int, str]
    default_origin: str
    pixel_source: npt.NDArray[np.uint8] | None = None
    """Of composites: where pixels come from, uint8 [H, W] at the size of scoring."""


@dataclass(frozen=True, eq=False)  # no slots: Beam shares it by a weak reference
class LoadedScorer:
    """A scorer on its device."""

    scorer: PhotoScorer
    lease: Lease


def load(spec: EvalSpec) -> LoadedScorer:
    """Take a device and load the scorer onto it."""
    tune_allocator()
    lease = lease_device(candidate_devices(spec.device))
    loaded = LoadedScorer(spec.open_scorer(lease.device), lease)
    weakref.finalize(loaded, lease.close)
    return loaded


def subjects(spec: EvalSpec, task: Task) -> Iterator[Subject]:
    """The scenes of a task at the sizes of the protocol, one at a time.

    Raises:
        EvalError: A photo's size does not fit the protocol.
        OutputError: A rendered photo is lost or damaged.
        DatasetError: A file of a real scene cannot be used.
    """
    if task.side == "real":
        for place in spec.real_block(task.number):
            yield _real_subject(spec, place)
        return
    results = RunResults(spec.out)
    for row in results.shard_rows(task.number, COLUMNS):
        if row["status"] == OK:
            yield _rendered_subject(spec, results, row)


def read_subject(spec: EvalSpec, side: Side, index: int) -> Subject:
    """One scene at the sizes of the protocol.

    Args:
        spec: Where scenes are.
        side: Rendered or real.
        index: The sample's number, or the photo's among the real ones.

    Raises:
        EvalError: As for `subjects`.
        DatasetError: As for `subjects`.
    """
    if side == "real":
        return _real_subject(spec, index)
    results = RunResults(spec.out)
    return _rendered_subject(spec, results, results.row(index, COLUMNS))


def _real_subject(spec: EvalSpec, place: int) -> Subject:
    scene = spec.real.read(spec.real_scenes[place])
    return Subject(place, scored_scene(scene, spec.protocol, spec.taxonomy), {}, "real")


def _rendered_subject(spec: EvalSpec, results: RunResults, row: dict[str, Any]) -> Subject:
    index = row["index"]
    photo, label, instance = results.maps(index)
    scene = Scene(row["scene"], label, instance, photo)
    origins = {item["id"]: item["origin"] for item in row["instances"]}
    source = None
    if PIXEL_SOURCE in results.store.arrays:
        source = resize_map(results.pixels(PIXEL_SOURCE, index), spec.protocol.score_size)
    scored = scored_scene(scene, spec.protocol, spec.taxonomy)
    return Subject(index, scored, origins, "source", source)


def score_batch(
    batch: Sequence[Subject], scorer: PhotoScorer, spec: EvalSpec
) -> Iterator[ImageCounts]:
    """Read photos back and compare them with their maps.

    Raises:
        EvalError: The scorer's prediction has another size than the photo.
    """
    photos = np.stack([s.scene.photo for s in batch if s.scene.photo is not None])
    predicted = scorer.predict(photos)
    if predicted.shape != photos.shape[:3]:
        raise EvalError(
            f"the scorer's prediction has the shape {predicted.shape} for photos of "
            f"{photos.shape[:3]}, expected the same"
        )
    features = scorer.features(photos) if spec.features is not None else None
    predictions = resize_map(spec.mapping.prediction(predicted), spec.protocol.score_size)
    band = band_width(spec.protocol.score_size)
    for place, subject in enumerate(batch):
        counts = count_image(
            subject.index,
            subject.scene.name,
            spec.mapping.target(subject.scene.label),
            subject.scene.instance,
            predictions[place],
            mapping=spec.mapping,
            band=band,
            origins=subject.origins,
            default_origin=subject.default_origin,
            pixel_source=subject.pixel_source,
        )
        if features is not None:
            counts.features = features[place]
        yield counts


class ScoreShard(beam.DoFn):
    """Scores the photos of a task and commits their counts."""

    def __init__(self, spec: EvalSpec) -> None:
        self._spec = spec
        self._shared = Shared()

    def setup(self) -> None:
        """Load the scorer, once per process."""
        self._loaded: LoadedScorer = self._shared.acquire(lambda: load(self._spec))

    def process(self, task: Task) -> Iterator[int]:
        """Score one task; yields its number.

        What is wrong with a photo is written down for the driver: engines would wrap an exception
        in pages of their own.
        """
        spec = self._spec
        try:
            # Before files are read: of those that change meanwhile the next run finds out.
            fingerprint = spec.fingerprint(task)
            counts = self._score(task)
        except HdsynthError as error:
            write_atomically(spec.counts.error(task.side, task.number), str(error).encode())
            return
        commit_counts(spec.counts.file(task.side, task.number), counts, fingerprint=fingerprint)
        Metrics.counter(NAMESPACE, f"photos_{task.side}").inc(len(counts))
        yield task.number

    def _score(self, task: Task) -> list[ImageCounts]:
        spec = self._spec
        size = photos_per_batch(spec.batch_pixels, spec.protocol.input_size)
        waiting = subjects(spec, task)
        counts: list[ImageCounts] = []
        while batch := list(islice(waiting, size)):
            counts += score_batch(batch, self._loaded.scorer, spec)
        return counts


def build(pipeline: beam.Pipeline, spec: EvalSpec, tasks: Sequence[Task]) -> object:
    """Add the job for some tasks to a Beam pipeline."""
    return (
        pipeline
        | "Tasks" >> beam.Create(list(tasks), reshuffle=False)
        | "Spread" >> beam.Reshuffle()
        | "Score" >> beam.ParDo(ScoreShard(spec))
    )
