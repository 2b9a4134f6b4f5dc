"""Sky, and the light on the ground: the two surfaces computed pixel by pixel."""

from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pipeline.sample_world import ids
from pipeline.sample_world.camera import Camera
from pipeline.sample_world.canvas import GRID, Canvas, Point
from pipeline.sample_world.light import Light
from pipeline.sample_world.street import Street
from pipeline.sample_world.texture import TILE, Tile, noise

_WRAP = TILE - 1


def paint_sky(canvas: Canvas, camera: Camera, light: Light, dice: Random) -> None:
    """Paint the sky down to the horizon: a gradient, clouds and the glow around the sun."""
    height = min(canvas.height, int(camera.horizon) + 2)
    rows, columns = max(2, height // 4), max(2, canvas.width // 4)
    down = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    low = np.array(light.sky_low, np.float32)
    sky = np.array(light.sky_top, np.float32) * (1 - down[..., None]) + low * down[..., None]
    sky = np.repeat(sky, columns, axis=1)
    if light.cloud_cover > 0:
        # A flat layer of cloud: rows near the horizon look far along it.
        depth = 34.0 / (1.08 - down)
        across = (np.arange(columns, dtype=np.float32) - columns / 2)[None, :] / columns
        i = (depth + dice.uniform(0, TILE)).astype(np.intp) & _WRAP
        j = (across * 2.2 * depth + dice.uniform(0, TILE)).astype(np.intp) & _WRAP
        cover = noise(21, 3, 6, 0.55)[np.broadcast_to(i, j.shape), j]
        threshold = 1.7 - 3.0 * light.cloud_cover
        share = np.clip((cover - threshold) * 0.7, 0, 1) * np.clip(1.35 - down, 0.3, 1)
        shaded = np.clip(1.06 - 0.07 * cover, 0.8, 1.06)
        cloud = np.array(light.cloud, np.float32) * shaded[..., None]
        sky += (cloud - sky) * share[..., None]
    if light.sun[2] > 0.2 and light.weather in ("clear", "fair", "evening"):
        x = (camera.centre + camera.focal * light.sun[0] / light.sun[2]) / 4
        y = (camera.horizon - camera.focal * light.sun[1] / light.sun[2]) / 4
        far = np.hypot(np.arange(columns)[None, :] - x, np.arange(rows)[:, None] - y)
        halo = np.exp(-far / (0.09 * columns)).astype(np.float32)[..., None]
        sky += halo * (np.array((255, 244, 220), np.float32) - sky) * 0.9
    image = Image.fromarray(np.clip(sky, 0, 255).astype(np.uint8), "RGB")
    canvas.photo.paste(image.resize((canvas.width, height), Image.Resampling.BILINEAR), (0, 0))
    canvas.ids.paste(ids.SKY, (0, 0, canvas.width, height))


class ShadowMap:
    """The cast shadows on the ground, collected before anything stands on it."""

    def __init__(self, camera: Camera, light: Light) -> None:
        self._camera, self._light = camera, light
        self._size = (camera.width // GRID, camera.height // GRID)
        self._cast = Image.new("L", self._size)
        self._contact = Image.new("L", self._size)
        reach = min(4.0, 1 / max(0.15, light.sun[1]))
        self._dx, self._dz = -light.sun[0] * reach, -light.sun[2] * reach

    def _pixels(self, corners: list[Point]) -> list[Point]:
        point = self._camera.point
        near = self._camera.nearest_ground() * 0.7
        out = []
        for x, z in corners:
            u, v = point(x, 0, max(z, near))
            out.append((u / GRID, v / GRID))
        return out

    def cast(self, footprint: list[Point], height: float, *, base: float = 0.0) -> None:
        """Add the shadow of an upright body: footprint (x, z) in metres, base..height metres."""
        if self._light.shadow < 0.2 or min(z for _, z in footprint) > 110:
            return
        draw = ImageDraw.Draw(self._cast)
        shift = [(x + self._dx * height, z + self._dz * height) for x, z in footprint]
        start = [(x + self._dx * base, z + self._dz * base) for x, z in footprint]
        draw.polygon(self._pixels(shift), 255)
        if base == 0:
            draw.polygon(self._pixels(start), 255)
        for k in range(len(footprint)):
            m = (k + 1) % len(footprint)
            draw.polygon(self._pixels([start[k], start[m], shift[m], shift[k]]), 255)

    def contact(self, footprint: list[Point], strength: float = 0.75) -> None:
        """Add the dark touch of a body on the ground under its footprint (x, z)."""
        pixels = self._pixels(footprint)
        ImageDraw.Draw(self._contact).polygon(pixels, int(255 * strength))

    def light_left(self) -> Tile:
        """Return the share of light [H,W] that reaches each pixel if it is ground."""
        width = self._size[0]
        cast = self._cast.filter(ImageFilter.BoxBlur(max(0.5, width / 640)))
        contact = self._contact.filter(ImageFilter.BoxBlur(max(0.7, width / 320)))
        dark = np.asarray(cast, np.float32) * np.float32(self._light.shadow / 255)
        left: Tile = (1 - dark) * (1 - np.asarray(contact, np.float32) / np.float32(255))
        return left


def _lookup(tile: Tile, rows: Tile, columns: Tile) -> Tile:
    """Return the tile's values at rows [H,1] and columns [H,W], wrapped around."""
    at = columns.astype(np.int32)
    at &= _WRAP
    at += (rows.astype(np.int32) & _WRAP) * TILE
    return tile.ravel().take(at)


def light_ground(
    canvas: Canvas, camera: Camera, light: Light, street: Street, shadows: ShadowMap, dice: Random
) -> None:
    """Give the painted ground its texture, light, shadows and haze."""
    width, height = canvas.width // GRID, canvas.height // GRID
    horizon = camera.horizon / GRID
    top = min(height - 1, max(0, int(horizon) + 1))
    albedo = np.asarray(canvas.photo.reduce(GRID), np.float32)[top:]
    label = np.asarray(canvas.ids)[::GRID, ::GRID][top:]
    row = np.arange(top, height, dtype=np.float32)[:, None] + 0.5
    z = np.minimum(camera.focal / GRID * camera.eye / np.maximum(row - horizon, 0.25), 400)
    column = np.arange(width, dtype=np.float32)[None, :] + 0.5 - camera.centre / GRID
    x = column * z * (GRID / camera.focal) - camera.bend * z * z
    shift_x, shift_z = dice.uniform(0, TILE), dice.uniform(0, TILE)
    fine = _lookup(noise(31, 64, 3, 1.0), z * 40 + shift_z, x * 64 + shift_x)
    wide = _lookup(noise(32, 4, 5, 0.6), z * 4 + shift_z, x * 9 + shift_x)
    amount = np.zeros((2, 64), np.float32)
    amount[:, [ids.ROAD, ids.PARKING]] = ((0.075,), (0.022,))
    amount[:, ids.SIDEWALK] = (0.06, 0.03)
    amount[:, ids.TERRAIN] = (0.2, 0.1)
    rough = amount[:, np.minimum(label, 63)]
    near = np.clip(14 / z, 0.12, 1)
    factor = 1 + rough[0] * fine * near + rough[1] * wide
    slabs = (label == ids.SIDEWALK) & (z < 28)
    joint = (x * 85).astype(np.int32) & 63 < 4
    joint |= (z * 85).astype(np.int32) & 63 < 4
    factor -= np.float32(0.16) * np.clip(1.3 - z / 22, 0, 1) * (slabs & joint)
    left = shadows.light_left()[top:]
    factor *= left
    up = light.facing(0, 1, 0)
    tone = np.array([a + d * up for a, d in zip(light.ambient, light.direct, strict=True)])
    tone = tone.astype(np.float32) * (1 - 0.22 * light.wet)
    # Shade is bluish: the sky still lights it.
    lit = albedo * factor[..., None] * tone
    lit[..., 2] += 6 * (1 - left)
    keep = np.exp(-z / light.haze_distance)[..., None]
    lit = lit * keep + np.array(light.haze, np.float32) * (1 - keep)
    image = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8), "RGB")
    below = (canvas.width, canvas.height - top * GRID)
    canvas.photo.paste(image.resize(below, Image.Resampling.BILINEAR), (0, top * GRID))
