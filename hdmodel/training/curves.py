"""Curves over the steps of a training, as the parts of an SVG picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 20, 26
"""Margins around the plot, in units of the picture as WIDTH and HEIGHT are."""
LOG_FROM = 20.0
"""The ratio of largest to smallest value from which an axis is logarithmic."""
MOST_POINTS = 360
"""Of one line over its whole width."""
CHARACTER_WIDTH = 6.2

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one quantity; steps rise, values are finite, neither is empty."""

    name: str
    steps: Floats
    values: Floats


@dataclass(frozen=True, slots=True)
class Stage:
    """A span of steps with a name."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A series as drawn; both are path data."""

    name: str
    raw: str
    smooth: str
    """Empty where the raw line says it all."""


@dataclass(frozen=True, slots=True)
class Band:
    """A stage as drawn."""

    name: str
    """Empty where there is no room for it."""
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with a note."""

    x: float
    y: float
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything a template needs to draw one picture, in its own units."""

    lines: tuple[Line, ...]
    bands: tuple[Band, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    logarithmic: bool
    level: Tick | None
    mark: Mark | None


def draw(
    series: Sequence[Series],
    stages: Sequence[Stage],
    *,
    scattered: bool = True,
    level: float | None = None,
    mark: tuple[float, float, str] | None = None,
) -> Chart:
    """Lay out series that share their axes.

    Args:
        series: At least one.
        stages: In order; no line crosses from one into the next.
        scattered: Whether to draw means over neighbours, with the values faint behind them, and
            on a logarithmic axis where they span much.
        level: A value to draw a horizontal line at.
        mark: Step, value and text of a point to mark.
    """
    parts = [[part for part in _split(one, stages) if part.steps.size] for one in series]
    window = max(1, max(one.steps.size for one in series) // 20) if scattered else 1
    means = [[centred_mean(part.values, window) for part in found] for found in parts]
    heights = _Axis.over(
        np.concatenate([values for found in means for values in found]),
        np.concatenate([one.values for one in series]),
        level=level,
        may_be_logarithmic=scattered,
    )
    end = max(stages[-1].last, 1)
    x_of = _Scale(0, end, LEFT, WIDTH - RIGHT)
    y_of = _Scale(heights.low, heights.high, HEIGHT - BOTTOM, TOP)

    def path(part: Series, values: Floats) -> str:
        shown = np.clip(heights.place(values), heights.low, heights.high)
        share = (part.steps[-1] - part.steps[0]) / end
        most = 2 * max(1, round(share * MOST_POINTS / 2))
        return _path(*thin(x_of(part.steps), y_of(shown), most=most))

    lines = tuple(
        Line(
            one.name,
            raw=" ".join(path(part, part.values) for part in found),
            smooth=" ".join(path(part, mean) for part, mean in zip(found, averaged, strict=True))
            if window > 1
            else "",
        )
        for one, found, averaged in zip(series, parts, means, strict=True)
    )
    return Chart(
        lines=lines,
        bands=tuple(_band(stage, x_of) for stage in stages),
        x_ticks=tuple(Tick(_at(x_of, step), compact(step)) for step in ticks(0, end, count=5)),
        y_ticks=tuple(
            Tick(_at(y_of, float(heights.place(np.array(value)))), compact(value))
            for value in heights.ticks()
        ),
        logarithmic=heights.logarithmic,
        level=None
        if level is None
        else Tick(_at(y_of, float(heights.place(np.array(level)))), compact(level)),
        mark=None if mark is None else _mark(mark, x_of, y_of, heights),
    )


def centred_mean(values: Floats, window: int) -> Floats:
    """Average each value with its neighbours, up to half a window on either side.

    Args:
        values: [N].
        window: In values; 1 changes nothing.
    """
    half = window // 2
    if half == 0:
        return values
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(values.size)
    first = np.maximum(places - half, 0)
    last = np.minimum(places + half + 1, values.size)
    mean: Floats = (sums[last] - sums[first]) / (last - first)
    return mean


def thin(x: Floats, y: Floats, *, most: int) -> tuple[Floats, Floats]:
    """Keep fewer points that look the same: of each run of neighbours, lowest and highest.

    Args:
        x: [N].
        y: [N].
        most: How many points to keep at most; even.
    """
    if x.size <= most:
        return x, y
    kept: list[int] = []
    for places in np.array_split(np.arange(x.size), most // 2):
        chosen = {int(places[y[places].argmin()]), int(places[y[places].argmax()])}
        kept += sorted(chosen)
    return x[kept], y[kept]


def ticks(low: float, high: float, *, count: int = 4) -> list[float]:
    """Choose round numbers from low to high: multiples of 1, 2 or 5 times a power of ten.

    Args:
        low: The least value.
        high: The largest value, above `low`.
        count: About how many distances between them.

    Example:
        >>> ticks(0, 1100)
        [0.0, 500.0, 1000.0]
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    distance = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.8 * rough)
    first, last = math.ceil(low / distance - 1e-9), math.floor(high / distance + 1e-9)
    return [number * distance for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Choose round numbers for a logarithmic axis from low to high, both above 0."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high / low < 1000 else (1,)
    found = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    inside = [value for value in found if low * 0.999 <= value <= high * 1.001]
    return inside[:: -(-len(inside) // 6)]


def compact(value: float) -> str:
    """Write a number in few characters: 1500 is `1.5k`."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class _Axis:
    """The range of the values; of their logarithms on a logarithmic axis."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def over(
        cls, means: Floats, values: Floats, *, level: float | None, may_be_logarithmic: bool
    ) -> "_Axis":
        """The range that shows all means and all but the most extreme values."""
        shown = [means, np.quantile(values, [0.01, 0.99])]
        if level is not None:
            shown.append(np.array([level]))
        low, high = (float(edge(np.concatenate(shown))) for edge in (np.min, np.max))
        if may_be_logarithmic and low > 0 and high / low >= LOG_FROM:
            return cls(math.log10(low), math.log10(high), True)
        if 0 <= low <= 0.5 * high:
            low = 0.0
        if high == low:
            low, high = min(0.0, 2 * low), max(0.0, 2 * high) or 1.0
        margin = 0.06 * (high - low)
        return cls(low if low == 0 else low - margin, high + margin, False)

    def place(self, values: Floats) -> Floats:
        """Where values lie between low and high."""
        if not self.logarithmic:
            return values
        logarithms: Floats = np.log10(np.maximum(values, 10.0**self.low))
        return logarithms

    def ticks(self) -> list[float]:
        if self.logarithmic:
            return log_ticks(10.0**self.low, 10.0**self.high)
        return ticks(self.low, self.high)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values to places in the picture."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, values: Floats) -> Floats:
        return self.start + (values - self.low) / (self.high - self.low) * (self.end - self.start)


def _at(scale: _Scale, value: float) -> float:
    return round(float(scale(np.array(value))), 1)


def _split(series: Series, stages: Sequence[Stage]) -> list[Series]:
    inside = [(series.steps >= stage.first) & (series.steps <= stage.last) for stage in stages]
    return [Series(series.name, series.steps[now], series.values[now]) for now in inside]


def _band(stage: Stage, x_of: _Scale) -> Band:
    x, end = _at(x_of, stage.first - 1), _at(x_of, stage.last)
    width = round(end - x, 1)
    fits = len(stage.name) * CHARACTER_WIDTH + 6 <= width
    return Band(stage.name if fits else "", x, width)


def _mark(mark: tuple[float, float, str], x_of: _Scale, y_of: _Scale, heights: _Axis) -> Mark:
    step, value, text = mark
    x = _at(x_of, step)
    half = len(text) * CHARACTER_WIDTH / 2
    anchor = "start" if x - half < LEFT else "end" if x + half > WIDTH - RIGHT else "middle"
    place = float(np.clip(heights.place(np.array(value)), heights.low, heights.high))
    return Mark(x, _at(y_of, place), text, anchor)


def _path(x: Floats, y: Floats) -> str:
    if x.size == 1:  # a line of no length, which round ends make a dot
        return f"M{x[0]:.1f} {y[0]:.1f}h0"
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
