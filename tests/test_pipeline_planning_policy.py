from pathlib import Path

import pytest

import configs
from hdmodel.errors import ConfigError
from pipeline.config import RenderConfig
from pipeline.planning.policy import Policy
from pipeline.taxonomy import Taxonomy

CITY = Taxonomy.load("cityscapes")
CAMVID = Taxonomy.load("camvid")


@pytest.mark.parametrize("name", configs.names("policies"))
def test_shipped_policies_load_under_their_name_and_suit_taxonomies(name: str) -> None:
    policy = Policy.load(name)
    assert policy.name == name
    assert Policy.load(policy.to_plain()) == policy
    assert Policy.load(policy) is policy
    for taxonomy in (CITY, CAMVID):
        policy.check(taxonomy)


def test_the_policies_of_the_documentation_are_there() -> None:
    assert {
        "light", "none", "dense-traffic", "rare-classes", "pedestrian-crossing", "empty-streets",
        "paper-edits",
    } <= set(configs.names("policies"))  # fmt: skip


def test_none_makes_no_edits() -> None:
    policy = Policy.load("none")
    assert (policy.edits, policy.mirror, policy.quotas) == ((0, 0), 0.0, ())


def test_a_file_is_named_after_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("edits: [2, 3]\n")
    assert Policy.load(path) == Policy(name="mine", edits=(2, 3))


def test_quotas_survive_being_written_out() -> None:
    quotas = [
        {"class": ["person", "pedestrian"], "at_least": 2, "in": 0.5},
        {"class": "truck", "occluded": [0.2, 0.6], "in": 0.3},
        {"class": "car", "times": 3},
        {"pixel_share": {"person": 0.02}},
    ]
    policy = Policy.load({"quotas": quotas})
    assert Policy.load(policy.to_plain()) == policy


def test_a_number_is_a_weight_and_what_is_not_named_is_not_made() -> None:
    policy = Policy.load({"operations": {"paste": 3, "flip": {}, "drop": 0}})
    assert policy.operations.weights == {"paste": 3.0, "flip": 1.0}
    assert Policy().operations.weights == {"drop": 1.0, "move": 1.0, "paste": 1.0}


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("ligth", "did you mean 'light'"),
        ("missing.yaml", "policy 'missing.yaml': no such file"),
        ({"edit": [1, 2]}, "did you mean 'edits'"),
        ({"edits": [3, 2]}, "fewest <= most"),
        ({"edits": [3, 4], "constraints": {"max_edits": 2}}, "above constraints.max_edits 2"),
        ({"operations": {"drop": 0}}, "at least one weight"),
        ({"operations": {}}, "at least one weight"),
        ({"operations": {"past": 1}}, "unknown key 'operations.past', did you mean 'paste'"),
        ({"operations": {"paste": "often"}}, "operations.paste: expected a weight, or a mapping"),
        ({"operations": {"paste": {"clases": []}}}, "did you mean 'classes'"),
        ({"operations": {"replace": {"whit": {}}}}, "did you mean 'with'"),
        ({"operations": {"grow_region": {"pairs": [["road"]]}}}, "operations.grow_region.pairs"),
        ({"crop_zoom": {"probability": 1, "zoom": [0.5, 1]}}, "1 <= least"),
        ({"mirror": 1.5}, "mirror"),
        ({"quotas": [{"clas": "car"}]}, "unknown key 'quotas.0.clas', did you mean 'class'"),
        ({"quotas": [{"class": "car", "at_least": 3, "at_most": 2}]}, "3 is above at_most 2"),
        ({"quotas": [{"class": "car", "at_least": 0}]}, "asks for nothing"),
        ({"quotas": [{"class": "car"}]}, "either at_least and at_most, or occluded, or times"),
        ({"quotas": [{"at_least": 1}]}, "needs a class"),
        ({"quotas": [{"class": "car", "times": 2, "in": 0.5}]}, "does not go with in"),
        ({"quotas": [{"class": "car", "times": 2, "at_least": 1}]}, "either"),
        ({"quotas": [{"class": "car", "occluded": [0.5, 0.2]}]}, "least < most"),
        ({"quotas": [{"pixel_share": {"car": 0.6, "road": 0.6}}]}, "more than 1"),
        ({"quotas": [{"pixel_share": {"car": 0.6}, "in": 0.5}]}, "stands alone"),
    ],
)
def test_mistakes_are_named(policy: "str | dict[str, object]", message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Policy.load(policy)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"constraints": {"protected": ["ridr"]}}, "no taxonomy has a 'ridr', did you mean 'rid"),
        ({"operations": {"paste": {"classes": ["kar"]}}}, "operations.paste.classes: no taxonomy"),
        ({"operations": {"replace": {"with": {"car": ["buss"]}}}}, "operations.replace.with"),
        ({"operations": {"skyline": {"lower": "veg"}}}, "operations.skyline.lower"),
        ({"operations": {"relabel_region": {"pairs": [["road", "rood"]]}}}, "pairs"),
        ({"quotas": [{"class": "pedestrian", "at_least": 1}]}, "no class 'pedestrian'"),
        ({"quotas": [{"class": "trucks", "at_least": 1}]}, "did you mean 'truck'"),
        ({"quotas": [{"class": "road", "at_least": 1}]}, "only pixel_share"),
        (
            {
                "quotas": [{"class": "rider", "at_least": 1}],
                "constraints": {"protected": ["rider"]},
            },
            "which constraints.protected lists",
        ),
        (
            {
                "quotas": [
                    {"class": "car", "at_least": 3, "in": 0.6},
                    {"class": ["auto", "car"], "at_most": 2, "in": 0.5},
                ]
            },
            "quotas contradict: 'at least 3 car in 60% of the samples'",
        ),
        (
            {"quotas": [{"class": "car", "times": 2}, {"class": "car", "times": 3}]},
            "quotas contradict",
        ),
    ],
)
def test_classes_that_do_not_exist_and_contradictions_are_named(
    policy: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Policy.load(policy).check(CITY)


def test_names_of_other_taxonomies_are_passed_over() -> None:
    policy = Policy.load(
        {
            "operations": {"paste": {"classes": ["pedestrian", "person"]}},
            "constraints": {"protected": ["bicyclist"]},
            "quotas": [{"class": ["bicyclist"], "at_least": 1}],
        }
    )
    policy.check(CITY)
    assert policy.quotas[0].targets(CITY) == []


def test_quotas_that_go_together_do_not_contradict() -> None:
    Policy.load(
        {
            "quotas": [
                {"class": "car", "at_least": 3, "in": 0.5},
                {"class": "car", "at_most": 2, "in": 0.5},
                {"class": "car", "times": 2},
                {"class": "car", "at_least": 5, "in": 0.2},
            ]
        }
    ).check(CITY)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"edit": [1, 2]}, "unknown key 'recompose.policy.edit', did you mean 'edits'?"),
        (
            {"edits": [3, 2]},
            "recompose.policy: edits must be [fewest, most] with 0 <= fewest <= most <= 100",
        ),
        (
            {"constraints": {"max_cover": 2}},
            "recompose.policy.constraints.max_cover: input should be less than or equal to 1, "
            "got 2",
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
