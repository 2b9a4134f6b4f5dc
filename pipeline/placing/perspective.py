"""Perspective: how tall objects stand at each row of a picture, below one horizon per scene."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DEFAULT_HORIZON = 0.42
"""Of pictures with too few whole objects to tell."""
FEWEST = 8
"""Whole objects from which a horizon is fitted."""
NEAREST_ROW = 0.004
"""Rows are told apart from the horizon by at least this part of the picture's height."""
SCANNED = np.arange(0.0, 0.75, 0.005)
"""Horizons that are tried first, as fractions of the height."""
SCAN_OBJECTS = 20_000
OUTLIER = 1.0
"""Deviations of ln height beyond this count no more than this."""
FLOOR = 0.05
"""Smallest scatter of ln height that is believed."""
TRUST = 5
"""A class's scatter is averaged with that of its category, which counts as so many objects."""
CLASS_SPREAD = 0.5
"""Scatter of the ln sizes of classes of one category."""
FIRST_SPREAD = 0.02
"""Scatter of the scenes' horizons that the fit starts from."""
ROUNDS = 12

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class View:
    """Where a scene's horizon lies, and how sure that is; both in rows of pixels."""

    horizon: float
    spread: float


@dataclass(frozen=True, slots=True, eq=False)
class Perspective:
    """Object height = size of its class x (contact row - horizon), with lognormal scatter.

    Rows and heights are fractions of the picture's height. A size is the object's height over the
    camera's, in the world.
    """

    horizon: float
    spread: float
    """Standard deviation of the scenes' horizons."""
    log_sizes: Floats
    """Natural logarithm of the size, by class [num_classes]."""
    sigmas: Floats
    """Scatter of ln height, by class [num_classes]."""
    counts: Integers
    """Whole objects that were seen, by class [num_classes]."""

    @classmethod
    def fit(
        cls,
        rows: Floats,
        heights: Floats,
        classes: Integers,
        scenes: Integers,
        *,
        categories: Sequence[str],
    ) -> "Perspective":
        """Fit horizon and sizes to whole objects, with medians, so that outliers do not matter.

        A class with few objects is drawn towards the size of its category's, else of all objects.

        Args:
            rows: Contact rows (lower edges of the boxes) over picture height [n].
            heights: Box heights over picture height [n].
            classes: Class ids [n].
            scenes: Which scene each object is of, from 0 [n].
            categories: The category of each class [num_classes].
        """
        log_heights = np.log(heights)
        enough = len(rows) >= FEWEST
        horizon = _scan(rows, log_heights, classes) if enough else DEFAULT_HORIZON
        spread = FIRST_SPREAD
        horizons = np.full(len(rows), horizon)
        log_sizes, sigmas = _sizes(
            rows, log_heights, classes, horizons, categories, np.zeros(len(rows))
        )
        for _ in range(ROUNDS if enough else 0):
            means, spreads = _scene_horizons(
                rows, heights, scenes, log_sizes[classes], sigmas[classes], horizon, spread
            )
            seen = np.unique(scenes)
            horizon = float(np.median(means[seen]))
            # Expectation of the squared deviation, without the scenes far out.
            deviation = np.minimum((means[seen] - horizon) ** 2, (3 * spread) ** 2)
            spread = float(np.sqrt(np.mean(deviation + spreads[seen] ** 2)))
            log_sizes, sigmas = _sizes(
                rows, log_heights, classes, means[scenes], categories, spreads[scenes]
            )
        counts = np.bincount(classes, minlength=len(categories))
        return cls(horizon, spread, log_sizes, sigmas, counts)

    def view(self, rows: Floats, heights: Floats, classes: Integers, *, height: int) -> View:
        """A scene's horizon: the shared one, corrected by what the scene's whole objects say.

        Args:
            rows: Contact rows of the whole objects in pixels [n].
            heights: Box heights in pixels [n].
            classes: Class ids [n].
            height: Height of the picture in pixels.
        """
        means, spreads = _scene_horizons(
            rows / height,
            heights / height,
            np.zeros(len(rows), np.intp),
            self.log_sizes[classes],
            self.sigmas[classes],
            self.horizon,
            self.spread,
            count=1,
        )
        return View(float(means[0]) * height, float(spreads[0]) * height)

    def horizons(
        self, rows: Floats, heights: Floats, classes: Integers, scenes: Integers, *, count: int
    ) -> tuple[Floats, Floats]:
        """Horizons of several scenes and how sure they are, over the height [count].

        Args:
            rows: Contact rows of whole objects over picture height [n].
            heights: Box heights over picture height [n].
            classes: Class ids [n].
            scenes: Which scene each is of, from 0 [n].
            count: Number of scenes.
        """
        return _scene_horizons(
            rows,
            heights,
            scenes,
            self.log_sizes[classes],
            self.sigmas[classes],
            self.horizon,
            self.spread,
            count=count,
        )

    def log_height(
        self, class_id: int | Integers, rows: Floats, view: View, *, height: int
    ) -> tuple[Floats, Floats]:
        """Mean and standard deviation of ln height in pixels, of objects that stand on some rows.

        Args:
            class_id: Class ids, one or [n].
            rows: Contact rows in pixels [n].
            view: Of the scene.
            height: Height of the picture in pixels.
        """
        above = np.maximum(rows - view.horizon, NEAREST_ROW * height)
        sigma: Floats = np.hypot(self.sigmas[class_id], view.spread / above)
        return self.log_sizes[class_id] + np.log(above), sigma


def _above(rows: Floats, horizon: float | Floats) -> Floats:
    return np.maximum(rows - horizon, NEAREST_ROW)


def _scan(rows: Floats, log_heights: Floats, classes: Integers) -> float:
    """The horizon under which heights of each class scatter least about their median."""
    step = -(-len(rows) // SCAN_OBJECTS)
    rows, log_heights, classes = rows[::step], log_heights[::step], classes[::step]
    members = [classes == class_id for class_id in np.unique(classes)]
    losses = []
    for horizon in SCANNED:
        sizes = log_heights - np.log(_above(rows, horizon))
        losses.append(
            sum(
                np.minimum(np.abs(sizes[of] - np.median(sizes[of])), OUTLIER).sum()
                for of in members
            )
        )
    return float(SCANNED[int(np.argmin(losses))])


def _sizes(
    rows: Floats,
    log_heights: Floats,
    classes: Integers,
    horizons: Floats,
    categories: Sequence[str],
    spreads: Floats,
) -> tuple[Floats, Floats]:
    """Ln size and scatter of each class [num_classes], drawn to those of its category.

    What a horizon has been fitted to lies too close to it: `spreads` says by how much it may be
    off, in fractions of the height [n].
    """
    above = _above(rows, horizons)
    sizes, doubts = log_heights - np.log(above), spreads / above
    of_all = _centre(sizes, doubts) if len(sizes) else (0.0, CLASS_SPREAD)
    names = np.array(categories)
    log_sizes, sigmas = np.zeros(len(names)), np.zeros(len(names))
    for class_id, category in enumerate(categories):
        kin = names[classes] == category
        expected, scatter = _centre(sizes[kin], doubts[kin]) if kin.any() else of_all
        own = classes == class_id
        count = np.count_nonzero(own)
        if not count:
            log_sizes[class_id], sigmas[class_id] = expected, np.hypot(scatter, CLASS_SPREAD)
            continue
        mean, sigma = _centre(sizes[own], doubts[own])
        sigma = np.sqrt((count * sigma**2 + TRUST * scatter**2) / (count + TRUST))
        weight = CLASS_SPREAD**2 / (CLASS_SPREAD**2 + sigma**2 / count)
        log_sizes[class_id] = weight * mean + (1 - weight) * expected
        sigmas[class_id] = max(float(sigma), FLOOR)
    return log_sizes, sigmas


def _centre(values: Floats, doubts: Floats) -> tuple[float, float]:
    """Median, and the scatter that the median absolute deviation and the doubts stand for."""
    median = float(np.median(values))
    scatter = np.hypot(1.4826 * np.median(np.abs(values - median)), np.median(doubts))
    return median, max(float(scatter), FLOOR)


def _scene_horizons(
    rows: Floats,
    heights: Floats,
    scenes: Integers,
    log_sizes: Floats,
    sigmas: Floats,
    horizon: float,
    spread: float,
    *,
    count: int | None = None,
) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each scene's horizon [scenes], given its whole objects.

    Every object says where the horizon is, as surely as its size is known and its height small;
    the shared horizon speaks too. What contradicts the others by far is heard less.
    """
    count = int(scenes.max(initial=-1)) + 1 if count is None else count
    reach = heights / np.exp(log_sizes)
    said = rows - reach
    sure = 1 / np.maximum(sigmas * reach, NEAREST_ROW) ** 2
    prior = 1 / max(spread, NEAREST_ROW) ** 2
    means = np.full(count, horizon)
    total = np.full(count, prior)
    for _ in range(3):
        off = np.abs(said - means[scenes]) * np.sqrt(1 / (1 / sure + 1 / total[scenes]))
        weight = sure * np.minimum(1, 1.5 / np.maximum(off, 1e-9))
        total = prior + np.bincount(scenes, weight, minlength=count)
        means = (prior * horizon + np.bincount(scenes, weight * said, minlength=count)) / total
    return means, 1 / np.sqrt(total)
