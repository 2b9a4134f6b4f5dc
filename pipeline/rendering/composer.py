"""Who composes samples together with their photos, as far as real pixels go."""

from typing import Protocol

from pipeline.config import PhotoConfig
from pipeline.editing.operations import Donors
from pipeline.editing.recompose import Recomposed
from pipeline.exemplars.catalogue import Catalogue
from pipeline.planning.plan import PlanRow
from pipeline.rendering.composite import Composite, Compositor
from pipeline.rendering.exemplar import ExemplarDrawer
from pipeline.sources.reading import SceneReader
from pipeline.taxonomy import Taxonomy


class Composer(Protocol):
    """Composes samples with their photos."""

    def compose(self, row: PlanRow) -> tuple[Recomposed, Composite]:
        """The edited maps of a sample, and its photo as far as real pixels go.

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
    catalogue: Catalogue,
    taxonomy: Taxonomy,
    generator: bool,
    seed: int,
) -> Composer:
    """A composer for composites, or for photos drawn from exemplars alone.

    Args:
        photo_config: Which.
        shapes: Finds the shapes of donors.
        read: Reads the scenes of the job; those of composites with photos.
        read_donors: Reads the scenes of donors; as `read` if there is none.
        read_exemplars: Reads the scenes of the catalogue; as `read` if there is none.
        catalogue: What is where in the photos that pixels are copied from.
        taxonomy: Of all these scenes.
        generator: Whether there is one, which draws what no photo shows.
        seed: The run's seed.
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
        )
    return ExemplarDrawer(
        shapes,
        read,
        read_exemplars=read_exemplars or read,
        catalogue=catalogue,
        photo_config=photo_config,
        taxonomy=taxonomy,
        generator=generator,
        seed=seed,
    )
