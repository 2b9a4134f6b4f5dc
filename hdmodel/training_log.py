"""What a training run shows people: a table of losses, and sheets of pictures."""

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

COLUMNS = (
    "step",
    "adversarial",
    "feature_matching",
    "discriminator_real",
    "discriminator_fake",
    "learning_rate",
    "seconds_per_step",
)


class MetricsTable:
    """A CSV file with one row per logged step.

    Args:
        path: The file; rows it already has up to `step` are kept, later ones dropped.
        step: The step that training goes on from; 0 starts a new table.
    """

    def __init__(self, path: Path, *, step: int = 0) -> None:
        self._path = path
        kept: list[dict[str, str]] = []
        if step and path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)

    def append(self, row: dict[str, float]) -> None:
        """Add one row with a value for every column."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerow(
                {key: value if key == "step" else f"{value:.6g}" for key, value in row.items()}
            )


def to_pixels(photo_BCHW: Tensor) -> npt.NDArray[np.uint8]:
    """Photos in [-1, 1], (B, 3, H, W), as uint8 [B, H, W, 3]."""
    scaled = photo_BCHW.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    pixels: npt.NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
    return pixels


def picture_sheet(
    label_BHW: Tensor, fake_BCHW: Tensor, real_BCHW: Tensor, *, palette: npt.NDArray[np.uint8]
) -> Image.Image:
    """One row per sample: its label map in colours, the rendered photo, the real photo.

    Args:
        label_BHW: Class ids.
        fake_BCHW: Rendered photos in [-1, 1].
        real_BCHW: Real photos in [-1, 1].
        palette: RGB colour of each class, [num_classes, 3].
    """
    columns = [palette[label_BHW.cpu().numpy()], to_pixels(fake_BCHW), to_pixels(real_BCHW)]
    rows = np.concatenate(columns, axis=2)
    return Image.fromarray(np.concatenate(list(rows), axis=0))
