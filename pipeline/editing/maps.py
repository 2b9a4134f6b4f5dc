"""The maps that a program edits: label, instance, and which operation put each pixel there."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.editing.boxes import Box
from pipeline.editing.cutout import Mask
from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap, LabelMap, Scene


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Maps of one picture, or of a window of it; `paint` and `overwrite` change them in place."""

    label: LabelMap
    """Class ids [H, W]."""
    instance: InstanceMap
    """Instance ids, int32 [H, W]."""
    origin: npt.NDArray[np.uint16]
    """Which operation put a pixel there [H, W]: its position in the program, from 1; 0 for the
    source."""

    @classmethod
    def of(cls, scene: Scene) -> "Maps":
        """Copies of a scene's maps."""
        origin = np.zeros(scene.size, np.uint16)
        return cls(scene.label.copy(), scene.instance.copy(), origin)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.label.shape
        return height, width

    def inside(self, box: Box) -> Box:
        """The part of a box that lies in the picture; top is not above bottom where none does."""
        top, left, bottom, right = box
        height, width = self.size
        return max(top, 0), max(left, 0), min(bottom, height), min(right, width)

    def view(self, window: tuple[slice, slice]) -> "Maps":
        """A window of the maps that shares their pixels."""
        return Maps(self.label[window], self.instance[window], self.origin[window])

    def copy(self) -> "Maps":
        """The same maps with pixels of their own."""
        return Maps(self.label.copy(), self.instance.copy(), self.origin.copy())

    def paint(self, mask: Mask, value: int, *, stamp: int) -> None:
        """Give pixels to an object, or make them stuff.

        Args:
            mask: Which pixels, bool [H, W].
            value: The object's instance id, or the id of a stuff class.
            stamp: Which operation does it.
        """
        self.label[mask] = value if value < INSTANCES_PER_CLASS else value // INSTANCES_PER_CLASS
        self.instance[mask] = value
        self.origin[mask] = stamp

    def overwrite(self, other: "Maps", mask: Mask | None = None) -> None:
        """Take over the pixels of other maps of the same size: all of them, or those of a mask."""
        chosen = ... if mask is None else mask
        self.label[chosen] = other.label[chosen]
        self.instance[chosen] = other.instance[chosen]
        self.origin[chosen] = other.origin[chosen]

    def mirrored(self) -> "Maps":
        """The maps mirrored left to right."""
        return Maps(
            np.ascontiguousarray(self.label[:, ::-1]),
            np.ascontiguousarray(self.instance[:, ::-1]),
            np.ascontiguousarray(self.origin[:, ::-1]),
        )

    def sampled(self, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> "Maps":
        """Maps made of some rows and columns of these, in the order given."""
        at = rows[:, None], columns
        return Maps(self.label[at], self.instance[at], self.origin[at])
