"""Cars, vans, lorries, buses, trams, caravans and trailers as small solids in perspective."""

from math import cos, pi, sin
from random import Random

import numpy as np

from pipeline.sample_world import ids
from pipeline.sample_world.backdrop import ShadowMap
from pipeline.sample_world.camera import Camera
from pipeline.sample_world.canvas import Canvas
from pipeline.sample_world.cars import GLASS, PAINTS, RED, TYRE, Vehicle, car_solids
from pipeline.sample_world.light import Colour, Light, mix, vary
from pipeline.sample_world.solids import Corner, Solid, facing_of, prism

_CARGO: tuple[Colour, ...] = (
    (222, 222, 218), (190, 190, 186), (70, 104, 150), (150, 60, 50), (206, 180, 80),
)  # fmt: skip
_SIZES: dict[str, tuple[int, float, float, float]] = {
    "sedan": (ids.CAR, 4.6, 1.80, 1.45),
    "hatch": (ids.CAR, 4.0, 1.74, 1.48),
    "estate": (ids.CAR, 4.6, 1.80, 1.50),
    "suv": (ids.CAR, 4.5, 1.88, 1.70),
    "van": (ids.CAR, 4.9, 1.94, 2.0),
    "lorry": (ids.TRUCK, 8.2, 2.45, 3.5),
    "bus": (ids.BUS, 11.5, 2.5, 3.1),
    "tram": (ids.TRAIN, 16.0, 2.45, 3.4),
    "caravan": (ids.CARAVAN, 5.0, 2.1, 2.5),
    "trailer": (ids.TRAILER, 2.6, 1.5, 1.05),
}


def draw_vehicle(
    dice: Random, kind: str, x: float, z: float, yaw: float, *, lights: bool
) -> Vehicle:
    """Draw a vehicle of a kind at (x, z)."""
    class_id, length, width, height = _SIZES[kind]
    size = dice.uniform(0.94, 1.06)
    paint = vary(dice, dice.choice(PAINTS), 10)
    if kind == "bus":
        paint = dice.choice(((206, 50, 44), (224, 196, 60), (60, 110, 170), (228, 226, 220)))
    elif kind == "tram":
        paint = dice.choice(((200, 44, 44), (228, 206, 90), (60, 130, 90)))
    elif kind == "caravan":
        paint = vary(dice, (226, 222, 212), 8)
    return Vehicle(
        kind, class_id, x, z, yaw, length * size, width, height * dice.uniform(0.96, 1.04),
        paint, dice.getrandbits(32), lights,
    )  # fmt: skip


def _coach(vehicle: Vehicle, dice: Random) -> list[Solid]:
    """Return the body of a bus or a tram."""
    n, half, top, paint = vehicle.length, vehicle.width / 2, vehicle.height, vehicle.paint
    lower = mix(paint, (240, 238, 232), dice.choice((0.0, 0.0, 0.85)))
    body = prism([(-0.5 * n, 0.35), (-0.5 * n, top), (0.5 * n, top), (0.5 * n, 0.35)], half, paint)
    for k in (0, 1):
        face = body[k]
        # Corners of a side run rear lower, rear upper, front upper, front lower.
        a, b, c, d = face.corners
        face.corners = [a, d, c, b]
        face.mark(0, 1, 0, 0.3, lower)
        count = 7 if vehicle.kind == "bus" else 9
        for m in range(count):
            s0, s1 = 0.03 + 0.94 * m / count, 0.03 + 0.94 * (m + 0.88) / count
            low = 0.06 if m in (2, count - 1) else 0.4
            glass: Colour = (250, 220, 150) if vehicle.lights else GLASS
            face.mark(s0, s1, low, 0.84, glass)
            if not vehicle.lights:
                face.mark(s0, s1, 0.64, 0.84, mix(GLASS, (150, 170, 190), 0.3))
    rear, front = body[2], body[4]
    front.corners = [front.corners[3], front.corners[2], front.corners[1], front.corners[0]]
    for face in (rear, front):
        face.mark(0, 1, 0, 0.12, (44, 46, 48))
    rear.mark(0.12, 0.88, 0.55, 0.86, GLASS)
    rear.mark(0.2, 0.8, 0.2, 0.42, mix(paint, (40, 40, 42), 0.5))
    for a0, b0 in ((0.03, 0.12), (0.88, 0.97)):
        rear.mark(a0, b0, 0.18, 0.36, RED, glow=vehicle.lights)
        lamp: Colour = (250, 246, 228)
        front.mark(a0 + 0.03, b0 + 0.03 if a0 < 0.5 else b0, 0.14, 0.22, lamp, glow=vehicle.lights)
    front.mark(0.05, 0.95, 0.3, 0.82, GLASS)
    front.mark(0.05, 0.95, 0.58, 0.82, mix(GLASS, (160, 180, 200), 0.35))
    front.mark(0.2, 0.8, 0.87, 0.96, (30, 30, 30))
    front.mark(0.26, 0.66, 0.89, 0.94, (240, 170, 50), glow=vehicle.lights)
    return [Solid(body)]


def _lorry(vehicle: Vehicle, dice: Random) -> list[Solid]:
    n, half, top, paint = vehicle.length, vehicle.width / 2, vehicle.height, vehicle.paint
    cargo = vary(dice, dice.choice(_CARGO), 8)
    split = 0.26 * n
    beam = [(-0.5 * n, 0.6), (-0.5 * n, 0.95), (0.3 * n, 0.95), (0.3 * n, 0.6)]
    deck = prism(beam, half * 0.9, (46, 46, 50))
    box = prism([(-0.5 * n, 0.95), (-0.5 * n, top), (split, top), (split, 0.95)], half, cargo)
    cab_top = top * dice.uniform(0.72, 0.86)
    cab = prism(
        [
            (split + 0.12, 0.45), (split + 0.12, cab_top), (0.47 * n, cab_top),
            (0.5 * n, 1.5), (0.5 * n, 0.45),
        ],
        half * 0.96,
        paint,
    )  # fmt: skip
    rear = box[2]
    rear.mark(0.485, 0.515, 0.03, 0.97, mix(cargo, (30, 30, 32), 0.6))
    for s in (0.25, 0.4, 0.6, 0.75):
        rear.mark(s - 0.01, s + 0.01, 0.04, 0.96, mix(cargo, (60, 60, 62), 0.5))
    back = deck[2]
    for a, b in ((0.02, 0.16), (0.84, 0.98)):
        back.mark(a, b, 0.1, 0.9, RED, glow=vehicle.lights)
    back.mark(0.4, 0.6, 0.2, 0.9, (232, 230, 220))
    for k in (0, 1):
        rear_low, rear_high, front_high, front_low = box[k].corners
        box[k].corners = [rear_low, front_low, front_high, rear_high]
        box[k].mark(0.1, 0.9, 0.42, 0.68, mix(cargo, dice.choice(PAINTS), 0.6))
        x = half * 0.96 * (1 if k == 0 else -1)
        z0, z1 = split + 0.4, 0.46 * n
        pane = [(x, 1.6, z0), (x, 1.6, z1), (x, cab_top - 0.25, z1 - 0.1), (x, cab_top - 0.25, z0)]
        cab[k].marks.append((pane, GLASS, False))
    for face in (cab[4], cab[5]):
        face.corners = [face.corners[3], face.corners[2], face.corners[1], face.corners[0]]
    cab[4].mark(0.06, 0.94, 0.1, 0.85, GLASS)
    cab[4].mark(0.06, 0.94, 0.5, 0.85, mix(GLASS, (160, 180, 200), 0.35))
    cab[5].mark(0.12, 0.88, 0.35, 0.8, (40, 42, 46))
    for a, b in ((0.03, 0.17), (0.83, 0.97)):
        cab[5].mark(a, b, 0.12, 0.32, (250, 246, 228), glow=vehicle.lights)
    return [Solid(deck), Solid(box), Solid(cab)]


def _towed(vehicle: Vehicle, dice: Random) -> list[Solid]:
    """Return the body of a caravan or a small trailer."""
    n, half, top, paint = vehicle.length, vehicle.width / 2, vehicle.height, vehicle.paint
    if vehicle.kind == "trailer":
        tone: Colour = dice.choice(((120, 124, 128), (70, 90, 120), (96, 98, 84)))
        tray = [(-0.5 * n, 0.45), (-0.5 * n, top), (0.4 * n, top), (0.4 * n, 0.45)]
        body = prism(tray, half, tone)
        for s in (0.03, 0.85):
            body[2].mark(s, s + 0.12, 0.1, 0.4, RED)
        return [Solid(body)]
    body = prism(
        [(-0.5 * n, 0.4), (-0.48 * n, top), (0.3 * n, top), (0.42 * n, 1.2), (0.36 * n, 0.4)],
        half,
        paint,
    )
    stripe = dice.choice(((80, 110, 150), (160, 90, 60), (110, 130, 90)))
    body[2].mark(0.15, 0.85, 0.5, 0.82, GLASS)
    body[2].mark(0, 1, 0.3, 0.38, stripe)
    for k, x in ((0, half), (1, -half)):
        for z0, z1, y0, y1, tone in (
            (-0.45 * n, 0.36 * n, 0.85, 1.0, stripe),
            (-0.34 * n, -0.1 * n, 1.3, 1.95, GLASS),
            (0.12 * n, 0.26 * n, 1.3, 1.95, GLASS),
        ):
            band = [(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)]
            body[k].marks.append((band, tone, False))
    return [Solid(body)]


def _wheels(vehicle: Vehicle) -> tuple[list[tuple[float, float]], float]:
    """Return the places (z, x) of the wheels and their radius, in metres."""
    n, half = vehicle.length, vehicle.width / 2
    radius = 0.33 if vehicle.class_id == ids.CAR else 0.48
    if vehicle.kind in ("caravan", "trailer"):
        axles, radius = [0.0], 0.3
    elif vehicle.kind == "tram":
        axles, radius = [-0.36 * n, -0.28 * n, 0.28 * n, 0.36 * n], 0.34
    elif vehicle.kind == "lorry":
        axles = [-0.34 * n, -0.2 * n, 0.38 * n]
    elif vehicle.kind == "bus":
        axles = [-0.26 * n, 0.3 * n]
    else:
        axles = [-0.29 * n, 0.31 * n]
    return [(z, sign * half) for z in axles for sign in (-1, 1)], radius


_ROUND = [(cos(2 * pi * k / 14), sin(2 * pi * k / 14)) for k in range(14)]


def paint_vehicle(
    canvas: Canvas, camera: Camera, light: Light, vehicle: Vehicle, ident: int
) -> None:
    """Paint a vehicle under one instance id."""
    dice = Random(vehicle.seed)
    if vehicle.class_id == ids.CAR:
        solids = car_solids(vehicle, dice)
    elif vehicle.kind in ("bus", "tram"):
        solids = _coach(vehicle, dice)
    elif vehicle.kind == "lorry":
        solids = _lorry(vehicle, dice)
    else:
        solids = _towed(vehicle, dice)
    c, s = cos(vehicle.yaw), sin(vehicle.yaw)

    def world(corner: Corner) -> Corner:
        x, y, z = corner
        return vehicle.x + x * c + z * s, y, vehicle.z - x * s + z * c

    if vehicle.kind == "lorry":  # Box and cab hide each other: the farther one first.
        box, cab = solids[1:]
        front_first = c > 0
        solids = [solids[0], *((cab, box) if front_first else (box, cab))]
    # The bend of the street at the far side of a vehicle is not worth a distortion.
    bend = camera.bend * vehicle.z * vehicle.z
    jobs: list[tuple[list[Corner], Colour, float, bool]] = []
    eye = (-bend, camera.eye, 0.0)
    wheels, radius = _wheels(vehicle)
    outer: list[tuple[list[Corner], Colour, float, bool]] = []
    for z, x in wheels:
        px, _, pz = world((x, radius, z))
        outward = 1.0 if x > 0 else -1.0
        seen = outward * (c * (eye[0] - px) + s * pz)
        inner = x * 0.72
        for turned in (-radius, radius):
            tread = [(inner, 0.0, z + turned * 0.6), (x, 0.0, z + turned * 0.6)]
            tread += [
                (x, radius * 1.6, z + turned * 0.95),
                (inner, radius * 1.6, z + turned * 0.95),
            ]
            jobs.append(([world(p) for p in tread], TYRE, 0.05, False))
        disc = [world((x, radius + radius * b, z + radius * a)) for a, b in _ROUND]
        (outer if seen > 0 else jobs).append((disc, TYRE, 0.25, False))
        if seen > 0 and camera.scale(vehicle.z) > 0.02 * canvas.width:
            r = 1.22 * radius
            arch = [world((x, radius + r * max(-0.3, b), z + r * a)) for a, b in _ROUND]
            outer.insert(0, (arch, (22, 22, 24), 0.1, False))
            hub = [world((x, radius + 0.62 * radius * b, z + 0.62 * radius * a)) for a, b in _ROUND]
            outer.append((hub, (138, 142, 148), 0.5, False))
            cap = [world((x, radius + 0.2 * radius * b, z + 0.2 * radius * a)) for a, b in _ROUND]
            outer.append((cap, (70, 72, 76), 0.4, False))
    for order, solid in enumerate(solids):
        corners = [[world(p) for p in face.corners] for face in solid.faces]
        flat = [p for face in corners for p in face]
        middle = tuple(sum(p[k] for p in flat) / len(flat) for k in range(3))
        for face, points in zip(solid.faces, corners, strict=True):
            facing = facing_of(points, middle, eye, light)
            if facing is None:
                continue
            jobs.append((points, face.colour, facing, False))
            if facing < 0:  # Seen so flat that marks would be thicker than they are.
                jobs[-1] = (points, face.colour, -facing, False)
                continue
            for mark, colour, glow in face.marks:
                jobs.append(([world(p) for p in face.outline(mark)], colour, facing, glow))
        if order == 0:
            jobs += outer
    _paint(canvas, camera, light, vehicle, jobs, ident)


def _paint(
    canvas: Canvas,
    camera: Camera,
    light: Light,
    vehicle: Vehicle,
    jobs: list[tuple[list[Corner], Colour, float, bool]],
    ident: int,
) -> None:
    """Project all polygons at once and paint them in order."""
    flat = np.array([p for points, _, _, _ in jobs for p in points])
    pixels = [(u, v) for u, v in camera.points(flat).tolist()]
    at = 0
    for points, colour, facing, glow in jobs:
        corners = pixels[at : at + len(points)]
        at += len(points)
        if glow:
            canvas.fill(corners, light.glow(colour, vehicle.z), ident)
            middle = (sum(p[0] for p in corners) / 4, sum(p[1] for p in corners) / 4)
            dim = 0.5 if light.dusk else 0.22
            halo = (int(colour[0] * dim), int(colour[1] * dim), int(colour[2] * dim))
            canvas.add_glow(middle, 0.75 * camera.scale(vehicle.z), halo, ident)
        else:
            canvas.fill(corners, light.shade(colour, facing, vehicle.z), ident)


def shade_vehicle(shadows: ShadowMap, vehicle: Vehicle) -> None:
    """Cast the shadow of a vehicle and darken the ground beneath it."""
    shadows.cast(vehicle.footprint(), vehicle.height * 0.93)
    shadows.contact(vehicle.footprint(0.12), 0.72)
