"""Fitting: bringing scenes of any size to the size of a run."""

from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.errors import DatasetError, TaxonomyError
from pipeline.scene import Photo, Scene
from pipeline.taxonomy import Taxonomy

FitMode = Literal["resize", "resize_crop", "resize_pad", "crop", "pad"]
"""How a scene comes to another size:

- `resize`: stretched, the aspect ratio may change;
- `resize_crop`: scaled to cover the size, what sticks out is cut off evenly;
- `resize_pad`: scaled to lie within the size, the rest is void;
- `crop`: the centre, unscaled; the scene must be at least as large;
- `pad`: unscaled, in the centre, the rest is void; the scene must not be larger.
"""

IntegerT = TypeVar("IntegerT", bound=np.integer)

FIT_MODES: tuple[str, ...] = get_args(FitMode)


@dataclass(frozen=True, slots=True)
class _Axis:
    """How one axis of the target samples the source.

    Target pixel i is pixel i + offset of the source scaled to `scaled` pixels.
    """

    source: int
    scaled: int
    target: int

    @property
    def offset(self) -> int:
        return (self.scaled - self.target) // 2

    @property
    def covered(self) -> slice:
        """The target pixels that show the source; the others are padding."""
        start = max(0, -self.offset)
        return slice(start, min(self.target, self.scaled - self.offset))

    @property
    def nearest(self) -> npt.NDArray[np.intp]:
        """For each covered target pixel the source pixel under its centre."""
        scaled = np.arange(self.covered.start, self.covered.stop) + self.offset
        return (2 * scaled + 1) * self.source // (2 * self.scaled)

    @property
    def extent(self) -> tuple[float, float]:
        """Start and end of the sampled part, in source pixels."""
        ratio = self.source / self.scaled
        start = (self.covered.start + self.offset) * ratio
        return start, min((self.covered.stop + self.offset) * ratio, float(self.source))


def fit(scene: Scene, size: tuple[int, int], mode: FitMode, taxonomy: Taxonomy) -> Scene:
    """Bring a scene to a size.

    Maps take the value of the source pixel under each target pixel's centre, so no new ids
    appear; the photo is resampled bicubically with antialiasing over the same area. Padding is the
    taxonomy's first void class, and black in the photo. A scene of the right size is returned
    as it is.

    Args:
        scene: The scene to fit.
        size: Height and width wanted, in pixels.
        mode: See `FitMode`.
        taxonomy: The scene's taxonomy; names the void class of the padding.

    Raises:
        DatasetError: The scene is too small for `crop`, or too large for `pad`.
        TaxonomyError: Padding is needed and the taxonomy has no void class.
    """
    if scene.size == size:
        return scene
    rows, columns = _axes(scene, size, mode)
    void = 0
    if rows.scaled < rows.target or columns.scaled < columns.target:
        void = void_class(taxonomy)
    label = _sample(scene.label, rows, columns, void)
    instance = _sample(scene.instance, rows, columns, void)
    photo = None if scene.photo is None else _resample(scene.photo, rows, columns)
    return Scene(name=scene.name, label=label, instance=instance, photo=photo)


def void_class(taxonomy: Taxonomy) -> int:
    """The class of padding: the first void class that is not a thing.

    Raises:
        TaxonomyError: There is none.
    """
    for c in taxonomy.classes:
        if c.void and not c.is_thing:
            return c.id
    raise TaxonomyError(
        f"taxonomy {taxonomy.name!r} has no void class to pad with; "
        "use the fit mode resize, resize_crop or crop"
    )


def _axes(scene: Scene, size: tuple[int, int], mode: FitMode) -> tuple[_Axis, _Axis]:
    (height, width), (tall, wide) = scene.size, size
    if mode == "resize":
        scaled = size
    elif mode == "resize_crop":
        # Integer ratios: exact, so the covering side comes out at exactly the target.
        if tall * width >= wide * height:
            scaled = tall, max(wide, _round_div(width * tall, height))
        else:
            scaled = max(tall, _round_div(height * wide, width)), wide
    elif mode == "resize_pad":
        if tall * width <= wide * height:
            scaled = tall, min(wide, max(1, _round_div(width * tall, height)))
        else:
            scaled = min(tall, max(1, _round_div(height * wide, width))), wide
    else:
        scaled = scene.size
        if mode == "crop" and (height < tall or width < wide):
            problem = "smaller"
        elif mode == "pad" and (height > tall or width > wide):
            problem = "larger"
        else:
            problem = ""
        if problem:
            raise DatasetError(
                f"scene {scene.name}: {height}x{width} is {problem} than {tall}x{wide}, which the "
                f"fit mode {mode!r} does not allow; use resize, resize_crop or resize_pad"
            )
    return _Axis(height, scaled[0], tall), _Axis(width, scaled[1], wide)


def _round_div(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def _sample(
    values: npt.NDArray[IntegerT], rows: _Axis, columns: _Axis, padding: int
) -> npt.NDArray[IntegerT]:
    sampled = values.take(rows.nearest, axis=0).take(columns.nearest, axis=1)
    if sampled.shape == (rows.target, columns.target):
        return sampled
    padded = np.full((rows.target, columns.target), padding, values.dtype)
    padded[rows.covered, columns.covered] = sampled
    return padded


def _resample(photo: Photo, rows: _Axis, columns: _Axis) -> Photo:
    height = rows.covered.stop - rows.covered.start
    width = columns.covered.stop - columns.covered.start
    if rows.source == rows.scaled and columns.source == columns.scaled:
        shown = photo.take(rows.nearest, axis=0).take(columns.nearest, axis=1)
    else:
        (top, bottom), (left, right) = rows.extent, columns.extent
        picture = Image.fromarray(photo).resize(
            (width, height), Image.Resampling.BICUBIC, box=(left, top, right, bottom)
        )
        shown = np.asarray(picture)
    if (height, width) == (rows.target, columns.target):
        return np.ascontiguousarray(shown)
    padded = np.zeros((rows.target, columns.target, 3), np.uint8)
    padded[rows.covered, columns.covered] = shown
    return padded


def photos_per_batch(batch_pixels: int, size: tuple[int, int]) -> int:
    """How many photos of a size are rendered at a time: at least one."""
    height, width = size
    return max(1, batch_pixels // (height * width))
