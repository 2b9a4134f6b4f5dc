"""Time of day and weather of a scene: sun, sky colours, haze, and how they shade a colour."""

from dataclasses import dataclass
from math import cos, exp, radians, sin
from random import Random

Colour = tuple[float, float, float]
"""Red, green, blue in 0..255."""

Ink = tuple[int, int, int]
"""A colour as it is painted: whole numbers in 0..255."""


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Return a colour between a (share 0) and b (share 1)."""
    keep = 1.0 - share
    return (a[0] * keep + b[0] * share, a[1] * keep + b[1] * share, a[2] * keep + b[2] * share)


def vary(dice: Random, colour: Colour, amount: float) -> Colour:
    """Return the colour moved by up to amount in brightness and half of it in each channel."""
    shift = dice.uniform(-amount, amount)
    half = amount / 2
    red, green, blue = (min(255.0, max(0.0, c + shift + dice.uniform(-half, half))) for c in colour)
    return red, green, blue


@dataclass(frozen=True)
class Light:
    """The light of one scene; ambient and direct are factors per channel."""

    weather: str
    ambient: Colour
    direct: Colour
    sun: tuple[float, float, float]
    """Unit vector that points to the sun (x right, y up, z into the image)."""
    haze: Colour
    haze_distance: float
    """Depth in metres at which haze hides 63 % of a colour."""
    sky_top: Colour
    sky_low: Colour
    cloud: Colour
    cloud_cover: float
    wet: float
    dusk: bool
    grain: float
    blur: float
    shadow: float
    """Share of light that a cast shadow takes away, 0..1."""

    def clear(self, z: float) -> float:
        """Return the share of an object's colour that haze leaves at depth z."""
        return exp(-z / self.haze_distance)

    def shade(self, colour: Colour, facing: float, z: float) -> Ink:
        """Return the ink of a surface at depth z; facing is the cosine towards the sun."""
        keep = exp(-z / self.haze_distance)
        lose = 1.0 - keep
        a, d, h = self.ambient, self.direct, self.haze
        red = colour[0] * (a[0] + d[0] * facing)
        green = colour[1] * (a[1] + d[1] * facing)
        blue = colour[2] * (a[2] + d[2] * facing)
        return (
            int(min(red, 255.0) * keep + h[0] * lose),
            int(min(green, 255.0) * keep + h[1] * lose),
            int(min(blue, 255.0) * keep + h[2] * lose),
        )

    def glow(self, colour: Colour, z: float) -> Ink:
        """Return the ink of a surface that shines by itself."""
        keep = exp(-0.6 * z / self.haze_distance)
        red, green, blue = mix(self.haze, colour, keep)
        return int(red), int(green), int(blue)

    def facing(self, nx: float, ny: float, nz: float) -> float:
        """Return the light a surface of unit normal n takes from sun and open sky, 0..1."""
        sun = self.sun[0] * nx + self.sun[1] * ny + self.sun[2] * nz
        return max(0.0, sun) * 0.8 + 0.2 * (0.5 + 0.5 * ny)


_WEATHERS = ("clear", "fair", "overcast", "fog", "rain", "evening", "dusk")
_WEIGHTS = (30, 24, 18, 7, 8, 8, 5)


def draw_light(dice: Random) -> Light:
    """Draw the time of day and the weather of a scene."""
    weather = dice.choices(_WEATHERS, _WEIGHTS)[0]
    elevation = radians(dice.uniform(28, 62))
    azimuth = radians(dice.uniform(0, 360))
    ambient: Colour = (0.58, 0.61, 0.66)
    direct: Colour = (0.60, 0.57, 0.50)
    top, low = (92.0, 142.0, 200.0), (186.0, 208.0, 226.0)
    cloud: Colour = (238, 240, 243)
    cover, haze_distance, wet, shadow = dice.uniform(0.0, 0.45), dice.uniform(260, 520), 0.0, 0.52
    grain, blur = dice.uniform(1.5, 4.5), dice.uniform(0.25, 0.55)
    if weather == "fair":
        cover, shadow = dice.uniform(0.45, 0.75), 0.42
        ambient, direct = (0.66, 0.68, 0.70), (0.44, 0.42, 0.38)
        top, low = (116.0, 156.0, 202.0), (205.0, 217.0, 227.0)
    elif weather == "overcast":
        cover, shadow = 1.0, 0.10
        ambient, direct = (0.80, 0.82, 0.85), (0.12, 0.12, 0.12)
        top, low = (176.0, 184.0, 194.0), (214.0, 217.0, 221.0)
        cloud, haze_distance = (200, 205, 212), dice.uniform(200, 350)
    elif weather == "fog":
        cover, shadow = 1.0, 0.05
        ambient, direct = (0.78, 0.80, 0.82), (0.08, 0.08, 0.08)
        grey = dice.uniform(178, 212)
        top, low = (grey - 6, grey, grey + 4), (grey, grey + 3, grey + 5)
        cloud, haze_distance = (grey, grey + 2, grey + 4), dice.uniform(28, 70)
    elif weather == "rain":
        cover, shadow, wet = 1.0, 0.08, dice.uniform(0.5, 0.9)
        ambient, direct = (0.64, 0.67, 0.72), (0.08, 0.08, 0.09)
        top, low = (132.0, 141.0, 153.0), (174.0, 180.0, 187.0)
        cloud, haze_distance = (150, 158, 168), dice.uniform(90, 180)
        grain, blur = dice.uniform(3, 6), dice.uniform(0.5, 0.8)
    elif weather == "evening":
        elevation = radians(dice.uniform(9, 18))
        ambient, direct = (0.55, 0.52, 0.55), (0.66, 0.48, 0.28)
        top, low = (110.0, 132.0, 180.0), (246.0, 206.0, 160.0)
        cloud, cover, shadow = (250, 206, 176), dice.uniform(0.2, 0.6), 0.45
    elif weather == "dusk":
        ambient, direct = (0.30, 0.32, 0.41), (0.04, 0.04, 0.05)
        top, low = (38.0, 48.0, 84.0), (150.0, 118.0, 120.0)
        cloud, cover, shadow = (92, 82, 104), dice.uniform(0.3, 0.8), 0.12
        grain, blur = dice.uniform(5, 9), dice.uniform(0.4, 0.7)
        haze_distance = dice.uniform(150, 300)
    if weather in ("clear", "fair", "overcast"):
        gain = dice.uniform(0.86, 1.08)
        warm = dice.uniform(-0.035, 0.035)
        tint = (gain * (1 + warm), gain, gain * (1 - warm))
        ambient = (ambient[0] * tint[0], ambient[1] * tint[1], ambient[2] * tint[2])
        direct = (direct[0] * tint[0], direct[1] * tint[1], direct[2] * tint[2])
    return Light(
        weather=weather,
        ambient=ambient,
        direct=direct,
        sun=(cos(elevation) * sin(azimuth), sin(elevation), cos(elevation) * cos(azimuth)),
        haze=mix(low, top, 0.25),
        haze_distance=haze_distance,
        sky_top=vary(dice, top, 8),
        sky_low=vary(dice, low, 6),
        cloud=cloud,
        cloud_cover=cover,
        wet=wet,
        dusk=weather == "dusk",
        grain=grain,
        blur=blur,
        shadow=shadow,
    )
