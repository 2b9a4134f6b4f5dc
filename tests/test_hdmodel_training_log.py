"""What a training writes while it lasts: its table, its events, its pictures."""

import csv
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hdmodel.training.log import (
    EventLog,
    MetricsTable,
    duration,
    log_line,
    picture_sheet,
    read_metrics,
    to_pixels,
)

COLUMNS = ["step", "stage", "l1", "validation_l1"]
PALETTE = np.array([[0, 0, 0], [200, 40, 40], [40, 200, 40]], np.uint8)


def table(path: Path, *steps: int, step: int = 0) -> None:
    metrics = MetricsTable(path, columns=COLUMNS, step=step)
    for number in steps:
        metrics.append({"step": number, "stage": "all", "l1": number / 3})


def steps(path: Path) -> list[int]:
    return [int(row["step"]) for row in read_metrics(path)]


def test_a_table_is_plain_csv(tmp_path: Path) -> None:
    table(tmp_path / "metrics.csv", 2, 4)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [COLUMNS, ["2", "all", "0.666667", ""], ["4", "all", "1.33333", ""]]


def test_a_resumed_table_forgets_what_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    table(path, 2, 4, 6)
    table(path, 6, step=4)
    assert steps(path) == [2, 4, 6]
    table(path, 2)
    assert steps(path) == [2]
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_line_cut_short_at_any_place_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsTable(path, columns=COLUMNS)
    for number in (2, 4):
        metrics.append({"step": number, "stage": "all", "l1": 1.5, "validation_l1": 31.25})
    whole = path.read_bytes()
    last = whole.rindex(b"4,all")
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        assert steps(path) == [2]
        table(path, 4, step=2)
        assert steps(path) == [2, 4]


def test_a_table_of_other_columns_can_be_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,stage,gone\n2,all,7\n")
    table(path, 4, step=2)
    assert [list(row.values()) for row in read_metrics(path)] == [
        ["2", "all", "", ""],
        ["4", "all", "1.33333", ""],
    ]


@pytest.mark.parametrize("content", [None, "", "\n", "step,l1\n", "no,table\n1,2\n", "\0\xff\n"])
def test_what_is_no_table_has_no_rows(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metrics.csv").write_text(content, encoding="latin-1")
    assert read_metrics(tmp_path / "metrics.csv") == []


def events(folder: Path) -> Any:  # noqa: ANN401 - TensorBoard has no types
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TensorBoard's own imports
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(folder))
        found.Reload()
    return found


def test_tensorboard_reads_the_events(tmp_path: Path) -> None:
    log = EventLog(tmp_path, step=0)
    log.scalars({"step": 3, "stage": "all", "l1": 0.5})
    log.picture("samples", np.full((4, 6, 3), 90, np.uint8), 3)
    log.close()
    found = events(tmp_path)
    assert found.Tags()["scalars"] == ["l1"]
    assert [(event.step, event.value) for event in found.Scalars("l1")] == [(3, 0.5)]
    (picture,) = found.Images("samples")
    assert (picture.step, picture.width, picture.height) == (3, 6, 4)


def test_events_that_are_done_again_are_hidden(tmp_path: Path) -> None:
    for first, numbers in ((0, (2, 4, 6)), (4, (6,))):
        log = EventLog(tmp_path, step=first)
        for number in numbers:
            log.scalars({"step": number, "stage": "all", "l1": float(first)})
        log.close()
        time.sleep(1.1)  # TensorBoard reads files in the order of the seconds in their names
    found = [(event.step, event.value) for event in events(tmp_path).Scalars("l1")]
    assert found == [(2, 0.0), (4, 0.0), (6, 4.0)]


def test_photos_become_pixels() -> None:
    photo = torch.tensor([-1.0, 0.0, 1.0, 3.0], dtype=torch.bfloat16).view(1, 1, 1, 4)
    assert to_pixels(photo.expand(1, 3, 1, 4))[0, 0, :, 0].tolist() == [0, 128, 255, 255]


@pytest.mark.parametrize(("count", "height", "width"), [(1, 8, 12), (3, 48, 64), (2, 200, 500)])
def test_a_sheet_shows_labels_rendered_and_real(count: int, height: int, width: int) -> None:
    random = np.random.default_rng(0)
    label = random.integers(0, 3, (count, height, width)).astype(np.uint8)
    photos = random.integers(0, 256, (2, count, height, width, 3)).astype(np.uint8)
    fake, real = (torch.from_numpy(one / 127.5 - 1).movedim(3, 1) for one in photos)
    sheet = np.asarray(picture_sheet(torch.from_numpy(label), fake, real, palette=PALETTE))
    columns = [PALETTE[label], *photos]
    gap = (sheet.shape[1] - 3 * width) // 2
    top = sheet.shape[0] - count * height - (count - 1) * gap
    assert 0 < top < 40
    assert 0 < gap < 10
    for row in range(count):
        for place, pictures in enumerate(columns):
            y, x = top + row * (height + gap), place * (width + gap)
            assert (sheet[y : y + height, x : x + width] == pictures[row]).all()
            head = sheet[:top, x : x + width]
            assert (head.min(), head.max() > 200) < (120, True)  # dark words on light paper


def test_a_sheet_has_six_rows_at_most() -> None:
    def height(count: int) -> int:
        photo = torch.zeros(count, 3, 8, 12)
        label = torch.zeros(count, 8, 12, dtype=torch.int64)
        return picture_sheet(label, photo, photo, palette=PALETTE).height

    assert height(5) < height(6) == height(9)


def test_a_row_reads_as_a_sentence() -> None:
    row = {"step": 50, "stage": "coarse", "feature_matching": 4.59366, "learning_rate": 2e-4}
    line = log_line(row | {"seconds_per_step": 0.5661}, steps=2000, seconds_left=1104.0)
    assert line == "coarse: step 50/2000: feature matching 4.594, 0.57 s/step, 18 min left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (42.4, "42 s"),
        (60, "1 min"),
        (3599, "1 h 0 min"),
        (12_000, "3 h 20 min"),
        (86_399, "1 d 0 h"),
        (187_000, "2 d 3 h"),
    ],
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
