"""Small convex solids with marks on their faces: what vehicles are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from pipeline.sample_world.canvas import Point
from pipeline.sample_world.light import Colour, Light

Corner = tuple[float, float, float]
"""A point of a vehicle: x to its right, y up, z to its front, in metres."""

Shares = tuple[float, float, float, float]
"""A part of a face: start and end along its lower edge, start and end upwards, in 0..1."""


@dataclass
class Face:
    """A flat outline with marks painted on it; a mark with glow shines at dusk."""

    corners: Sequence[Corner]
    colour: Colour
    marks: list[tuple[Sequence[Corner] | Shares, Colour, bool]] = field(default_factory=list)

    def mark(
        self, s0: float, s1: float, t0: float, t1: float, colour: Colour, *, glow: bool = False
    ) -> None:
        """Add a quadrilateral in shares of a face whose corners run along its foot, then back."""
        self.marks.append(((s0, s1, t0, t1), colour, glow))

    def outline(self, mark: Sequence[Corner] | Shares) -> list[Corner]:
        """Return the corners of a mark."""
        if isinstance(mark, tuple):
            s0, s1, t0, t1 = cast("Shares", mark)
            return [self.at(s0, t0), self.at(s1, t0), self.at(s1, t1), self.at(s0, t1)]
        return list(mark)

    def at(self, s: float, t: float) -> Corner:
        """Return the point at shares s along the lower edge and t upwards."""
        a, b, c, d = self.corners[:4]
        w0, w1, w2, w3 = (1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t
        return (
            w0 * a[0] + w1 * b[0] + w2 * c[0] + w3 * d[0],
            w0 * a[1] + w1 * b[1] + w2 * c[1] + w3 * d[1],
            w0 * a[2] + w1 * b[2] + w2 * c[2] + w3 * d[2],
        )


@dataclass
class Solid:
    """A convex body of faces, painted whole before the next one."""

    faces: list[Face]


def prism(profile: Sequence[Point], half: float, colour: Colour) -> list[Face]:
    """Return right side, left side and the faces between, of a profile (z, y) going round."""
    right = Face([(half, y, z) for z, y in profile], colour)
    left = Face([(-half, y, z) for z, y in profile], colour)
    faces = [right, left]
    for k, (z0, y0) in enumerate(profile):
        z1, y1 = profile[(k + 1) % len(profile)]
        faces.append(
            Face([(-half, y0, z0), (half, y0, z0), (half, y1, z1), (-half, y1, z1)], colour)
        )
    return faces


def facing_of(
    points: list[Corner], middle: Sequence[float], eye: Corner, light: Light
) -> float | None:
    """Return the light on a face, or None where its back is turned to the camera.

    The light is given as a negative number where the face is seen almost from its edge.
    """
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = points[0], points[1], points[2]
    ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    if nx * (ax - middle[0]) + ny * (ay - middle[1]) + nz * (az - middle[2]) < 0:
        nx, ny, nz = -nx, -ny, -nz
    ex, ey, ez = eye[0] - middle[0], eye[1] - ay, eye[2] - middle[2]
    if nx * (eye[0] - ax) + ny * ey + nz * (eye[2] - az) <= 0:
        return None
    length = (nx * nx + ny * ny + nz * nz) ** 0.5 or 1.0
    lit = light.facing(nx / length, ny / length, nz / length)
    flat = (nx * (eye[0] - ax) + ny * ey + nz * (eye[2] - az)) / length
    return lit if flat > 0.1 * (ex * ex + ey * ey + ez * ez) ** 0.5 else -lit - 1e-9
