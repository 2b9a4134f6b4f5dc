"""The Cityscapes label ids the sample world draws with, and the counter of its instances."""

from typing import Final

UNLABELED: Final = 0
EGO_VEHICLE: Final = 1
RECTIFICATION_BORDER: Final = 2
STATIC: Final = 4
DYNAMIC: Final = 5
GROUND: Final = 6
ROAD: Final = 7
SIDEWALK: Final = 8
PARKING: Final = 9
BUILDING: Final = 11
WALL: Final = 12
FENCE: Final = 13
POLE: Final = 17
TRAFFIC_LIGHT: Final = 19
TRAFFIC_SIGN: Final = 20
VEGETATION: Final = 21
TERRAIN: Final = 22
SKY: Final = 23
PERSON: Final = 24
RIDER: Final = 25
CAR: Final = 26
TRUCK: Final = 27
BUS: Final = 28
CARAVAN: Final = 29
TRAILER: Final = 30
TRAIN: Final = 31
MOTORCYCLE: Final = 32
BICYCLE: Final = 33

INSTANCE_STRIDE: Final = 1000


class InstanceCounter:
    """Hands out instance ids ``class_id * 1000 + k``, with k from 0 within a class."""

    def __init__(self) -> None:
        self._used: dict[int, int] = {}

    def next(self, class_id: int) -> int:
        """Return the next free instance id of a thing class."""
        k = self._used.get(class_id, 0)
        self._used[class_id] = k + 1
        return class_id * INSTANCE_STRIDE + k
