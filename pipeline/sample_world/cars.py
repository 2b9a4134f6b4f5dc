"""The bodies of cars: sedans, hatchbacks, estates, off-roaders and vans."""

from dataclasses import dataclass
from math import cos, sin
from random import Random

from pipeline.sample_world.canvas import Point
from pipeline.sample_world.light import Colour, mix
from pipeline.sample_world.solids import Corner, Face, Solid

PAINTS: tuple[Colour, ...] = (
    (226, 228, 230), (214, 214, 210), (176, 180, 184), (128, 132, 138), (70, 74, 80),
    (36, 38, 42), (30, 32, 36), (150, 28, 32), (184, 40, 36), (30, 56, 118), (44, 92, 158),
    (92, 130, 168), (30, 84, 62), (96, 108, 70), (214, 172, 44), (206, 104, 38), (108, 66, 44),
    (196, 184, 156),
)  # fmt: skip
GLASS: Colour = (44, 52, 62)
TYRE: Colour = (30, 30, 32)
RED: Colour = (176, 22, 26)


@dataclass(frozen=True)
class Vehicle:
    """A vehicle at (x, z), turned by yaw (0 drives away from the camera)."""

    kind: str
    class_id: int
    x: float
    z: float
    yaw: float
    length: float
    width: float
    height: float
    paint: Colour
    seed: int
    lights: bool

    def footprint(self, grow: float = 0.0) -> list[Point]:
        """Return the corners (x, z) of the ground it covers, in metres."""
        w, n = self.width / 2 + grow, self.length / 2 + grow
        c, s = cos(self.yaw), sin(self.yaw)
        return [
            (self.x + a * c + b * s, self.z - a * s + b * c)
            for a, b in ((-w, -n), (w, -n), (w, n), (-w, n))
        ]


def _rear_marks(face: Face, vehicle: Vehicle, dice: Random) -> None:
    """Mark bumper, lamps and number plate on the rear of a car."""
    dark = mix(vehicle.paint, (34, 36, 38), 0.7 if dice.random() < 0.6 else 0.25)
    face.mark(0, 1, 0, 0.34, dark)
    face.mark(0.06, 0.94, 0.56, 0.60, mix(vehicle.paint, (20, 20, 22), 0.35))
    wide = dice.uniform(0.13, 0.24)
    red = mix(RED, (255, 60, 50), 0.5) if vehicle.lights else RED
    for a, b in ((0.02, 0.02 + wide), (0.98 - wide, 0.98)):
        face.mark(a, b, 0.62, 0.93, red, glow=vehicle.lights)
        face.mark(a + 0.02, b - 0.02, 0.70, 0.77, (230, 190, 180))
    low = dice.choice((0.40, 0.14, 0.66))
    face.mark(0.35, 0.65, low, low + 0.17, (232, 230, 220))
    face.mark(0.38, 0.62, low + 0.05, low + 0.12, (60, 60, 66))


def _front_marks(face: Face, vehicle: Vehicle, dice: Random) -> None:
    """Mark bumper, grille, headlamps and number plate on the front of a car."""
    face.mark(0, 1, 0, 0.22, mix(vehicle.paint, (30, 32, 34), 0.6))
    face.mark(0.22, 0.78, 0.46, 0.84, (34, 36, 40))
    for t in (0.56, 0.68):
        face.mark(0.24, 0.76, t, t + 0.03, (120, 124, 128))
    lamp: Colour = (255, 250, 232) if vehicle.lights else (222, 228, 232)
    wide = dice.uniform(0.15, 0.2)
    for a, b in ((0.02, 0.02 + wide), (0.98 - wide, 0.98)):
        face.mark(a - 0.01, b + 0.01, 0.54, 0.95, (70, 74, 80))
        face.mark(a + 0.01, b - 0.01, 0.6, 0.9, lamp, glow=vehicle.lights)
    face.mark(0.36, 0.64, 0.24, 0.4, (234, 232, 224))
    face.mark(0.39, 0.61, 0.29, 0.36, (60, 60, 66))


def _side_bands(
    length: float, belt: float, paint: Colour
) -> list[tuple[float, float, float, float, Colour]]:
    """Return sill, shoulder, door gaps and handles of a car's side as (z0, z1, y0, y1, colour)."""
    dark = mix(paint, (16, 18, 20), 0.5)
    rear, front = -0.44 * length, 0.43 * length
    bands = [
        (rear, front, 0.30, 0.42, mix(paint, (24, 26, 28), 0.55)),
        (rear, 0.4 * length, belt - 0.2, belt - 0.1, mix(paint, (255, 255, 255), 0.22)),
    ]
    bands += [
        (z * length, z * length + 0.03, 0.44, belt - 0.02, dark) for z in (0.19, -0.04, -0.25)
    ]
    bands += [
        (z * length, z * length + 0.18, belt - 0.26, belt - 0.21, dark) for z in (-0.02, -0.23)
    ]
    return bands


def _body(vehicle: Vehicle, belt: float, hood: float, dice: Random) -> Solid:
    """Return the lower half of a car, rounded in plan; hood is where the bonnet starts."""
    n, half, paint = vehicle.length, vehicle.width / 2, vehicle.paint
    sill = 0.27
    # Stations from rear to front: depth, half width, height.
    z0, w0, y0 = -0.5 * n, 0.91 * half, belt - 0.05
    z1, z2, y2 = -0.44 * n, 0.42 * n, belt - 0.16
    z3, w3, y3 = 0.5 * n, 0.84 * half, belt - 0.3
    rear = Face([(-w0, sill, z0), (w0, sill, z0), (w0, y0, z0), (-w0, y0, z0)], paint)
    _rear_marks(rear, vehicle, dice)
    front = Face([(-w3, sill, z3), (w3, sill, z3), (w3, y3, z3), (-w3, y3, z3)], paint)
    _front_marks(front, vehicle, dice)
    faces = []
    for sign in (-1, 1):
        x, a, b = sign * half, sign * w0, sign * w3
        side = Face(
            [(x, sill, z1), (x, belt, z1), (x, belt, hood), (x, y2, z2), (x, sill, z2)], paint
        )
        for s0, s1, t0, t1, colour in _side_bands(n, belt, paint):
            outline: list[Corner] = [(x, t0, s0), (x, t0, s1), (x, t1, s1), (x, t1, s0)]
            side.marks.append((outline, colour, False))
        tail = Face([(a, sill, z0), (x, sill, z1), (x, belt, z1), (a, y0, z0)], paint)
        tail.mark(0, 1, 0, 0.32, mix(paint, (34, 36, 38), 0.5))
        tail.mark(0, 0.75, 0.62, 0.9, RED)
        nose = Face([(b, sill, z3), (x, sill, z2), (x, y2, z2), (b, y3, z3)], paint)
        nose.mark(0, 1, 0, 0.22, mix(paint, (30, 32, 34), 0.6))
        nose.mark(0.05, 0.7, 0.56, 0.88, (214, 190, 160))
        faces += [side, tail, nose]
    lid = Face([(-w0, y0, z0), (w0, y0, z0), (half, belt, z1), (-half, belt, z1)], paint)
    deck = Face(
        [(-half, belt, z1), (half, belt, z1), (half, belt, hood), (-half, belt, hood)], paint
    )
    bonnet = Face([(-half, belt, hood), (half, belt, hood), (half, y2, z2), (-half, y2, z2)], paint)
    bonnet.mark(0.25, 0.27, 0.05, 1, mix(paint, (20, 22, 24), 0.25))
    bonnet.mark(0.73, 0.75, 0.05, 1, mix(paint, (20, 22, 24), 0.25))
    lip = Face([(-half, y2, z2), (half, y2, z2), (w3, y3, z3), (-w3, y3, z3)], paint)
    return Solid([*faces, lid, deck, bonnet, lip, rear, front])


def car_solids(vehicle: Vehicle, dice: Random) -> list[Solid]:
    """Return body and cabin of a car."""
    n, half, top, paint = vehicle.length, vehicle.width / 2, vehicle.height, vehicle.paint
    kind = vehicle.kind
    belt = {"suv": 1.08, "van": 1.12}.get(kind, 0.93)
    base0, top0 = {
        "sedan": (-0.36, -0.20), "hatch": (-0.47, -0.38), "estate": (-0.475, -0.43),
        "suv": (-0.475, -0.41), "van": (-0.48, -0.45),
    }[kind]  # fmt: skip
    base1, top1 = (0.25, 0.02) if kind != "van" else (0.36, 0.17)
    body = _body(vehicle, belt, base1 * n, dice)
    # The cabin narrows towards the roof.
    w0, w1 = half * 0.93, half * 0.73
    zs = (base0 * n, base1 * n, top1 * n, top0 * n)
    roof_ink = paint if dice.random() < 0.9 else (40, 42, 46)

    def side(sign: int) -> Face:
        a, b = sign * w0, sign * w1
        face = Face([(a, belt, zs[0]), (a, belt, zs[1]), (b, top, zs[2]), (b, top, zs[3])], paint)
        panes = [(0.12, 0.47), (0.52, 0.88)]
        if kind == "estate":
            panes = [(0.06, 0.3), (0.34, 0.6), (0.64, 0.9)]
        elif kind == "van" and vehicle.seed % 3 == 0:
            panes = [(0.66, 0.93)]
        for s0, s1 in panes:
            face.mark(s0, s1, 0.07, 0.86, GLASS)
            face.mark(s0, s1, 0.5, 0.86, mix(GLASS, (150, 170, 190), 0.35))
        return face

    rear = Face([(-w0, belt, zs[0]), (w0, belt, zs[0]), (w1, top, zs[3]), (-w1, top, zs[3])], paint)
    rear.mark(0.09, 0.91, 0.1, 0.86, GLASS)
    rear.mark(0.11, 0.89, 0.52, 0.86, mix(GLASS, (150, 170, 190), 0.32))
    wind = Face([(-w0, belt, zs[1]), (w0, belt, zs[1]), (w1, top, zs[2]), (-w1, top, zs[2])], paint)
    wind.mark(0.05, 0.95, 0.05, 0.92, GLASS)
    wind.mark(0.07, 0.93, 0.5, 0.92, mix(GLASS, (160, 180, 200), 0.4))
    roof = Face(
        [(-w1, top, zs[3]), (w1, top, zs[3]), (w1, top, zs[2]), (-w1, top, zs[2])], roof_ink
    )
    cabin = [side(1), side(-1), rear, wind, roof]
    return [body, Solid(cabin)]
