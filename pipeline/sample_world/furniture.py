"""Street furniture: lamps, signs, traffic lights, fences, walls, bins and other clutter."""

from dataclasses import dataclass
from math import cos, pi, sin
from random import Random

from pipeline.sample_world import ids
from pipeline.sample_world.backdrop import ShadowMap
from pipeline.sample_world.camera import Camera
from pipeline.sample_world.canvas import Canvas, Point
from pipeline.sample_world.light import Colour, Ink, Light, vary

_STEEL: Colour = (128, 132, 134)


@dataclass(frozen=True)
class Post:
    """Something upright at (x, z), in metres.

    Kind is 'lamp', 'sign', 'signal', 'bollard', 'bin', 'column', 'pram' or 'dog'.
    """

    kind: str
    x: float
    z: float
    height: float
    inward: int
    """Direction of the road: +1 or -1 along x."""
    seed: int


def _bar(
    canvas: Canvas, light: Light, foot: Point, high: float, half: float, colour: Colour, z: float
) -> None:
    """Paint an upright bar with a lit and a shaded half."""
    u, v = foot
    half = max(half, 0.5)
    bright = light.shade(colour, light.facing(-0.7, 0, -0.7), z)
    dark = light.shade(colour, 0.05, z)
    dim: Ink = (dark[0] * 3 // 4, dark[1] * 3 // 4, dark[2] * 3 // 4)
    canvas.fill([(u - half, v), (u - half, v - high), (u, v - high), (u, v)], bright, ids.POLE)
    canvas.fill([(u, v), (u, v - high), (u + half, v - high), (u + half, v)], dim, ids.POLE)


def paint_post(canvas: Canvas, camera: Camera, light: Light, post: Post) -> None:
    """Paint one piece of furniture."""
    dice = Random(post.seed)
    s = camera.scale(post.z)
    u, v = camera.point(post.x, 0, post.z)
    if post.kind == "lamp":
        _paint_lamp(canvas, light, post, (u, v), s)
    elif post.kind == "sign":
        _bar(canvas, light, (u, v), post.height * s, 0.035 * s, _STEEL, post.z)
        _paint_sign(canvas, light, dice, (u, v - post.height * s), s, post.z)
        if dice.random() < 0.25:
            _paint_sign(canvas, light, dice, (u, v - (post.height - 0.75) * s), 0.8 * s, post.z)
    elif post.kind == "signal":
        _paint_signal(canvas, light, dice, post, (u, v), s)
    elif post.kind == "bollard":
        colour = dice.choice(((70, 72, 76), (150, 60, 54), (120, 120, 118)))
        _bar(canvas, light, (u, v), post.height * s, 0.07 * s, colour, post.z)
    else:
        _paint_clutter(canvas, light, dice, post, (u, v), s)


def _paint_lamp(canvas: Canvas, light: Light, post: Post, foot: Point, s: float) -> None:
    u, v = foot
    high = post.height * s
    colour: Colour = (88, 94, 92) if post.seed % 2 else (140, 144, 146)
    _bar(canvas, light, foot, high, 0.06 * s, colour, post.z)
    _bar(canvas, light, foot, 0.9 * s, 0.1 * s, colour, post.z)
    tip = (u + post.inward * 1.5 * s, v - high - 0.25 * s)
    ink = light.shade(colour, 0.3, post.z)
    canvas.line([(u, v - high), tip], 0.09 * s, ink, ids.POLE)
    head = [(tip[0] - 0.4 * s, tip[1]), (tip[0] + 0.4 * s, tip[1])]
    head += [(tip[0] + 0.3 * s, tip[1] + 0.14 * s), (tip[0] - 0.3 * s, tip[1] + 0.14 * s)]
    if light.dusk:
        canvas.fill(head, light.glow((255, 226, 160), post.z), ids.POLE)
        canvas.add_glow((tip[0], tip[1] + 0.07 * s), 3.2 * s, (150, 118, 66), ids.POLE)
    else:
        canvas.fill(head, light.shade((168, 170, 168), 0.3, post.z), ids.POLE)


def _polygon(centre: Point, radius: float, corners: int, turn: float) -> list[Point]:
    return [
        (
            centre[0] + radius * cos(turn + 2 * pi * k / corners),
            centre[1] + radius * sin(turn + 2 * pi * k / corners),
        )
        for k in range(corners)
    ]


def _paint_sign(canvas: Canvas, light: Light, dice: Random, at: Point, s: float, z: float) -> None:
    """Paint a sign plate centred at a point; some show their grey back."""
    facing = light.facing(0, 0, -1)
    red = light.shade((206, 36, 36), facing, z)
    white = light.shade((242, 242, 240), facing, z)
    blue = light.shade((36, 88, 178), facing, z)
    black = light.shade((34, 34, 36), facing, z)
    radius = 0.38 * s
    kind = dice.choice(("ban", "limit", "yield", "priority", "blue", "parking", "board", "back"))
    sign = ids.TRAFFIC_SIGN
    if kind in ("ban", "limit"):
        canvas.fill(_polygon(at, radius, 16, 0), red, sign)
        canvas.fill(_polygon(at, radius * 0.72, 16, 0), white, sign)
        if kind == "limit":
            for dx in (-0.3, 0.12):
                x, y = at[0] + dx * radius, at[1]
                bar = [(x, y - 0.36 * radius), (x + 0.26 * radius, y - 0.36 * radius)]
                bar += [(x + 0.26 * radius, y + 0.36 * radius), (x, y + 0.36 * radius)]
                canvas.fill(bar, black, sign)
    elif kind == "yield":
        canvas.fill(_polygon(at, radius * 1.15, 3, pi / 2), red, sign)
        canvas.fill(_polygon(at, radius * 0.68, 3, pi / 2), white, sign)
    elif kind == "priority":
        canvas.fill(_polygon(at, radius, 4, 0), white, sign)
        yellow = light.shade((246, 196, 34), facing, z)
        canvas.fill(_polygon(at, radius * 0.72, 4, 0), yellow, sign)
    elif kind == "blue":
        canvas.fill(_polygon(at, radius, 16, 0), blue, sign)
        canvas.fill(_polygon((at[0], at[1] - 0.1 * radius), 0.5 * radius, 3, -pi / 2), white, sign)
        x, y = at
        r = radius
        stem = [(x - 0.12 * r, y), (x + 0.12 * r, y), (x + 0.12 * r, y + 0.6 * r)]
        canvas.fill([*stem, (x - 0.12 * r, y + 0.6 * r)], white, sign)
    elif kind == "parking":
        canvas.fill(_polygon(at, radius * 1.2, 4, pi / 4), blue, sign)
        x, y = at
        r = radius
        stem = [(x - 0.3 * r, y - 0.5 * r), (x - 0.1 * r, y - 0.5 * r), (x - 0.1 * r, y + 0.55 * r)]
        canvas.fill([*stem, (x - 0.3 * r, y + 0.55 * r)], white, sign)
        canvas.fill(_polygon((x + 0.08 * r, y - 0.18 * r), 0.34 * r, 10, 0), white, sign)
    elif kind == "board":
        w, h = dice.uniform(0.7, 1.3) * s, dice.uniform(0.22, 0.45) * s
        tone = dice.choice((blue, white, light.shade((236, 190, 40), facing, z)))
        x, y = at
        canvas.fill([(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)], tone, sign)
        text = black if tone == white else white
        for row in (-0.4, 0.15):
            left, right = x - 0.8 * w, x + dice.uniform(-0.1, 0.8) * w
            upper, lower = y + row * h, y + (row + 0.26) * h
            canvas.fill([(left, upper), (right, upper), (right, lower), (left, lower)], text, sign)
    else:
        canvas.fill(_polygon(at, radius, 16, 0), light.shade((150, 152, 152), 0.2, z), sign)
        strip = light.shade((120, 122, 122), 0.2, z)
        canvas.line([(at[0] - radius, at[1]), (at[0] + radius, at[1])], 0.08 * s, strip, sign)


def _paint_signal(
    canvas: Canvas, light: Light, dice: Random, post: Post, foot: Point, s: float
) -> None:
    """Paint a traffic light; on a long arm over the road now and then."""
    u, v = foot
    _bar(canvas, light, foot, post.height * s, 0.06 * s, (104, 108, 110), post.z)
    heads = [(u, v - (post.height - 0.5) * s)]
    if dice.random() < 0.35:
        tall = (u, v - 5.6 * s)
        _bar(canvas, light, foot, 5.6 * s, 0.08 * s, (104, 108, 110), post.z)
        reach = post.inward * dice.uniform(2.4, 4.2) * s
        ink = light.shade((104, 108, 110), 0.3, post.z)
        canvas.line([tall, (u + reach, tall[1])], 0.1 * s, ink, ids.POLE)
        heads.append((u + reach, tall[1] + 0.2 * s))
    state = dice.randrange(3)
    tones: tuple[Colour, ...] = ((255, 48, 40), (255, 186, 40), (60, 232, 120))
    for x, y in heads:
        w, h = 0.2 * s, 0.52 * s
        body = light.shade((38, 40, 42), 0.3, post.z)
        box = [(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)]
        canvas.fill(box, body, ids.TRAFFIC_LIGHT)
        for k in range(3):
            centre = (x, y + (k - 1) * 0.33 * s)
            if k == state:
                ink = light.glow(tones[k], post.z)
                strong = 0.55 if light.dusk else 0.16
                halo = (int(ink[0] * strong), int(ink[1] * strong), int(ink[2] * strong))
                canvas.add_glow(centre, 0.9 * s, halo, ids.TRAFFIC_LIGHT)
            else:
                r, g, b = tones[k]
                ink = light.shade((20 + r * 0.15, 20 + g * 0.15, 20 + b * 0.15), 0.2, post.z)
            canvas.fill(_polygon(centre, 0.13 * s, 10, 0), ink, ids.TRAFFIC_LIGHT)


def _paint_clutter(
    canvas: Canvas, light: Light, dice: Random, post: Post, foot: Point, s: float
) -> None:
    """Paint bins, boxes and advertising columns (static), prams and dogs (dynamic)."""
    u, v = foot
    z, h = post.z, post.height * s
    front = light.facing(0, 0, -1)
    if post.kind == "bin":
        tone = vary(dice, dice.choice(((56, 72, 60), (70, 72, 76), (42, 66, 110))), 10)
        w = 0.3 * s
        box = [(u - w * 0.85, v), (u + w * 0.85, v), (u + w, v - h), (u - w, v - h)]
        canvas.fill(box, light.shade(tone, front, z), ids.STATIC)
        lid = [
            (u - w * 1.1, v - h),
            (u + w * 1.1, v - h),
            (u + w, v - h * 1.13),
            (u - w, v - h * 1.13),
        ]
        canvas.fill(lid, light.shade((40, 42, 44), front, z), ids.STATIC)
    elif post.kind == "column":
        w = 0.6 * s
        for k in range(6):
            a, b = -w + 2 * w * k / 6, -w + 2 * w * (k + 1) / 6
            tone = (dice.uniform(90, 220), dice.uniform(90, 200), dice.uniform(80, 190))
            ink = light.shade(tone, front * (1.2 - abs(k - 2) * 0.25), z)
            canvas.fill([(u + a, v), (u + a, v - h), (u + b, v - h), (u + b, v)], ink, ids.STATIC)
        cap = light.shade((66, 78, 72), 0.4, z)
        canvas.fill([(u - w * 1.15, v - h), (u, v - h * 1.22), (u + w * 1.15, v - h)], cap, 4)
    elif post.kind == "pram":
        ink = light.shade(vary(dice, (60, 60, 80), 30), front, z)
        hood = [(-0.4, 0.35), (0.35, 0.35), (0.3, post.height), (-0.1, post.height), (-0.4, 0.7)]
        canvas.fill([(u + x * s, v - y * s) for x, y in hood], ink, ids.DYNAMIC)
        for dx in (-0.28, 0.25):
            wheel = _polygon((u + dx * s, v - 0.14 * s), 0.14 * s, 8, 0)
            canvas.fill(wheel, light.shade((30, 30, 32), 0.2, z), ids.DYNAMIC)
    else:
        fur: Colour = dice.choice(((96, 70, 44), (50, 46, 44), (190, 170, 140)))
        ink = light.shade(vary(dice, fur, 8), front, z)
        side = dice.choice((-1, 1))

        def at(x: float, y: float) -> Point:
            return u + side * x * s, v - y * s

        trunk = [at(-0.35, 0.3), at(-0.3, 0.52), at(0.3, 0.52), at(0.32, 0.3)]
        canvas.fill(trunk, ink, ids.DYNAMIC)
        head = [at(0.24, 0.5), at(0.3, 0.72), at(0.52, 0.64), at(0.5, 0.54)]
        canvas.fill(head, ink, ids.DYNAMIC)
        for x in (-0.32, -0.2, 0.16, 0.27):
            leg = [at(x, 0.32), at(x + 0.06, 0.32), at(x + 0.05, 0), at(x, 0)]
            canvas.fill(leg, ink, ids.DYNAMIC)


def shade_post(shadows: ShadowMap, post: Post) -> None:
    """Cast the thin shadow of a post."""
    w = 0.07 if post.kind in ("lamp", "sign", "signal", "bollard") else 0.3
    square = [(post.x - w, post.z - w), (post.x + w, post.z - w)]
    square += [(post.x + w, post.z + w), (post.x - w, post.z + w)]
    shadows.cast(square, post.height)
    shadows.contact(square, 0.4)


@dataclass(frozen=True)
class Barrier:
    """A fence or a wall along the street from depth near to far, at x (signed), in metres."""

    kind: str
    x: float
    near: float
    far: float
    height: float
    colour: Colour


def paint_barrier(canvas: Canvas, camera: Camera, light: Light, barrier: Barrier) -> None:
    """Paint a fence (pickets and rails, or a railing) or a wall of stone."""
    x, h = barrier.x, barrier.height
    facing = light.facing(-1.0 if x > 0 else 1.0, 0, 0)
    near = max(barrier.near, 2.0, abs(x) * camera.focal / (1.5 * camera.width))
    z = barrier.far
    point = camera.point
    wall = barrier.kind == "wall"
    course = 0
    while z > near:
        step = (0.9 if wall else 0.34) * max(1.0, z / 22)
        z0 = max(near, z - step)
        ident = ids.WALL if wall else ids.FENCE
        if wall:
            rows = 4 if z < 40 else 2
            for k in range(rows):
                seed = (course * 37 + k * 101) % 23
                c = barrier.colour
                tone = (c[0] + seed - 11, c[1] + seed - 11, c[2] + seed - 12)
                a, b = h * k / rows, h * (k + 1) / rows
                corners = [point(x, a, z), point(x, b, z), point(x, b, z0), point(x, a, z0)]
                canvas.fill(corners, light.shade(tone, facing, z), ident)
            cap = [point(x, h, z), point(x, h + 0.14, z), point(x, h + 0.14, z0), point(x, h, z0)]
            canvas.fill(cap, light.shade((172, 168, 160), facing, z), ident)
        else:
            ink = light.shade(barrier.colour, facing, z)
            gap = z0 + (z - z0) * (0.35 if barrier.kind == "picket" else 0.75)
            corners = [point(x, 0.05, z), point(x, h, z), point(x, h, gap), point(x, 0.05, gap)]
            canvas.fill(corners, ink, ident)
            for y in (0.25 * h, 0.82 * h):
                rail = [
                    point(x, y, z),
                    point(x, y + 0.1, z),
                    point(x, y + 0.1, z0),
                    point(x, y, z0),
                ]
                canvas.fill(rail, ink, ident)
        course += 1
        z = z0
