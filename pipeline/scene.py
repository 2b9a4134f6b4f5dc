"""Scenes: a label map, its instance map and, where there is one, its photo."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.taxonomy import Taxonomy

INSTANCES_PER_CLASS = 1000

LabelMap = npt.NDArray[np.unsignedinteger]
InstanceMap = npt.NDArray[np.int32]
Photo = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One labelled picture.

    The instance map uses Cityscapes' encoding: `class_id*1000 + k` (k from 0) on things,
    the class id itself on stuff and on crowds without single objects.
    """

    name: str
    label: LabelMap
    """Class ids, uint8 or uint16 [H, W]."""
    instance: InstanceMap
    """Instance ids, int32 [H, W]."""
    photo: Photo | None = None
    """RGB photo, uint8 [H, W, 3]."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.label.shape
        return height, width

    def without_photo(self) -> "Scene":
        """The scene's maps alone."""
        return replace(self, photo=None)


@dataclass(frozen=True, slots=True)
class Instance:
    """One object of a scene, measured on the maps."""

    id: int
    class_id: int
    box: tuple[int, int, int, int]
    """Top, left, bottom, right in pixels; bottom and right are exclusive."""
    area: int
    """Visible pixels."""

    @property
    def contact_row(self) -> int:
        """The lowest row the object covers: where it meets the ground."""
        return self.box[2] - 1


def instances_of(instance: InstanceMap) -> list[Instance]:
    """The single objects of an instance map, sorted by id.

    Args:
        instance: Instance ids in Cityscapes' encoding, int32 [H, W].

    Example:
        >>> import numpy as np
        >>> [car] = instances_of(np.array([[7, 26000, 26000]], np.int32))  # road and a car
        >>> car.class_id, car.box, car.area
        (26, (0, 1, 1, 3), 2)
    """
    things = instance >= INSTANCES_PER_CLASS
    if not things.any():
        return []
    ids, dense, areas = np.unique(instance[things], return_inverse=True, return_counts=True)
    index = np.zeros(instance.shape, np.int32)
    index[things] = dense.astype(np.int32) + 1
    found = []
    for position, box in enumerate(ndimage.find_objects(index)):
        rows, columns = box
        instance_id = int(ids[position])
        found.append(
            Instance(
                id=instance_id,
                class_id=instance_id // INSTANCES_PER_CLASS,
                box=(rows.start, columns.start, rows.stop, columns.stop),
                area=int(areas[position]),
            )
        )
    return found


def stuff_instances(label: LabelMap) -> InstanceMap:
    """The instance map of a label map in which no single object is known."""
    return label.astype(np.int32)


def connected_instances(label: LabelMap, taxonomy: Taxonomy, *, min_area: int = 1) -> InstanceMap:
    """Tell objects apart as 8-connected components of each thing class.

    Components smaller than `min_area` pixels, and all but the 1000 largest of a class, stay crowd.

    Args:
        label: Class ids [H, W].
        taxonomy: The taxonomy of the label map.
        min_area: Smallest component, in pixels, that counts as an object.
    """
    instance = stuff_instances(label)
    for class_id in np.unique(label[taxonomy.is_thing[label]]):
        components, count = ndimage.label(label == class_id, structure=np.ones((3, 3), np.int8))
        areas = np.bincount(components.ravel(), minlength=count + 1)
        areas[0] = 0
        kept = np.argsort(-areas, kind="stable")[:INSTANCES_PER_CLASS]
        kept = np.sort(kept[areas[kept] >= max(min_area, 1)])
        table = np.full(count + 1, int(class_id), np.int32)
        table[kept] = int(class_id) * INSTANCES_PER_CLASS + np.arange(len(kept), dtype=np.int32)
        mask = components > 0
        instance[mask] = table[components[mask]]
    return instance


def encode_indices(
    index: npt.NDArray[np.integer], label: LabelMap, taxonomy: Taxonomy
) -> InstanceMap:
    """Turn a plain per-image object index into Cityscapes' encoding.

    Every pair of an index and a thing class under it becomes one object; pixels of stuff classes
    carry their class id, whatever their index.

    Args:
        index: Object index per pixel, any integer dtype [H, W].
        label: Class ids [H, W].
        taxonomy: The taxonomy of the label map.
    """
    instance = stuff_instances(label)
    things = taxonomy.is_thing[label]
    if not things.any():
        return instance
    classes = label[things].astype(np.int64)
    low = int(index.min())
    span = int(index.max()) - low + 1
    pairs, inverse = np.unique(
        classes * span + (index[things].astype(np.int64) - low), return_inverse=True
    )
    pair_class = pairs // span
    first_of_class = np.searchsorted(pair_class, pair_class)
    rank = np.arange(len(pairs)) - first_of_class
    encoded = np.where(
        rank < INSTANCES_PER_CLASS, pair_class * INSTANCES_PER_CLASS + rank, pair_class
    ).astype(np.int32)
    instance[things] = encoded[inverse]
    return instance


def disagreements(label: LabelMap, instance: InstanceMap, taxonomy: Taxonomy) -> int:
    """The number of pixels whose instance id does not fit the label under it.

    A thing's instance id is its class id, or class_id*1000 + k; anything else carries its class id.
    """
    things = taxonomy.is_thing[label]
    wide = label.astype(np.int32)
    fits = instance == wide
    fits |= things & (instance // INSTANCES_PER_CLASS == wide)
    return int(fits.size - np.count_nonzero(fits))
