"""What an object looks like where it was photographed: its own pixels, and its shadow.

Shape legend: h x w pixels of an object's box.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.editing.boxes import Box
from pipeline.editing.pixels import resampled, with_gain, without_background
from pipeline.editing.shade import Shade, measure_shade
from pipeline.scene import LabelMap, Photo

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """The pixels of an object's box, without what was behind it, and the shade at its feet."""

    photo: Photo
    """RGB, uint8 [h, w, 3]; beyond the object's contour its colours go on."""
    shade: Shade

    def mirrored(self) -> "Appearance":
        """The object seen in a mirror."""
        return Appearance(self.photo[:, ::-1], self.shade.mirrored())

    def scaled(self, size: tuple[int, int]) -> "Appearance":
        """The object at another size.

        Args:
            size: New height and width of its box.
        """
        return Appearance(resampled(self.photo, size), self.shade.scaled(size))

    def part(self, rows: slice, columns: slice) -> "Appearance":
        """The object seen in a part of its box only."""
        return Appearance(self.photo[rows, columns], self.shade.part(rows, columns))

    def looked_up(self, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> "Appearance":
        """The object with each pixel taken from another place of its box.

        Args:
            rows: Row of the box that each pixel shows [h', w']; beyond the box its edge is shown.
            columns: Its column, likewise.
        """
        height, width = self.photo.shape[:2]
        photo = self.photo[rows.clip(0, height - 1), columns.clip(0, width - 1)]
        return Appearance(photo, self.shade.scaled(photo.shape[:2]))

    def in_light(self, gain: npt.NDArray[np.floating], *, haze: float = 0.0) -> "Appearance":
        """The object in more or less light, and behind less haze.

        Args:
            gain: Factor on the light of each channel [3].
            haze: Light that is taken away first, below 1; negative where some is added.
        """
        return Appearance(with_gain(self.photo, gain, haze=haze), self.shade)


def look_at(photo: Photo, label: LabelMap, box: Box, mask: Mask, *, ground: Mask) -> Appearance:
    """What an object looks like in the photo of its scene.

    Args:
        photo: RGB, uint8 [H, W, 3].
        label: Class ids [H, W].
        box: The object's box, inside the picture.
        mask: Its pixels, bool [h, w].
        ground: Which classes it may stand on, bool [num_classes].
    """
    return Appearance(
        without_background(photo, box, mask),
        measure_shade(photo, label, box, mask, ground=ground),
    )
