"""Composites: jobs without a generator, and with one for what no photo shows."""

import json
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
from pipeline.editing.exposure import SceneLight
from pipeline.editing.picture import PixelSource
from pipeline.editing.program import Paste, Program
from pipeline.editing.recompose import donors_from, recompose
from pipeline.errors import DatasetError
from pipeline.forecast import forecast
from pipeline.inspection.preview import write_preview
from pipeline.inspection.replay import replay
from pipeline.inspection.status import read_status
from pipeline.inspection.verify import verify
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import PIXEL_SOURCES, read_manifests
from pipeline.reader import SyntheticDataset
from pipeline.rendering.composite import DonorPhotos, drawn_in
from pipeline.run import render
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.datasets import photo_file, write_checkpoint, write_cityscapes
from tests.scenes import CAR, street

EDITS = {
    "edits": [1, 3],
    "operations": {"paste": {"weight": 1}, "move": {"weight": 1}, "drop": {"weight": 1}},
    "constraints": {"min_edit_area": 0, "min_donor_area": 0},
}
RELABEL = {
    "edits": [1, 1],
    "operations": {"relabel_region": {"weight": 1, "pairs": [["building", "vegetation"]]}},
}
RENAME = {
    "edits": [2, 2],
    "operations": {"change_class": {"to": {"car": ["person"]}, "shape": "own"}},
    "constraints": {"min_donor_area": 0, "min_edit_area": 0},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes(tmp_path_factory.mktemp("world"), height=64, width=128, photos=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


def job(world: Path, out: Path, **changes: Any) -> RenderConfig:
    plain: dict[str, Any] = {
        "dataset": {"root": str(world), "format": "cityscapes", "split": "val"},
        "samples": 10,
        "size": [64, 128],
        "recompose": {"policy": EDITS},
        "photo": {"mode": "composite"},
        "generator": {"dtype": "float32", "device": "cpu"},
        "output": {"path": out, "shard_size": 4},
    }
    for key, value in changes.items():
        plain[key] = {**plain[key], **value} if isinstance(plain.get(key), dict) else value
    return RenderConfig.parse(plain, origin="test")


def arrays(out: Path) -> dict[str, np.ndarray]:
    group = zarr.open_group(out / "data.zarr", mode="r")
    return {name: np.asarray(group[name][:]) for name in ("photo", "label", "pixel_source")}


def rows(out: Path) -> list[dict[str, Any]]:
    return list(read_manifests(OutputFolder(out).manifests))


@pytest.fixture(scope="module")
def run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    assert render(job(world, out)).ok == 10
    return out


def test_kept_pixels_are_those_of_the_dataset_and_no_generator_is_needed(
    run: Path, world: Path
) -> None:
    found = arrays(run)
    assert found["pixel_source"].max() <= PixelSource.EXEMPLAR
    seen = set()
    for row in rows(run):
        program = json.loads(row["program"])
        number = int(row["scene"].split("_")[1])
        source = np.asarray(Image.open(photo_file(world, number)))
        kept = found["pixel_source"][row["index"]] == PixelSource.KEPT
        np.testing.assert_array_equal(found["photo"][row["index"]][kept], source[kept])
        assert kept.mean() > 0.5
        assert row["device"] is None
        seen.update(np.unique(found["pixel_source"][row["index"]]).tolist())
        assert program["operations"]
    assert seen == {0, 1, 3, 4}


def test_shares_are_recorded_as_they_are(run: Path) -> None:
    found = arrays(run)["pixel_source"]
    names = PIXEL_SOURCES
    for row in rows(run):
        expected = {name: np.mean(found[row["index"]] == code) for code, name in enumerate(names)}
        assert row["pixels"] == pytest.approx(expected, abs=1e-6)


def test_workers_and_shards_change_no_byte(run: Path, world: Path, tmp_path: Path) -> None:
    render(
        job(world, tmp_path / "out", workers=2, output={"path": tmp_path / "out", "shard_size": 3})
    )
    ours, theirs = arrays(run), arrays(tmp_path / "out")
    for name, pixels in ours.items():
        np.testing.assert_array_equal(pixels, theirs[name])


def test_a_composite_is_replayed_verified_and_shown(run: Path, tmp_path: Path) -> None:
    report = replay(run, 5, to=tmp_path / "sample")
    assert report.maps == "identical"
    assert report.photo is not None
    assert report.photo.identical
    assert report.photo.device is None
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "sample" / "photo.png")), arrays(run)["photo"][5]
    )
    assert verify(run).complete
    page = write_preview(run, to=tmp_path / "preview", samples=4).read_text("utf-8")
    assert ">composite<" in page
    recorded = [row["pixels"]["kept"] for row in rows(run)]
    assert read_status(run).pixels["kept"] == pytest.approx(np.mean(recorded))
    dataset = SyntheticDataset(run, with_pixel_source=True)
    np.testing.assert_array_equal(dataset[3]["pixel_source"], arrays(run)["pixel_source"][3])


def test_a_stopped_run_goes_on_with_the_same_pixels(run: Path, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    render(job(world, out))
    OutputFolder(out).manifest(1).unlink()
    assert render(job(world, out)).shards_rendered == 1
    np.testing.assert_array_equal(arrays(out)["photo"], arrays(run)["photo"])


def test_a_generator_draws_what_no_photo_shows(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    changes = {"recompose": {"policy": RELABEL}, "generator": {"checkpoint": checkpoint}}
    assert render(job(world, out, **changes)).ok == 10  # no photo has any vegetation
    found = arrays(out)
    drawn = found["pixel_source"] == PixelSource.RENDERED
    trees = found["label"] == 21
    assert drawn.any()
    assert not (drawn & ~trees).any()
    assert replay(out, 2, to=tmp_path / "sample").photo.identical  # type: ignore[union-attr]


def test_without_a_generator_a_class_that_no_photo_shows_is_refused(
    world: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"vegetation.*no photo.*--generator"):
        render(job(world, tmp_path / "out", recompose={"policy": RELABEL}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"photo": {"objects": "rendered"}}, "photo.objects rendered needs a generator"),
        ({"photo": {"fill": "generator"}}, "photo.fill generator needs a generator"),
        ({"recompose": {"policy": RENAME}}, "policy 'inline' makes objects another class in their"),
        ({"dataset": {"photos": "none"}}, "dataset.photos: none, but photo composite reads"),
        ({"style": {"mode": "random"}}, "style: without a generator objects look as in the photos"),
    ],
)
def test_what_composites_cannot_do_is_said_before_anything_is_read(
    world: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        render(job(world, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_scenes_without_photos_are_refused(tmp_path: Path) -> None:
    bare = write_cityscapes(tmp_path / "bare", height=64, width=128)
    with pytest.raises(DatasetError, match=r"photo composite: 5 of 5 scenes have no photo"):
        render(job(bare, tmp_path / "out"))


def test_a_plan_says_where_pixels_come_from(world: Path, tmp_path: Path) -> None:
    text = forecast(job(world, tmp_path / "out")).text()
    assert "photos     composite" in text
    assert "generator  none" in text


def test_the_command_line_needs_one_option(world: Path, tmp_path: Path) -> None:
    arguments = ["render", "--dataset", world, "--format", "cityscapes", "--split", "val"]
    arguments += ["--samples", 2, "--size", "64x128", "--photo", "composite"]
    arguments += ["--out", tmp_path / "out"]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "exemplars.parquet").is_file()


def test_a_pasted_object_shows_the_pixels_of_its_own_photo() -> None:
    city = Taxonomy.load("cityscapes")
    plain = street("donor", height=64, width=128)
    plain.label[38:60, 20:50], plain.instance[38:60, 20:50] = CAR, 26002
    random = np.random.default_rng(4)
    photo = random.integers(0, 256, (64, 128, 3), np.uint8)
    photo[random.random(plain.size) < 0.1] = 0  # as dark as it gets: there is no haze
    donor = Scene("donor", plain.label, plain.instance, photo)
    scene = Scene("street", plain.label, plain.instance, photo)  # in the same light
    shapes = DonorPhotos(donors_from({"donor": donor}), {"donor": donor}.__getitem__, city)
    light = SceneLight.of(photo, plain.label, num_classes=city.num_classes)
    paste = Paste(donor="donor", donor_instance=26002, row=62, column=85)
    program = Program(scene="street", operations=(paste,))
    made = recompose(program, scene, shapes.for_scene(light), taxonomy=city)
    assert made.picture is not None
    put = np.zeros(plain.size, np.bool_)
    put[41:63, 85:115] = True
    np.testing.assert_array_equal(made.picture.source == PixelSource.DONOR, put)
    inside = made.picture.photo[42:62, 86:114]
    np.testing.assert_array_equal(inside, photo[39:59, 21:49])
    # What is mixed with the road, at its contour, stays behind.
    np.testing.assert_array_equal(made.picture.photo[41, 86:114], inside[0])
    np.testing.assert_array_equal(made.picture.photo[42:62, 114], inside[:, -1])


def test_drawn_pixels_take_mean_and_spread_of_their_class() -> None:
    random = np.random.default_rng(0)
    label = np.zeros((40, 40), np.uint8)
    photo = np.clip(random.normal(150, 20, (40, 40, 3)), 0, 255).astype(np.uint8)
    rendered = np.clip(random.normal(60, 15, (40, 40, 3)), 0, 255).astype(np.uint8)
    source = np.zeros((40, 40), np.uint8)
    source[10:30, 10:30] = PixelSource.HOLE
    found, sources = drawn_in(
        photo, source, rendered, label, inside=np.ones((40, 40), np.bool_), seam=True
    )
    inside = found[12:28, 12:28].astype(float)
    assert inside.mean() == pytest.approx(150, abs=3)
    assert inside.std() == pytest.approx(20, abs=3)
    assert (sources[10:30, 10:30] == PixelSource.RENDERED).all()
    outside = sources == PixelSource.KEPT
    np.testing.assert_array_equal(found[outside], photo[outside])
