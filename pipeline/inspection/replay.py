"""Making a sample again from its record, to see where it came from and that it still does.

Shape legend: H x W pixels.
"""

import json
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from hdmodel.checkpoint import generator_hash, read_checkpoint_config
from hdmodel.errors import CheckpointError, HdsynthError
from pipeline.checkpoints import choose_checkpoint
from pipeline.config import RenderConfig
from pipeline.donors.bank import DonorBank, donor_photo_reader
from pipeline.editing.recompose import Recomposed
from pipeline.errors import DatasetError, OutputError
from pipeline.exemplars.catalogue import Catalogue
from pipeline.inspection.files import json_text, write_pictures, write_texts
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import FAILED, StyleChoice, digest
from pipeline.output.results import RunResults
from pipeline.output.store import ORIGIN
from pipeline.output.targets import check_new
from pipeline.planning.plan import PlanRow, count_samples, read_shard_plan
from pipeline.rendering.compose import compose_sample
from pipeline.rendering.composer import make_composer
from pipeline.rendering.composite import Composite
from pipeline.rendering.photo import FinishedPhoto, finish_photo
from pipeline.scene import Photo, Scene
from pipeline.sources import open_source
from pipeline.sources.reading import SceneReader, photo_reader
from pipeline.styles.style import choose_style

if TYPE_CHECKING:
    from pipeline.rendering.generator import GeneratorSpec

Maps = Literal["identical", "stored ones damaged", "not recorded"]


@dataclass(frozen=True, slots=True)
class PhotoComparison:
    """How a photo that was rendered again compares with the recorded one."""

    identical: bool
    max_abs_difference: int | None
    """In steps of 0..255; None where the stored photo cannot be read."""
    mean_abs_difference: float | None
    device: str | None
    """What rendered it this time; None for composites of real pixels alone."""
    dtype: str | None
    same_generator: bool | None
    """Whether the checkpoint's weights are those of the run; None if no generator was needed."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What came of making a sample again."""

    index: int
    scene: str
    to: Path
    was_failed: bool
    """Whether the run recorded the sample as failed."""
    recorded_error: str | None
    error: str | None
    """What fails this time, if something does; then nothing beyond that phase is written."""
    maps: Maps | None
    """How label and instance compare with the recorded ones; None if they could not be made."""
    photo: PhotoComparison | None
    """None if it was not rendered, now or by the run."""
    files: tuple[str, ...]
    """Names of the files in `to`."""


class Replayer:
    """Makes samples of a run again: its dataset, its programs, at its size.

    Args:
        path: The output folder.

    Raises:
        OutputError: The folder is not an output of hdsynth.
        DatasetError: The dataset is no longer where the run read it, or the run's donor bank is
            damaged.
        TaxonomyError: The dataset is itself an output, and now one with other classes.
    """

    def __init__(self, path: str | Path) -> None:
        self.folder = OutputFolder(Path(path))
        self.record = self.folder.read_config()
        self.config = RenderConfig.parse(self.record["config"], origin=str(self.folder.config))
        self.taxonomy = self.folder.read_taxonomy()
        # The run's own copy: its file may be gone, and a shipped one may have changed since.
        taxonomy = {"taxonomy": str(self.folder.taxonomy)}
        self._source = open_source(self.config.dataset.model_copy(update=taxonomy))
        self._read = SceneReader(
            self._source, self.taxonomy, size=self.config.size, mode=self.config.fit
        )
        self._bank = DonorBank.open(self.folder.donors)

    def source(self, scene: str) -> Scene:
        """A source scene's maps, fitted to the size of the run.

        Raises:
            DatasetError: One of its files cannot be used.
        """
        return self._read(scene)

    def compose(self, row: PlanRow) -> Recomposed:
        """The edited maps of a sample.

        Raises:
            DatasetError: A file of the scene cannot be used.
        """
        return compose_sample(row, self._read, self._bank.cutout, self.taxonomy)

    def compose_photo(self, row: PlanRow) -> Composite:
        """The photo of a sample, as far as real pixels go, of a run that copies some.

        Raises:
            DatasetError: A photo that it takes pixels from cannot be used.
            OutputError: The run's catalogue of exemplars is needed, and cannot be read.
        """
        composer = make_composer(
            self.config.photo,
            self._bank.cutout,
            SceneReader(
                self._source,
                self.taxonomy,
                size=self.config.size,
                mode=self.config.fit,
                photo=self.config.photo.is_composite,
            ),
            read_donors=self.donor_photos(),
            read_exemplars=self._exemplars(),
            catalogue=partial(Catalogue.open, self.folder.exemplars),
            taxonomy=self.taxonomy,
            generator=self.config.generator.checkpoint is not None,
            seed=self.config.seed,
            threads=os.cpu_count() or 1,
        )
        _, composite = composer.compose(row.parsed_program(), index=row.index)
        return composite

    def photos(self) -> SceneReader:
        """A reader of the source scenes with their photos."""
        return photo_reader(
            self._source, self.taxonomy, size=self.config.size, mode=self.config.fit
        )

    def _exemplars(self) -> SceneReader | None:
        """A reader of the scenes that pixels are copied from, unless `photos` reads them."""
        photo = self.config.photo
        if photo.is_composite and not photo.exemplars:
            return None
        source = self._source
        if photo.exemplars:
            taxonomy = {"taxonomy": str(self.folder.taxonomy)}
            source = open_source(self.config.exemplar_dataset().model_copy(update=taxonomy))
        return SceneReader(
            source, self.taxonomy, size=self.config.size, mode=self.config.fit, photo=True
        )

    def donor_photos(self) -> SceneReader | None:
        """The same for the scenes of donors; None if they are of the same dataset.

        Raises:
            DatasetError: The dataset of the donors is no longer where it was.
        """
        if self.config.recompose.donors is None:
            return None
        return donor_photo_reader(self._bank)


def replay(
    path: str | Path, index: int, *, to: Path, device: str | None = None, photo: bool = True
) -> ReplayReport:
    """Make one sample of a run again and compare it with what the run recorded.

    Args:
        path: The output folder.
        index: The sample's number.
        to: A new or empty folder for the sample's files.
        device: What renders the photo; the run's setting if none is given. Photos come out
            identical only on the same kind of device.
        photo: Whether to render the photo too.

    Raises:
        OutputError: There is no such sample, it is not committed, or `to` holds something.
        DatasetError: The dataset is gone, or its files no longer give the recorded maps.
        InputError: Taxonomy, generator or device cannot be used.
    """
    folder = OutputFolder(Path(path))
    folder.read_config()
    check_new(to)
    row, record = find_sample(folder, index)
    replayer = Replayer(path)
    was_failed = record["status"] == FAILED
    recorded_error = f"{record['error_kind']}: {record['error']}" if was_failed else None
    files = {"program.json": json_text(json.loads(row.program)), "record.json": json_text(record)}
    try:
        source = replayer.source(row.scene)
        made = replayer.compose(row)
    except Exception as failure:
        # What failed in the run may fail again: that is the answer then, and not an error.
        if record["error_kind"] not in ("read", "compose"):
            raise
        write_texts(to, files)
        kind = "read" if isinstance(failure, DatasetError) else "compose"
        return ReplayReport(
            index=index,
            scene=row.scene,
            to=to,
            was_failed=True,
            recorded_error=recorded_error,
            error=f"{kind}: {failure}",
            maps=None,
            photo=None,
            files=tuple(sorted(files)),
        )
    maps = _compare_maps(replayer, record, made)
    finished, comparison, error = None, None, None
    if photo:
        composite = replayer.compose_photo(row) if replayer.config.photo.is_copied else None
        finished, comparison, error = _photo(
            replayer, record, made, composite=composite, device=device
        )
    write_texts(to, files)
    names = [*files, *write_pictures(to, source, made, finished, replayer.taxonomy)]
    return ReplayReport(
        index=index,
        scene=row.scene,
        to=to,
        was_failed=was_failed,
        recorded_error=recorded_error,
        error=error,
        maps=maps,
        photo=comparison,
        files=tuple(sorted(names)),
    )


def find_sample(folder: OutputFolder, index: int) -> tuple[PlanRow, dict[str, Any]]:
    """The plan row and the record of a sample.

    Raises:
        OutputError: There is no such sample, or its shard is not committed.
    """
    samples = count_samples(folder.plan)
    if not 0 <= index < samples:
        raise OutputError(f"{folder.root}: no sample {index}; the run has samples 0..{samples - 1}")
    results = RunResults(folder)
    shard = index // results.store.shard_size
    row = next(row for row in read_shard_plan(folder.plan, shard) if row.index == index)
    return row, results.row(index)


def _compare_maps(replayer: Replayer, record: dict[str, Any], made: Recomposed) -> Maps:
    """Compare with the recorded hashes and, where they differ, with the stored pixels.

    Raises:
        DatasetError: The maps come out differently than the recorded ones.
    """
    if record["error_kind"] in ("read", "compose"):
        return "not recorded"
    new: dict[str, npt.NDArray[np.integer]] = {
        "label": made.scene.label,
        "instance": made.scene.instance,
    }
    results = RunResults(replayer.folder)
    index = record["index"]
    stored = {name: results.readable(name, index) for name in new}
    differs = [name for name in new if digest(new[name]) != record[f"{name}_sha256"]]
    if not differs:
        if ORIGIN in results.store.arrays:
            new[ORIGIN], stored[ORIGIN] = made.origin, results.readable(ORIGIN, index)
        intact = all(
            pixels is not None and np.array_equal(pixels, new[name])
            for name, pixels in stored.items()
        )
        return "identical" if intact else "stored ones damaged"
    details = "; ".join(_difference(name, new[name], stored[name]) for name in differs)
    versions = replayer.record.get("versions", {})
    raise DatasetError(
        f"{replayer.config.dataset.root}: sample {record['index']} no longer comes out as recorded "
        f"({details}); scene {record['scene']!r} or one of its donors has changed since the run, "
        f"or this is not the hdsynth that made it ({versions.get('hdsynth', 'version unknown')})"
    )


def _difference(
    name: str, new: npt.NDArray[np.integer], stored: npt.NDArray[np.integer] | None
) -> str:
    if stored is None:
        return f"{name} has another hash, and the stored one cannot be read"
    if stored.shape != new.shape:
        return f"{name} is {new.shape}, stored is {stored.shape}"
    unequal = new != stored
    count = int(np.count_nonzero(unequal))
    if not count:
        return f"{name} has another hash than its record"
    row, column = (int(value) for value in np.argwhere(unequal)[0])
    return (
        f"{name} differs at {count} of {new.size} pixels, first at row {row}, column {column}: "
        f"{new[row, column]}, stored {stored[row, column]}"
    )


def _photo(
    replayer: Replayer,
    record: dict[str, Any],
    made: Recomposed,
    *,
    composite: Composite | None,
    device: str | None,
) -> tuple[FinishedPhoto | None, PhotoComparison | None, str | None]:
    """The photo, how it compares with the recorded one if there is one, or what fails."""
    settings = replayer.config.generator
    spec: GeneratorSpec | None = None
    recorded: tuple[StyleChoice, ...] = ()
    if composite is None or composite.missing.any():
        if composite is not None and settings.checkpoint is None:
            return None, None, "render: some pixels are in no photo, and there is no generator"
        spec, recorded = _generator(replayer, record, device=device)
    try:
        finished = finish_photo(made, composite, spec, index=record["index"], styles=recorded)
    except Exception as error:
        # What failed in the run may fail again: that is the answer then, and not an error.
        if record["status"] != FAILED:
            raise
        if isinstance(error, DatasetError):
            return None, None, f"read: {error}"
        if isinstance(error, HdsynthError):
            raise
        return None, None, f"render: {type(error).__name__}: {error}"
    comparison = _compare(replayer, record, finished.photo)
    if comparison is not None and spec is not None:
        same = generator_hash(spec.checkpoint) == replayer.record["identity"].get("generator_hash")
        comparison = replace(
            comparison,
            device=finished.device,
            dtype=settings.dtype,
            same_generator=same,
        )
    return finished, comparison, None


def _generator(
    replayer: Replayer, record: dict[str, Any], *, device: str | None
) -> "tuple[GeneratorSpec, tuple[StyleChoice, ...]]":
    """The run's generator, and the styles that the run recorded for the sample."""
    from pipeline.rendering.generator import GeneratorSpec

    settings = replayer.config.generator
    checkpoint = choose_checkpoint(settings.checkpoint, replayer.taxonomy)
    # Samples that failed early have no styles in their record, older outputs no such column.
    recorded = tuple(StyleChoice(**row) for row in record.get("styles") or ())
    features = read_checkpoint_config(checkpoint).generator.feature_channels
    if recorded and len(recorded[0].vector) != features:
        raise CheckpointError(
            f"{checkpoint}: the generator reads {features} feature channels, "
            f"expected {len(recorded[0].vector)} as in the run"
        )
    style = None
    if not recorded:
        style = choose_style(
            replayer.config.style, checkpoint, taxonomy=replayer.taxonomy, seed=replayer.config.seed
        )
    spec = GeneratorSpec(
        checkpoint,
        settings.model_copy(update={"device": device or settings.device}),
        style,
        replayer.photos(),
        replayer.donor_photos() if style is not None and style.reads_photos else None,
    )
    return spec, recorded


def _compare(replayer: Replayer, record: dict[str, Any], photo: Photo) -> PhotoComparison | None:
    """How a photo compares with the recorded one; None where the run has none."""
    if record["status"] == FAILED:
        return None
    stored = RunResults(replayer.folder).readable("photo", record["index"])
    difference = None if stored is None else np.abs(photo.astype(np.int16) - stored)
    return PhotoComparison(
        identical=digest(photo) == record["photo_sha256"],
        max_abs_difference=None if difference is None else int(difference.max()),
        mean_abs_difference=None if difference is None else float(difference.mean()),
        device=None,
        dtype=None,
        same_generator=None,
    )
