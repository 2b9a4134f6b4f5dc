"""Programs applied by hand whose photos are made of real pixels."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from hdmodel.errors import ConfigError, HdsynthError
from hdsynth.cli import main
from pipeline.config import GeneratorSettings, PhotoConfig, RenderConfig
from pipeline.editing.picture import PixelSource
from pipeline.editing.program import (
    ChangeClass,
    Drop,
    Move,
    Operation,
    Paste,
    Program,
    RelabelRegion,
)
from pipeline.errors import DatasetError
from pipeline.inspection import apply as module
from pipeline.inspection.apply import Applied, apply_program, apply_to_run
from pipeline.inspection.replay import replay
from pipeline.output.manifest import PIXEL_SOURCES
from pipeline.run import render
from pipeline.sources import DatasetConfig
from pipeline.styles.style import StyleConfig
from tests.datasets import (
    instance_file,
    label_file,
    photo_file,
    stem,
    write_checkpoint,
    write_cityscapes,
)
from tests.scenes import CAR, SIDEWALK

COMPOSITE, EXEMPLAR = PhotoConfig(mode="composite"), PhotoConfig(mode="exemplar")
GREEN = (10, 200, 30)
VEGETATION, BUS = 21, 28
TO_TREES = RelabelRegion(of="building", to="vegetation")
TO_BUS = ChangeClass(instance=CAR * 1000, to="bus")


def picture(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scene 1 alone shows a sidewalk; all of it is green."""
    root = write_cityscapes(
        tmp_path_factory.mktemp("world"), scenes=3, height=64, width=128, photos=True
    )
    patch = np.s_[60:, 60:80]
    for path, value in (
        (label_file(root, 1), SIDEWALK),
        (instance_file(root, 1), SIDEWALK),
        (photo_file(root, 1), GREEN),
    ):
        pixels = picture(path).copy()
        pixels[patch] = value
        Image.fromarray(pixels).save(path)
    return root


@pytest.fixture(scope="module")
def world(root: Path) -> DatasetConfig:
    return DatasetConfig(root=str(root), format="cityscapes", split="val")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dataset must not be read to make a catalogue."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("scenes were indexed")

    monkeypatch.setattr(module, "index_scenes", fail)


def applied(
    world: DatasetConfig,
    to: Path,
    photo: PhotoConfig | None,
    *operations: Operation,
    **options: Any,
) -> Applied:
    program = Program(scene=stem(0), operations=operations)
    return apply_program(program, world, to=to, size=None, fit="resize", photo=photo, **options)


def settings(checkpoint: Path) -> GeneratorSettings:
    return GeneratorSettings(checkpoint=checkpoint, dtype="float32", device="cpu")


@pytest.mark.usefixtures("no_index")
def test_a_composite_needs_neither_generator_nor_other_scenes(
    world: DatasetConfig, root: Path, tmp_path: Path
) -> None:
    paste = Paste(donor=stem(1), donor_instance=26001, row=60, column=40)
    done = applied(world, tmp_path / "to", COMPOSITE, Drop(instance=26000), paste)
    photo, source = picture(done.to / "photo.png"), picture(done.to / "pixel_source.png")
    kept = source == PixelSource.KEPT
    assert kept.mean() > 0.5
    np.testing.assert_array_equal(photo[kept], picture(photo_file(root, 0))[kept])
    assert set(np.unique(source)) == {0, 1, 3, 4}
    origin = picture(done.to / "origin.png")
    assert set(np.unique(origin[source == PixelSource.DONOR])) == {2}
    assert done.pixels is not None
    assert asdict(done.pixels) == {
        name: pytest.approx(np.mean(source == code)) for code, name in enumerate(PIXEL_SOURCES)
    }
    assert {path.name for path in done.to.iterdir()} == set(done.files)
    assert "pixel_source.png" in done.files
    record = json.loads((done.to / "record.json").read_text())
    assert (record["pixels"], record["exemplars"]) == (asdict(done.pixels), [])


def test_a_class_that_the_scene_does_not_show_comes_from_the_dataset(
    world: DatasetConfig, tmp_path: Path
) -> None:
    pave = RelabelRegion(of="building", to="sidewalk")
    done = applied(world, tmp_path / "to", COMPOSITE, pave)
    photo, source = picture(done.to / "photo.png"), picture(done.to / "pixel_source.png")
    paved = picture(done.to / "label.png") == SIDEWALK
    assert paved.any()
    np.testing.assert_array_equal(source == PixelSource.EXEMPLAR, paved)
    # In the light of the scene that it is put into.
    np.testing.assert_allclose(photo[paved], np.broadcast_to(GREEN, photo[paved].shape), atol=20)
    record = json.loads((done.to / "record.json").read_text())
    assert record["exemplars"] == [stem(1)]


def test_a_photo_is_drawn_from_other_scenes(world: DatasetConfig, tmp_path: Path) -> None:
    to_person = TO_BUS.model_copy(update={"to": "person"})
    done = applied(world, tmp_path / "to", EXEMPLAR, to_person)
    assert (picture(done.to / "pixel_source.png") == PixelSource.EXEMPLAR).all()
    record = json.loads((done.to / "record.json").read_text())
    assert set(record["exemplars"]) == {stem(1), stem(2)}


def test_void_that_no_exemplar_shows_needs_no_generator(
    world: DatasetConfig, tmp_path: Path
) -> None:
    root = write_cityscapes(tmp_path / "world", scenes=2, height=64, width=128, photos=True)
    for path in (label_file(root, 0), instance_file(root, 0)):
        pixels = picture(path).copy()
        pixels[60:] = 0
        Image.fromarray(pixels).save(path)
    done = applied(world.model_copy(update={"root": str(root)}), tmp_path / "to", EXEMPLAR)
    source = picture(done.to / "pixel_source.png")
    assert (source[60:] == PixelSource.SUBSTITUTE).all()
    assert (source[:60] == PixelSource.EXEMPLAR).all()


@pytest.mark.parametrize("photo", [COMPOSITE, EXEMPLAR], ids=lambda photo: photo.mode)
def test_a_generator_draws_what_no_photo_shows(
    world: DatasetConfig, checkpoint: Path, tmp_path: Path, photo: PhotoConfig
) -> None:
    options = {"generator": settings(checkpoint)}
    done = applied(world, tmp_path / "to", photo, TO_TREES, TO_BUS, **options)
    source, label = picture(done.to / "pixel_source.png"), picture(done.to / "label.png")
    drawn = source == PixelSource.RENDERED
    assert set(np.unique(label[drawn])) == {VEGETATION, BUS}
    assert source.max() <= PixelSource.EXEMPLAR


@pytest.mark.usefixtures("no_index")
@pytest.mark.parametrize(
    ("photo", "operations", "options", "message"),
    [
        (COMPOSITE, (Drop(instance=26001), TO_BUS), {}, "operation 2 .*change_class.* generator"),
        (PhotoConfig(), (), {}, "photo.mode rendered needs a generator"),
        (PhotoConfig(mode="composite", fill="generator"), (), {}, "photo.fill generator needs a"),
        (COMPOSITE, (), {"style": StyleConfig()}, "style random needs a generator"),
    ],
)
def test_what_needs_a_generator_is_said_before_anything_is_read(
    tmp_path: Path,
    photo: PhotoConfig,
    operations: tuple[Operation, ...],
    options: dict[str, Any],
    message: str,
) -> None:
    nowhere = DatasetConfig(root=str(tmp_path / "nowhere"), format="cityscapes")
    with pytest.raises(ConfigError, match=message):
        applied(nowhere, tmp_path / "to", photo, *operations, **options)


@pytest.mark.parametrize("photo", [COMPOSITE, EXEMPLAR], ids=lambda photo: photo.mode)
def test_pixels_that_no_photo_shows_are_counted(
    world: DatasetConfig, tmp_path: Path, photo: PhotoConfig
) -> None:
    trees = applied(world, tmp_path / "maps", None, TO_TREES)
    count = np.count_nonzero(picture(trees.to / "label.png") == VEGETATION)
    message = rf"{stem(0)}.*: {count} of 8192 pixels \(vegetation\) are in no photo.*--generator"
    if photo is EXEMPLAR:
        message = r"1 of 1 samples need pixels of 'vegetation', which no photo.*--generator"
    with pytest.raises(ConfigError, match=message):
        applied(world, tmp_path / "to", photo, TO_TREES)
    assert not (tmp_path / "to").exists()


def test_photos_that_are_missing_are_named(world: DatasetConfig, tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "bare", scenes=2, height=64, width=128)
    bare = world.model_copy(update={"root": str(root)})
    with pytest.raises(DatasetError, match=rf"composite: 1 of 1 scenes have no photo.*{stem(0)}"):
        applied(bare, tmp_path / "to", COMPOSITE)
    with pytest.raises(DatasetError, match=r"photo exemplar: .*bare.* has no photos to copy from"):
        applied(bare, tmp_path / "to", EXEMPLAR)
    with pytest.raises(ConfigError, match=r"dataset\.photos: none"):
        applied(world.model_copy(update={"photos": "none"}), tmp_path / "to", COMPOSITE)
    photo_file(root, 0).parent.mkdir(parents=True)
    Image.fromarray(np.zeros((64, 128, 3), np.uint8)).save(photo_file(root, 0))
    paste = Paste(donor=stem(1), donor_instance=26001, row=60, column=40)
    with pytest.raises(DatasetError, match=rf"1 of 1 scenes have no photo.*{stem(1)}"):
        applied(bare, tmp_path / "to", COMPOSITE, paste)
    with pytest.raises(ConfigError, match="all 1 exemplars are the scene itself"):
        applied(bare, tmp_path / "to", EXEMPLAR)
    assert not (tmp_path / "to").exists()


def make_run(root: Path, out: Path, **changes: Any) -> Path:
    """A run of four samples; each of them pastes and drops objects."""
    edits = {
        "edits": [2, 3],
        "operations": {"paste": {"weight": 1}, "drop": {"weight": 1}},
        "constraints": {"min_edit_area": 0, "min_donor_area": 0},
    }
    plain: dict[str, Any] = {
        "dataset": {"root": str(root), "format": "cityscapes", "split": "val"},
        "samples": 4,
        "size": [64, 128],
        "recompose": {"policy": edits},
        "photo": {"mode": "composite"},
        "generator": {"dtype": "float32", "device": "cpu"},
        "output": {"path": out},
    }
    assert render(RenderConfig.parse(plain | changes, origin="test")).ok == 4
    return out


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(root, tmp_path_factory.mktemp("run") / "out")


@pytest.mark.usefixtures("no_index")
@pytest.mark.parametrize("mode", ["composite", "exemplar"])
def test_a_run_brings_its_photo_settings_and_its_catalogue(
    root: Path, tmp_path: Path, mode: str
) -> None:
    out = make_run(root, tmp_path / "out", photo={"mode": mode})
    replay(out, 0, to=tmp_path / "sample")
    program = Program.model_validate_json((tmp_path / "sample" / "program.json").read_text())
    done = apply_to_run(program, out, to=tmp_path / "to")
    for name in ("photo.png", "pixel_source.png", "label.png"):
        np.testing.assert_array_equal(picture(done.to / name), picture(tmp_path / "sample" / name))


def test_another_mode_wins_over_that_of_the_run(
    run: Path, root: Path, checkpoint: Path, tmp_path: Path
) -> None:
    program = Program(scene=stem(0), operations=(Move(instance=26000, rows=0, columns=3),))
    drawn = apply_to_run(program, run, to=tmp_path / "drawn", photo="exemplar")
    assert drawn.pixels is not None
    assert drawn.pixels.exemplar == 1
    rendered = apply_to_run(
        program, run, to=tmp_path / "rendered", photo="rendered", generator=checkpoint, device="cpu"
    )
    assert rendered.pixels is None
    assert "photo.png" in rendered.files
    assert "pixel_source.png" not in rendered.files
    plain = {"photo": {"mode": "rendered"}, "generator": {"checkpoint": checkpoint}}
    out = make_run(root, tmp_path / "out", **plain)
    pave = Program(scene=stem(0), operations=(RelabelRegion(of="building", to="sidewalk"),))
    done = apply_to_run(pave, out, to=tmp_path / "composite", photo="composite")
    assert done.pixels is not None
    assert done.pixels.exemplar > 0.1
    assert done.pixels.rendered == 0
    with pytest.raises(ConfigError, match=r"mode: .*'drawn'"):
        apply_to_run(program, run, to=tmp_path / "none", photo="drawn")


def test_exemplars_may_be_of_the_dataset_that_the_run_names(root: Path, tmp_path: Path) -> None:
    bare = write_cityscapes(tmp_path / "bare", scenes=3, height=64, width=128)
    exemplars = {"root": str(root), "format": "cityscapes", "split": "val"}
    photo = {"mode": "exemplar", "exemplars": exemplars}
    out = make_run(bare, tmp_path / "out", photo=photo)
    pave = Program(scene=stem(0), operations=(RelabelRegion(of="building", to="sidewalk"),))
    done = apply_to_run(pave, out, to=tmp_path / "to")
    shown = picture(done.to / "photo.png")[picture(done.to / "label.png") == SIDEWALK]
    assert len(np.unique(shown, axis=0)) == 1  # in whatever light, but all from one patch
    with pytest.raises(HdsynthError, match="composite: 1 of 1 scenes have no photo"):
        apply_to_run(pave, out, to=tmp_path / "none", photo="composite")


def test_the_command_tells_where_pixels_come_from(run: Path, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "program.json"
    path.write_text(Program(scene=stem(0), operations=(Drop(instance=26000),)).model_dump_json())
    dataset = ["--dataset", str(root), "--format", "cityscapes", "--split", "val"]
    composite = [*dataset, "--photo", "composite", "--to", str(tmp_path / "a")]
    result = CliRunner().invoke(main, ["apply", str(path), *composite])
    assert result.exit_code == 0, result.output
    source = picture(tmp_path / "a" / "pixel_source.png")
    line = f"pixels: kept {np.mean(source == 0):.1%}, donor 0.0%, rendered 0.0%, seam "
    assert line in result.stdout
    result = CliRunner().invoke(
        main, ["apply", str(path), "--run", str(run), "--to", str(tmp_path / "b"), "--json"]
    )
    shares = json.loads(result.stdout)["pixels"]
    assert set(shares) == set(PIXEL_SOURCES)
    assert sum(shares.values()) == pytest.approx(1)
    result = CliRunner().invoke(main, ["apply", str(path), *dataset, "--to", str(tmp_path / "c")])
    assert not (tmp_path / "c" / "photo.png").exists()
    path.write_text(Program(scene=stem(0), operations=(TO_BUS,)).model_dump_json())
    result = CliRunner().invoke(
        main, ["apply", str(path), "--run", str(run), "--to", str(tmp_path / "d")]
    )
    assert result.exit_code == 2
    assert "change_class" in result.stderr
    assert not (tmp_path / "d").exists()
