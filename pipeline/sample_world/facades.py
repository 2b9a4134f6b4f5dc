"""Buildings: house fronts drawn flat, then set into the street in perspective."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from pipeline.sample_world import ids
from pipeline.sample_world.backdrop import ShadowMap
from pipeline.sample_world.camera import Camera
from pipeline.sample_world.canvas import Canvas
from pipeline.sample_world.light import Colour, Ink, Light, mix, vary
from pipeline.sample_world.texture import masonry

_WALLS: tuple[tuple[Colour, str], ...] = (
    ((168, 98, 78), "brick"),
    ((146, 84, 70), "brick"),
    ((186, 142, 108), "brick"),
    ((226, 214, 190), "plaster"),
    ((214, 196, 158), "plaster"),
    ((232, 226, 214), "plaster"),
    ((206, 170, 140), "plaster"),
    ((188, 196, 196), "plaster"),
    ((170, 178, 158), "plaster"),
    ((216, 184, 176), "plaster"),
    ((150, 148, 146), "stone"),
    ((188, 178, 160), "stone"),
    ((122, 126, 132), "stone"),
)
_ROOFS: tuple[Colour, ...] = ((142, 78, 62), (120, 70, 60), (92, 88, 90), (104, 98, 96))


@dataclass(frozen=True)
class House:
    """One building; near and far are depths, x is the line of its front (signed), in metres."""

    sign: int
    x: float
    near: float
    far: float
    height: float
    deep: float
    wall: Colour
    masonry: str
    trim: Colour
    glass: Colour
    floor: float
    bay: float
    shop: bool
    balconies: bool
    roof: Colour | None
    end_seen: bool
    """Whether the wall that faces the camera can be seen past the nearer neighbour."""
    seed: int


def draw_houses(
    dice: Random, sign: int, line: float, frontage: str, gap: tuple[float, float] | None
) -> list[House]:
    """Draw the row of buildings along one side, nearest first; gap is left open."""
    houses = []
    z = dice.uniform(0, 6)
    low = dice.uniform(7, 11) if frontage == "block" else dice.uniform(5, 7)
    tall = dice.uniform(12, 24) if frontage == "block" else dice.uniform(6.5, 9)
    common = dice.choice(_WALLS) if dice.random() < 0.25 else None
    edge, below = -1e9, 0.0
    while z < 150:
        width = dice.uniform(9, 20) if frontage == "block" else dice.uniform(8, 13)
        space = 0.0 if frontage == "block" else dice.uniform(3, 9)
        if frontage == "block" and dice.random() < 0.08:
            space = dice.uniform(3, 10)
        if gap and z < gap[1] + 2.6 and z + width > gap[0] - 2.6:
            if gap[0] - 2.6 - z > 6:
                width = gap[0] - 2.6 - z
            else:
                z = gap[1] + 2.6
                gap = None
                continue
        wall, kind = common or dice.choice(_WALLS)
        wall = vary(dice, wall, 12)
        floor = dice.uniform(2.9, 3.6)
        height = max(1, round(dice.uniform(low, tall) / floor)) * floor + 0.7
        houses.append(
            House(
                sign=sign,
                x=sign * (line + (dice.uniform(0, 1.5) if frontage != "block" else 0)),
                near=z,
                far=z + width,
                height=height,
                deep=dice.uniform(9, 14),
                wall=wall,
                masonry=kind,
                trim=dice.choice(((238, 234, 226), (210, 202, 190), (96, 92, 90), (150, 120, 96))),
                glass=vary(dice, (66, 78, 92), 14),
                floor=floor,
                bay=dice.uniform(1.9, 3.0),
                shop=frontage == "block" and dice.random() < 0.5,
                balconies=dice.random() < 0.22,
                roof=dice.choice(_ROOFS)
                if dice.random() < (0.55 if frontage == "block" else 0.95)
                else None,
                end_seen=frontage != "block" or z - edge > 0.5 or height > below + 0.1,
                seed=dice.getrandbits(32),
            )
        )
        edge, below = z + width, height
        z += width + space
    return houses


Rect = Callable[[float, float, float, float, Colour], None]
"""Fills a rectangle of a wall: x, y, width and height in metres, colour."""


def _ink(colour: Colour) -> Ink:
    return int(colour[0]), int(colour[1]), int(colour[2])


def _wall(width: int, height: int, ppm: float, wall: Colour, kind: str) -> Image.Image:
    """Return a bare wall of the given size in pixels, ppm pixels per metre."""
    tile = masonry(kind)
    # 256 tile pixels are 4 metres of wall.
    span = (min(256.0, width / ppm * 64), min(256.0, height / ppm * 64))
    part = (min(width, max(1, round(4 * ppm))), min(height, max(1, round(4 * ppm))))
    piece = tile.resize(part, Image.Resampling.BOX, (0, 0, span[0], span[1]))
    grey = Image.new("L", (width, height))
    for left in range(0, width, part[0]):
        for upper in range(0, height, part[1]):
            grey.paste(piece, (left, upper))
    shades = Image.frombytes("P", grey.size, grey.tobytes())
    tones = np.arange(256)[:, None] * (np.array(wall) / 128)
    shades.putpalette(np.minimum(tones, 255).astype(np.uint8).tobytes())
    return shades.convert("RGB")


def _front(house: House, ppm: float, top: float, light: Light, *, end: bool) -> Image.Image:
    """Return the unlit front (or end wall) of a house up to top metres, ppm pixels per metre."""
    dice = Random(house.seed + end)
    metres = house.deep if end else house.far - house.near
    width, height = max(2, round(metres * ppm)), max(2, round(top * ppm))
    image = _wall(width, height, ppm, house.wall, house.masonry)
    draw = ImageDraw.Draw(image)

    def rect(x: float, y: float, w: float, h: float, colour: Colour) -> None:
        """Fill a rectangle; x from the left, y its lower edge above the ground, in metres."""
        left, right = round(x * ppm), round((x + w) * ppm) - 1
        upper, lower = round((top - y - h) * ppm), round((top - y) * ppm) - 1
        if right >= left and lower >= max(0, upper):
            draw.rectangle((left, upper, right, lower), _ink(colour))

    floors = max(1, int((house.height - 0.5) / house.floor))
    count = max(1, int((metres - 0.8) / house.bay))
    step = (metres - 0.8) / count
    wide, high = step * dice.uniform(0.42, 0.62), house.floor * dice.uniform(0.44, 0.6)
    if house.seed % 6 == 0:  # An office with bands of glass.
        wide, high = step * 0.9, house.floor * 0.58
    sill = house.floor * 0.28
    dark = mix(house.wall, (40, 38, 40), 0.35)
    lit: Colour = (250, 206, 128)
    ledges = dice.random() < 0.6
    near = ppm > 7
    cross = dice.random() < 0.7 and near
    shutters = dice.random() < 0.2
    rect(0, 0, metres, 0.6, mix(house.wall, (90, 88, 86), 0.5))
    for level in range(floors):
        base = 0.25 + level * house.floor
        ground = level == 0 and not end
        if level and ledges:
            rect(0, base - 0.12, metres, 0.14, mix(house.wall, house.trim, 0.6))
        if ground and house.shop:
            _paint_shop(rect, metres, house, dice, light)
            continue
        door = dice.randrange(count) if ground else -1
        for k in range(count):
            x = 0.4 + k * step + (step - wide) / 2
            if end and (k % 2 or dice.random() < 0.4):
                continue
            if k == door:
                tone = dice.choice(((96, 60, 44), (60, 70, 82), (70, 84, 66), (128, 44, 40)))
                rect(x - 0.1, 0, wide + 0.2, 2.5, house.trim)
                rect(x, 0, wide, 2.35, tone)
                rect(x + 0.15 * wide, 1.4, 0.7 * wide, 0.7, mix(tone, (170, 190, 205), 0.5))
                continue
            y = base + sill
            on = light.dusk and dice.random() < 0.45
            glass = lit if on else vary(dice, house.glass, 12)
            rect(x - 0.1, y - 0.1, wide + 0.2, high + 0.2, house.trim)
            rect(x, y, wide, high, glass)
            if not on:
                rect(x, y + high * 0.55, wide, high * 0.45, mix(glass, light.sky_low, 0.28))
                if dice.random() < 0.25:
                    rect(x, y, wide * 0.3, high, mix(glass, (230, 226, 216), 0.55))
            if cross:
                rect(x + wide / 2 - 0.04, y, 0.08, high, house.trim)
                rect(x, y + high * 0.62, wide, 0.07, house.trim)
            if shutters:
                rect(x - 0.42, y, 0.32, high, dark)
                rect(x + wide + 0.1, y, 0.32, high, dark)
            if near:
                rect(x - 0.15, y - 0.2, wide + 0.3, 0.1, mix(house.trim, (120, 118, 116), 0.4))
            if near and house.balconies and level and k % 2 == house.seed % 2:
                rect(x - 0.4, base + 0.05, wide + 0.8, 0.12, (150, 148, 146))
                for n in range(9):
                    rect(x - 0.4 + n * (wide + 0.76) / 8, base + 0.1, 0.05, 0.95, (66, 66, 70))
                rect(x - 0.4, base + 1.0, wide + 0.8, 0.06, (66, 66, 70))
    rect(0, house.height - 0.45, metres, 0.45, mix(house.wall, house.trim, 0.7))
    rect(0, house.height - 0.52, metres, 0.1, dark)
    return image


def _paint_shop(rect: Rect, metres: float, house: House, dice: Random, light: Light) -> None:
    """Paint a ground floor of shop windows under a sign board and awnings."""
    board: Colour = dice.choice(
        ((34, 60, 96), (130, 34, 34), (36, 84, 60), (44, 44, 48), (196, 150, 50), (220, 214, 204))
    )
    rect(0.3, 0, metres - 0.6, house.floor - 0.1, mix(board, (60, 60, 60), 0.4))
    count = max(1, int(metres / 3.6))
    step = (metres - 0.8) / count
    for k in range(count):
        x = 0.4 + k * step
        glass: Colour = (246, 214, 150) if light.dusk else vary(dice, (72, 84, 94), 16)
        rect(x + 0.12, 0.45, step - 0.24, house.floor - 1.25, glass)
        rect(x + 0.12, 1.5, step - 0.24, house.floor - 2.3, mix(glass, light.sky_low, 0.22))
        for _ in range(4):
            at, size = dice.uniform(0.2, max(0.3, step - 0.9)), dice.uniform(0.25, 0.6)
            tone: Colour = (dice.uniform(70, 230), dice.uniform(60, 200), dice.uniform(60, 190))
            rect(x + at, 0.5, size, size * dice.uniform(0.7, 2.0), mix(glass, tone, 0.6))
        if k == count // 2:
            rect(x + step * 0.36, 0, 1.0, 2.3, mix(board, (230, 230, 230), 0.25))
            rect(x + step * 0.36 + 0.12, 0.2, 0.76, 1.9, glass)
    rect(0.3, house.floor - 0.75, metres - 0.6, 0.65, board)
    x = 0.8
    while x < metres - 1.6:  # Lettering, too small to read.
        size = dice.uniform(0.12, 0.3)
        rect(x, house.floor - 0.55, size, 0.28, mix(board, (250, 246, 236), 0.8))
        x += size + dice.choice((0.08, 0.08, 0.4))
    if dice.random() < 0.45:
        stripe: Colour = dice.choice(((190, 60, 52), (60, 110, 76), (52, 84, 140)))
        for k in range(int((metres - 1) / 0.5)):
            tone = stripe if k % 2 else (236, 230, 220)
            rect(0.5 + k * 0.5, house.floor - 1.35, 0.5, 0.62, tone)


def paint_house(canvas: Canvas, camera: Camera, light: Light, house: House) -> None:
    """Paint a building: end wall, front and roof."""
    s, x = house.sign, house.x
    point = camera.point
    # Only the part of the front that can lie inside the image is worth its pixels.
    far = house.far
    first = max(house.near, 1.5, abs(x) * camera.focal / (1.3 * camera.width))
    if first >= far:
        return
    top = min(house.height, camera.eye + 1.05 * far * camera.horizon / camera.focal)
    sharp = 24.0 * max(1.0, camera.height / 512)
    ppm = min(sharp, max(3.0, 0.7 * camera.scale(first)))
    if house.near > 3 and house.end_seen:
        z = house.near
        high = min(house.height, camera.eye + 1.05 * z * camera.horizon / camera.focal)
        texture = _front(house, min(ppm, 20.0), high, light, end=True)
        a, b = sorted((x, x + s * house.deep))
        corners = [point(a, high, z), point(b, high, z), point(b, 0, z), point(a, 0, z)]
        canvas.plane(_lit(texture, light, light.facing(0, 0, -1), z, z), corners, ids.BUILDING)
    texture = _front(house, ppm, top, light, end=False)
    cut = round((first - house.near) / (far - house.near) * texture.width)
    texture = texture.crop((min(cut, texture.width - 1), 0, texture.width, texture.height))
    lit = _lit(texture, light, light.facing(-s, 0, 0), first, far)
    if s < 0:
        corners = [point(x, top, first), point(x, top, far), point(x, 0, far), point(x, 0, first)]
    else:
        lit = lit.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        corners = [point(x, top, far), point(x, top, first), point(x, 0, first), point(x, 0, far)]
    canvas.plane(lit, corners, ids.BUILDING)
    if house.roof:
        _paint_roof(canvas, camera, light, house, house.roof, first)


def _lit(
    texture: Image.Image, light: Light, facing: float, first: float, last: float
) -> Image.Image:
    """Return the texture under the light, with haze growing from depth first to last."""
    a, d = np.array(light.ambient, np.float32), np.array(light.direct, np.float32)
    # Texture columns are spread evenly in depth.
    z = np.linspace(first, last, texture.width, dtype=np.float32)
    keep = np.exp(-z / light.haze_distance)[None, :, None]
    # The foot of a street's walls gets less sky.
    foot = np.linspace(1.04, 0.86, texture.height, dtype=np.float32)[:, None, None]
    out = np.asarray(texture) * foot
    out *= keep * np.minimum(a + d * facing, 0.98)
    out += np.array(light.haze, np.float32) * (1 - keep)
    return Image.fromarray(out.astype(np.uint8), "RGB")


def _paint_roof(
    canvas: Canvas, camera: Camera, light: Light, house: House, roof: Colour, first: float
) -> None:
    """Paint a pitched roof whose ridge runs along the street."""
    s, x, top = house.sign, house.x, house.height
    dice = Random(house.seed + 7)
    rise, half = house.deep * dice.uniform(0.28, 0.42), house.deep / 2
    near, far = first - 0.01, house.far
    point = camera.point
    if house.near > 3:
        gable = [point(x, top, near), point(x + s * half, top + rise, near)]
        gable.append(point(x + s * 2 * half, top, near))
        canvas.fill(gable, light.shade(house.wall, light.facing(0, 0, -1), near), ids.BUILDING)
    rows = 7
    facing = light.facing(-s * 0.55, 0.83, 0)
    for k in range(rows):
        a, b = k / rows, (k + 1) / rows
        tone = vary(dice, roof, 7)
        ink = light.shade(tone, facing, (near + far) / 2)
        lower = (x - s * 0.3 + s * (half + 0.3) * a, top - 0.1 + rise * a)
        upper = (x - s * 0.3 + s * (half + 0.3) * b, top - 0.1 + rise * b)
        corners = [point(*lower, near), point(*lower, far), point(*upper, far), point(*upper, near)]
        canvas.fill(corners, ink, ids.BUILDING)
    if dice.random() < 0.6:
        z = near + (far - near) * dice.uniform(0.2, 0.8)
        cx, y0 = x + s * half * 0.8, top + rise * 0.6
        a, b = sorted((cx, cx + s * 0.7))
        box = [point(a, y0 + 1.8, z), point(b, y0 + 1.8, z), point(b, y0, z), point(a, y0, z)]
        canvas.fill(box, light.shade((132, 84, 70), light.facing(0, 0, -1), z), ids.BUILDING)


def shade_house(shadows: ShadowMap, house: House) -> None:
    """Cast the shadow of a building on the street."""
    x, out = house.x, house.x + house.sign * house.deep
    near, far = house.near, house.far
    shadows.cast([(x, near), (x, far), (out, far), (out, near)], house.height)
