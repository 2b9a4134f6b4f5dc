"""Surroundings: what lies around a donor in its own scene, and where something nearer hides it."""

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.indexing.reaches import stuff_reaches
from pipeline.indexing.record import SceneRecord
from pipeline.roles import ClassRoles
from pipeline.scene import Scene

AROUND = 1.0
"""A window goes so far beyond a donor's box, in heights and widths of it."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """A donor in a window of its scene. Pixels that are none of the three tell nothing."""

    box: tuple[int, int, int, int]
    """Top, left, bottom, right of the window in the scene, in pixels; the last two are exclusive.
    """
    seen: Flags
    """The donor's own pixels [h, w]."""
    hiding: Flags
    """Where something nearer lies, behind which the donor may go on [h, w]."""
    free: Flags
    """Where something farther lies, so that the donor is not there [h, w]."""

    def packed(self) -> "PackedSurroundings":
        """The same in little memory."""
        bits = np.packbits(np.stack([self.seen, self.hiding, self.free]))
        return PackedSurroundings(self.box, zlib.compress(bits.tobytes(), 1))


@dataclass(frozen=True, slots=True)
class PackedSurroundings:
    """Surroundings as compressed bits."""

    box: tuple[int, int, int, int]
    bits: bytes

    def unpacked(self) -> Surroundings:
        """The surroundings."""
        top, left, bottom, right = self.box
        shape = (3, bottom - top, right - left)
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        flags = np.unpackbits(bits, count=int(np.prod(shape))).view(np.bool_).reshape(shape)
        return Surroundings(self.box, *flags)


def surroundings_of(
    scene: Scene, record: SceneRecord, rows: npt.NDArray[np.intp], *, roles: ClassRoles
) -> list[Surroundings]:
    """What lies around some objects of a scene.

    Args:
        scene: The scene.
        record: Its record.
        rows: The objects, by position in the record [k].
        roles: The roles of its classes.
    """
    if not len(rows):
        return []
    reaches = _reaches(scene, record, roles)
    return [_around(scene, record, row, reaches) for row in rows.tolist()]


def _reaches(scene: Scene, record: SceneRecord, roles: ClassRoles) -> npt.NDArray[np.int32]:
    """The lowest row to which what each pixel shows reaches; -1 for surfaces [H, W]."""
    standing = ~roles.surface | roles.upright
    pixels = np.flatnonzero(standing[scene.label])
    found = stuff_reaches(scene, roles, pixels)
    ids = scene.instance.ravel()[pixels]
    positions = np.searchsorted(record.ids, ids).clip(0, len(record.ids) - 1)
    single = record.ids[positions] == ids
    found[single] = record.boxes[positions[single], 2] - 1
    reaches = np.full(scene.label.shape, -1, np.int32)
    reaches.ravel()[pixels] = found
    return reaches


def _around(
    scene: Scene, record: SceneRecord, row: int, reaches: npt.NDArray[np.int32]
) -> Surroundings:
    """The surroundings of one object; what is one with it tells nothing."""
    top, left, bottom, right = record.boxes[row].tolist()
    height, width = scene.size
    down, across = round(AROUND * (bottom - top)), round(AROUND * (right - left))
    top, left = max(0, top - down), max(0, left - across)
    box = top, left, min(height, bottom + down), min(width, right + across)
    window = slice(top, box[2]), slice(left, box[3])
    ids, partner = scene.instance[window], record.partners[row]
    seen = ids == record.ids[row]
    other = ~seen if partner == 0 else ~seen & (ids != partner)
    hiding = other & (reaches[window] >= bottom)
    return Surroundings(box, seen, hiding, other & ~hiding)
