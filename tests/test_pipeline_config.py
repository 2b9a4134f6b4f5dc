from pathlib import Path

import pytest

from hdmodel.errors import ConfigError
from pipeline.config import RenderConfig
from pipeline.output.folder import fingerprint

JOB = """
dataset: {root: data, format: cityscapes, split: val}
samples: 20
size: [64, 128]
output: {path: out}
"""


def load(tmp_path: Path, text: str = JOB, *assignments: str, **options: object) -> RenderConfig:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return RenderConfig.load(path, assignments=assignments, options=options)


def test_options_win_over_the_file_and_set_over_both(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        JOB,
        "samples=3",
        "generator.dtype=float32",
        samples=5,
        seed=9,
        output={"shard_size": 2},
    )
    assert config.samples == 3
    assert config.seed == 9
    assert config.generator.dtype == "float32"
    assert config.output.path == Path("out")
    assert config.output.shard_size == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (JOB + "sampels: 3", "unknown key 'sampels', did you mean 'samples'"),
        (
            JOB + "generator: {dytpe: float32}",
            "unknown key 'generator.dytpe', did you mean 'dtype'",
        ),
        (JOB.replace("cityscapes", "cityscape"), "did you mean 'cityscapes'"),
        (JOB + "workers: 0", "workers.*greater than or equal to 1.*got 0"),
        (JOB + "generator: {dtype: float8}", r"generator\.dtype.*float8"),
        (JOB + "generator: {device: gpu}", r"generator\.device.*gpu"),
        (JOB + "variants_per_scene: 2", "either samples or variants_per_scene"),
        (JOB.replace("samples: 20", ""), "either samples or variants_per_scene"),
        (JOB.replace("[64, 128]", "[4, 128]"), "expected 16 to 16384"),
        (JOB.replace("output: {path: out}", ""), "missing key 'output'"),
        (JOB + "fit: squeeze", "fit.*squeeze"),
        (JOB + "recompose: {policy: {edits: [3, 1]}}", "edits"),
        (JOB + "style: rndom", r"style\.mode: input should be 'source', 'random' or 'mean'.*rndom"),
        (JOB + "style: {mode: mean, fixt: {car: 1}}", "'style.fixt', did you mean 'fixed'"),
        (JOB + "style: {fixed: {car: -1}}", r"style\.fixed\.car.*greater.*got -1"),
        ("- a\n- b", "expected a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_mistakes_are_named_with_their_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "job.yaml"))


def test_a_style_is_a_word_or_a_group_of_keys(tmp_path: Path) -> None:
    assert load(tmp_path).style is None
    short, long = load(tmp_path, JOB + "style: mean"), load(tmp_path, JOB + "style: {mode: mean}")
    assert short.style == long.style
    fixed = load(tmp_path, JOB + "style: mean", "style.fixed.car=3").style
    assert fixed is not None
    assert (fixed.mode, fixed.fixed) == ("mean", {"car": 3})
    alone = load(tmp_path, JOB, "style.fixed.car=3", style={"mode": "source"}).style
    assert alone is not None
    assert (alone.mode, alone.fixed) == ("source", {"car": 3})
    assert load(tmp_path, JOB, "style=source").style == load(tmp_path, JOB + "style: source").style


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: no such file"):
        RenderConfig.load(tmp_path / "nothing.yaml", options={})


@pytest.mark.parametrize(
    ("assignments", "same"),
    [
        (["workers=4"], True),
        (["generator.device=cpu"], True),
        (["output.path=/elsewhere"], True),
        (["generator.accelerator=type:nvidia-l4"], True),
        (["seed=1"], False),
        (["samples=21"], False),
        (["size=[64, 64]"], False),
        (["generator.dtype=float32"], False),
        (["generator.batch_pixels=100"], False),
        (["output.shard_size=3"], False),
        (["dataset.split=train"], False),
        (["dataset.root=elsewhere"], False),
        (["dataset.photos=none"], True),
        (["recompose.policy=none"], True),  # policies count by what they say, not by name
    ],
)
def test_what_decides_the_samples_decides_the_fingerprint(
    tmp_path: Path, assignments: list[str], same: bool
) -> None:
    before = fingerprint(load(tmp_path).identity())
    after = fingerprint(load(tmp_path, JOB, *assignments).identity())
    assert (before == after) is same


def test_resolved_paths_do_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(tmp_path, JOB + "generator: {checkpoint: gen}").resolved()
    assert config.dataset.root == str(tmp_path / "data")
    assert config.generator.checkpoint == tmp_path / "gen"
    assert config.output.path == tmp_path / "out"
    remote = load(tmp_path, JOB.replace("root: data", "root: 's3://bucket/data'")).resolved()
    assert remote.dataset.root == "s3://bucket/data"
