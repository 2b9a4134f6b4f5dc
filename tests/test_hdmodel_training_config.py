"""Training configurations: what they mean, and what is refused before anything is computed."""

import pytest

from hdmodel.errors import ConfigError
from hdmodel.training.config import TrainConfig
from tests.trainings import config, stage, staged


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stepz": 1}, "unknown key 'stepz', did you mean 'stages'"),
        ({"stages": []}, "stages: .*at least 1 item"),
        ({"generator": {"feature_channels": 3}}, "is 3, expected 0 as .* without an encoder"),
        (
            {"generator": {"feature_channels": 2}, "encoder": {"out_channels": 3}},
            "is 2, expected 3 as encoder.out_channels",
        ),
        ({"generator": {"out_channels": 1}}, r"generator\.out_channels is 1, expected 3"),
        ({"seed": 2**63}, "seed: input should be less than 9223372036854775808"),
        ({"losses": {"feature_matching": float("inf")}}, "should be a finite number"),
        ({"losses": {"adversarial": "none"}}, "feature_matching needs a discriminator"),
        (
            {"losses": {"adversarial": "none", "feature_matching": 0}},
            "all weights are 0, expected something to minimise",
        ),
        ({"losses": {"adversarial": "wgan"}}, "losses.adversarial: .*'lsgan', 'bce' or 'none'"),
        ({"optimiser": {"learning_rate": float("inf")}}, "learning_rate: input should be a finite"),
        ({"encoder": {"in_channels": 1}}, r"encoder\.in_channels is 1, expected 3 as the photos"),
        ({"average": 1.0}, "average: .*less than 1"),
        ({"vgg": {"layers": ["relu6_1"], "layer_weights": [1]}}, "layers: unknown 'relu6_1'"),
        ({"vgg": {"layers": ["relu1_1"]}}, "layer_weights has 5 values, expected 1"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, object], message: str) -> None:
    plain = config().to_plain() | changes
    with pytest.raises(ConfigError, match=rf"run\.yaml: .*{message}"):
        TrainConfig.parse(plain, origin="run.yaml")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([stage(crop=(64, 64))], "stages.0.crop has height 64, expected at most 48 as the scenes"),
        ([stage(crop=(1, 1))], r"stages\.0\.crop is 1x1 pixels, expected at least 3 per side"),
        ([stage(), stage()], "expected names that are all different"),
        ([stage(enhancers=1)], r"stages\.0\.enhancers is 1, expected at most 0"),
        ([stage(frozen=True)], r"stages\.0\.frozen: nothing was trained"),
    ],
)
def test_wrong_stages_are_named(stages: list[object], message: str) -> None:
    plain = config().to_plain() | {"stages": [s.to_plain() for s in stages]}
    with pytest.raises(ConfigError, match=message):
        TrainConfig.parse(plain, origin="run.yaml")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([stage(enhancers=0)], "the last one trains 0 enhancers, expected all 1"),
        (
            [stage(), stage(name="back", enhancers=0)],
            r"stages\.1\.enhancers is 0, expected at least 1",
        ),
    ],
)
def test_stages_go_from_coarse_to_fine(stages: list[object], message: str) -> None:
    plain = staged().to_plain() | {"stages": [s.to_plain() for s in stages]}
    with pytest.raises(ConfigError, match=message):
        TrainConfig.parse(plain, origin="run.yaml")


def test_new_enhancers_learn_before_they_are_frozen() -> None:
    plain = staged().to_plain()
    plain["generator"] |= {"enhancers": 2}
    plain["stages"][1:] = [stage(name="both", frozen=True).to_plain()]
    with pytest.raises(ConfigError, match=r"stages\.1\.frozen: 2 enhancers are new, expected one"):
        TrainConfig.parse(plain, origin="run.yaml")


def test_crops_are_large_enough_for_the_perceptual_loss() -> None:
    plain = config(stages=(stage(crop=(15, 40)),)).to_plain()
    plain["losses"]["perceptual"] = 10
    with pytest.raises(ConfigError, match="15x40 pixels, expected at least 16 per side with vgg"):
        TrainConfig.parse(plain, origin="run.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 3}, "give either steps or epochs"),
        ({"steps": None}, "give either steps or epochs"),
        ({"decay_epochs": 3}, "decay_epochs does not go with steps, expected decay_steps"),
        ({"decay_steps": 5}, "decay_steps is 5, expected at most steps, 4"),
        ({"accumulate": 3}, "accumulate is 3, expected a divisor of batch, 2"),
        ({"name": "Joint stage"}, "name: .*pattern"),
        ({"batch": 0}, "batch: input should be greater than 0"),
    ],
)
def test_wrong_keys_of_a_stage_are_named(changes: dict[str, object], message: str) -> None:
    plain = config().to_plain()
    plain["stages"][0] |= changes
    with pytest.raises(ConfigError, match=rf"(stages\.0\.?.*)?{message}"):
        TrainConfig.parse(plain, origin="run.yaml")


def test_coarse_stages_train_a_part_of_the_generator() -> None:
    setting = staged()
    coarse, enhance, joint = setting.stages
    shape = setting.stage_generator(coarse)
    assert (shape.architecture, shape.base_channels, shape.in_channels) == ("global", 8, 7)
    assert setting.stage_generator(enhance) == setting.stage_generator(joint) == setting.generator
    assert [setting.stage_size(s) for s in setting.stages] == [(24, 32), (48, 64), (48, 64)]
