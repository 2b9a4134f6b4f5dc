"""Photos drawn from exemplars alone: every pixel from another photo of a dataset."""

import numpy as np
import numpy.typing as npt

from pipeline.config import PhotoConfig
from pipeline.editing.exposure import LightMeter, class_gains, exposure_gain
from pipeline.editing.operations import Donors
from pipeline.editing.picture import PixelSource
from pipeline.editing.pixels import with_gains
from pipeline.editing.program import Program
from pipeline.editing.recompose import Recomposed, recompose
from pipeline.exemplars.catalogue import Catalogue, cells_of
from pipeline.exemplars.things import Gain, draw_things
from pipeline.exemplars.whole import draw_photo
from pipeline.rendering.composite import Composite, hashed_seed
from pipeline.roles import class_roles
from pipeline.scene import Scene
from pipeline.sources.reading import SceneReader
from pipeline.taxonomy import Taxonomy

CHOSEN = 6
"""Photos that a sample's stuff is drawn from."""


class ExemplarDrawer:
    """Composes samples, and draws their photos from those of other scenes.

    Each scene must have one that is not too near; that is checked before a job begins.

    Args:
        shapes: Finds the shapes of donors.
        read: Reads the scenes of the job.
        read_exemplars: Reads the scenes of the catalogue, with photos.
        catalogue: What is where in them.
        photo_config: Which scenes are too near to be used.
        taxonomy: Of all these scenes.
        generator: Whether there is one, which draws what no exemplar shows.
        seed: The run's seed.
        threads: How many draw one photo.
    """

    def __init__(
        self,
        shapes: Donors,
        read: SceneReader,
        *,
        read_exemplars: SceneReader,
        catalogue: Catalogue,
        photo_config: PhotoConfig,
        taxonomy: Taxonomy,
        generator: bool,
        seed: int,
        threads: int,
    ) -> None:
        self._shapes = shapes
        self._read = read
        self._read_exemplar = read_exemplars
        self._catalogue = catalogue
        self._config = photo_config
        self._taxonomy = taxonomy
        self._surface = class_roles(taxonomy).surface
        self._generator = generator
        self._seed = seed
        self._threads = threads
        self._light = LightMeter(taxonomy.num_classes)

    def compose(self, program: Program, *, index: int) -> tuple[Recomposed, Composite]:
        """The edited maps of a sample, and its photo.

        Args:
            program: Its edits.
            index: Its number.

        Raises:
            DatasetError: A file of the scene or of an exemplar cannot be used.
        """
        made = recompose(program, self._read(program.scene), self._shapes, taxonomy=self._taxonomy)
        label, instance = made.scene.label, made.scene.instance
        seed = hashed_seed(self._seed, index)
        without = self._catalogue.near(program.scene, reach=self._config.exclude_near)
        names = self._chosen(label, without)
        first = self._light(self._read_exemplar(names[0]))

        def lit(name: str) -> tuple[Scene, Gain]:
            scene = self._read_exemplar(name)
            return scene, exposure_gain(self._light(scene), first, surface=self._surface)

        begun, given, sources = draw_things(
            instance, self._catalogue, lit, without=without, seed=seed
        )
        exemplars = []
        for name in names:
            scene = self._read_exemplar(name)
            gains = class_gains(self._light(scene), first, surface=self._surface)
            assert scene.photo is not None
            exemplars.append((with_gains(scene.photo, scene.label, gains), scene.label))
        drawn = draw_photo(
            label, exemplars, begun=begun, given=given, seed=seed, threads=self._threads
        )
        source = np.full(label.shape, PixelSource.EXEMPLAR, np.uint8)
        lacking = PixelSource.HOLE if self._generator else PixelSource.SUBSTITUTE
        source[drawn.missing] = lacking
        used = dict.fromkeys((*(names[k] for k in drawn.used), *sources))
        return made, Composite(drawn.photo, source, tuple(used))

    def _chosen(self, label: npt.NDArray[np.unsignedinteger], without: frozenset[str]) -> list[str]:
        """The photos whose layouts resemble a label map, and others for what they do not show."""
        names = self._catalogue.alike(cells_of(label), without=without, count=CHOSEN)
        shown = np.zeros(self._taxonomy.num_classes, np.bool_)
        for name in names:
            shown[self._read_exemplar(name).label] = True
        for class_id in np.flatnonzero(np.bincount(label.ravel(), minlength=len(shown))).tolist():
            if not shown[class_id]:
                names += [
                    name
                    for name in self._catalogue.showing(class_id, without=without, count=1)
                    if name not in names
                ]
        return names
