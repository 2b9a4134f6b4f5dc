"""Checkpoints: what is saved comes back, and what is damaged is refused in plain words."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from hdmodel.architecture import EncoderConfig, GeneratorConfig
from hdmodel.checkpoint import (
    TaxonomyRecord,
    generator_hash,
    load_encoder,
    load_generator,
    read_checkpoint_config,
    save_checkpoint,
)
from hdmodel.encoder import FeatureEncoder
from hdmodel.errors import CheckpointError
from hdmodel.generator import Generator, build_generator
from hdmodel.layers import initialise

TAXONOMY = TaxonomyRecord(
    name="toy", version=1, fingerprint="abc", class_names=("void", "road", "sky", "car")
)
CONFIG = GeneratorConfig(num_classes=4, base_channels=4, downsamplings=2, blocks=1)


def network() -> Generator:
    made = build_generator(CONFIG)
    initialise(made, torch.Generator().manual_seed(0))
    return made


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "ckpt", network(), taxonomy=TAXONOMY)


def edit_config(checkpoint: Path, **changes: object) -> None:
    file = checkpoint / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))


def test_what_is_saved_comes_back(checkpoint: Path) -> None:
    inputs = torch.rand((1, 5, 16, 16), generator=torch.Generator().manual_seed(1))
    loaded = load_generator(checkpoint)
    assert torch.equal(loaded(inputs), network()(inputs))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    config = read_checkpoint_config(checkpoint)
    assert config.generator == CONFIG
    assert config.taxonomy.class_names == ("void", "road", "sky", "car")
    assert not list(checkpoint.parent.glob(".*"))
    modes = {file.stat().st_mode for file in checkpoint.iterdir()}
    assert len(modes) == 1


def test_half_precision_on_disk(tmp_path: Path) -> None:
    full = save_checkpoint(tmp_path / "full", network(), taxonomy=TAXONOMY)
    half = save_checkpoint(tmp_path / "half", network(), taxonomy=TAXONOMY, dtype="float16")
    saved = load_file(half / "generator.safetensors")
    for key, value in network().state_dict().items():
        assert torch.equal(saved[key], value.half())
    loaded = load_generator(half)
    assert next(loaded.parameters()).dtype == torch.float32
    assert next(load_generator(half, dtype="bfloat16").parameters()).dtype == torch.bfloat16
    assert generator_hash(full) != generator_hash(half)


def test_the_hash_depends_on_network_and_weights_alone(tmp_path: Path) -> None:
    one = save_checkpoint(tmp_path / "one", network(), taxonomy=TAXONOMY, training={"steps": 1})
    two = save_checkpoint(tmp_path / "two", network(), taxonomy=TAXONOMY)
    assert generator_hash(one) == generator_hash(two)
    changed = network()
    with torch.no_grad():
        next(changed.parameters()).view(-1)[0] += 1
    three = save_checkpoint(tmp_path / "three", changed, taxonomy=TAXONOMY)
    assert generator_hash(one) != generator_hash(three)


def test_the_encoder_travels_along(tmp_path: Path) -> None:
    encoder = FeatureEncoder(EncoderConfig(base_channels=2, downsamplings=1))
    folder = save_checkpoint(tmp_path / "c", network(), taxonomy=TAXONOMY, encoder=encoder)
    photo = torch.rand((1, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    instance = torch.arange(64).view(1, 8, 8) // 16
    assert torch.equal(load_encoder(folder)(photo, instance), encoder(photo, instance))


def test_config_and_hash_need_no_torch(checkpoint: Path) -> None:
    code = (
        "import sys; from hdmodel.checkpoint import read_checkpoint_config, generator_hash;"
        "read_checkpoint_config(sys.argv[1]); generator_hash(sys.argv[1]);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(checkpoint)], check=True)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere: no such checkpoint folder"):
        load_generator(tmp_path / "nowhere")


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "latest_net_G.pth"
    file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="import-pix2pixhd"):
        load_generator(file)


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not a checkpoint, config\.yaml is missing"):
        load_generator(tmp_path)


def test_missing_weights_are_named(checkpoint: Path) -> None:
    (checkpoint / "generator.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"generator\.safetensors is missing"):
        load_generator(checkpoint)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights_are_damaged(checkpoint: Path, keep: int) -> None:
    file = checkpoint / "generator.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged"):
        load_generator(checkpoint)


def test_one_changed_byte_is_damage(checkpoint: Path) -> None:
    file = checkpoint / "generator.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_generator(checkpoint)


def with_weights(checkpoint: Path, tensors: dict[str, torch.Tensor] | bytes) -> None:
    """Replace the weights and their digest, as somebody who edits a checkpoint by hand might."""
    import hashlib

    file = checkpoint / "generator.safetensors"
    if isinstance(tensors, bytes):
        file.write_bytes(tensors)
    else:
        save_file(tensors, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    edit_config(checkpoint, sha256={file.name: digest})


def test_weights_that_are_no_safetensors(checkpoint: Path) -> None:
    with_weights(checkpoint, b"not tensors at all")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_generator(checkpoint)


def test_weights_of_another_network_are_named(checkpoint: Path) -> None:
    tensors = load_file(checkpoint / "generator.safetensors")
    tensors["head.conv.bias"] = torch.zeros(4)
    tensors["extra"] = tensors.pop("trunk.stem.conv.bias")
    with_weights(checkpoint, tensors)
    with pytest.raises(CheckpointError) as caught:
        load_generator(checkpoint)
    message = str(caught.value)
    assert "trunk.stem.conv.bias is missing" in message
    assert "extra is not expected" in message
    assert "head.conv.bias has shape (4,), expected (3,)" in message


def test_only_the_first_differences_are_named(checkpoint: Path) -> None:
    with_weights(checkpoint, {"other": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"is missing; and \d+ more$"):
        load_generator(checkpoint)


def test_an_unknown_key_is_named_with_the_nearest(checkpoint: Path) -> None:
    edit_config(checkpoint, generator=CONFIG.to_plain() | {"block": 3})
    with pytest.raises(CheckpointError, match=r"generator\.block', did you mean 'blocks'"):
        load_generator(checkpoint)


def test_a_yaml_of_something_else_is_no_checkpoint(checkpoint: Path) -> None:
    (checkpoint / "config.yaml").write_text("samples: 3\n")
    with pytest.raises(CheckpointError, match="unknown key 'samples'"):
        load_generator(checkpoint)


def test_classes_must_agree_with_the_taxonomy(checkpoint: Path) -> None:
    edit_config(checkpoint, generator=CONFIG.to_plain() | {"num_classes": 5})
    with pytest.raises(CheckpointError, match="num_classes is 5, expected 4"):
        load_generator(checkpoint)


def test_an_unknown_dtype_is_refused(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="dtype 'int8': expected one of float32"):
        load_generator(checkpoint, dtype="int8")


def test_a_checkpoint_without_encoder_says_so(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="has no encoder"):
        load_encoder(checkpoint)


def test_nothing_is_overwritten(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="already exists"):
        save_checkpoint(checkpoint, network(), taxonomy=TAXONOMY)


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    broken = network()
    with torch.no_grad():
        next(broken.parameters()).view(-1)[0] = 1e6
    with pytest.raises(CheckpointError, match="not finite in torch"):
        save_checkpoint(tmp_path / "c", broken, taxonomy=TAXONOMY, dtype="float16")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(blocked / "c", network(), taxonomy=TAXONOMY)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
