"""The commands that draw, list and import."""

import re
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

import configs
from hdsynth.cli import main
from hdsynth.commands.options import SIZE
from hdsynth.commands.targets import new_folder
from pipeline.config import RenderConfig
from pipeline.errors import OutputError

SHIPPED = Path(configs.__file__).parent
GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("text", "size"), [("256x512", (256, 512)), ("1024X2048", (1024, 2048)), (" 1x9 ", (1, 9))]
)
def test_size(text: str, size: tuple[int, int]) -> None:
    assert SIZE.convert(text, None, None) == size


@pytest.mark.parametrize("text", ["256", "256x", "0x512", "-1x5", "256*512", "2.5x3", "x", ""])
def test_size_says_what_was_expected(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected height x width in pixels, such as"):
        SIZE.convert(text, None, None)


def test_new_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with new_folder(target) as partial:
        (partial / "file").write_text("x", encoding="utf-8")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["file"]
    assert list(target.parent.iterdir()) == [target]


def test_new_folder_leaves_nothing_of_what_went_wrong(tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "target") as partial:
            (partial / "file").write_text("x", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_new_folder_takes_an_empty_one_and_no_other(tmp_path: Path) -> None:
    with new_folder(tmp_path) as partial:
        (partial / "file").write_text("x", encoding="utf-8")
    for target, problem in ((tmp_path, "holds files"), (tmp_path / "file", "is a file")):
        with pytest.raises(OutputError, match=problem), new_folder(target):
            raise AssertionError
    assert (tmp_path / "file").read_text(encoding="utf-8") == "x"


def test_configs_lists_every_shipped_file() -> None:
    listing = CliRunner().invoke(main, ["configs"])
    assert listing.exit_code == 0
    shipped_by_kind: dict[str, set[str]] = {}
    for path in SHIPPED.glob("*/*.yaml"):
        shipped_by_kind.setdefault(path.parent.name, set()).add(path.stem)
    assert {"taxonomies", "models", "policies"} <= set(shipped_by_kind)
    for kind, shipped in shipped_by_kind.items():
        assert kind in listing.stdout.splitlines()
        names = CliRunner().invoke(main, ["configs", kind]).stdout.splitlines()
        assert {line.split()[0] for line in names} == shipped


def test_configs_prints_a_file_as_it_is() -> None:
    result = CliRunner().invoke(main, ["configs", "taxonomies", "cityscapes"])
    assert result.stdout == (SHIPPED / "taxonomies" / "cityscapes.yaml").read_text("utf-8")
    assert yaml.safe_load(result.stdout)["name"] == "cityscapes"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["taxonomy"], "No such kind 'taxonomy'; expected one of taxonomies, models"),
        (["taxonomies", "citys"], "No such configuration 'citys' in taxonomies"),
    ],
)
def test_configs_names_what_there_is(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(main, ["configs", *arguments])
    assert result.exit_code == 2
    assert text in " ".join(result.stderr.split())


def test_sample_world_writes_the_cityscapes_layout(tmp_path: Path) -> None:
    target = tmp_path / "world"
    arguments = ["sample-world", str(target), "--scenes", "3", "--size", "64x128", "--seed", "0"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert f"hdsynth validate {target} --format cityscapes" in result.stdout
    assert "drawing scenes: 3/3" in result.stderr
    labels = sorted(target.glob("gtFine/*/*/*_gtFine_labelIds.png"))
    assert len(labels) == 3
    for path in labels:
        instance = Path(str(path).replace("labelIds", "instanceIds"))
        photo = Path(
            str(path).replace("gtFine_labelIds", "leftImg8bit").replace("gtFine", "leftImg8bit")
        )
        label, ids = np.asarray(Image.open(path)), np.asarray(Image.open(instance))
        assert label.shape == ids.shape == (64, 128)
        assert np.array_equal(np.where(ids >= 1000, ids // 1000, ids), label)
        assert np.asarray(Image.open(photo)).shape == (64, 128, 3)


def test_sample_world_leaves_a_folder_with_files_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x", encoding="utf-8")
    result = CliRunner().invoke(main, ["sample-world", str(tmp_path), "--scenes", "1"])
    assert result.exit_code == 2
    assert result.stderr == (
        f"hdsynth: error: {tmp_path}: expected a new or empty folder, but it holds files\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_import_makes_a_checkpoint(tmp_path: Path) -> None:
    weights, target = GOLDEN / "nvidia_global_net_G.pth", tmp_path / "ckpt"
    arguments = ["--generator", str(weights), "--taxonomy", "cityscapes", "--to", str(target)]
    result = CliRunner().invoke(main, ["import-pix2pixhd", *arguments])
    assert result.exit_code == 0, result.output
    written = yaml.safe_load((target / "config.yaml").read_text("utf-8"))
    shipped = yaml.safe_load((SHIPPED / "taxonomies" / "cityscapes.yaml").read_text("utf-8"))
    assert written["taxonomy"]["class_names"] == [c["name"] for c in shipped["classes"]]
    again = CliRunner().invoke(main, ["import-pix2pixhd", *arguments])
    assert again.exit_code == 2
    assert again.stderr.endswith("expected a new or empty folder, but it holds files\n")


def test_import_names_the_file_that_is_no_network(tmp_path: Path) -> None:
    weights, target = tmp_path / "notes.pth", tmp_path / "ckpt"
    weights.write_text("not weights", encoding="utf-8")
    arguments = ["--generator", str(weights), "--taxonomy", "cityscapes", "--to", str(target)]
    result = CliRunner().invoke(main, ["import-pix2pixhd", *arguments])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"hdsynth: error: {weights}: ")
    assert result.stderr.count("\n") == 1
    assert not target.exists()


def test_init_generator_takes_the_classes_of_the_taxonomy(tmp_path: Path) -> None:
    weights = []
    for seed, folder in ((0, "a"), (0, "b"), (1, "c")):
        target = tmp_path / folder
        arguments = ["tiny", "--to", str(target), "--taxonomy", "helen", "--seed", str(seed)]
        result = CliRunner().invoke(main, ["init-generator", *arguments])
        assert result.exit_code == 0, result.output
        weights.append((target / "generator.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]
    written = yaml.safe_load((tmp_path / "a" / "config.yaml").read_text("utf-8"))
    assert written["taxonomy"]["name"] == "helen"
    assert written["generator"]["num_classes"] == 11


def test_init_generator_takes_the_taxonomy_of_the_model(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["init-generator", "tiny", "--to", str(tmp_path)])
    assert result.exit_code == 0, result.output
    written = yaml.safe_load((tmp_path / "config.yaml").read_text("utf-8"))
    assert written["taxonomy"]["name"] == "cityscapes"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["tinny"], "model 'tinny': no such file, and not one of"),
        (["tinny"], "did you mean 'tiny'?"),
        (["mine.yaml"], "model 'mine.yaml': no such file"),
        (["tiny", "--taxonomy", "helena"], "did you mean 'helen'?"),
    ],
)
def test_init_generator_names_what_there_is(
    arguments: list[str], text: str, tmp_path: Path
) -> None:
    target = tmp_path / "ckpt"
    result = CliRunner().invoke(main, ["init-generator", *arguments, "--to", str(target)])
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert not target.exists()


@pytest.mark.parametrize("command", ["init-generator tiny --to", "sample-world --scenes 1"])
def test_seeds_are_bounded(command: str, tmp_path: Path) -> None:
    target = tmp_path / "new"
    arguments = [*command.split(), str(target), "--seed", str(2**63)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "is not in the range 0<=x<=9223372036854775807" in " ".join(result.stderr.split())
    assert not target.exists()
    arguments[-1] = str(2**63 - 1)
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert target.is_dir()


def test_the_job_template_has_every_key() -> None:
    text = (SHIPPED / "jobs" / "cityscapes.yaml").read_text("utf-8")
    plain = RenderConfig.parse(yaml.safe_load(text), origin="template")
    # What is commented out is YAML too, with the keys that remain.
    lines = [re.sub(r"^( *)# (?=[a-z_]+: )", r"\1", line) for line in text.splitlines()[2:]]
    full = yaml.safe_load("\n".join(line for line in lines if not line.startswith("samples")))
    whole = RenderConfig.parse(full, origin="template")
    assert whole.variants_per_scene == 4
    assert set(full) | {"samples"} == set(RenderConfig.model_fields)
    for key in ("dataset", "recompose", "generator", "output"):
        assert set(full[key]) == set(type(getattr(plain, key)).model_fields)
