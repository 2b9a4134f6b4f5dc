"""Photos drawn from exemplars alone: jobs without a generator, and with one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from PIL import Image

from hdmodel.errors import ConfigError
from hdsynth.cli import main
from pipeline.config import RenderConfig
from pipeline.editing.picture import PixelSource
from pipeline.errors import DatasetError
from pipeline.forecast import forecast
from pipeline.inspection.replay import replay
from pipeline.inspection.status import read_status
from pipeline.inspection.verify import verify
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import read_manifests
from pipeline.run import render
from tests.datasets import instance_file, label_file, write_checkpoint, write_cityscapes

EDITS = {
    "edits": [1, 3],
    "operations": {
        "paste": {"weight": 1},
        "move": {"weight": 1},
        "change_class": {"weight": 1, "to": {"car": ["person"]}},
    },
    "constraints": {"min_edit_area": 0, "min_donor_area": 0},
}


RELABEL = {
    "edits": [1, 1],
    "operations": {"relabel_region": {"weight": 1, "pairs": [["building", "vegetation"]]}},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes(tmp_path_factory.mktemp("world"), height=64, width=128, photos=True)


def job(world: Path, out: Path, **changes: Any) -> RenderConfig:
    plain: dict[str, Any] = {
        "dataset": {"root": str(world), "format": "cityscapes", "split": "val"},
        "samples": 8,
        "size": [64, 128],
        "recompose": {"policy": EDITS},
        "photo": {"mode": "exemplar"},
        "generator": {"dtype": "float32", "device": "cpu"},
        "output": {"path": out, "shard_size": 4},
    }
    for key, value in changes.items():
        plain[key] = {**plain[key], **value} if isinstance(plain.get(key), dict) else value
    return RenderConfig.parse(plain, origin="test")


def pixels(out: Path, name: str) -> np.ndarray:
    return np.asarray(zarr.open_group(out / "data.zarr", mode="r")[name][:])


@pytest.fixture(scope="module")
def run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    assert render(job(world, out)).ok == 8
    return out


def test_every_pixel_is_from_another_scene(run: Path) -> None:
    assert (pixels(run, "pixel_source") == PixelSource.EXEMPLAR).all()
    for row in read_manifests(OutputFolder(run).manifests):
        assert row["exemplars"]
        assert row["scene"] not in row["exemplars"]
        assert row["pixels"]["exemplar"] == 1
    assert read_status(run).pixels["exemplar"] == 1


def test_workers_and_shards_change_no_byte(run: Path, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    render(job(world, out, workers=2, output={"path": out, "shard_size": 3}))
    for name in ("photo", "label", "pixel_source"):
        np.testing.assert_array_equal(pixels(run, name), pixels(out, name))


def test_a_sample_is_replayed_and_the_run_verified(run: Path, tmp_path: Path) -> None:
    report = replay(run, 5, to=tmp_path / "sample")
    assert report.maps == "identical"
    assert report.photo is not None
    assert report.photo.identical
    assert verify(run).complete


def test_near_scenes_are_left_out(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    render(job(world, out, photo={"exclude_near": 1}))
    names = sorted({row["scene"] for row in read_manifests(OutputFolder(out).manifests)})
    for row in read_manifests(OutputFolder(out).manifests):
        at = names.index(row["scene"])
        assert not set(row["exemplars"]) & set(names[max(at - 1, 0) : at + 2])


def test_exemplars_may_be_of_another_split_and_scenes_need_no_photos_then(tmp_path: Path) -> None:
    bare = write_cityscapes(tmp_path / "bare", height=64, width=128)
    shown = write_cityscapes(tmp_path / "shown", height=64, width=128, photos=True)
    exemplars = {"root": str(shown), "format": "cityscapes", "split": "val"}
    out = tmp_path / "out"
    assert render(job(bare, out, photo={"exemplars": exemplars})).ok == 8
    assert replay(out, 1, to=tmp_path / "sample").photo.identical  # type: ignore[union-attr]


def test_composites_take_their_exemplars_from_there_too(world: Path, tmp_path: Path) -> None:
    other = write_cityscapes(tmp_path / "other", height=64, width=128, photos=True)
    for number in range(5):
        path = label_file(other, number)
        label = np.asarray(Image.open(path)).copy()
        label[label == 11] = 21  # trees, which the job's own scenes have not
        Image.fromarray(label).save(path)
        Image.fromarray(label.astype(np.uint16)).save(instance_file(other, number))
    exemplars = {"root": str(other), "format": "cityscapes", "split": "val", "instances": "none"}
    photo = {"mode": "composite", "exemplars": {**exemplars, "only": ["*_000001_*", "*_000002_*"]}}
    out = tmp_path / "out"
    assert render(job(world, out, photo=photo, recompose={"policy": RELABEL})).ok == 8
    named = [
        name for row in read_manifests(OutputFolder(out).manifests) for name in row["exemplars"]
    ]
    assert named
    assert all("_000001_" in name or "_000002_" in name for name in named)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"photo": {"exclude_near": 9}}, ConfigError, "all 5 exemplars are .* too near"),
        ({"photo": {"exemplars": {"split": "tset"}}}, DatasetError, "no split 'tset'"),
        ({"photo": {"exemplars": {"root": "/nowhere"}}}, ConfigError, "photo.exemplars.*format"),
        ({"photo": {"exemplars": {"only": "x*"}}}, DatasetError, r"only 'x\*' matches"),
        ({"style": {"mode": "random"}}, ConfigError, "style: without a generator"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    world: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        render(job(world, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_scenes_without_photos_are_refused(tmp_path: Path) -> None:
    bare = write_cityscapes(tmp_path / "bare", height=64, width=128)
    with pytest.raises(DatasetError, match=r"photo exemplar: .*bare.* has no photos to copy from"):
        render(job(bare, tmp_path / "out"))


def test_a_plan_says_where_pixels_come_from(world: Path, tmp_path: Path) -> None:
    text = forecast(job(world, tmp_path / "out")).text()
    assert "photos     exemplar" in text
    assert "generator  none" in text


def test_the_command_line_needs_one_option(world: Path, tmp_path: Path) -> None:
    arguments = ["render", "--dataset", world, "--format", "cityscapes", "--split", "val"]
    arguments += ["--samples", 2, "--size", "64x128", "--photo", "exemplar", "--exclude-near", 1]
    arguments += ["--out", tmp_path / "out"]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "exemplars.parquet").is_file()


def test_a_class_that_no_exemplar_shows_is_refused_or_drawn(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"vegetation.*no photo.*--generator"):
        render(job(world, tmp_path / "out", recompose={"policy": RELABEL}))
    model = write_checkpoint(tmp_path / "tiny")
    out = tmp_path / "drawn"
    changes = {"recompose": {"policy": RELABEL}, "generator": {"checkpoint": model}}
    assert render(job(world, out, **changes)).ok == 8  # no photo has any vegetation
    drawn = pixels(out, "pixel_source") == PixelSource.RENDERED
    assert drawn.any()
    assert not (drawn & (pixels(out, "label") != 21)).any()
    assert replay(out, 2, to=tmp_path / "sample").photo.identical  # type: ignore[union-attr]


def test_a_class_that_only_the_scene_itself_shows_is_refused_unless_it_is_rare(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def with_fence(rows: int) -> Path:
        root = write_cityscapes(tmp_path / str(rows), height=64, width=128, photos=True)
        for file in (label_file(root, 2), instance_file(root, 2)):
            values = np.asarray(Image.open(file)).copy()
            values[:rows, 100:102] = 13
            Image.fromarray(values).save(file)
        return root

    policy = {"recompose": {"policy": "none"}}
    with pytest.raises(ConfigError, match=r"samples need pixels of 'fence', which no photo of"):
        render(job(with_fence(60), tmp_path / "refused", **policy))
    out = tmp_path / "out"
    assert render(job(with_fence(2), out, **policy)).ok == 8
    assert "exemplars lack fence" in caplog.text
    fence = pixels(out, "label") == 13
    assert fence.any()
    np.testing.assert_array_equal(pixels(out, "pixel_source") == PixelSource.SUBSTITUTE, fence)
