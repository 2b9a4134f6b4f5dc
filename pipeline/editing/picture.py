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
    SUBSTITUTE = 5
    """Of a class that no photo shows: copied as the class beside it is."""
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


class Base:
    """The photo of the source scene, mirrored and enlarged as edits do.

    Args:
        photo: RGB, uint8 [H, W, 3]; not modified.
    """

    def __init__(self, photo: Photo) -> None:
        self.photo = photo
        self.stale = np.zeros(photo.shape[:2], np.bool_)
        """Pixels that show traces of objects that were taken away: shadow and contour [H, W]."""

    def compose(self, maps: Maps, shapes: Iterable[tuple[int, Cutout]]) -> Picture:
        """The photo as far as real pixels go.

        Args:
            maps: As edited.
            shapes: The objects that were put, by instance id; those without an appearance have
                to be drawn.
        """
        photo, source = self.photo.copy(), np.zeros(maps.size, np.uint8)
        changed = maps.origin > 0
        source[changed | self.stale] = PixelSource.HOLE
        source[changed & (maps.instance >= INSTANCES_PER_CLASS)] = PixelSource.UNSEEN
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
        self.stale = np.ascontiguousarray(self.stale[:, ::-1])

    def take(self, maps: Maps, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> None:
        """Enlarge a window.

        Colours are interpolated, but not across pixels that are no longer kept: those that would
        show a bit of one show the nearest pixel alone.

        Args:
            maps: As they are before.
            rows: The row that each row shows, ascending [H].
            columns: The column that each column shows, ascending [W].
        """
        lost = ((maps.origin > 0) | self.stale).astype(np.float32)
        window = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        photo, shown = (
            Image.fromarray(plane).resize(maps.size[::-1], Image.Resampling.BILINEAR, box=window)
            for plane in (self.photo, lost)
        )
        nearest, mixed = np.ix_(rows, columns), np.asarray(shown) > 0
        self.photo = np.where(mixed[..., None], self.photo[nearest], np.asarray(photo))
        self.stale = self.stale[nearest]
