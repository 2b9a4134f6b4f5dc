"""Things of a drawn photo: each whole, from one object that fits, not class by class.

Shape legend: H x W pixels, h x w pixels of an object's box.
"""

from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.editing.boxes import slices
from pipeline.editing.pixels import resampled, with_gain, without_background
from pipeline.exemplars.catalogue import Catalogue
from pipeline.exemplars.field import hashed
from pipeline.scene import INSTANCES_PER_CLASS, Photo, Scene

Mask = npt.NDArray[np.bool_]
Gain = npt.NDArray[np.floating]

FITS = 0.5
"""Agreement from which an object stands for another; below, its pixels are copied one by one."""
SMALLEST = 16
"""Pixels below which an object has no shape that could fit."""


def draw_things(
    instance: npt.NDArray[np.int32],
    catalogue: Catalogue,
    read: Callable[[str], tuple[Scene, Gain]],
    *,
    without: Collection[str],
    seed: int,
) -> tuple[Photo, Mask, tuple[str, ...]]:
    """Draw the things of a scene for which there are objects that fit.

    Args:
        instance: Instance ids [H, W].
        catalogue: Of scenes of the same size.
        read: Gives a scene of the catalogue, with its photo, and the factors [3] that bring its
            light to that of the photo which is drawn.
        without: Names of scenes not to take objects from.
        seed: Decides between objects that fit equally well.

    Returns:
        A photo, uint8 [H, W, 3], which of its pixels are drawn, and the scenes that they are from.
    """
    photo = np.zeros((*instance.shape, 3), np.uint8)
    drawn = np.zeros(instance.shape, np.bool_)
    sources: dict[str, None] = {}
    things = np.unique(instance[instance >= INSTANCES_PER_CLASS])
    numbers = np.searchsorted(things, instance) + 1
    numbers[instance < INSTANCES_PER_CLASS] = 0
    for thing, at in zip(things.tolist(), ndimage.find_objects(numbers), strict=True):
        mask = instance[at] == thing
        if np.count_nonzero(mask) < SMALLEST:
            continue
        rows, columns = at
        fit = catalogue.fitting(
            thing // INSTANCES_PER_CLASS,
            mask,
            (rows.start, columns.start, rows.stop, columns.stop),
            without=without,
            draw=hashed(seed, thing),
        )
        if fit is None or fit.agreement < FITS:
            continue
        scene, gain = read(fit.scene)
        assert scene.photo is not None
        shape = scene.instance[slices(fit.box)] == fit.instance
        seen = without_background(scene.photo, fit.box, shape)
        seen = with_gain(seen[:, ::-1] if fit.mirrored else seen, gain)
        photo[at][mask] = resampled(seen, mask.shape)[mask]
        drawn[at] |= mask
        sources[fit.scene] = None
    return photo, drawn, tuple(sources)
