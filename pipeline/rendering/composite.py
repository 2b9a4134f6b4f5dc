"""Composites: photos of real pixels, as far as they go.

What no edit touched keeps its pixels, objects bring theirs along, and holes are filled with pixels
of the same class, of this photo or of others. What is left needs a generator.

Shape legend: H x W pixels.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.config import PhotoConfig
from pipeline.editing.appearance import look_at
from pipeline.editing.cutout import Cutout
from pipeline.editing.exposure import (
    LightMeter,
    SceneLight,
    class_gains,
    exposure_gain,
    haze_between,
)
from pipeline.editing.operations import Donors
from pipeline.editing.picture import PixelSource
from pipeline.editing.pixels import dimmed, with_gains
from pipeline.editing.program import Program
from pipeline.editing.recompose import Recomposed, recompose
from pipeline.editing.seams import find_seams, soften
from pipeline.editing.shade import lay_shade
from pipeline.exemplars.catalogue import Catalogue
from pipeline.exemplars.fill import Exemplar, fill_holes
from pipeline.rng import sample_generator
from pipeline.roles import ClassRoles, class_roles
from pipeline.scene import INSTANCES_PER_CLASS, Photo
from pipeline.sources.reading import SceneReader
from pipeline.taxonomy import Taxonomy

FEWEST = 64
"""Kept pixels of a class, below which others' photos are looked at too."""
CHOSEN = 3
"""Scenes per class from which holes are filled that their own photo cannot fill."""
FILL_STREAM = 7
SPREAD = (0.5, 2.0)
"""Bounds of the factor on the spread of what a generator draws of a class."""
SHADED = 0.98
"""Ground that keeps less of its light than this counts as changed."""

Exemplars = Callable[[Collection[int]], Mapping[str, Exemplar]]
"""Photos that show some classes, in the light of the one that is filled, by the scene's name."""


@dataclass(frozen=True, slots=True, eq=False)
class Composite:
    """A photo of real pixels, and where each is from."""

    photo: Photo
    """RGB, uint8 [H, W, 3]; it means nothing where a pixel is not drawn yet."""
    source: npt.NDArray[np.uint8]
    """`PixelSource` [H, W]."""
    exemplars: tuple[str, ...]
    """The scenes, beside the sample's own, from which holes were filled."""

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        """Which pixels only a generator can draw [H, W]."""
        return self.source >= PixelSource.HOLE


class DonorPhotos:
    """Shapes of donors with the pixels that they bring along.

    Args:
        shapes: Finds the shapes.
        read: Reads the scenes that they are from, with photos, at the size of the job.
        taxonomy: Of these scenes.
    """

    def __init__(self, shapes: Donors, read: SceneReader, taxonomy: Taxonomy) -> None:
        self._shapes = shapes
        self._read = read
        self._roles = class_roles(taxonomy)
        self._light = LightMeter(taxonomy.num_classes)

    def for_scene(self, light: SceneLight) -> Donors:
        """Donors in the light of the scene that they are put into.

        Args:
            light: Of that scene.
        """

        def find(name: str, instance: int) -> Cutout:
            shape = self._shapes(name, instance)
            scene = self._read(name)
            here = self._light(scene)
            haze = haze_between(here, light)
            gain = exposure_gain(here, light, surface=self._roles.surface, haze=haze)
            assert scene.photo is not None
            ground = self._roles.support[instance // INSTANCES_PER_CLASS]
            seen = look_at(scene.photo, scene.label, shape.box, shape.mask, ground=ground)
            return replace(shape, appearance=seen.in_light(gain, haze=haze))

        return find


def compose_photo(
    made: Recomposed,
    *,
    photo_config: PhotoConfig,
    roles: ClassRoles,
    exemplars: Exemplars,
    seed: int,
    threads: int = 1,
) -> Composite:
    """Fill the holes of an edited photo, and join what was put into it to what was there.

    Args:
        made: The edited scene, with its picture.
        photo_config: Who fills holes, and whether shadows are cast and contours softened.
        roles: Of the classes of its taxonomy.
        exemplars: Finds other scenes for classes that this one does not show.
        seed: Decides what is tried when holes are filled.
        threads: How many fill one hole; they change nothing.
    """
    assert made.picture is not None
    label, instance = made.scene.label, made.scene.instance
    photo, source = made.picture.photo, made.picture.source.copy()
    if photo_config.objects == "rendered":
        source[source == PixelSource.DONOR] = PixelSource.UNSEEN
    if photo_config.fill == "generator":
        source[source == PixelSource.HOLE] = PixelSource.UNSEEN
    hole = source == PixelSource.HOLE
    names: tuple[str, ...] = ()
    if hole.any():
        strange = (source != PixelSource.KEPT) & ~hole
        kept = np.bincount(label[source == PixelSource.KEPT], minlength=len(roles.surface))
        rare = [c for c in np.unique(label[hole]).tolist() if kept[c] < FEWEST]
        others = exemplars(rare) if rare else {}
        filled = fill_holes(
            photo,
            label,
            hole,
            hidden=strange,
            exemplars=list(others.values()),
            fewest=FEWEST,
            seed=seed,
            threads=threads,
        )
        photo = filled.photo
        source[hole & ~filled.unfilled] = PixelSource.EXEMPLAR
        names = tuple(np.array(list(others))[list(filled.used)].tolist())
    if photo_config.contact:
        photo = _shaded(photo, source, made, roles)
    if photo_config.seam:
        undrawn = ndimage.binary_dilation(source >= PixelSource.HOLE, np.ones((3, 3), np.bool_))
        seams = find_seams(instance, source == PixelSource.DONOR) & ~undrawn
        photo = soften(photo, seams)
        source[seams] = PixelSource.SEAM
    return Composite(photo, source, names)


def drawn_in(
    photo: Photo,
    source: npt.NDArray[np.uint8],
    rendered: Photo,
    label: npt.NDArray[np.unsignedinteger],
    *,
    inside: npt.NDArray[np.bool_],
    seam: bool,
) -> tuple[Photo, npt.NDArray[np.uint8]]:
    """A composite whose missing pixels are those of a generator, in the colours of the photo.

    Mean and spread of each class are brought to those of its real pixels, where there are some.

    Args:
        photo: RGB, uint8 [H, W, 3].
        source: `PixelSource` [H, W].
        rendered: What the generator makes of the scene, uint8 [H, W, 3].
        label: Class ids [H, W].
        inside: The pixels that it drew, bool [H, W]; all that are missing are among them.
        seam: Whether the contour between both is softened.

    Returns:
        Photo and sources.
    """
    missing = source >= PixelSource.HOLE
    kept = (source == PixelSource.KEPT) | (source == PixelSource.EXEMPLAR)
    photo, source = photo.copy(), source.copy()
    for class_id in np.unique(label[missing]):
        wanted, real = missing & (label == class_id), kept & (label == class_id)
        pixels = rendered[wanted].astype(np.float32)
        if np.count_nonzero(real) >= FEWEST:
            drawn = rendered[inside & (label == class_id)].astype(np.float32)
            mean, spread = drawn.mean(axis=0), drawn.std(axis=0)
            goal = photo[real].astype(np.float32)
            scale = np.clip(goal.std(axis=0) / np.maximum(spread, 1), *SPREAD)
            pixels = (pixels - mean) * scale + goal.mean(axis=0)
        photo[wanted] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    source[missing] = PixelSource.RENDERED
    if not seam:
        return photo, source
    seams = find_seams(missing.astype(np.int32), missing)
    source[seams & ~missing] = PixelSource.SEAM
    return soften(photo, seams), source


def _shaded(
    photo: Photo, source: npt.NDArray[np.uint8], made: Recomposed, roles: ClassRoles
) -> Photo:
    """The photo with the shadows of the objects that were put; `source` is changed in place."""
    label = made.scene.label
    share = np.ones(label.shape, np.float32)
    for instance, shape in made.placed:
        if shape.appearance is None:
            continue
        ground = roles.support[instance // INSTANCES_PER_CLASS][label]
        ground &= (source == PixelSource.KEPT) | (source == PixelSource.EXEMPLAR)
        lay_shade(share, shape.appearance.shade, top=shape.top, left=shape.left, ground=ground)
    shaded = share < SHADED
    if not shaded.any():
        return photo
    result = photo.copy()
    result[shaded] = dimmed(photo[shaded], share[shaded])
    source[shaded & (source == PixelSource.KEPT)] = PixelSource.SEAM
    return result


class Compositor:
    """Composes samples with their photos.

    Args:
        shapes: Finds the shapes of donors.
        read: Reads the scenes of the job, with photos.
        read_donors: The same for the scenes of donors; the job's own if there is none.
        read_exemplars: The same for the scenes that holes are filled from; likewise.
        catalogue: Tells what is where in these; asked when the photo of a scene is not enough.
        photo_config: How.
        taxonomy: Of all these scenes.
        seed: The run's seed.
        threads: How many fill one hole.
    """

    def __init__(
        self,
        shapes: Donors,
        read: SceneReader,
        *,
        read_donors: SceneReader | None,
        read_exemplars: SceneReader | None,
        catalogue: Callable[[], Catalogue],
        photo_config: PhotoConfig,
        taxonomy: Taxonomy,
        seed: int,
        threads: int,
    ) -> None:
        self._read = read
        self._donors = DonorPhotos(shapes, read_donors or read, taxonomy)
        self._read_exemplar = read_exemplars or read
        self._light = LightMeter(taxonomy.num_classes)
        self._exemplar_light = LightMeter(taxonomy.num_classes)
        self._catalogue = catalogue
        self._config = photo_config
        self._taxonomy = taxonomy
        self._roles = class_roles(taxonomy)
        self._seed = seed
        self._threads = threads

    def compose(self, program: Program, *, index: int) -> tuple[Recomposed, Composite]:
        """The edited maps of a sample, and its photo as far as real pixels go.

        Args:
            program: Its edits.
            index: Its number.

        Raises:
            DatasetError: A file of the scene, of a donor's or of an exemplar cannot be used.
        """
        scene = self._read(program.scene)
        light = self._light(scene)
        made = recompose(program, scene, self._donors.for_scene(light), taxonomy=self._taxonomy)

        def exemplars(classes: Collection[int]) -> dict[str, Exemplar]:
            catalogue = self._catalogue()
            without = catalogue.near(program.scene, reach=self._config.exclude_near)
            return {
                name: self._exemplar(name, light)
                for c in classes
                for name in catalogue.showing(c, without=without, count=CHOSEN)
            }

        composite = compose_photo(
            made,
            photo_config=self._config,
            roles=self._roles,
            exemplars=exemplars,
            seed=hashed_seed(self._seed, index),
            threads=self._threads,
        )
        return made, composite

    def _exemplar(self, name: str, light: SceneLight) -> Exemplar:
        """The photo of a scene in another light, and its label map."""
        scene = self._read_exemplar(name)
        gains = class_gains(self._exemplar_light(scene), light, surface=self._roles.surface)
        assert scene.photo is not None
        return with_gains(scene.photo, scene.label, gains), scene.label


def hashed_seed(seed: int, index: int) -> int:
    """A seed of its own for each sample of a run."""
    return int(sample_generator(seed, index, stream=FILL_STREAM).integers(1 << 31))
