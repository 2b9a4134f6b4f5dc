"""The photo of a scene that a program edits: what is real of it, and what has to be drawn.

Shape legend: H x W pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.editing.boxes import slices
from pipeline.editing.cutout import Cutout
from pipeline.editing.maps import Maps
from pipeline.scene import INSTANCES_PER_CLASS, Photo

Mask = npt.NDArray[np.bool_]


class PixelSource(IntEnum):
    """Where a pixel of a photo comes from; those above 200 are not drawn yet."""

    KEPT = 0
    DONOR = 1
    RENDERED = 2
    SEAM = 3
    EXEMPLAR = 4
    HOLE = 254
    """Stuff that the photo does not show: from exemplars, or the generator."""
    UNSEEN = 255
    """A thing that no photo shows so: from the generator."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A photo, and for each of its pixels where it comes from."""

    photo: Photo
    """RGB, uint8 [H, W, 3]; it means nothing where a pixel is not drawn yet."""
    source: npt.NDArray[np.uint8]
    """`PixelSource` [H, W]."""

    @property
    def missing(self) -> Mask:
        """Which pixels are not drawn yet [H, W]."""
        return self.source >= PixelSource.HOLE


class Base:
    """The photo that edits start from, until the picture is enlarged and it starts anew.

    Args:
        photo: RGB of the source scene, uint8 [H, W, 3]; not modified.
        maps: Of the source scene.
    """

    def __init__(self, photo: Photo, maps: Maps) -> None:
        self.photo = photo
        self._source = np.zeros(maps.size, np.uint8)
        self._origin = maps.origin.copy()
        self.stale = np.zeros(maps.size, np.bool_)
        """Pixels that show traces of objects that were taken away: shadow and contour [H, W]."""

    def compose(self, maps: Maps, shapes: Iterable[tuple[int, Cutout]]) -> Picture:
        """The photo as far as real pixels go.

        Args:
            maps: As edited.
            shapes: The objects that were put, by instance id; those without an appearance have
                to be drawn.
        """
        photo, source = self.photo.copy(), self._source.copy()
        source[self.stale & (source == PixelSource.KEPT)] = PixelSource.HOLE
        changed = maps.origin != self._origin
        things = maps.instance >= INSTANCES_PER_CLASS
        source[changed] = np.where(things[changed], PixelSource.UNSEEN, PixelSource.HOLE)
        for instance, shape in shapes:
            if shape.appearance is None:
                continue
            box = maps.inside(shape.box)
            window, there = slices(box), slices(box, within=shape.box)
            drawn = changed[window] & (maps.instance[window] == instance)
            photo[window][drawn] = shape.appearance.photo[there][drawn]
            source[window][drawn] = PixelSource.DONOR
        return Picture(photo, source)

    def mirror(self) -> None:
        """Mirror everything left to right."""
        self.photo = np.ascontiguousarray(self.photo[:, ::-1])
        self._source = np.ascontiguousarray(self._source[:, ::-1])
        self._origin = np.ascontiguousarray(self._origin[:, ::-1])
        self.stale = np.ascontiguousarray(self.stale[:, ::-1])

    def take(
        self,
        picture: Picture,
        maps: Maps,
        rows: npt.NDArray[np.intp],
        columns: npt.NDArray[np.intp],
    ) -> None:
        """Start anew from some rows and columns of a picture, in the order given.

        Args:
            picture: As composed before.
            maps: As they are afterwards.
            rows: The row that each row shows.
            columns: The column that each column shows.
        """
        window = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        height, width = maps.size
        enlarged = Image.fromarray(picture.photo).resize(
            (width, height), Image.Resampling.BILINEAR, box=window
        )
        self.photo = np.asarray(enlarged)
        self._source = picture.source[rows[:, None], columns]
        self._origin = maps.origin.copy()
        self.stale = np.zeros(maps.size, np.bool_)
