import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from hdmodel.errors import ConfigError, HdsynthError
from hdsynth.cli import main
from pipeline.config import GeneratorSettings
from pipeline.editing.program import Drop, Flip, Move, Operation, Paste, Program
from pipeline.inspection.apply import Applied, apply_program, read_program
from pipeline.inspection.captions import describe
from pipeline.sources import DatasetConfig
from pipeline.taxonomy import Taxonomy
from tests.datasets import stem, write_checkpoint, write_cityscapes

CITY = Taxonomy.load("cityscapes")


def picture(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path))


@pytest.fixture
def world(tmp_path: Path) -> DatasetConfig:
    write_cityscapes(tmp_path / "world", scenes=2)
    return DatasetConfig(root=str(tmp_path / "world"), format="cityscapes", split="val")


def applied(world: DatasetConfig, to: Path, *operations: Operation, **options: Any) -> Applied:
    program = Program(scene=stem(0), operations=operations)
    return apply_program(program, world, to=to, size=None, fit="resize", **options)


def test_a_program_is_applied_and_written(world: DatasetConfig, tmp_path: Path) -> None:
    paste = Paste(donor=stem(1), donor_instance=26001, row=30, column=2)
    done = applied(world, tmp_path / "to", Drop(instance=26000), Flip(instance=26077), paste)
    assert (done.scene, done.operations) == (stem(0), 3)
    assert done.skipped == ("operation 2: the scene has no object 26077",)
    assert {path.name for path in (tmp_path / "to").iterdir()} == set(done.files)
    label, before = picture(done.to / "label.png"), picture(done.to / "source_label.png")
    changed, origin = picture(done.to / "changed.png"), picture(done.to / "origin.png")
    np.testing.assert_array_equal(changed & (label != before), label != before)
    assert set(np.unique(origin)) == {0, 1, 3}
    record = json.loads((done.to / "record.json").read_text())
    assert [i["origin"] for i in record["instances"]].count("pasted") == 1
    assert Program.model_validate_json((done.to / "program.json").read_text()).operations[2] == (
        paste
    )
    assert picture(done.to / "after.png").shape == (*label.shape, 3)


def test_the_edited_scene_is_rendered(world: DatasetConfig, tmp_path: Path) -> None:
    settings = GeneratorSettings(checkpoint=write_checkpoint(tmp_path / "generator"), device="cpu")
    done = applied(world, tmp_path / "to", Drop(instance=26000), generator=settings)
    assert picture(done.to / "photo.png").shape == (*picture(done.to / "label.png").shape, 3)


def test_names_are_checked_first(world: DatasetConfig, tmp_path: Path) -> None:
    program = Program(scene="nowhere")
    with pytest.raises(HdsynthError, match="no scene 'nowhere' among its 2"):
        apply_program(program, world, to=tmp_path / "to", size=None, fit="resize")
    with pytest.raises(HdsynthError, match="no donor scene 'nowhere'"):
        applied(
            world, tmp_path / "to", Paste(donor="nowhere", donor_instance=26000, row=9, column=9)
        )
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected a program in JSON"),
        ("[]", "got list"),
        ('{"scene": "a", "operations": [{"op": "fly"}]}', "fly"),
        ('{"scene": "a", "operations": [{"op": "drop", "instance": 3}]}', "1000"),
        ('{"scene": "a", "operashuns": []}', "did you mean"),
    ],
)
def test_bad_programs_name_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "program.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_program(path)
    assert str(path) in str(caught.value)
    with pytest.raises(ConfigError, match="no such file"):
        read_program(tmp_path / "none.json")


def test_the_command(world: DatasetConfig, tmp_path: Path) -> None:
    program = Program(scene="x", operations=(Move(instance=26000, rows=0, columns=3),))
    path = tmp_path / "program.json"
    path.write_text(program.model_dump_json())
    base = ["apply", str(path), "--dataset", world.root, "--format", "cityscapes"]
    base += ["--split", "val", "--scene", stem(1)]
    result = CliRunner().invoke(main, [*base, "--to", str(tmp_path / "to"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["scene"] == stem(1)
    again = CliRunner().invoke(main, [*base, "--to", str(tmp_path / "to")])
    assert again.exit_code == 2
    assert "holds files" in again.stderr
    nothing = CliRunner().invoke(main, ["apply", str(path), "--to", str(tmp_path / "b")])
    assert nothing.exit_code == 2
    program = Program(scene=stem(0), operations=(Drop(instance=26999),))
    path.write_text(program.model_dump_json())
    skipped = CliRunner().invoke(main, [*base[:-2], "--to", str(tmp_path / "c")])
    assert skipped.exit_code == 1
    assert "0 of 1 operations" in skipped.stdout


def test_every_operation_has_words() -> None:
    operations = [
        {"op": "crop_zoom", "top": 2, "left": 3, "height": 40, "width": 50},
        {"op": "rescale", "instance": 26001, "row": 9, "column": 3, "scale": 1.5},
        {"op": "flip", "instance": 26001},
        {"op": "duplicate", "instance": 26001, "row": 9, "column": 3, "scale": 1, "flip": True},
        {
            "op": "replace",
            "instance": 26001,
            "donor": "b",
            "donor_instance": 28000,
            "scale": 0.5,
            "flip": False,
        },
        {"op": "change_class", "instance": 26001, "to": "bus"},
        {"op": "jitter", "instance": 26001, "amplitude": 2.5, "seed": 3},
        {"op": "relabel_region", "of": "vegetation", "to": "building", "at": None},
        {"op": "grow_region", "of": "sky", "into": "building", "pixels": 4},
        {"op": "skyline", "upper": "sky", "lower": "vegetation", "rows": [3, 4]},
    ]
    edits, consequences = describe(
        {"operations": operations},
        [{"kind": "cropped", "operation": 0, "instance": 24000, "reason": "outside the window"}],
        CITY,
    )
    assert [edit.text for edit in edits] == [
        "enlarged 40x50 px from row 2, column 3 on",
        "brought car 26001 to row 9, at 150%",
        "mirrored car 26001",
        "copied car 26001, mirrored",
        "replaced car 26001 by bus from scene b, at 50%",
        "made car 26001 a bus",
        "bent car 26001 by up to 2.5 px",
        "made all vegetation building",
        "grew sky into building by 4 px",
        "redrew the line between sky and vegetation",
    ]
    assert consequences == ("person 24000 is gone: outside the window",)
