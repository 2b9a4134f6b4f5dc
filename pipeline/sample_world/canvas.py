"""The canvas: every primitive sets photo and instance map through one and the same mask."""

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.sample_world.camera import Camera
from pipeline.sample_world.light import Ink
from pipeline.sample_world.texture import Sprite, glow_disc

Point = tuple[float, float]

GRID = 2
"""Drawing pixels per pixel of the result, along each axis."""


class Canvas:
    """A photo and an instance map on the drawing grid, painted from far to near."""

    def __init__(self, camera: Camera) -> None:
        self.width, self.height = camera.width, camera.height
        self.photo = Image.new("RGB", (self.width, self.height))
        self.ids = Image.new("I", (self.width, self.height))
        self._photo = ImageDraw.Draw(self.photo)
        self._ids = ImageDraw.Draw(self.ids)
        self._glows: list[tuple[float, float, float, Ink, int]] = []

    def fill(self, points: Sequence[Point], ink: Ink, ident: int) -> None:
        """Paint a polygon given by its corners (column, row)."""
        self._photo.polygon(points, ink)
        self._ids.polygon(points, ident)

    def line(self, points: Sequence[Point], width: float, ink: Ink, ident: int) -> None:
        """Paint a line of the given width in drawing pixels."""
        wide = max(1, round(width))
        self._photo.line(points, ink, wide)
        self._ids.line(points, ident, wide)

    def ellipse(
        self, centre: Point, radius: Point, ink: Ink, ident: int, *, ring: float = 0.0
    ) -> None:
        """Paint an ellipse, or only its rim of the given width where ring is not 0."""
        (x, y), (rx, ry) = centre, radius
        box = (x - rx, y - ry, x + rx, y + ry)
        if ring:
            wide = max(1, round(ring))
            self._photo.ellipse(box, outline=ink, width=wide)
            self._ids.ellipse(box, outline=ident, width=wide)
        else:
            self._photo.ellipse(box, ink)
            self._ids.ellipse(box, ident)

    def plane(self, texture: Image.Image, corners: Sequence[Point], ident: int) -> None:
        """Paint a texture (RGB) into a quadrilateral, in perspective.

        Corners are those of the texture in the order upper left, upper right, lower right,
        lower left.
        """
        columns, rows = [p[0] for p in corners], [p[1] for p in corners]
        x0, x1 = max(0, floor(min(columns))), min(self.width, ceil(max(columns)) + 1)
        y0, y1 = max(0, floor(min(rows))), min(self.height, ceil(max(rows)) + 1)
        if x0 >= x1 or y0 >= y1:
            return
        local = [(x - x0, y - y0) for x, y in corners]
        mask = Image.new("1", (x1 - x0, y1 - y0))
        ImageDraw.Draw(mask).polygon(local, 1)
        if not mask.getbbox():
            return
        try:
            matrix = _homography(local, texture.width, texture.height)
        except np.linalg.LinAlgError:
            return  # A plane seen from its edge has no area.
        seen = texture.transform(
            mask.size, Image.Transform.PERSPECTIVE, matrix, Image.Resampling.BILINEAR
        )
        self.photo.paste(seen, (x0, y0), mask)
        self.ids.paste(ident, (x0, y0, x1, y1), mask)

    def sprite(
        self,
        sprite: Sprite,
        box: tuple[float, float, float, float],
        inks: tuple[Ink, Ink],
        ident: int,
        *,
        mirror: bool = False,
    ) -> None:
        """Paint a plant into box (left, upper, right, lower), from a dark to a light ink."""
        left, upper, right, lower = box
        x0, x1 = max(0, floor(left)), min(self.width, ceil(right))
        y0, y1 = max(0, floor(upper)), min(self.height, ceil(lower))
        if x0 >= x1 or y0 >= y1 or right - left < 1 or lower - upper < 1:
            return
        sprite = sprite.at_least(right - left)
        sx, sy = sprite.grey.width / (right - left), sprite.grey.height / (lower - upper)
        source = (
            max(0.0, (x0 - left) * sx),
            max(0.0, (y0 - upper) * sy),
            min(float(sprite.grey.width), (x1 - left) * sx),
            min(float(sprite.grey.height), (y1 - upper) * sy),
        )
        if mirror:
            width = sprite.grey.width
            source = (width - source[2], source[1], width - source[0], source[3])
        size = (x1 - x0, y1 - y0)
        if source[2] - source[0] < 1e-3 or source[3] - source[1] < 1e-3:
            return
        grey = sprite.grey.resize(size, Image.Resampling.BILINEAR, source)
        mask = sprite.mask.resize(size, Image.Resampling.BILINEAR, source)
        if mirror:
            grey = grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        bits = mask.convert("1", dither=Image.Dither.NONE)
        dark, bright = np.array(inks, np.float32)
        shades = Image.frombytes("P", grey.size, grey.tobytes())
        shades.putpalette((dark + _RAMP * (bright - dark)).astype(np.uint8).tobytes())
        coloured = shades.convert("RGB")
        self.photo.paste(coloured, (x0, y0), bits)
        self.ids.paste(ident, (x0, y0, x1, y1), bits)

    def add_glow(self, centre: Point, radius: float, ink: Ink, ident: int) -> None:
        """Note a light of an object whose halo is added to the finished photo."""
        self._glows.append((centre[0], centre[1], radius, ink, ident))

    def shine(self, photo: NDArray[np.float32]) -> None:
        """Add the noted halos to photo [H,W,3] of the finished size, in place.

        A light that something nearer hides has no halo. Labels do not change.
        """
        height, width = photo.shape[:2]
        disc = glow_disc()
        for u, v, r, ink, ident in self._glows:
            inside = 0 <= u < self.width and 0 <= v < self.height
            if inside and self.ids.getpixel((int(u), int(v))) != ident:
                continue
            x, y, radius = u / GRID, v / GRID, max(1.0, r / GRID)
            x0, x1 = max(0, int(x - radius)), min(width, int(x + radius) + 1)
            y0, y1 = max(0, int(y - radius)), min(height, int(y + radius) + 1)
            if x0 >= x1 or y0 >= y1:
                continue
            size = len(disc) - 1
            columns = ((np.arange(x0, x1) - x + radius) / (2 * radius) * size).clip(0, size)
            rows = ((np.arange(y0, y1) - y + radius) / (2 * radius) * size).clip(0, size)
            spot = disc[rows.astype(np.intp)[:, None], columns.astype(np.intp)]
            photo[y0:y1, x0:x1] += spot[..., None] * np.array(ink, np.float32)


_RAMP = np.linspace(0, 1, 256, dtype=np.float32)[:, None]


def _homography(corners: Sequence[Point], width: int, height: int) -> tuple[float, ...]:
    """Return the eight numbers that take canvas pixels to texture pixels."""
    texture = ((0, 0), (width, 0), (width, height), (0, height))
    rows: list[tuple[float, ...]] = []
    right: list[float] = []
    for (x, y), (s, t) in zip(corners, texture, strict=True):
        rows.append((x, y, 1, 0, 0, 0, -s * x, -s * y))
        rows.append((0, 0, 0, x, y, 1, -t * x, -t * y))
        right += [s, t]
    return tuple(np.linalg.solve(np.array(rows), np.array(right, np.float64)).tolist())
