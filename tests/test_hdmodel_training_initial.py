"""Trainings that begin with a checkpoint, and checkpoints that they cannot begin with."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from hdmodel.architecture import EncoderConfig, GeneratorConfig
from hdmodel.checkpoint import CONFIG_FILE, read_checkpoint_config
from hdmodel.errors import CheckpointError
from hdmodel.training.config import LossConfig
from tests.trainings import TAXONOMY, config, run, stage, staged

ONE = (stage(steps=1, decay_steps=0),)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of all stages, at half precision."""
    return run(staged(half_on_disk=True), tmp_path_factory.mktemp("first") / "run")


def test_it_goes_on_from_the_weights(first: Path, tmp_path: Path) -> None:
    """One update at a learning rate that moves nothing leaves the weights that it began with."""
    still = (stage(steps=1, decay_steps=0, learning_rate=1e-12),)
    final = run(staged(stages=still, average=0.0, initial=str(first)), tmp_path / "tuned")
    for file in ("generator.safetensors", "encoder.safetensors"):
        before, after = load_file(first / file), load_file(final / file)
        for key, value in before.items():
            torch.testing.assert_close(after[key], value.float(), rtol=0, atol=1e-7)


def test_the_running_mean_begins_there_too(first: Path, tmp_path: Path) -> None:
    still = (stage(steps=1, decay_steps=0, learning_rate=1e-12),)
    final = run(staged(stages=still, initial=str(first)), tmp_path / "tuned")
    before, after = (load_file(path / "generator.safetensors") for path in (first, final))
    for key, value in before.items():
        torch.testing.assert_close(after[key], value.float(), rtol=0, atol=1e-7)


def test_the_record_keeps_it_and_the_networks_that_were_asked(first: Path, tmp_path: Path) -> None:
    losses = LossConfig(pixel=1)
    once = run(staged(stages=ONE, losses=losses, initial=str(first)), tmp_path / "once")
    assert read_checkpoint_config(once).training["config"]["initial"] == str(first)
    assert read_checkpoint_config(once).pretrained == ("tf_efficientnet_lite0",)
    twice = run(staged(stages=ONE, initial=str(once)), tmp_path / "twice")
    assert read_checkpoint_config(twice).pretrained == ("tf_efficientnet_lite0",)


def test_what_is_not_known_of_it_stays_unknown(first: Path, tmp_path: Path) -> None:
    plain = yaml.safe_load((first / CONFIG_FILE).read_text())
    del plain["training"]["pretrained"]
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in first.glob("*.safetensors"):
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / CONFIG_FILE).write_text(yaml.safe_dump(plain))
    assert read_checkpoint_config(copy).pretrained is None
    final = run(staged(stages=ONE, initial=str(copy)), tmp_path / "tuned")
    assert read_checkpoint_config(final).pretrained is None


def refuse(tmp_path: Path, message: str, **changes: object) -> None:
    out = tmp_path / "refused"
    with pytest.raises(CheckpointError, match=message) as caught:
        run(staged(**({"stages": ONE} | changes)), out)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_checkpoints_that_do_not_fit(first: Path, tmp_path: Path) -> None:
    refuse(tmp_path, "no such checkpoint folder", initial=str(tmp_path / "nowhere"))
    wide = GeneratorConfig(
        **(staged().generator.to_plain() | {"base_channels": 8}),
    )
    refuse(
        tmp_path,
        r"generator.base_channels is 4, expected 8 as in stage 'all'",
        initial=str(first),
        generator=wide,
    )
    refuse(
        tmp_path,
        r"encoder.base_channels is 4, expected 8 as in stage 'all'",
        initial=str(first),
        encoder=EncoderConfig(base_channels=8, downsamplings=1),
    )
    # The first stage of the whole way trains G1 alone.
    refuse(
        tmp_path,
        r"generator.architecture is 'local', expected 'global' as in stage 'coarse'",
        initial=str(first),
        stages=staged().stages,
    )


def test_a_checkpoint_without_the_encoder(first: Path, tmp_path: Path) -> None:
    plain = run(config(stages=ONE), tmp_path / "plain")
    shape = config().generator.model_copy(update={"feature_channels": 3})
    refuse(tmp_path, r"generator.feature_channels is 0", initial=str(plain), generator=shape)


def test_a_checkpoint_of_other_classes(first: Path, tmp_path: Path) -> None:
    other = TAXONOMY.model_copy(update={"name": "other", "fingerprint": "xyz"})
    with pytest.raises(CheckpointError, match="is of the taxonomy 'toy', the training of 'other'"):
        run(staged(stages=ONE, initial=str(first)), tmp_path / "out", taxonomy=other)


def test_a_damaged_one(first: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in first.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "encoder.safetensors").write_bytes(b"x")
    refuse(tmp_path, "encoder.safetensors: damaged", initial=str(copy))
