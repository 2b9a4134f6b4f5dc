"""Pedestrians, riders, bicycles and motorcycles as flat figures that face the camera."""

from dataclasses import dataclass
from math import cos, pi, sin
from random import Random

from pipeline.sample_world import ids
from pipeline.sample_world.backdrop import ShadowMap
from pipeline.sample_world.camera import Camera
from pipeline.sample_world.canvas import Canvas, Point
from pipeline.sample_world.light import Colour, Ink, Light, mix, vary

_SKIN: tuple[Colour, ...] = ((232, 190, 160), (214, 166, 132), (170, 118, 86), (112, 76, 56))
_HAIR: tuple[Colour, ...] = (
    (40, 30, 24),
    (84, 58, 38),
    (150, 116, 66),
    (120, 118, 116),
    (24, 22, 24),
)
_TOPS: tuple[Colour, ...] = (
    (178, 44, 44), (40, 62, 112), (58, 92, 66), (226, 222, 212), (46, 46, 52), (196, 158, 72),
    (112, 60, 96), (92, 132, 164), (206, 112, 62), (120, 116, 110), (224, 150, 160),
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = (
    (44, 52, 76),
    (38, 38, 42),
    (92, 84, 72),
    (70, 82, 104),
    (140, 128, 108),
)
_RING = [(cos(2 * pi * k / 12), sin(2 * pi * k / 12)) for k in range(12)]


@dataclass(frozen=True)
class Figure:
    """Somebody or some cycle at (x, z), in metres.

    Kind is 'walker', 'cyclist', 'biker', 'bicycle' or 'moped'.
    View is 'side' or 'along': across the image, or away from and towards the camera.
    """

    kind: str
    x: float
    z: float
    height: float
    view: str
    mirror: bool
    away: bool
    seed: int


def draw_figure(dice: Random, kind: str, x: float, z: float, view: str) -> Figure:
    """Draw a figure of a kind at (x, z)."""
    height = dice.uniform(1.05, 1.4) if dice.random() < 0.08 else dice.uniform(1.55, 1.92)
    if kind in ("cyclist", "biker"):
        height = dice.uniform(1.6, 1.85)
    return Figure(
        kind, x, z, height, view, dice.random() < 0.5, dice.random() < 0.5, dice.getrandbits(32)
    )


class _Pen:
    """Draws in metres around the foot of a figure."""

    def __init__(
        self, canvas: Canvas, camera: Camera, light: Light, figure: Figure, ident: int
    ) -> None:
        self.canvas, self.light, self.ident, self.z = canvas, light, ident, figure.z
        self.u, self.v = camera.point(figure.x, 0, figure.z)
        self.s = camera.scale(figure.z)
        self.sx = -self.s if figure.mirror else self.s
        self.front = light.facing(0, 0.2, -0.98)

    def at(self, x: float, y: float) -> Point:
        return self.u + self.sx * x, self.v - self.s * y

    def ink(self, colour: Colour, part: float = 1.0) -> Ink:
        return self.light.shade(colour, self.front * part, self.z)

    def shape(self, points: list[Point], colour: Colour, part: float = 1.0) -> None:
        corners = [self.at(x, y) for x, y in points]
        self.canvas.fill(corners, self.ink(colour, part), self.ident)

    def limb(
        self, a: Point, b: Point, wide_a: float, wide_b: float, colour: Colour, part: float = 1.0
    ) -> None:
        dx, dy = b[0] - a[0], b[1] - a[1]
        length = (dx * dx + dy * dy) ** 0.5 or 1.0
        nx, ny = -dy / length / 2, dx / length / 2
        self.shape(
            [
                (a[0] + nx * wide_a, a[1] + ny * wide_a),
                (b[0] + nx * wide_b, b[1] + ny * wide_b),
                (b[0] - nx * wide_b, b[1] - ny * wide_b),
                (a[0] - nx * wide_a, a[1] - ny * wide_a),
            ],
            colour,
            part,
        )

    def oval(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, part: float = 1.0
    ) -> None:
        self.shape([(x + rx * a, y + ry * b) for a, b in _RING], colour, part)

    def ring(self, x: float, y: float, rx: float, ry: float, wide: float, colour: Colour) -> None:
        self.canvas.ellipse(
            self.at(x, y), (rx * self.s, ry * self.s), self.ink(colour), self.ident,
            ring=max(1.0, wide * self.s),
        )  # fmt: skip

    def stroke(self, points: list[Point], wide: float, colour: Colour) -> None:
        line = [self.at(x, y) for x, y in points]
        self.canvas.line(line, wide * self.s, self.ink(colour), self.ident)


def _head(pen: _Pen, dice: Random, x: float, y: float, r: float, *, away: bool, side: bool) -> None:
    """Paint a head with hair or a cap, centred at (x, y)."""
    skin, hair = dice.choice(_SKIN), dice.choice(_HAIR)
    pen.limb((x, y - 1.4 * r), (x, y), 0.9 * r, 0.9 * r, skin, 0.7)
    pen.oval(x, y, 0.8 * r, r, hair if away else skin)
    if not away:
        pen.shape([(x - 0.82 * r, y + 0.1 * r), (x - 0.7 * r, y + 0.8 * r), (x, y + 1.1 * r),
                   (x + 0.7 * r, y + 0.8 * r), (x + 0.82 * r, y + (0.5 if side else 0.1) * r),
                   (x, y + 0.5 * r)], hair)  # fmt: skip
        if side:
            pen.shape([(x - 0.82 * r, y + 0.5 * r), (x - 0.1 * r, y + 0.5 * r),
                       (x - 0.2 * r, y - 0.5 * r), (x - 0.8 * r, y - 0.4 * r)], hair)  # fmt: skip
    if dice.random() < 0.2:
        long = 1.6 * r if away else 1.2 * r
        pen.limb((x - 0.6 * r, y + 0.3 * r), (x - 0.7 * r, y - long), 0.7 * r, 0.4 * r, hair, 0.8)


def _paint_walker(pen: _Pen, dice: Random, figure: Figure) -> None:
    h = figure.height
    top, legs = vary(dice, dice.choice(_TOPS), 14), vary(dice, dice.choice(_TROUSERS), 10)
    shoe: Colour = (36, 32, 30) if dice.random() < 0.7 else (214, 210, 204)
    dress = dice.random() < 0.18
    coat = dice.random() < 0.3
    skin = dice.choice(_SKIN)
    leg_tone = skin if dress else legs
    swing = dice.uniform(0.05, 0.3) * dice.choice((-1, 1))
    sleeve = top if dice.random() < 0.7 else skin
    if figure.view == "side":
        lean = 0.02 * h
        for sign, part in ((-1, 0.6), (1, 1.0)):
            a = sign * swing
            knee = (0.5 * a * 0.5 * h + 0.02 * h, 0.27 * h)
            foot = (a * 0.5 * h - (0.03 * h if a < 0 else 0), 0.035 * h)
            pen.limb((lean, 0.52 * h), knee, 0.105 * h, 0.075 * h, leg_tone, part)
            pen.limb(knee, foot, 0.07 * h, 0.05 * h, leg_tone, part)
            pen.shape([(foot[0] - 0.03 * h, 0), (foot[0] + 0.09 * h, 0),
                       (foot[0] + 0.07 * h, 0.035 * h), (foot[0] - 0.03 * h, 0.055 * h)],
                      shoe, part)  # fmt: skip
        back = (-swing * 0.32 * h, 0.5 * h)
        pen.limb((lean, 0.79 * h), back, 0.06 * h, 0.045 * h, sleeve, 0.55)
        hem = 0.34 if dress else (0.42 if coat else 0.5)
        flare = 0.11 if dress else 0.08
        pen.shape([(lean - 0.075 * h, 0.8 * h), (lean + 0.06 * h, 0.815 * h),
                   (lean + 0.085 * h, 0.66 * h), (flare * h, hem * h), (-flare * h, hem * h)],
                  top)  # fmt: skip
        _head(pen, dice, lean + 0.02 * h, 0.905 * h, 0.075 * h, away=False, side=True)
        elbow = (swing * 0.18 * h, 0.65 * h)
        pen.limb((lean, 0.79 * h), elbow, 0.065 * h, 0.055 * h, sleeve, 0.85)
        pen.limb(elbow, (swing * 0.4 * h, 0.52 * h), 0.05 * h, 0.04 * h, sleeve, 0.85)
        if dice.random() < 0.35:
            tone = dice.choice(_TOPS)
            pen.shape([(-0.19 * h, 0.78 * h), (-0.06 * h, 0.8 * h), (-0.07 * h, 0.56 * h),
                       (-0.18 * h, 0.57 * h)], tone, 0.8)  # fmt: skip
        return
    lift = 0.04 * h if swing > 0 else 0.0
    for sign, raised in ((-1, lift), (1, 0.04 * h - lift)):
        hip, foot = (sign * 0.05 * h, 0.52 * h), (sign * 0.065 * h, 0.04 * h + raised)
        pen.limb(hip, foot, 0.105 * h, 0.06 * h, leg_tone, 1.0 if sign < 0 else 0.75)
        pen.oval(foot[0], foot[1] - 0.01 * h, 0.045 * h, 0.028 * h, shoe)
    for sign in (-1, 1):
        hand = (sign * dice.uniform(0.14, 0.18) * h, 0.47 * h)
        pen.limb((sign * 0.115 * h, 0.79 * h), hand, 0.065 * h, 0.045 * h, sleeve, 0.8)
        pen.oval(hand[0], hand[1] - 0.01 * h, 0.024 * h, 0.03 * h, skin)
    hem = 0.34 if dress else (0.4 if coat else 0.5)
    flare = 0.13 if dress else 0.1
    pen.shape([(-0.125 * h, 0.8 * h), (-0.04 * h, 0.835 * h), (0.04 * h, 0.835 * h),
               (0.125 * h, 0.8 * h), (flare * h, hem * h), (-flare * h, hem * h)], top)  # fmt: skip
    shaded = [(0.03 * h, 0.83 * h), (0.125 * h, 0.8 * h), (flare * h, hem * h), (0.05 * h, hem * h)]
    pen.shape(shaded, mix(top, (20, 20, 24), 0.22))
    if figure.away and dice.random() < 0.4:
        pen.shape([(-0.09 * h, 0.79 * h), (0.09 * h, 0.79 * h), (0.1 * h, 0.58 * h),
                   (-0.1 * h, 0.58 * h)], dice.choice(_TOPS), 0.9)  # fmt: skip
    _head(pen, dice, 0.0, 0.905 * h, 0.075 * h, away=figure.away, side=False)
    if dice.random() < 0.25:
        tone = dice.choice(_TOPS)
        pen.shape([(0.12 * h, 0.46 * h), (0.23 * h, 0.46 * h), (0.22 * h, 0.32 * h),
                   (0.13 * h, 0.32 * h)], tone)  # fmt: skip


def _paint_bicycle(pen: _Pen, dice: Random, figure: Figure) -> None:
    frame = vary(dice, dice.choice(_TOPS), 20)
    rubber: Colour = (34, 34, 36)
    if figure.view == "side":
        for x in (-0.52, 0.52):
            pen.ring(x, 0.34, 0.34, 0.34, 0.055, rubber)
            pen.oval(x, 0.34, 0.05, 0.05, (150, 152, 156))
            for k in range(3):
                dx, dy = 0.3 * cos(k * pi / 3), 0.3 * sin(k * pi / 3)
                pen.stroke([(x - dx, 0.34 - dy), (x + dx, 0.34 + dy)], 0.015, (128, 130, 134))
        pen.stroke([(-0.52, 0.34), (-0.05, 0.32), (-0.2, 0.8), (-0.52, 0.34)], 0.05, frame)
        pen.stroke([(-0.05, 0.32), (0.38, 0.78), (-0.16, 0.72)], 0.055, frame)
        pen.stroke([(0.52, 0.34), (0.36, 0.98), (0.5, 1.02)], 0.05, frame)
        pen.shape([(-0.33, 0.86), (-0.08, 0.86), (-0.12, 0.8), (-0.3, 0.8)], rubber)
        pen.oval(-0.05, 0.3, 0.09, 0.09, (70, 70, 74))
        return
    pen.oval(0, 0.34, 0.045, 0.34, rubber)
    pen.limb((0, 0.4), (0, 0.95), 0.06, 0.06, frame)
    pen.limb((-0.27, 1.0), (0.27, 1.0), 0.05, 0.05, (70, 72, 76))
    pen.oval(0, 0.86, 0.1, 0.06, rubber)
    if figure.away:
        pen.oval(0, 0.62, 0.04, 0.04, (200, 30, 30))
    else:
        pen.oval(0, 0.9, 0.05, 0.05, (240, 236, 214))


def _paint_moped(pen: _Pen, dice: Random, figure: Figure) -> None:
    paint = vary(dice, dice.choice(_TOPS), 20)
    rubber: Colour = (30, 30, 32)
    if figure.view == "side":
        for x in (-0.66, 0.66):
            pen.oval(x, 0.31, 0.31, 0.31, rubber)
            pen.oval(x, 0.31, 0.17, 0.17, (120, 122, 126))
        pen.shape([(-0.7, 0.66), (-0.3, 0.82), (0.1, 0.78), (0.3, 0.9), (0.46, 0.86),
                   (0.34, 0.42), (-0.3, 0.36)], paint)  # fmt: skip
        pen.shape([(-0.78, 0.8), (-0.05, 0.8), (0.0, 0.72), (-0.7, 0.68)], rubber)
        pen.shape([(-0.22, 0.5), (0.26, 0.5), (0.2, 0.26), (-0.2, 0.26)], (86, 88, 92))
        pen.limb((0.66, 0.31), (0.4, 1.0), 0.09, 0.07, (90, 92, 96))
        pen.limb((0.34, 1.04), (0.5, 0.98), 0.07, 0.07, rubber)
        pen.oval(0.54, 0.84, 0.1, 0.1, (230, 228, 214))
        return
    pen.oval(0, 0.31, 0.09, 0.31, rubber)
    pen.shape([(-0.2, 0.42), (0.2, 0.42), (0.17, 0.84), (-0.17, 0.84)], paint)
    pen.limb((-0.36, 1.02), (0.36, 1.02), 0.07, 0.07, rubber)
    pen.oval(0, 0.72, 0.09, 0.07, (200, 30, 30) if figure.away else (240, 236, 214))
    if figure.away:
        pen.shape([(-0.1, 0.5), (0.1, 0.5), (0.1, 0.62), (-0.1, 0.62)], (230, 228, 220))


def _paint_rider(pen: _Pen, dice: Random, figure: Figure) -> None:
    """Paint somebody who sits on a bicycle or a motorcycle."""
    moped = figure.kind == "biker"
    top, legs = vary(dice, dice.choice(_TOPS), 14), vary(dice, dice.choice(_TROUSERS), 10)
    helmet: Colour | None = dice.choice(_TOPS) if moped or dice.random() < 0.5 else None
    r = 0.125 if moped else 0.115
    if figure.view == "side":
        seat = (-0.25, 0.82) if moped else (-0.2, 0.92)
        neck = (0.05, 1.38) if moped else (0.1, 1.44)
        hand = (0.4, 1.02) if moped else (0.44, 1.03)
        turn = dice.uniform(0, 2 * pi)
        for phase, part in ((pi, 0.6), (0.0, 1.0)):
            foot = (-0.05 + 0.16 * cos(turn + phase), 0.3 + 0.16 * sin(turn + phase))
            foot = (0.1, 0.32) if moped else foot
            knee = (0.5 * (seat[0] + foot[0]) + 0.24, 0.5 * (seat[1] + foot[1]) + 0.06)
            pen.limb(seat, knee, 0.19, 0.14, legs, part)
            pen.limb(knee, foot, 0.13, 0.09, legs, part)
            pen.oval(foot[0] + 0.05, foot[1] - 0.03, 0.12, 0.045, (36, 32, 30), part)
        pen.limb((seat[0], seat[1] - 0.05), neck, 0.27, 0.22, top)
        x, y = neck[0] + 0.06, neck[1] + 0.17
        _head(pen, dice, x, y, r, away=False, side=True)
        if helmet:
            pen.oval(x - 0.01, y + 0.05, 0.135, 0.1 if not moped else 0.14, helmet)
        elbow = (0.5 * (neck[0] + hand[0]), 0.5 * (neck[1] + hand[1]) - 0.1)
        pen.limb((neck[0], neck[1] - 0.05), elbow, 0.11, 0.09, top, 0.8)
        pen.limb(elbow, hand, 0.085, 0.07, top, 0.8)
        return
    bob = dice.choice((0.0, 0.16))
    for sign, low in ((-1, 0.26 + bob), (1, 0.42 - bob)):
        pen.limb(
            (sign * 0.1, 0.95),
            (sign * 0.16, low + 0.06),
            0.18,
            0.1,
            legs,
            1.0 if sign < 0 else 0.75,
        )
        pen.oval(sign * 0.16, low, 0.06, 0.05, (36, 32, 30))
    for sign in (-1, 1):
        pen.limb((sign * 0.19, 1.38), (sign * 0.27, 1.04), 0.1, 0.08, top, 0.75)
    pen.shape([(-0.21, 1.42), (-0.07, 1.48), (0.07, 1.48), (0.21, 1.42), (0.17, 0.88),
               (-0.17, 0.88)], top)  # fmt: skip
    _head(pen, dice, 0, 1.62, r, away=figure.away, side=False)
    if helmet:
        pen.oval(0, 1.67, 0.12, 0.09 if not moped else 0.14, helmet)


def paint_figure(
    canvas: Canvas, camera: Camera, light: Light, figure: Figure, idents: tuple[int, int]
) -> None:
    """Paint a figure; idents are the instance ids of the person and of the cycle."""
    dice = Random(figure.seed)
    person, cycle = idents
    if figure.kind == "walker":
        _paint_walker(_Pen(canvas, camera, light, figure, person), dice, figure)
        return
    pen = _Pen(canvas, camera, light, figure, cycle)
    if figure.kind in ("biker", "moped"):
        _paint_moped(pen, dice, figure)
    else:
        _paint_bicycle(pen, dice, figure)
    if figure.kind in ("biker", "cyclist"):
        _paint_rider(_Pen(canvas, camera, light, figure, person), dice, figure)


def classes_of(figure: Figure) -> tuple[int, int]:
    """Return the label ids (person or rider, cycle) of a figure's parts; 0 where it has none."""
    return {
        "walker": (ids.PERSON, 0),
        "cyclist": (ids.RIDER, ids.BICYCLE),
        "biker": (ids.RIDER, ids.MOTORCYCLE),
        "bicycle": (0, ids.BICYCLE),
        "moped": (0, ids.MOTORCYCLE),
    }[figure.kind]


def shade_figure(shadows: ShadowMap, figure: Figure) -> None:
    """Cast the shadow of a figure and darken the ground at its feet."""
    wide = 0.2 if figure.kind == "walker" or figure.view == "along" else 0.75
    x, z = figure.x, figure.z
    square = [
        (x - wide, z - 0.15),
        (x + wide, z - 0.15),
        (x + wide, z + 0.15),
        (x - wide, z + 0.15),
    ]
    shadows.cast(square, figure.height * (0.6 if figure.kind in ("bicycle", "moped") else 0.95))
    shadows.contact(square, 0.5)
