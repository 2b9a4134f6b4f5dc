from pathlib import Path

import pytest

import configs
from hdmodel.errors import ConfigError
from pipeline.config import RenderConfig
from pipeline.policy import Policy


@pytest.mark.parametrize("name", configs.names("policies"))
def test_shipped_policies_load_under_their_name(name: str) -> None:
    policy = Policy.load(name)
    assert policy.name == name
    assert Policy.load(policy.to_plain()) == policy
    assert Policy.load(policy) is policy


def test_none_makes_no_edits() -> None:
    policy = Policy.load("none")
    assert (policy.edits, policy.mirror_probability) == ((0, 0), 0.0)


def test_a_file_is_named_after_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("edits: [2, 3]\n")
    assert Policy.load(path) == Policy(name="mine", edits=(2, 3))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("ligth", "did you mean 'light'"),
        ("missing.yaml", "policy 'missing.yaml': no such file"),
        ({"edit": [1, 2]}, "did you mean 'edits'"),
        ({"edits": [3, 2]}, "fewest <= most"),
        ({"weights": {"drop": 0, "move": 0, "paste": 0}}, "at least one weight"),
        ({"paste": {"scale": [0, 1]}}, "smallest"),
        ({"mirror_probability": 1.5}, "mirror_probability"),
    ],
)
def test_mistakes_are_named(policy: "str | dict[str, object]", message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Policy.load(policy)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"edit": [1, 2]}, "unknown key 'recompose.policy.edit', did you mean 'edits'?"),
        (
            {"edits": [3, 2]},
            "recompose.policy: edits must be [fewest, most] with 0 <= fewest <= most <= 100",
        ),
        (
            {"paste": {"horizon": 2}},
            "recompose.policy.paste.horizon: input should be less than or equal to 1, got 2",
        ),
    ],
)
def test_mistakes_in_a_job_name_their_key(policy: dict[str, object], message: str) -> None:
    job = {
        "dataset": {"root": "data", "format": "cityscapes"},
        "samples": 1,
        "size": [64, 128],
        "output": {"path": "out"},
        "recompose": {"policy": policy},
    }
    with pytest.raises(ConfigError) as caught:
        RenderConfig.parse(job, origin="job.yaml")
    assert str(caught.value) == f"job.yaml: {message}"
