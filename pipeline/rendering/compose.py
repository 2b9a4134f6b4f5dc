"""Composing: from the plan of a shard to its edited label and instance maps.

Shape legend: S samples of a shard, H x W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from pipeline.editing.operations import Donors
from pipeline.editing.recompose import Event, InstanceRecord, Recomposed, recompose
from pipeline.errors import DatasetError
from pipeline.output.manifest import Failure
from pipeline.planning.plan import PlanRow
from pipeline.rendering.composer import Composer
from pipeline.scene import Photo
from pipeline.sources.reading import SceneReader
from pipeline.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class ComposedSample:
    """What composing says of a sample."""

    row: PlanRow
    instances: tuple[InstanceRecord, ...] = ()
    events: tuple[Event, ...] = ()
    exemplars: tuple[str, ...] = ()
    """The other scenes from which holes of its photo were filled."""
    failure: Failure | None = None
    seconds_read: float = 0.0
    seconds_compose: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class ComposedShard:
    """The edited maps of a shard; those of failed samples are zero."""

    shard: int
    samples: tuple[ComposedSample, ...]
    label: npt.NDArray[np.unsignedinteger]
    """Class ids [S, H, W]."""
    instance: npt.NDArray[np.int32]
    """Instance ids [S, H, W]."""
    origin: npt.NDArray[np.uint16]
    """Which operation put a pixel there, as in `Recomposed` [S, H, W]."""
    photo: Photo | None = None
    """Of composites: RGB, uint8 [S, H, W, 3], as far as real pixels go."""
    pixel_source: npt.NDArray[np.uint8] | None = None
    """Of composites: where each pixel is from, or that it is not drawn yet [S, H, W]."""

    @property
    def nbytes(self) -> int:
        """Bytes of the maps and photos."""
        size = self.label.nbytes + self.instance.nbytes + self.origin.nbytes
        if self.photo is not None and self.pixel_source is not None:
            size += self.photo.nbytes + self.pixel_source.nbytes
        return size


def compose_sample(
    row: PlanRow, read: SceneReader, donors: Donors, taxonomy: Taxonomy
) -> Recomposed:
    """Apply the program of a sample to its scene.

    Raises:
        DatasetError: A file of the scene cannot be used, or a donor's scene is unknown.
    """
    return recompose(row.parsed_program(), read(row.scene), donors, taxonomy=taxonomy)


def compose_shard(
    shard: int,
    rows: Sequence[PlanRow],
    read: SceneReader,
    donors: Donors,
    taxonomy: Taxonomy,
    *,
    composer: Composer | None = None,
) -> ComposedShard:
    """Compose the samples of a shard; one that fails is recorded, and its neighbours go on.

    Args:
        shard: The shard's number.
        rows: Its samples.
        read: Reads scenes; with photos, if the composer needs them.
        donors: Finds the shapes of donors.
        taxonomy: Of all scenes.
        composer: Composes the photos too.
    """
    height, width = read.size
    photo = pixel_source = None
    if composer is not None:
        photo = np.zeros((len(rows), height, width, 3), np.uint8)
        pixel_source = np.zeros((len(rows), height, width), np.uint8)
    label = np.zeros((len(rows), height, width), taxonomy.label_dtype)
    instance = np.zeros((len(rows), height, width), np.int32)
    origin = np.zeros((len(rows), height, width), np.uint16)
    samples = []
    for position, row in enumerate(rows):
        failure: Failure | None = None
        instances: tuple[InstanceRecord, ...] = ()
        events: tuple[Event, ...] = ()
        exemplars: tuple[str, ...] = ()
        start, read_before = perf_counter(), read.seconds
        try:
            if composer is None or photo is None or pixel_source is None:
                made = compose_sample(row, read, donors, taxonomy)
            else:
                made, composite = composer.compose(row.parsed_program(), index=row.index)
                photo[position], pixel_source[position] = composite.photo, composite.source
                exemplars = composite.exemplars
        except DatasetError as error:
            failure = Failure("read", str(error))
        except Exception as error:  # noqa: BLE001 - whatever a sample breaks is recorded with it
            failure = Failure("compose", f"{type(error).__name__}: {error}")
        else:
            label[position] = made.scene.label
            instance[position] = made.scene.instance
            origin[position] = made.origin
            instances, events = made.instances, made.log
        seconds_read = read.seconds - read_before
        seconds_compose = perf_counter() - start - seconds_read
        samples.append(
            ComposedSample(
                row, instances, events, exemplars, failure, seconds_read, seconds_compose
            )
        )
    return ComposedShard(shard, tuple(samples), label, instance, origin, photo, pixel_source)
