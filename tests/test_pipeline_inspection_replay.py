import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from click.testing import CliRunner
from PIL import Image

from hdmodel.errors import HdsynthError
from hdsynth.cli import main
from hdsynth.commands.output import replay as replay_command
from pipeline.editing.recompose import Recomposed
from pipeline.errors import DatasetError, OutputError
from pipeline.inspection.files import write_pictures
from pipeline.inspection.replay import replay
from pipeline.output.folder import OutputFolder
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.datasets import instance_file, label_file
from tests.outputs import make_run
from tests.scenes import BUILDING


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def own(tmp_path: Path) -> OutputFolder:
    """A run that a test may break: samples 1 and 2 failed."""
    return make_run(tmp_path / "run", failed={1: "read", 2: "render"})


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("index", range(6))
def test_a_sample_comes_out_as_it_was(out: OutputFolder, tmp_path: Path, index: int) -> None:
    report = replay(out.root, index, to=tmp_path / "again")
    assert report.maps == "identical"
    assert report.photo is not None
    assert report.photo.identical
    assert report.photo.max_abs_difference == 0
    group = zarr.open_group(out.data, mode="r")
    for name in ("label", "instance", "photo"):
        again = picture(tmp_path / "again" / f"{name}.png")
        np.testing.assert_array_equal(again, group[name][index])
    source = picture(label_file(out.root.parent / "world", index % 3))
    np.testing.assert_array_equal(picture(tmp_path / "again" / "source_label.png"), source)
    assert {path.name for path in (tmp_path / "again").iterdir()} == set(report.files)


def test_what_changed_is_where_the_maps_differ(out: OutputFolder, tmp_path: Path) -> None:
    replay(out.root, 2, to=tmp_path / "again", photo=False)
    stored = zarr.open_group(out.data, mode="r")["instance"][2]
    source = picture(instance_file(out.root.parent / "world", 2)).astype(np.int32)
    changed = picture(tmp_path / "again" / "changed.png")
    # Car 26000 went and the other cars have moved up by one; their pixels have not changed.
    as_before = np.where(stored // 1000 == 26, stored + 1, stored)
    np.testing.assert_array_equal(changed, as_before != source)
    program = json.loads((tmp_path / "again" / "program.json").read_text())
    assert program["operations"] == [{"op": "drop", "instance": 26000, "along": []}]
    assert json.loads((tmp_path / "again" / "record.json").read_text())["index"] == 2


def test_maps_alone_need_no_generator(own: OutputFolder, tmp_path: Path) -> None:
    shutil.rmtree(own.root.parent / "generator")
    report = replay(own.root, 0, to=tmp_path / "again", photo=False)
    assert (report.maps, report.photo) == ("identical", None)
    with pytest.raises(HdsynthError, match="generator"):
        replay(own.root, 0, to=tmp_path / "photo")
    assert not (tmp_path / "photo").exists()


def test_a_changed_dataset_is_told_with_the_first_pixel(own: OutputFolder, tmp_path: Path) -> None:
    path = label_file(own.root.parent / "world", 0)
    label = picture(path).copy()
    label[0, 3:5] = BUILDING
    Image.fromarray(label).save(path)
    file = instance_file(own.root.parent / "world", 0)
    instance = picture(file).copy()
    instance[0, 3:5] = BUILDING
    Image.fromarray(instance).save(file)
    with pytest.raises(DatasetError, match="label differs at 2 of 2048 pixels") as caught:
        replay(own.root, 0, to=tmp_path / "again")
    assert "row 0, column 3: 11, stored 23" in str(caught.value)
    assert not (tmp_path / "again").exists()


def test_a_dataset_that_is_gone_is_named(own: OutputFolder, tmp_path: Path) -> None:
    shutil.rmtree(own.root.parent / "world")
    with pytest.raises(DatasetError, match="world"):
        replay(own.root, 0, to=tmp_path / "again")


def test_a_source_file_that_broke_since_is_an_error(own: OutputFolder, tmp_path: Path) -> None:
    label_file(own.root.parent / "world", 0).write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"_gtFine_labelIds\.png"):
        replay(own.root, 0, to=tmp_path / "again")


def test_damaged_shards_are_told_from_changed_datasets(own: OutputFolder, tmp_path: Path) -> None:
    zarr.open_group(own.data, mode="r+")["label"][0] = 0
    report = replay(own.root, 0, to=tmp_path / "again", photo=False)
    assert report.maps == "stored ones damaged"


def test_another_generator_is_told(own: OutputFolder, tmp_path: Path) -> None:
    from tests.datasets import write_checkpoint

    shutil.rmtree(own.root.parent / "generator")
    write_checkpoint(own.root.parent / "generator", seed=1)
    photo = replay(own.root, 0, to=tmp_path / "again").photo
    assert photo is not None
    assert not photo.same_generator
    assert not photo.identical
    again = picture(tmp_path / "again" / "photo.png").astype(int)
    stored = zarr.open_group(own.data, mode="r")["photo"][0].astype(int)
    assert photo.max_abs_difference == np.abs(again - stored).max()
    assert photo.mean_abs_difference == pytest.approx(np.abs(again - stored).mean())


def test_a_failed_sample_that_works_now(own: OutputFolder, tmp_path: Path) -> None:
    report = replay(own.root, 1, to=tmp_path / "read")
    assert (report.was_failed, report.error, report.maps) == (True, None, "not recorded")
    assert (tmp_path / "read" / "photo.png").is_file()
    report = replay(own.root, 2, to=tmp_path / "render")
    assert (report.was_failed, report.error, report.maps) == (True, None, "identical")


def test_a_failed_sample_that_fails_again(own: OutputFolder, tmp_path: Path) -> None:
    label_file(own.root.parent / "world", 1).write_bytes(b"no picture")
    report = replay(own.root, 1, to=tmp_path / "again")
    assert report.error is not None
    assert report.error.startswith("read: ")
    assert "_gtFine_labelIds.png" in report.error
    assert {p.name for p in (tmp_path / "again").iterdir()} == {"program.json", "record.json"}
    result = CliRunner().invoke(
        replay_command, [str(own.root), "1", "--to", str(tmp_path / "command")]
    )
    assert result.exit_code == 1
    assert "now       fails: read" in result.stdout


@pytest.mark.parametrize("index", [-1, 6])
def test_a_number_outside_the_run_is_refused(out: OutputFolder, tmp_path: Path, index: int) -> None:
    with pytest.raises(OutputError, match=rf"no sample {index}; the run has samples 0\.\.5"):
        replay(out.root, index, to=tmp_path / "again")


def test_a_sample_that_is_not_there_yet_is_refused(own: OutputFolder, tmp_path: Path) -> None:
    own.manifest(2).unlink()
    with pytest.raises(OutputError, match="shard 2 is not committed"):
        replay(own.root, 4, to=tmp_path / "again")


def test_a_folder_with_files_is_refused(out: OutputFolder, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds files"):
        replay(out.root, 0, to=tmp_path)
    with pytest.raises(OutputError, match="it is a file"):
        replay(out.root, 0, to=tmp_path / "mine.txt")


def test_the_command_prints_text_or_one_json_object(out: OutputFolder, tmp_path: Path) -> None:
    result = CliRunner().invoke(replay_command, [str(out.root), "4", "--to", str(tmp_path / "a")])
    assert result.exit_code == 0, result.output
    assert "bit by bit" in result.stdout
    assert "identical (rendered on cpu in float32)" in result.stdout
    arguments = [str(out.root), "4", "--to", str(tmp_path / "b"), "--maps-only", "--json"]
    result = CliRunner().invoke(replay_command, arguments)
    assert json.loads(result.stdout)["maps"] == "identical"


def test_wrong_input_ends_with_2(out: OutputFolder, tmp_path: Path) -> None:
    arguments = ["replay", str(out.root), "99", "--to", str(tmp_path / "a")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "no sample 99" in result.stderr


def test_ids_of_many_classes_survive_their_file(tmp_path: Path) -> None:
    label = np.full((4, 6), 130, np.uint8)
    instance = label.astype(np.int32)
    label[1:3], instance[1:3] = 91, 91999
    scene = Scene("s", label, instance)
    none = np.zeros(label.shape, np.uint16)
    made = Recomposed(scene, scene, changed=none > 0, origin=none, instances=(), log=())
    names = write_pictures(tmp_path, scene, made, None, Taxonomy.load("coco_stuff"))
    assert "instance.tiff" in names
    np.testing.assert_array_equal(picture(tmp_path / "instance.tiff"), instance)


def test_the_taxonomy_is_the_copy_in_the_output(own: OutputFolder, tmp_path: Path) -> None:
    record = yaml.safe_load(own.config.read_text())
    record["config"]["dataset"]["taxonomy"] = "gone/mine.yaml"
    own.config.write_text(yaml.safe_dump(record))
    assert replay(own.root, 3, to=tmp_path / "again", photo=False).maps == "identical"
