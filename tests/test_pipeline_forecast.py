from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import DatasetError, OutputError
from pipeline.forecast import forecast
from pipeline.inspection.status import read_status
from pipeline.run import render
from tests.datasets import label_file, write_checkpoint, write_cityscapes
from tests.plans import read_plan
from tests.test_pipeline_run import job


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_cityscapes(tmp_path / "world")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "tiny")


def test_a_forecast_writes_nothing_and_comes_true(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    config = job(world, checkpoint, out)
    result = forecast(config)
    assert not out.exists()
    assert (result.samples, result.shards, result.scenes) == (10, 3, 5)
    assert result.state == "new"

    render(config)
    operations = [op.op for row in read_plan(out / "plan.parquet")
                  for op in row.parsed_program().operations]  # fmt: skip
    assert result.edits == {name: operations.count(name) for name in set(operations)}
    assert forecast(config).state == "resumes, 3 shards are committed"


def test_quotas_are_forecast_kept_and_achieved(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    policy = {
        "edits": [0, 0],
        "quotas": [
            {"class": "person", "at_most": 0, "in": 0.6},
            {"class": "car", "times": 0.5},
            {"class": "truck", "at_least": 1, "in": 0.2},
            {"class": ["tram"], "at_least": 1},
        ],
        "constraints": {"max_drop_area": 1, "max_edits": 20},
    }
    config = job(world, checkpoint, out, recompose={"policy": policy})
    result = forecast(config)
    people, cars, trucks, trams = result.quotas
    # Scenes of the world have one person and 2, 3, 4, 5 and 6 cars.
    assert (people.source, people.forecast) == (0.0, 0.6)
    assert (cars.source, cars.forecast) == (1.0, 0.5)
    assert trucks.reasons == ("no donors of class truck",)
    assert trams.text == "tram: does not apply, cityscapes has no such class"
    assert "  because: no donors of class truck" in result.text()
    assert result.to_plain()["quotas"][0]["met"]
    assert result.edits == {"drop": 6 + 20}

    render(config)
    achieved = read_status(out).quotas
    assert [report.achieved for report in achieved] == [0.6, 0.5, 0.0, None]
    assert [report.forecast for report in achieved] == [report.forecast for report in result.quotas]


def test_disk_is_that_of_raw_pixels(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    result = forecast(job(world, checkpoint, tmp_path / "out"))
    photo, label, instance = 3, 1, 4
    assert result.disk_bytes == 10 * 32 * 64 * (photo + label + instance)


def test_memory_grows_with_batch_and_workers(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    def memory(**changes: object) -> int:
        return forecast(job(world, checkpoint, tmp_path / "out", **changes)).memory_bytes

    small = memory(generator={"batch_pixels": 1}, size=[512, 1024])
    assert memory(generator={"batch_pixels": 10**8}, size=[512, 1024]) > small
    assert memory(workers=2, generator={"batch_pixels": 1}, size=[512, 1024]) > 1.5 * small


def test_what_render_refuses_is_refused(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("x")
    with pytest.raises(OutputError, match="not empty"):
        forecast(job(world, checkpoint, tmp_path / "full"))
    Image.fromarray(np.full((32, 64), 99, np.uint8)).save(label_file(world, 0))
    with pytest.raises(DatasetError, match="99"):
        forecast(job(world, checkpoint, tmp_path / "out"))


def test_the_text_says_what_people_ask(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    text = forecast(job(world, checkpoint, tmp_path / "out")).text()
    assert "10 of 32x64, in 3 shards" in text
    assert str(checkpoint) in text
    for word in ("edits", "pasted", "disk", "memory", "cpu"):
        assert word in text
