"""Trees, hedges, bushes and the green edge of the horizon."""

from dataclasses import dataclass
from random import Random

from pipeline.sample_world import ids
from pipeline.sample_world.backdrop import ShadowMap
from pipeline.sample_world.camera import Camera
from pipeline.sample_world.canvas import Canvas
from pipeline.sample_world.light import Colour, Ink, Light, mix, vary
from pipeline.sample_world.texture import crowns

_LEAVES: tuple[tuple[Colour, Colour], ...] = (
    ((22, 42, 16), (138, 168, 84)),
    ((20, 46, 24), (116, 154, 86)),
    ((30, 44, 12), (158, 170, 78)),
    ((16, 38, 26), (92, 136, 92)),
)
_AUTUMN: tuple[tuple[Colour, Colour], ...] = (
    ((58, 36, 10), (206, 150, 56)),
    ((60, 24, 12), (190, 98, 52)),
)


@dataclass(frozen=True)
class Plant:
    """A tree or a bush that stands at (x, z); sizes in metres."""

    kind: str
    x: float
    z: float
    height: float
    spread: float
    trunk: float
    """Height of the bare trunk."""
    leaves: tuple[Colour, Colour]
    sprite: int
    mirror: bool


def draw_palette(dice: Random) -> tuple[tuple[Colour, Colour], ...]:
    """Return the leaf colours (dark, light) that the plants of one scene share."""
    if dice.random() < 0.14:
        return (*_AUTUMN, dice.choice(_LEAVES))
    return (dice.choice(_LEAVES), dice.choice(_LEAVES))


def draw_tree(
    dice: Random, x: float, z: float, palette: tuple[tuple[Colour, Colour], ...], *, small: bool
) -> Plant:
    """Draw a tree at (x, z)."""
    kind = dice.choices(("round", "tall", "conifer"), (70, 18, 12))[0]
    height = dice.uniform(4.5, 8.0) if small else dice.uniform(7.5, 14.0)
    ratio = {"round": (0.6, 0.9), "tall": (0.34, 0.46), "conifer": (0.4, 0.55)}[kind]
    low, high = dice.choice(palette)
    return Plant(
        kind=kind,
        x=x,
        z=z,
        height=height,
        spread=height * dice.uniform(*ratio),
        trunk=height * dice.uniform(0.06, 0.14) if kind == "conifer" else dice.uniform(1.9, 3.0),
        leaves=(vary(dice, low, 8), vary(dice, high, 14)),
        sprite=dice.randrange(6),
        mirror=dice.random() < 0.5,
    )


def draw_bush(
    dice: Random, x: float, z: float, palette: tuple[tuple[Colour, Colour], ...], height: float
) -> Plant:
    """Draw a bush of about the given height at (x, z)."""
    low, high = dice.choice(palette)
    tall = height * dice.uniform(0.8, 1.2)
    return Plant(
        kind="bush",
        x=x,
        z=z,
        height=tall,
        spread=tall * dice.uniform(1.3, 2.2),
        trunk=0.0,
        leaves=(vary(dice, low, 8), vary(dice, mix(high, low, 0.25), 12)),
        sprite=dice.randrange(6),
        mirror=dice.random() < 0.5,
    )


def _inks(light: Light, leaves: tuple[Colour, Colour], z: float) -> tuple[Ink, Ink]:
    return light.shade(leaves[0], 0.2, z), light.shade(leaves[1], light.facing(0, 0.8, -0.6), z)


def paint_plant(canvas: Canvas, camera: Camera, light: Light, plant: Plant) -> None:
    """Paint a plant: trunk with branches, then the crown."""
    s = camera.scale(plant.z)
    u, v = camera.point(plant.x, 0, plant.z)
    if plant.trunk:
        ink = light.shade((92, 76, 60), light.facing(-0.7, 0, -0.7), plant.z)
        dark = light.shade((60, 50, 42), 0.1, plant.z)
        thick = s * (0.05 + 0.013 * plant.height)
        top = v - s * (plant.trunk + 0.35 * (plant.height - plant.trunk))
        base = [(u - thick * 1.15, v), (u + thick * 1.15, v), (u + thick * 0.6, top)]
        canvas.fill([*base, (u - thick * 0.6, top)], ink, ids.VEGETATION)
        canvas.fill([(u + thick * 0.25, v), base[1], base[2], (u + thick * 0.1, top)], dark, 21)
        for reach in (-0.3, 0.24):
            tip = (u + reach * plant.spread * s, top - 0.1 * plant.height * s)
            canvas.line([(u, v - s * plant.trunk * 0.95), tip], thick * 0.7, dark, ids.VEGETATION)
    half = plant.spread / 2 * s
    box = (u - half, v - plant.height * s, u + half, v - plant.trunk * s * 0.9)
    sprite = crowns(plant.kind)[plant.sprite]
    inks = _inks(light, plant.leaves, plant.z)
    canvas.sprite(sprite, box, inks, ids.VEGETATION, mirror=plant.mirror)


def shade_plant(shadows: ShadowMap, plant: Plant) -> None:
    """Cast the shadow of a plant: its crown as an octagon, its trunk as a bar."""
    r = plant.spread * 0.42
    ring = ((1, 0), (0.7, 0.7), (0, 1), (-0.7, 0.7), (-1, 0), (-0.7, -0.7), (0, -1), (0.7, -0.7))
    disc = [(plant.x + r * a, plant.z + r * b) for a, b in ring]
    shadows.cast(disc, plant.height * 0.85, base=max(0.01, plant.trunk))
    if plant.trunk:
        w = 0.16
        bar = [(plant.x - w, plant.z), (plant.x + w, plant.z), (plant.x, plant.z + w)]
        shadows.cast(bar, plant.trunk)
        shadows.contact([(plant.x + 0.5 * a, plant.z + 0.5 * b) for a, b in ring], 0.35)
    else:
        shadows.contact([(plant.x + r * a, plant.z + 0.5 * r * b) for a, b in ring], 0.5)


def paint_horizon(
    canvas: Canvas,
    camera: Camera,
    light: Light,
    dice: Random,
    palette: tuple[tuple[Colour, Colour], ...],
) -> None:
    """Paint the far edge of the world: roofs and trees in the haze."""
    for layer, z in enumerate((230.0, 160.0)):
        s = camera.scale(z)
        x = 0.0
        while x < canvas.width:
            if dice.random() < 0.45:
                wide, high = dice.uniform(8, 20) * s, dice.uniform(6, 17) * s
                tone = dice.choice(((178, 160, 146), (150, 140, 134), (196, 186, 172)))
                ink = light.shade(tone, light.facing(0, 0, -1), z)
                base = camera.v(0, z)
                corners = [(x, base), (x, base - high), (x + wide, base - high), (x + wide, base)]
                canvas.fill(corners, ink, ids.BUILDING)
                if dice.random() < 0.6:
                    ridge = [(x, base - high), (x + wide / 2, base - high * 1.3)]
                    ridge.append((x + wide, base - high))
                    canvas.fill(ridge, light.shade((124, 78, 66), 0.4, z), ids.BUILDING)
                pane = light.shade((96, 100, 108), 0.2, z)
                k = 1.5 * s
                while layer and k < wide - 1.5 * s:
                    y = 2.0 * s
                    while y < high - 1.5 * s:
                        window = [(x + k, base - y), (x + k + s, base - y)]
                        window += [(x + k + s, base - y - 1.4 * s), (x + k, base - y - 1.4 * s)]
                        canvas.fill(window, pane, ids.BUILDING)
                        y += 3 * s
                    k += 2.4 * s
                x += wide * dice.uniform(0.7, 1.3)
            else:
                leaves = dice.choice(palette)
                wide, high = dice.uniform(8, 15) * s, dice.uniform(5, 10) * s
                base = camera.v(-0.4, z)
                sprite = crowns("bush" if dice.random() < 0.5 else "round")[dice.randrange(6)]
                box = (x - wide * 0.2, base - high, x + wide, base)
                canvas.sprite(sprite, box, _inks(light, leaves, z), ids.VEGETATION)
                x += wide * dice.uniform(0.45, 0.8)


@dataclass(frozen=True)
class Hedge:
    """A clipped hedge along the street from depth near to far, at x (signed), in metres."""

    x: float
    near: float
    far: float
    height: float
    leaves: tuple[Colour, Colour]
    seed: int


def paint_hedge(canvas: Canvas, camera: Camera, light: Light, hedge: Hedge) -> None:
    """Paint a hedge as a chain of overlapping bushes on a dark core."""
    dice = Random(hedge.seed)
    z = hedge.far
    step = 1.1
    while z > max(hedge.near, 2.2):
        s = camera.scale(z)
        u, v = camera.point(hedge.x, 0, z)
        if -s * 4 < u < canvas.width + s * 4:
            half = 0.75 * s
            high = hedge.height * s * dice.uniform(0.92, 1.08)
            dark, bright = _inks(light, hedge.leaves, z)
            core = [(u - half * 0.8, v), (u - half * 0.8, v - high * 0.8)]
            core += [(u + half * 0.8, v - high * 0.8), (u + half * 0.8, v)]
            canvas.fill(core, dark, ids.VEGETATION)
            sprite = crowns("bush")[dice.randrange(6)]
            box = (u - half, v - high * 1.35, u + half, v)
            canvas.sprite(sprite, box, (dark, bright), ids.VEGETATION)
        z -= step * max(1.0, z / 30)
