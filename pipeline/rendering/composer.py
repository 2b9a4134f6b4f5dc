"""Who composes samples together with their photos, as far as real pixels go."""

from collections.abc import Callable
from typing import Protocol

from hdmodel.errors import ConfigError
from pipeline.config import PhotoConfig
from pipeline.editing.operations import Donors
from pipeline.editing.program import Program
from pipeline.editing.recompose import Recomposed
from pipeline.errors import DatasetError
from pipeline.exemplars.catalogue import Catalogue
from pipeline.rendering.composite import Composite, Compositor
from pipeline.rendering.exemplar import ExemplarDrawer
from pipeline.sources import DatasetConfig, Source, open_source
from pipeline.sources.config import ZARR_FORMAT
from pipeline.sources.photos import scenes_with_photos
from pipeline.sources.reading import SceneReader
from pipeline.taxonomy import Taxonomy


class Composer(Protocol):
    """Composes samples with their photos."""

    def compose(self, program: Program, *, index: int) -> tuple[Recomposed, Composite]:
        """The edited maps of a sample, and its photo as far as real pixels go.

        Args:
            program: Its edits.
            index: Its number; with the run's seed it keys what is drawn at random.

        Raises:
            DatasetError: A file of a scene cannot be used.
        """


def make_composer(
    photo_config: PhotoConfig,
    shapes: Donors,
    read: SceneReader,
    *,
    read_donors: SceneReader | None,
    read_exemplars: SceneReader | None,
    catalogue: Callable[[], Catalogue],
    taxonomy: Taxonomy,
    generator: bool,
    seed: int,
    threads: int,
) -> Composer:
    """A composer for composites, or for photos drawn from exemplars alone.

    Args:
        photo_config: Which.
        shapes: Finds the shapes of donors.
        read: Reads the scenes of the job; those of composites with photos.
        read_donors: Reads the scenes of donors; as `read` if there is none.
        read_exemplars: Reads the scenes of the catalogue; as `read` if there is none.
        catalogue: Tells what is where in the photos that pixels are copied from; composites ask for
            it only when their own photo is not enough.
        taxonomy: Of all these scenes.
        generator: Whether there is one, which draws what no photo shows.
        seed: The run's seed.
        threads: How many work on one photo; they change nothing.
    """
    if photo_config.is_composite:
        return Compositor(
            shapes,
            read,
            read_donors=read_donors,
            read_exemplars=read_exemplars,
            catalogue=catalogue,
            photo_config=photo_config,
            taxonomy=taxonomy,
            seed=seed,
            threads=threads,
        )
    return ExemplarDrawer(
        shapes,
        read,
        read_exemplars=read_exemplars or read,
        catalogue=catalogue(),
        photo_config=photo_config,
        taxonomy=taxonomy,
        generator=generator,
        seed=seed,
        threads=threads,
    )


def open_exemplars(photo_config: PhotoConfig, dataset: DatasetConfig, source: Source) -> Source:
    """The dataset whose scenes with photos are those that pixels are copied from.

    Args:
        photo_config: Which.
        dataset: The job's own.
        source: Its scenes.

    Raises:
        ConfigError: It does not have the classes of the job's own.
        DatasetError: It is not there, or has no photos.
    """
    dataset = photo_config.exemplar_dataset(dataset)
    try:
        found = open_source(dataset) if photo_config.exemplars else source
    except DatasetError as error:
        raise DatasetError(f"photo.exemplars: {error}") from None
    if found.taxonomy.fingerprint != source.taxonomy.fingerprint:
        raise ConfigError(
            f"photo.exemplars: {dataset.root} has taxonomy {found.taxonomy.name!r}, the job's "
            f"dataset has {source.taxonomy.name!r}"
        )
    if photo_config.mode == "exemplar" and dataset.format == ZARR_FORMAT:
        raise ConfigError(
            f"photo exemplar: {dataset.root} is an output of hdsynth, in which several samples may "
            "show the same photo; expected the dataset that it was made of (photo.exemplars)"
        )
    where = f"{dataset.root}{f' split {dataset.split!r}' if dataset.split else ''}"
    missing = DatasetError(
        f"photo {photo_config.mode}: {where} has no photos to copy from; see photo.exemplars"
    )
    scenes_with_photos(found, otherwise=missing, where=where)
    return found
