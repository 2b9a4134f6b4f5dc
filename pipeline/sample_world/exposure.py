"""From the painted canvas to the finished photo and instance map, as a camera would take them."""

from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pipeline.sample_world import ids
from pipeline.sample_world.camera import Camera
from pipeline.sample_world.canvas import GRID, Canvas
from pipeline.sample_world.light import Colour, Light, mix
from pipeline.sample_world.texture import TILE, grain


def paint_own_car(canvas: Canvas, light: Light, dice: Random) -> None:
    """Paint the bonnet of the camera's own car, and now and then the rectification border."""
    w, h = canvas.width, canvas.height
    if dice.random() < 0.7:
        high = h * dice.uniform(0.045, 0.10)
        middle = w * dice.uniform(0.46, 0.54)
        paint: Colour = dice.choice(((44, 46, 50), (96, 100, 104), (150, 152, 154), (40, 52, 76)))
        for k in range(7):
            share = k / 7
            tone = mix(mix(paint, light.sky_low, 0.45), paint, min(1.0, 0.25 + share))
            rise = high * (1 - 0.8 * share)
            arc = []
            for n in range(17):
                t = n / 8 - 1
                arc.append((middle + t * w * 0.56, h - rise * (1 - abs(t) ** 3.2 * 0.85)))
            ink = light.shade(tone, light.facing(0, 0.9, -0.4), 1.0)
            canvas.fill([*arc, (w + 1.0, h + 1.0), (-1.0, h + 1.0)], ink, ids.EGO_VEHICLE)
    if dice.random() < 0.2:
        thick = max(GRID, round(0.008 * h))
        for box in ((0, 0, thick, h), (w - thick, 0, w, h), (0, h - thick, w, h)):
            corners = [(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])]
            points = [(float(x), float(y)) for x, y in corners]
            canvas.fill(points, (2, 2, 3), ids.RECTIFICATION_BORDER)


def expose(
    canvas: Canvas, camera: Camera, light: Light, dice: Random
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return photo uint8 [H,W,3] and instance map int32 [H,W] of a painted canvas."""
    instance = np.array(np.asarray(canvas.ids)[::GRID, ::GRID], np.int32)
    image = canvas.photo.reduce(GRID)
    if light.blur > 0.3:
        image = image.filter(ImageFilter.BoxBlur(light.blur * canvas.height / GRID / 256))
    photo = np.array(image, np.float32)
    if light.wet:
        _reflect(photo, image, instance, camera, light)
    canvas.shine(photo)
    height, width = instance.shape
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    vignette = 1 - dice.uniform(0.02, 0.12) * (0.6 * down * down + across * across)
    contrast = dice.uniform(0.94, 1.08)
    photo *= (vignette * contrast)[..., None]
    photo += 128 * (1 - contrast)
    rolled = np.roll(grain(51), (dice.randrange(TILE), dice.randrange(TILE)), (0, 1))
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            part = photo[top : top + TILE, left : left + TILE]
            part += light.grain * rolled[: part.shape[0], : part.shape[1]]
    return np.clip(photo, 0, 255).astype(np.uint8), _dense(instance)


def _reflect(
    photo: NDArray[np.float32],
    image: Image.Image,
    instance: NDArray[np.int32],
    camera: Camera,
    light: Light,
) -> None:
    """Lay the blurred mirror image of the street on the wet road, in place."""
    height = instance.shape[0]
    soft = np.asarray(image.filter(ImageFilter.BoxBlur((height / 120, height / 30))), np.float32)
    horizon = camera.horizon / GRID
    rows = np.arange(int(horizon) + 1, height)
    source = np.clip(2 * horizon - rows, 0, height - 1).astype(np.intp)
    ground = instance[rows]
    wet = (ground == ids.ROAD) | (ground == ids.PARKING) | (ground == ids.SIDEWALK)
    share = (wet * (0.42 * light.wet)).astype(np.float32)[..., None]
    photo[rows] += share * (soft[source] * 0.95 - photo[rows])


def _dense(instance: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the instance map with k counting from 0 without gaps within each class."""
    seen = np.flatnonzero(np.bincount(instance.ravel()))
    table = np.arange(int(seen[-1]) + 1, dtype=np.int32)
    used: dict[int, int] = {}
    for ident in seen[seen >= ids.INSTANCE_STRIDE].tolist():
        class_id = ident // ids.INSTANCE_STRIDE
        table[ident] = class_id * ids.INSTANCE_STRIDE + used.get(class_id, 0)
        used[class_id] = used.get(class_id, 0) + 1
    return table[instance]
