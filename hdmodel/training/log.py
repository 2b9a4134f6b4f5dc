"""What a training run tells people: losses as a table and as TensorBoard events, pictures."""

import csv
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hdmodel.photos import to_uint8
from hdmodel.training.config import LossConfig
from hdmodel.training.folder import VALIDATION, TrainingFolder

logger = logging.getLogger(__name__)

MOST_ROWS = 6
PAPER, INK = (247, 247, 245), (28, 29, 32)


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """How far a training is."""

    step: int
    """Updates made."""
    steps: int
    """Updates of all stages together."""
    stage: str
    losses: Callable[[], dict[str, float]] | None
    """The losses of the last update; reading them makes a GPU wait. None before the first."""


TrainingProgress = Callable[[TrainingStatus], None]


class MetricsTable:
    """A CSV file with one row per logged step.

    Args:
        path: The file; rows it already has up to `step` are kept, later ones dropped.
        columns: The names of the columns.
        step: The step that training goes on from; 0 starts a new table.
    """

    def __init__(self, path: Path, *, columns: Sequence[str], step: int = 0) -> None:
        self._path = path
        self._columns = list(columns)
        kept = [row for row in read_metrics(path) if int(row["step"]) <= step] if step else []
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)
        temporary.replace(path)

    def append(self, row: Mapping[str, float | int | str]) -> None:
        """Add one row; columns without a value stay empty."""
        shown = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(shown)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Read the rows of a metrics file, or none; a line that a kill cut short is left out."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        # Without its line end even a line with all its commas may have lost digits.
        lines = [line for line in file if line.endswith("\n")]
    rows = [row for row in csv.DictReader(lines) if None not in row and None not in row.values()]
    return [row for row in rows if row.get("step", "").isdecimal()]


class EventLog:
    """Scalars and pictures for TensorBoard.

    Args:
        folder: Where the event files go.
        step: The step that training goes on from; later events of earlier runs are hidden.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1)

    def scalars(self, row: Mapping[str, float | int | str]) -> None:
        """Write the numbers of a row of the metrics."""
        for name, value in row.items():
            if name != "step" and isinstance(value, float):
                self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()

    def picture(self, name: str, pixels: npt.NDArray[np.uint8], step: int) -> None:
        """Write a picture, [H, W, 3]."""
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is left and close the file."""
        self._writer.close()


class TrainingLog:
    """Everything that a training writes for people while it lasts.

    Args:
        folder: The output folder.
        losses: Those that are on get a column.
        palette: RGB colour of each class, uint8 [num_classes, 3].
        step: The step that training goes on from.
    """

    def __init__(
        self,
        folder: TrainingFolder,
        losses: LossConfig,
        *,
        palette: npt.NDArray[np.uint8],
        step: int,
    ) -> None:
        self._folder, self._palette = folder, palette
        weights = {
            "adversarial": losses.adversarial != "none",
            "feature_matching": losses.feature_matching,
            "perceptual": losses.perceptual,
            "l1": losses.l1,
            "pixel": losses.pixel,
            "discriminator_real": losses.adversarial != "none",
            "discriminator_fake": losses.adversarial != "none",
            "pixel_discriminator_real": losses.pixel,
            "pixel_discriminator_fake": losses.pixel,
        }
        columns = ["step", "stage", *(name for name, weight in weights.items() if weight)]
        columns += ["learning_rate", "seconds_per_step", VALIDATION]
        self._metrics = MetricsTable(folder.metrics, columns=columns, step=step)
        self._events = EventLog(folder.root / "tensorboard", step=step)

    def row(self, row: Mapping[str, float | int | str], *, steps: int) -> None:
        """Write a row of the metrics everywhere.

        Args:
            row: By the names of the columns; those without a value may be left out.
            steps: Updates of all stages together.
        """
        self._metrics.append(row)
        self._events.scalars(row)
        left = (steps - int(row["step"])) * float(row["seconds_per_step"])
        logger.info("%s", log_line(row, steps=steps, seconds_left=left))

    def picture(
        self, label_BHW: Tensor, fake_BCHW: Tensor, real_BCHW: Tensor, *, step: int
    ) -> None:
        """Write a sheet of pictures; arguments as for `picture_sheet`."""
        sheet = picture_sheet(label_BHW, fake_BCHW, real_BCHW, palette=self._palette)
        self._folder.pictures.mkdir(exist_ok=True)
        sheet.save(self._folder.pictures / f"step-{step:07d}.png")
        self._events.picture("samples", np.asarray(sheet), step)

    def close(self) -> None:
        """Write what is left and close the files."""
        self._events.close()


def to_pixels(photo_BCHW: Tensor) -> npt.NDArray[np.uint8]:
    """Turn photos in [-1, 1], (B, 3, H, W), into uint8 [B, H, W, 3]."""
    photo_BHWC = to_uint8(photo_BCHW.detach().float()).permute(0, 2, 3, 1)
    pixels: npt.NDArray[np.uint8] = photo_BHWC.cpu().numpy()
    return pixels


def picture_sheet(
    label_BHW: Tensor, fake_BCHW: Tensor, real_BCHW: Tensor, *, palette: npt.NDArray[np.uint8]
) -> Image.Image:
    """Draw a row per sample: its label map in colours, the rendered photo, the real photo.

    A line above says which is which. There are at most 6 rows.

    Args:
        label_BHW: Class ids.
        fake_BCHW: Rendered photos in [-1, 1].
        real_BCHW: Real photos in [-1, 1].
        palette: RGB colour of each class, uint8 [num_classes, 3].
    """
    columns = {
        "labels": palette[label_BHW[:MOST_ROWS].cpu().numpy()],
        "rendered": to_pixels(fake_BCHW[:MOST_ROWS]),
        "real": to_pixels(real_BCHW[:MOST_ROWS]),
    }
    count, height, width = columns["labels"].shape[:3]
    gap = max(2, width // 128)
    text_size = max(10, width // 24)
    font = ImageFont.load_default(text_size)
    top = round(1.5 * text_size)
    sheet = Image.new("RGB", (3 * width + 2 * gap, top + count * height + (count - 1) * gap), PAPER)
    for place, (name, pictures) in enumerate(columns.items()):
        x = place * (width + gap)
        title = Image.new("RGB", (width, top), PAPER)
        ImageDraw.Draw(title).text((2, top / 2), name, fill=INK, font=font, anchor="lm")
        sheet.paste(title, (x, 0))
        for row, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (x, top + row * (height + gap)))
    return sheet


def log_line(row: Mapping[str, Any], *, steps: int, seconds_left: float) -> str:
    """Write a row of the metrics as one line of text.

    Args:
        row: The row, with `step`, `stage` and `seconds_per_step`.
        steps: Updates of all stages together.
        seconds_left: How long the rest will take.
    """
    known = ("step", "stage", "learning_rate", "seconds_per_step")
    losses = ", ".join(
        f"{name.replace('_', ' ')} {value:.3f}" for name, value in row.items() if name not in known
    )
    return (
        f"{row['stage']}: step {row['step']}/{steps}: {losses}, "
        f"{row['seconds_per_step']:.2f} s/step, {duration(seconds_left)} left"
    )


def duration(seconds: float) -> str:
    """Write a time in its two largest units.

    Example:
        >>> [duration(seconds) for seconds in (40, 720, 12_000, 187_200)]
        ['40 s', '12 min', '3 h 20 min', '2 d 4 h']
    """
    if seconds < 60:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    days, hours_of_day = divmod(hours, 24)
    if days:
        return f"{days} d {hours_of_day} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
