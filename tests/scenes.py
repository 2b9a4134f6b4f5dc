"""Small scenes for tests, built by hand."""

import numpy as np

from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy

ROAD, SIDEWALK, BUILDING, SKY, PERSON, CAR = 7, 8, 11, 23, 24, 26


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
