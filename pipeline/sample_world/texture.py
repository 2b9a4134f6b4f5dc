"""Noise tiles and foliage sprites, drawn once per process from fixed seeds."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Tile = NDArray[np.float32]

TILE = 256
"""Side of a square tile in pixels; a power of two, so that indices wrap with a bit mask."""


def _octave(rng: np.random.Generator, cells: int) -> Tile:
    """Return smooth noise of cells x cells random values, periodic over the tile."""
    grid = rng.random((cells, cells), dtype=np.float32)
    at = np.arange(TILE, dtype=np.float32) * (cells / TILE)
    low = at.astype(np.intp)
    share = at - low
    share = share * share * (3 - 2 * share)
    high = (low + 1) % cells
    rows = grid[low] * (1 - share)[:, None] + grid[high] * share[:, None]
    out: Tile = rows[:, low] * (1 - share) + rows[:, high] * share
    return out


@lru_cache(maxsize=16)
def noise(seed: int, first: int = 4, octaves: int = 6, falloff: float = 0.6) -> Tile:
    """Return a periodic tile [256,256] of fractal noise, mean 0 and standard deviation 1."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    tile = np.zeros((TILE, TILE), np.float32)
    weight = 1.0
    for k in range(octaves):
        tile += weight * _octave(rng, min(TILE, first << k))
        weight *= falloff
    tile -= tile.mean()
    tile /= tile.std()
    return tile


@lru_cache(maxsize=2)
def grain(seed: int) -> Tile:
    """Return white noise [256,256,3], mean 0 and standard deviation 1."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    tile = rng.standard_normal((TILE, TILE, 3), dtype=np.float32)
    shared = rng.standard_normal((TILE, TILE, 1), dtype=np.float32)
    return (0.55 * tile + 0.83 * shared).astype(np.float32)


@lru_cache(maxsize=1)
def glow_disc() -> Tile:
    """Return a soft round spot [64,64], 1 in the middle and 0 at the border."""
    at = np.linspace(-1, 1, 64, dtype=np.float32)
    radius = np.hypot(at[:, None], at[None, :])
    disc: Tile = np.clip(1 - radius, 0, 1).astype(np.float32) ** np.float32(2.2)
    return disc


@dataclass(frozen=True)
class Sprite:
    """A plant: grey is its shading (mode L), mask its outline (mode L, 0 or 255)."""

    grey: Image.Image
    mask: Image.Image
    smaller: "Sprite | None" = None
    """The same plant at half the size."""

    def at_least(self, width: float) -> "Sprite":
        """Return the smallest version that is not narrower than width in pixels."""
        sprite = self
        while sprite.smaller is not None and sprite.smaller.grey.width >= width:
            sprite = sprite.smaller
        return sprite


@lru_cache(maxsize=4)
def crowns(kind: str) -> tuple[Sprite, ...]:
    """Return sprites of one kind of plant: 'round', 'tall', 'conifer' or 'bush'."""
    base = {"round": 100, "tall": 200, "conifer": 300, "bush": 400}[kind]
    return tuple(_crown(kind, base + k) for k in range(6))


def _clumps(kind: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return leaf clumps [N,3] as (x, y, radius) in the unit square, back to front."""
    out = []
    count = {"round": 46, "tall": 40, "conifer": 60, "bush": 40}[kind]
    for _ in range(count):
        radius = rng.uniform(0.07, 0.15)
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform())
        if kind == "round":
            x, y = 0.5 + 0.36 * reach * np.cos(angle), 0.48 + 0.34 * reach * np.sin(angle)
        elif kind == "tall":
            x, y = 0.5 + 0.33 * reach * np.cos(angle), 0.5 + 0.4 * reach * np.sin(angle)
        elif kind == "conifer":
            y = 0.08 + 0.84 * np.sqrt(rng.uniform())
            x = 0.5 + rng.uniform(-1, 1) * 0.4 * y
            radius = rng.uniform(0.05, 0.09)
        else:
            x, y = rng.uniform(0.1, 0.9), rng.uniform(0.35, 0.95)
        out.append((x, y, radius))
    # Clumps at the lower border lie behind: light falls from above.
    out.sort(key=lambda clump: -clump[1] + 0.25 * rng.uniform())
    return np.array(out)


def _crown(kind: str, seed: int) -> Sprite:
    rng = np.random.Generator(np.random.Philox(key=seed))
    at = (np.arange(TILE, dtype=np.float32) + 0.5) / TILE
    x, y = at[None, :], at[:, None]
    ragged = noise(seed, 32, 3, 0.8)
    leaves = noise(seed + 1, 64, 2, 0.9)
    shade = np.zeros((TILE, TILE), np.float32)
    mask = np.zeros((TILE, TILE), bool)
    for cx, cy, radius in _clumps(kind, rng):
        r0, r1 = int(max(0, (cy - 1.4 * radius) * TILE)), int((cy + 1.4 * radius) * TILE) + 1
        c0, c1 = int(max(0, (cx - 1.4 * radius) * TILE)), int((cx + 1.4 * radius) * TILE) + 1
        dx, dy = (x[:, c0:c1] - cx) / radius, (y[r0:r1] - cy) / radius
        inside = np.hypot(dx, dy) + 0.22 * ragged[r0:r1, c0:c1] < 1.0
        tone = 0.50 - 0.20 * dy - 0.10 * dx + rng.uniform(-0.07, 0.07) + 0.12 * (0.5 - cy)
        shade[r0:r1, c0:c1] = np.where(inside, tone, shade[r0:r1, c0:c1])
        mask[r0:r1, c0:c1] |= inside
    if kind == "bush":
        mask[int(0.97 * TILE) :] = False
    shade = np.where(mask, shade, 0.3) + 0.10 * leaves
    grey = Image.fromarray((np.clip(shade, 0, 1) * 255).astype(np.uint8), "L")
    outline = Image.fromarray(mask.astype(np.uint8) * 255, "L")
    sprite = None
    for shrink in (16, 8, 4, 2):
        sprite = Sprite(grey.reduce(shrink), outline.reduce(shrink), sprite)
    return Sprite(grey, outline, sprite)


@lru_cache(maxsize=4)
def masonry(kind: str) -> Image.Image:
    """Return a grey tile (mode L, 128 is neutral) of a wall: 'brick', 'stone' or 'plaster'."""
    coarse, fine = noise(7, 4, 5), noise(8, 64, 2)
    tone = 128 + 5 * coarse + 5 * fine
    if kind != "plaster":
        high, long = (8, 21) if kind == "brick" else (16, 32)
        row = np.arange(TILE) // high
        column = (np.arange(TILE)[None, :] + (row % 2 * (long // 2))[:, None]) // long
        rng = np.random.Generator(np.random.Philox(key=9))
        each = rng.normal(0, 12, (64, 64)).astype(np.float32)
        tone = tone + each[row[:, None] % 64, column % 64]
        joint = (np.arange(TILE) % high < 1)[:, None] | (
            (np.arange(TILE)[None, :] + (row % 2 * (long // 2))[:, None]) % long < 1
        )
        tone = np.where(joint, 128 + 22, tone)
    return Image.fromarray(np.clip(tone, 0, 255).astype(np.uint8), "L")
