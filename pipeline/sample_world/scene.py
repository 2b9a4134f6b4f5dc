"""One scene of the sample world: what stands where, and the finished photo and maps."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import cos, pi
from random import Random

import numpy as np
from numpy.typing import NDArray

from hdmodel.errors import InputError
from pipeline.sample_world import furniture, ids, people, plants, vehicles
from pipeline.sample_world.backdrop import ShadowMap, light_ground, paint_sky
from pipeline.sample_world.camera import Camera, place_camera
from pipeline.sample_world.canvas import GRID, Canvas
from pipeline.sample_world.cars import Vehicle
from pipeline.sample_world.exposure import expose, paint_own_car
from pipeline.sample_world.facades import draw_houses, paint_house, shade_house
from pipeline.sample_world.light import Light, draw_light, vary
from pipeline.sample_world.street import LANE, Side, Street, draw_street, paint_ground

MIN_SIDE = 32
"""Smallest height and width of a scene in pixels."""

VAL_START = 500_000
"""First scene index of the validation city; the training city has the indices below."""


@dataclass(frozen=True)
class Drawn:
    """A drawn scene: photo uint8 [H,W,3], label uint8 [H,W] and instance int32 [H,W].

    Label holds Cityscapes labelIds. Instance holds id * 1000 + k for things and id for stuff.
    """

    name: str
    photo: NDArray[np.uint8]
    label: NDArray[np.uint8]
    instance: NDArray[np.int32]


class _Stage:
    """Collects what stands in a scene, then paints it from far to near."""

    def __init__(self, canvas: Canvas, camera: Camera, light: Light, shadows: ShadowMap) -> None:
        self.canvas, self.camera, self.light, self.shadows = canvas, camera, light, shadows
        self.count = ids.InstanceCounter()
        self._acts: list[tuple[float, int, Callable[[], None]]] = []

    def put(self, z: float, paint: Callable[[], None]) -> None:
        """Add something painted at depth z."""
        self._acts.append((-z, len(self._acts), paint))

    def visible(self, x: float, z: float, margin: float) -> bool:
        """Return whether a body of half width margin (metres) at (x, z) can be in the image."""
        u, reach = self.camera.u(x, z), margin * self.camera.scale(z)
        return z > 1.5 and u + reach > 0 and u - reach < self.canvas.width

    def vehicle(self, vehicle: Vehicle) -> None:
        """Add a vehicle."""
        along = abs(cos(vehicle.yaw)) > 0.5
        nearest = vehicle.z - vehicle.length / 2
        if nearest < (4.5 if abs(vehicle.x) < 1.6 else 2.5) and along:
            return
        if self.visible(vehicle.x, max(1.6, nearest), vehicle.length):
            ident = self.count.next(vehicle.class_id)
            vehicles.shade_vehicle(self.shadows, vehicle)
            paint = vehicles.paint_vehicle
            near = nearest if along else vehicle.z
            self.put(near, partial(paint, self.canvas, self.camera, self.light, vehicle, ident))

    def figure(self, figure: people.Figure) -> None:
        """Add a person or a cycle."""
        if figure.z < 3.2 or not self.visible(figure.x, figure.z, 1.0):
            return
        a, b = people.classes_of(figure)
        idents = (self.count.next(a) if a else 0, self.count.next(b) if b else 0)
        people.shade_figure(self.shadows, figure)
        paint = people.paint_figure
        self.put(figure.z, partial(paint, self.canvas, self.camera, self.light, figure, idents))

    def plant(self, plant: plants.Plant) -> None:
        """Add a tree or a bush."""
        if self.visible(plant.x, plant.z, plant.spread):
            plants.shade_plant(self.shadows, plant)
            paint = plants.paint_plant
            self.put(plant.z, partial(paint, self.canvas, self.camera, self.light, plant))

    def post(self, post: furniture.Post) -> None:
        """Add a piece of street furniture."""
        if post.z > 3 and self.visible(post.x, post.z, 5.0):
            furniture.shade_post(self.shadows, post)
            paint = furniture.paint_post
            self.put(post.z, partial(paint, self.canvas, self.camera, self.light, post))

    def play(self) -> None:
        """Paint everything, farthest first."""
        for _, _, paint in sorted(self._acts, key=lambda act: act[:2]):
            paint()


def draw_scene(seed: int, index: int, *, height: int = 256, width: int = 512) -> Drawn:
    """Draw scene number index of the world of a seed.

    The result depends on seed, index and size alone.

    Raises:
        InputError: seed or index is not in 0..2**64 - 1, or the size is below 32 x 32.
    """
    for name, value in (("seed", seed), ("index", index)):
        if not 0 <= value < 2**64:
            raise InputError(f"sample world: {name} is {value}, expected 0 to 2**64 - 1")
    if height < MIN_SIDE or width < MIN_SIDE:
        raise InputError(
            f"sample world: size {height}x{width} is too small, expected at least "
            f"{MIN_SIDE}x{MIN_SIDE}"
        )
    rng = np.random.Generator(np.random.Philox(key=[seed, index]))
    dice = Random(int.from_bytes(rng.bytes(16), "little"))
    camera = place_camera(dice, height=height * GRID, width=width * GRID)
    light = draw_light(dice)
    street = draw_street(dice)
    canvas = Canvas(camera)
    shadows = ShadowMap(camera, light)
    stage = _Stage(canvas, camera, light, shadows)
    palette = plants.draw_palette(dice)
    crowd = dice.choice((0.4, 1.0, 1.0, 1.8))
    for side in street.sides:
        _place_frontage(stage, street, side, palette, dice)
        _place_trees(stage, street, side, palette, dice)
        _place_posts(stage, street, side, dice)
        _place_parked(stage, street, side, dice)
        _place_people(stage, street, side, crowd, dice)
    tram = dice.random() < 0.08
    _place_traffic(stage, street, dice, tram=tram)
    paint_sky(canvas, camera, light, dice)
    paint_ground(canvas, camera, street, dice, rails=tram)
    light_ground(canvas, camera, light, street, shadows, dice)
    plants.paint_horizon(canvas, camera, light, dice, palette)
    stage.play()
    paint_own_car(canvas, light, dice)
    photo, instance = expose(canvas, camera, light, dice)
    label = np.where(instance >= ids.INSTANCE_STRIDE, instance // ids.INSTANCE_STRIDE, instance)
    city = "sampletown" if index < VAL_START else "sampleport"
    return Drawn(f"{city}_{index:06d}_000019", photo, label.astype(np.uint8), instance)


Palette = tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...]


def _place_frontage(
    stage: _Stage, street: Street, side: Side, palette: Palette, dice: Random
) -> None:
    """Put houses, or trees or walls in their place, along one side."""
    s = side.sign
    canvas, camera, light = stage.canvas, stage.camera, stage.light
    if side.frontage in ("block", "houses"):
        for house in draw_houses(dice, s, side.line, side.frontage, street.crossing):
            shade_house(stage.shadows, house)
            stage.put(house.far, partial(paint_house, canvas, camera, light, house))
    else:
        far_houses = draw_houses(dice, s, side.line + 14, "houses", street.crossing)
        for house in far_houses[1::2]:
            stage.put(house.far, partial(paint_house, canvas, camera, light, house))
        for _ in range(26):
            z = 7 + 110 * dice.random() ** 1.4
            x = s * (side.line + dice.uniform(0.5, 12))
            if street.off_crossing(z, 2):
                stage.plant(plants.draw_tree(dice, x, z, palette, small=dice.random() < 0.4))
    kind = dice.choices(("hedge", "picket", "railing", "wall", "none"), (30, 22, 18, 12, 18))[0]
    if side.frontage == "wall":
        kind = "wall"
    if not side.garden and kind != "wall":
        kind = "none"
    if side.frontage == "block":
        return
    height = dice.uniform(0.9, 1.5) if kind != "wall" else dice.uniform(1.2, 2.6)
    wood = dice.choice(((222, 218, 208), (122, 92, 66), (70, 74, 72), (92, 118, 92)))
    stone = vary(dice, dice.choice(((150, 138, 124), (138, 104, 88), (170, 168, 162))), 8)
    leaves = dice.choice(palette)
    step = 4.0
    for k in range(22):
        near, far = 2 + step * k, 2 + step * (k + 1)
        if not street.off_crossing((near + far) / 2, 3.5) or dice.random() < 0.04:
            continue
        x = s * (side.walk + 0.3)
        if kind == "hedge":
            hedge = plants.Hedge(x, near, far, height, leaves, dice.getrandbits(32))
            stage.put(far, partial(plants.paint_hedge, canvas, camera, light, hedge))
        elif kind != "none":
            tone = stone if kind == "wall" else wood
            barrier = furniture.Barrier(kind, x, near, far, height, tone)
            stage.put(far, partial(furniture.paint_barrier, canvas, camera, light, barrier))
    for _ in range(dice.randrange(2, 10) if side.garden else 0):
        z = 6 + 60 * dice.random()
        x = s * dice.uniform(side.walk + 0.9, max(side.walk + 1.0, side.line - 0.6))
        if street.off_crossing(z, 2):
            stage.plant(plants.draw_bush(dice, x, z, palette, dice.uniform(0.7, 1.7)))


def _place_trees(stage: _Stage, street: Street, side: Side, palette: Palette, dice: Random) -> None:
    """Put a row of street trees on the grass strip or at the edge of the sidewalk."""
    chance = 0.85 if side.verge > side.kerb else 0.4
    if dice.random() > chance:
        return
    x = side.sign * ((side.kerb + side.verge) / 2 if side.verge > side.kerb else side.kerb + 0.7)
    z, gap = dice.uniform(7, 16), dice.uniform(8, 16)
    small = dice.random() < 0.65
    while z < 120:
        if street.off_crossing(z, 4) and dice.random() < 0.85:
            stage.plant(plants.draw_tree(dice, x, z, palette, small=small))
        z += gap * dice.uniform(0.85, 1.15)


def _place_posts(stage: _Stage, street: Street, side: Side, dice: Random) -> None:
    """Put lamps, signs, traffic lights, bollards and clutter on one sidewalk."""
    s = side.sign

    def put(kind: str, x: float, z: float, height: float) -> None:
        stage.post(furniture.Post(kind, s * x, z, height, -s, dice.getrandbits(32)))

    edge = side.kerb + 0.45
    z, gap, tall = dice.uniform(6, 24), dice.uniform(22, 32), dice.uniform(5.5, 8.5)
    while z < 130:
        put("lamp", edge, z, tall)
        z += gap
    for _ in range(dice.choice((1, 2, 3, 4, 5))):
        z = 7 + 60 * dice.random() ** 1.5
        put("sign", edge + dice.uniform(-0.1, 0.6), z, dice.uniform(2.1, 2.9))
    if street.crossing:
        near, far = street.crossing
        if dice.random() < 0.75:
            put("signal", edge, near - 3, dice.uniform(3.0, 3.5))
            put("signal", edge, far + 3, dice.uniform(3.0, 3.5))
        put("sign", edge + 0.6, near - 5, 2.5)
    elif dice.random() < 0.15:
        put("signal", edge, dice.uniform(14, 45), 3.3)
    if dice.random() < 0.3:
        first, step = dice.uniform(5, 15), dice.uniform(1.6, 3)
        for k in range(dice.randrange(4, 12)):
            if street.off_crossing(first + step * k, 1):
                put("bollard", side.kerb + 0.3, first + step * k, 0.95)
    for _ in range(dice.randrange(4)):
        kind = dice.choices(("bin", "column", "pram", "dog"), (60, 15, 15, 10))[0]
        height = {"bin": 1.05, "column": 2.9, "pram": 1.0, "dog": 0.7}[kind]
        x = dice.uniform(side.verge + 0.5, side.walk - 0.3)
        put(kind, x, 6 + 40 * dice.random(), height * dice.uniform(0.9, 1.1))


_PARKED = ("sedan", "hatch", "hatch", "estate", "suv", "van")
_MOVING = (*_PARKED, *_PARKED, "lorry", "bus")


def _place_parked(stage: _Stage, street: Street, side: Side, dice: Random) -> None:
    """Put parked vehicles into the bays of one side."""
    if side.kerb <= side.bay:
        return
    x = side.sign * (side.bay + side.kerb) / 2
    full = dice.choice((0.35, 0.7, 0.92))
    z = dice.uniform(4, 10)
    while z < 105:
        if dice.random() < full and street.off_crossing(z, 5.5):
            kind = dice.choice(_PARKED)
            if dice.random() < 0.05:
                kind = dice.choice(("caravan", "trailer", "lorry"))
            yaw = 0.0 if (side.sign > 0) == (dice.random() < 0.85) else pi
            yaw += dice.uniform(-0.03, 0.03)
            place = x + dice.uniform(-0.12, 0.12)
            stage.vehicle(vehicles.draw_vehicle(dice, kind, place, z, yaw, lights=False))
            z += 9.0 if kind == "lorry" else 5.6
        else:
            z += 5.6


def _place_traffic(stage: _Stage, street: Street, dice: Random, *, tram: bool) -> None:
    """Put moving vehicles and riders on the lanes and on the crossing street."""
    dim = stage.light.weather in ("dusk", "rain", "fog")
    busy = dice.choice((9.0, 18.0, 34.0))
    for lane in range(-street.lanes_left, street.lanes_right):
        x = lane * LANE
        if not -street.left.bay + 1.1 < x < street.right.bay - 1.1:
            continue
        z = dice.uniform(6, 12) + dice.expovariate(1 / busy)
        while z < 140:
            kind = "tram" if tram and lane == -1 else dice.choice(_MOVING)
            long = 9.0 if kind in ("lorry", "bus", "tram") else 0.0
            blocked = (
                street.crossing and not street.off_crossing(z, 4 + long) and dice.random() < 0.6
            )
            if not blocked:
                lit = dim or dice.random() < 0.25
                yaw = (0.0 if lane >= 0 else pi) + dice.uniform(-0.03, 0.03)
                place = x + dice.uniform(-0.3, 0.3)
                stage.vehicle(
                    vehicles.draw_vehicle(dice, kind, place, z + long / 2, yaw, lights=lit)
                )
                tram = tram and kind != "tram"
            z += 6.5 + long + dice.expovariate(1 / busy)
    if street.crossing and dice.random() < 0.75:
        near, far = street.crossing
        for share, yaw in ((0.28, pi / 2), (0.72, -pi / 2)):
            x = dice.uniform(-26, 26)
            while x < 40 and dice.random() < 0.7:
                z = near + share * (far - near)
                turn = yaw + dice.uniform(-0.08, 0.08)
                kind = dice.choice(_MOVING)
                stage.vehicle(vehicles.draw_vehicle(dice, kind, x, z, turn, lights=dim))
                x += dice.uniform(13, 26)
    for _ in range(dice.choice((0, 0, 1, 1, 2, 3))):
        along = dice.random() < 0.7
        kind = "cyclist" if dice.random() < 0.75 else "biker"
        z = 6.5 + 38 * dice.random() ** 1.4
        if along:
            x = dice.choice(
                (street.right.bay - 0.7, street.right.bay - 0.7, -street.left.bay + 0.7)
            )
        else:
            x = dice.uniform(-street.left.bay, street.right.bay)
        stage.figure(people.draw_figure(dice, kind, x, z, "along" if along else "side"))
    for _ in range(dice.choice((0, 0, 1, 2, 3))):
        if street.crossing and street.zebra:
            z = street.crossing[0] - 2.5 + dice.uniform(-1, 1)
        else:
            z = dice.uniform(12, 50)
        x = dice.uniform(-street.left.bay, street.right.bay)
        stage.figure(people.draw_figure(dice, "walker", x, z, "side"))


def _place_people(stage: _Stage, street: Street, side: Side, crowd: float, dice: Random) -> None:
    """Put pedestrians and parked cycles on one sidewalk."""
    s = side.sign
    walk = (side.verge + 0.5, max(side.verge + 0.6, side.walk - 0.35))
    for _ in range(int(dice.uniform(0, 9) * crowd)):
        z = 5.5 + 55 * dice.random() ** 1.3
        x = dice.uniform(*walk)
        view = "side" if dice.random() < 0.25 else "along"
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            stage.figure(people.draw_figure(dice, "walker", s * x, z, view))
            x, z = x + dice.uniform(0.5, 0.7), z + dice.uniform(-0.4, 0.4)
            if x > walk[1]:
                break
    if dice.random() < 0.45:
        z, kind = 6 + 30 * dice.random(), "bicycle" if dice.random() < 0.75 else "moped"
        x = side.walk - 0.35 if dice.random() < 0.5 else side.kerb + 0.45
        view = "along" if dice.random() < 0.3 else "side"
        for k in range(dice.randrange(1, 6)):
            at = z + k * (0.8 if view == "side" else 0.3)
            if street.off_crossing(at, 1):
                stage.figure(people.draw_figure(dice, kind, s * x, at, view))
