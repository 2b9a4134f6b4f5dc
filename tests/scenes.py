"""Small scenes for tests, built by hand."""

import numpy as np

from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy

ROAD, SIDEWALK, BUILDING, SKY, PERSON, RIDER, CAR, BICYCLE = 7, 8, 11, 23, 24, 25, 26, 33


def street(
    name: str = "street", *, height: int = 32, width: int = 64, photo: bool = False
) -> Scene:
    """Sky over building over road, with two cars and a person; Cityscapes ids.

    Car 26000 covers 4x8 pixels, car 26001 6x12 pixels, person 24000 8x3 pixels (for 32x64).
    """
    label = np.full((height, width), SKY, np.uint8)
    label[height // 4 :] = BUILDING
    label[height // 2 :] = ROAD
    instance = label.astype(np.int32)
    for instance_id, top, left, tall, wide in (
        (26000, height // 2 - 1, width // 8, 4, 8),
        (26001, height // 2 + 4, width // 2, 6, 12),
        (24000, height // 2 - 3, width - 12, 8, 3),
    ):
        label[top : top + tall, left : left + wide] = instance_id // 1000
        instance[top : top + tall, left : left + wide] = instance_id
    picture = Taxonomy.load("cityscapes").colors[label] if photo else None
    return Scene(name=name, label=label, instance=instance, photo=picture)


def with_cyclist(scene: Scene, top: int, left: int, *, number: int = 0) -> Scene:
    """A scene with a rider (17x6 pixels, one foot on the ground) and a bicycle (8x12 pixels).

    The rider covers rows from `top` and columns from `left` on; the bicycle rows from `top + 12`
    and columns from `left + 2` on.
    """
    label, instance = scene.label.copy(), scene.instance.copy()
    for class_id, rows, columns in (
        (RIDER, slice(top, top + 12), slice(left, left + 6)),
        (RIDER, slice(top + 12, top + 17), slice(left, left + 2)),
        (BICYCLE, slice(top + 12, top + 20), slice(left + 2, left + 14)),
    ):
        label[rows, columns], instance[rows, columns] = class_id, class_id * 1000 + number
    return Scene(name=scene.name, label=label, instance=instance, photo=scene.photo)
