"""The street: its cross-section, and the flat ground painted from it."""

from dataclasses import dataclass
from random import Random

from pipeline.sample_world import ids
from pipeline.sample_world.camera import Camera
from pipeline.sample_world.canvas import Canvas
from pipeline.sample_world.light import Colour, Ink, vary

FAR = 240.0
"""Depth in metres at which the street ends."""

LANE = 3.3
"""Width of a lane in metres."""


@dataclass(frozen=True)
class Side:
    """One side of the street; distances are metres from the camera's axis, without sign."""

    sign: int
    kerb: float
    bay: float
    """Inner border of the parking bays; equal to kerb where there are none."""
    verge: float
    """Outer border of the grass along the kerb; equal to kerb where there is none."""
    walk: float
    """Outer border of the sidewalk."""
    line: float
    """Where the houses stand."""
    frontage: str
    garden: bool


@dataclass(frozen=True)
class Street:
    """The cross-section of the street and what lies on it."""

    left: Side
    right: Side
    lanes_left: int
    lanes_right: int
    crossing: tuple[float, float] | None
    """Depths (near, far) of the crossing street."""
    zebra: bool
    asphalt: Colour
    paving: Colour
    grass: Colour

    @property
    def sides(self) -> tuple[Side, Side]:
        """Return both sides, left first."""
        return self.left, self.right

    def off_crossing(self, z: float, margin: float = 1.0) -> bool:
        """Return whether depth z lies outside the crossing street by the margin in metres."""
        return self.crossing is None or not (
            self.crossing[0] - margin < z < self.crossing[1] + margin
        )


def _draw_side(dice: Random, sign: int, edge: float, kind: str) -> Side:
    bay = edge
    kerb = edge + (2.2 if dice.random() < (0.75 if kind == "urban" else 0.45) else 0.0)
    verge = kerb + (dice.uniform(1.2, 2.6) if dice.random() < (0.2, 0.6)[kind != "urban"] else 0)
    walk = verge + dice.uniform(2.0, 4.2)
    frontage = dice.choices(
        ("block", "houses", "green", "wall"),
        {"urban": (84, 6, 5, 5), "suburb": (12, 60, 20, 8), "park": (8, 10, 76, 6)}[kind],
    )[0]
    garden = frontage in ("houses", "green")
    line = walk + (dice.uniform(3.0, 6.0) if garden else dice.uniform(0.0, 0.4))
    return Side(sign, kerb, bay, verge, walk, line, frontage, garden)


def draw_street(dice: Random) -> Street:
    """Draw the layout of a street."""
    kind = dice.choices(("urban", "suburb", "park"), (58, 28, 14))[0]
    lanes_left, lanes_right = dice.choice((1, 1, 2)), dice.choice((1, 1, 1, 2))
    offset = dice.uniform(-0.4, 0.4)
    near = dice.uniform(16, 62)
    grey = dice.uniform(92, 122)
    return Street(
        left=_draw_side(dice, -1, LANE / 2 + LANE * lanes_left + offset, kind),
        right=_draw_side(dice, 1, LANE / 2 + LANE * (lanes_right - 1) - offset, kind),
        lanes_left=lanes_left,
        lanes_right=lanes_right,
        crossing=(near, near + dice.uniform(7, 11)) if dice.random() < 0.5 else None,
        zebra=dice.random() < 0.7,
        asphalt=(grey, grey + 1, grey + 4),
        paving=vary(dice, dice.choice(((152, 148, 142), (164, 152, 142), (140, 142, 146))), 8),
        grass=vary(dice, dice.choice(((92, 118, 58), (108, 122, 66), (128, 122, 78))), 8),
    )


class _Ground:
    """Paints strips of the ground; colours are albedo, the light comes later."""

    bay_id: int = ids.PARKING

    def __init__(self, canvas: Canvas, camera: Camera) -> None:
        self.canvas, self.camera = canvas, camera
        near = max(1.0, camera.nearest_ground() * 0.8)
        self.depths = [near * (FAR / near) ** (k / 13) for k in range(14)]
        self.near = near

    def strip(self, a: float, b: float, colour: Colour, ident: int) -> None:
        """Paint the strip between x = a and x = b along the whole street."""
        u, v = self.camera.u, self.camera.v
        line = [(u(a, z), v(0, z)) for z in self.depths]
        back = [(u(b, z), v(0, z)) for z in reversed(self.depths)]
        self.canvas.fill(line + back, _ink(colour), ident)

    def patch(
        self, a: float, b: float, near: float, far: float, colour: Colour, ident: int
    ) -> None:
        """Paint the rectangle a..b by near..far in metres."""
        if far <= self.near or near > FAR:
            return
        near = max(near, self.near)
        point = self.camera.point
        corners = [point(a, 0, near), point(b, 0, near), point(b, 0, far), point(a, 0, far)]
        self.canvas.fill(corners, _ink(colour), ident)


def _ink(colour: Colour) -> Ink:
    return int(colour[0]), int(colour[1]), int(colour[2])


def paint_ground(
    canvas: Canvas, camera: Camera, street: Street, dice: Random, *, rails: bool
) -> None:
    """Paint road, markings, kerbs, sidewalks, parking bays and grass as unlit colours."""
    ground = _Ground(canvas, camera)
    ground.bay_id = ids.PARKING if dice.random() < 0.6 else ids.ROAD
    wide = 400.0
    w, h, top = float(canvas.width), float(canvas.height), camera.horizon
    canvas.fill([(0, top), (w, top), (w, h), (0, h)], _ink(street.grass), ids.TERRAIN)
    for side in street.sides:
        s = side.sign
        outside = ids.TERRAIN if side.garden else ids.SIDEWALK
        colour = street.grass if side.garden else street.paving
        ground.strip(s * side.walk, s * wide, colour, outside)
    ground.strip(-street.left.bay, street.right.bay, street.asphalt, ids.ROAD)
    for side in street.sides:
        s = side.sign
        if side.kerb > side.bay:
            marked = side.frontage == "block"
            tone = vary(dice, street.asphalt, 10) if marked else street.paving
            ground.strip(s * side.bay, s * side.kerb, tone, ground.bay_id)
        if side.verge > side.kerb:
            ground.strip(s * side.kerb, s * side.verge, street.grass, ids.TERRAIN)
        ground.strip(s * side.verge, s * side.walk, street.paving, ids.SIDEWALK)
        if side.garden and dice.random() < 0.7:
            path = dice.uniform(12, 30)
            for k in range(5):
                z = path + 19 * k
                ground.patch(s * side.walk, s * 30, z, z + 1.3, street.paving, ids.SIDEWALK)
    _paint_wear(ground, street, dice)
    if rails:
        for x in (-LANE - 0.72, -LANE + 0.72):
            ground.strip(x - 0.12, x + 0.12, (78, 78, 80), ids.ROAD)
            ground.strip(x - 0.05, x + 0.05, (156, 158, 162), ids.ROAD)
    if dice.random() < 0.14:
        edge = street.right.bay
        ground.strip(edge - 1.4, edge - 0.15, (150, 88, 76), ids.ROAD)
    if street.crossing:
        _paint_crossing(ground, street, street.crossing)
    for side in street.sides:
        s = side.sign
        if street.crossing:
            near, far = street.crossing
            spans = [(ground.near, near), (far, FAR)]
        else:
            spans = [(ground.near, FAR)]
        for near, far in spans:
            for k in range(6):  # A bent kerb needs several pieces.
                a, b = near + (far - near) * (k / 6) ** 2, near + (far - near) * ((k + 1) / 6) ** 2
                ground.patch(s * side.kerb, s * (side.kerb + 0.17), a, b, (176, 174, 170), 8)
                ground.patch(s * (side.kerb - 0.07), s * side.kerb, a, b, (84, 84, 86), 8)
    _paint_markings(ground, street, dice)


def _paint_wear(ground: _Ground, street: Street, dice: Random) -> None:
    """Paint mended patches, manhole covers and tyre tracks."""
    left, right = -street.left.bay, street.right.bay
    for lane in range(-street.lanes_left, street.lanes_right):
        for track in (-0.85, 0.85):
            x = lane * LANE + track
            if left + 0.4 < x < right - 0.4:
                dark = dice.uniform(3, 8)
                tone = street.asphalt
                ground.strip(
                    x - 0.3, x + 0.3, (tone[0] - dark, tone[1] - dark, tone[2] - dark), ids.ROAD
                )
    for _ in range(dice.randrange(6)):
        x, z = dice.uniform(left, right - 1.5), dice.uniform(4, 60)
        shift = dice.uniform(-20, 10)
        tone = (street.asphalt[0] + shift, street.asphalt[1] + shift, street.asphalt[2] + shift)
        reach = dice.uniform(1, 9)
        ground.patch(x, min(right, x + dice.uniform(0.6, 2.4)), z, z + reach, tone, ids.ROAD)
    for _ in range(dice.randrange(4)):
        x, z = dice.uniform(left + 0.8, right - 0.8), dice.uniform(5, 30)
        ring = [
            ground.camera.point(x + 0.35 * a, 0, z + 0.35 * b)
            for a, b in ((1, 0), (0.7, 0.7), (0, 1), (-0.7, 0.7), (-1, 0), (-0.7, -0.7), (0, -1),
                         (0.7, -0.7))
        ]  # fmt: skip
        ground.canvas.fill(ring, (70, 68, 66), ids.ROAD)


def _paint_crossing(ground: _Ground, street: Street, crossing: tuple[float, float]) -> None:
    """Paint the street that crosses, with its sidewalks."""
    near, far = crossing
    for side in street.sides:
        s = side.sign
        ground.patch(s * side.kerb, s * 120, near - 2.4, far + 2.4, street.paving, ids.SIDEWALK)
        ground.patch(s * (side.kerb - 0.1), s * 120, near, far, street.asphalt, ids.ROAD)
        ground.patch(s * side.bay, s * (side.kerb + 0.1), near, far, street.asphalt, ids.ROAD)
        ground.patch(s * side.walk, s * 120, far, far + 0.2, (176, 174, 170), ids.SIDEWALK)


def _paint_markings(ground: _Ground, street: Street, dice: Random) -> None:
    """Paint lane lines, stop lines, zebra crossings and the lines of parking bays."""
    worn = dice.uniform(0, 60)
    white: Colour = (228 - worn, 228 - worn, 224 - worn)
    left, right = -street.left.bay, street.right.bay
    gap = street.crossing or (1e9, 1e9)
    guard = 4.4 if street.zebra else 1.5
    phase = dice.uniform(0, 9)
    lines = [-LANE / 2 - LANE * k for k in range(street.lanes_left)]
    lines += [LANE / 2 + LANE * k for k in range(street.lanes_right - 1)]
    solid_middle = dice.random() < 0.2
    for k, x in enumerate(lines):
        solid = k == 0 and solid_middle
        step, length = (6.0, 6.05) if solid else (9.0, 4.0)
        z = ground.near - phase
        while z < 110:
            clear = z + length < gap[0] - guard or z > gap[1] + guard
            if clear and left < x < right:
                ground.patch(x - 0.08, x + 0.08, z, z + length, white, ids.ROAD)
            z += step
    for side in street.sides:
        if side.kerb == side.bay and dice.random() < 0.35:
            for a, b in ((ground.near, gap[0] - 2), (gap[1] + 2, 150)):
                x = side.sign * (side.bay - 0.35)
                for k in range(8):
                    step = (min(b, 150) - a) / 8
                    if step > 0:
                        ground.patch(
                            x - 0.07, x + 0.07, a + step * k, a + step * (k + 1), white, ids.ROAD
                        )
        if side.kerb > side.bay and dice.random() < 0.6:
            for k in range(16):
                z = 3 + 5.6 * k
                if street.off_crossing(z, 3):
                    s = side.sign
                    ground.patch(s * side.bay, s * side.kerb, z, z + 0.12, white, ground.bay_id)
    if street.crossing:
        near, far = street.crossing
        for base in (near - 4.0, far + 1.0):
            if street.zebra:
                x = left + 0.4
                while x < right - 0.5:
                    ground.patch(x, x + 0.5, base, base + 3.0, white, ids.ROAD)
                    x += 1.05
        if dice.random() < 0.7:
            z = near - (5.0 if street.zebra else 1.4)
            ground.patch(-LANE / 2 + 0.2, right - 0.2, z, z + 0.45, white, ids.ROAD)
