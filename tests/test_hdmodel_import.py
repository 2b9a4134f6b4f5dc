"""Importing the original project's weights: the golden files, and files that are something else."""

import contextlib
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from hdmodel.checkpoint import TaxonomyRecord, load_encoder, load_generator, read_checkpoint_config
from hdmodel.conditioning import condition
from hdmodel.errors import CheckpointError
from hdmodel.import_pix2pixhd import import_pix2pixhd

GOLDEN = Path(__file__).parent / "golden"


def taxonomy(classes: int = 35) -> TaxonomyRecord:
    names = tuple(f"class {number}" for number in range(classes))
    return TaxonomyRecord(name="toy", version=1, fingerprint="abc", class_names=names)


def original_state(name: str) -> OrderedDict[str, Tensor]:
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    return OrderedDict(
        (key.removeprefix("state."), value)
        for key, value in tensors.items()
        if key.startswith("state.")
    )


def conditioning(features: Tensor | None = None) -> Tensor:
    scene = load_file(GOLDEN / "scene.safetensors")
    return condition(
        scene["label"][None], scene["instance"][None], num_classes=35, features=features
    )


def assert_renders(checkpoint: Path, golden: str) -> None:
    tensors = load_file(GOLDEN / f"{golden}.safetensors")
    photo = load_generator(checkpoint)(conditioning(tensors.get("features")))
    torch.testing.assert_close(photo, tensors["output"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("file", "golden"),
    [
        ("nvidia_global_net_G.pth", "global_generator"),
        ("nvidia_local_net_G.pth", "local_enhancer_1"),
    ],
)
def test_the_originals_files_render_the_originals_photos(
    file: str, golden: str, tmp_path: Path
) -> None:
    to = import_pix2pixhd(GOLDEN / file, None, taxonomy=taxonomy(), to=tmp_path / "ckpt")
    assert_renders(to, golden)
    config = read_checkpoint_config(to)
    assert config.generator.instance_edges
    assert config.training["generator_file"] == file


@pytest.mark.parametrize("legacy", [False, True])
def test_two_enhancers_in_either_file_format(legacy: bool, tmp_path: Path) -> None:
    file = tmp_path / "latest_net_G.pth"
    state = original_state("local_enhancer_2")
    torch.save(state, file, _use_new_zipfile_serialization=not legacy)
    to = import_pix2pixhd(file, None, taxonomy=taxonomy(), to=tmp_path / "ckpt")
    assert read_checkpoint_config(to).generator.enhancers == 2
    assert_renders(to, "local_enhancer_2")


def test_features_and_their_encoder(tmp_path: Path) -> None:
    file = tmp_path / "latest_net_G.pth"
    torch.save(original_state("local_enhancer_features"), file)
    to = import_pix2pixhd(
        file, GOLDEN / "nvidia_net_E.pth", taxonomy=taxonomy(), to=tmp_path / "ckpt"
    )
    assert read_checkpoint_config(to).generator.feature_channels == 3
    assert_renders(to, "local_enhancer_features")
    scene = load_file(GOLDEN / "scene.safetensors")
    photo = scene["photo"].permute(2, 0, 1)[None].float() / 127.5 - 1
    torch.testing.assert_close(
        load_encoder(to)(photo, scene["instance"][None]),
        load_file(GOLDEN / "encoder.safetensors")["output"],
        rtol=0,
        atol=1e-5,
    )


def test_old_buffers_and_parallel_names_are_read_over(tmp_path: Path) -> None:
    state = OrderedDict(
        (f"module.{key}", value) for key, value in original_state("global_generator").items()
    )
    state["module.model.2.running_mean"] = torch.zeros(4)
    torch.save(state, tmp_path / "G.pth")
    to = import_pix2pixhd(tmp_path / "G.pth", None, taxonomy=taxonomy(), to=tmp_path / "ckpt")
    assert_renders(to, "global_generator")


def test_without_boundary_map(tmp_path: Path) -> None:
    to = import_pix2pixhd(
        GOLDEN / "nvidia_global_net_G.pth", None, taxonomy=taxonomy(36), to=tmp_path / "ckpt"
    )
    assert not read_checkpoint_config(to).generator.instance_edges


class Harmful:
    """A pickle that makes a file when somebody loads it without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def refuse(state: object, message: str, tmp_path: Path, *, classes: int = 35) -> None:
    file = tmp_path / "G.pth"
    if isinstance(state, bytes):
        file.write_bytes(state)
    elif state is not None:
        torch.save(state, file)
    with pytest.raises(CheckpointError, match=message) as caught:
        import_pix2pixhd(file, None, taxonomy=taxonomy(classes), to=tmp_path / "ckpt")
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ckpt").exists()


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "harm"
    refuse({"model.1.weight": Harmful(trap)}, "code or objects", tmp_path)
    refuse(pickle.dumps(Harmful(trap)), "G.pth", tmp_path)
    assert not trap.exists()


def test_a_missing_file(tmp_path: Path) -> None:
    refuse(None, "no such file", tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", b"\x80\x02", b"PK\x03\x04", b"\x89PNG\r\n" * 50])
def test_files_of_another_kind(content: bytes, tmp_path: Path) -> None:
    refuse(content, r"not a readable \.pth file", tmp_path)


@pytest.mark.parametrize("legacy", [False, True])
def test_every_truncation_is_refused(legacy: bool, tmp_path: Path) -> None:
    whole = tmp_path / "whole.pth"
    torch.save(original_state("global_generator"), whole, _use_new_zipfile_serialization=not legacy)
    content = whole.read_bytes()
    for share in (0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 0.99, 0.999):
        refuse(content[: int(len(content) * share)], "G.pth", tmp_path)


def test_things_that_are_no_state_dict(tmp_path: Path) -> None:
    refuse([torch.zeros(1)], "holds a list, expected a state dict", tmp_path)
    refuse(OrderedDict(), "expected a state dict", tmp_path)
    refuse({"epoch": 3}, "entry 'epoch' is a int, expected named tensors", tmp_path)
    refuse({1: torch.zeros(1)}, "entry 1 is a Tensor", tmp_path)
    refuse({"model.1.weight": torch.zeros(1, dtype=torch.int64)}, "expected a floating", tmp_path)


def test_other_networks_are_told_apart(tmp_path: Path) -> None:
    refuse(original_state("discriminator"), "looks like a discriminator", tmp_path)
    refuse(original_state("encoder"), "reads 3 channels, expected 35 or 36", tmp_path)
    refuse({"conv1.weight": torch.zeros(1)}, r"looks like keys conv1\.weight", tmp_path)
    batch_norm = original_state("global_generator")
    batch_norm["model.2.weight"] = torch.ones(4)
    refuse(batch_norm, "batch norm", tmp_path)


def test_missing_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    state = original_state("local_enhancer_1")
    del state["model1_2.0.conv_block.1.bias"]
    state["model.4.bias"] = torch.zeros(5)
    refuse(
        state, r"model1_2\.0\.conv_block\.1\.bias is missing; model\.4\.bias has shape", tmp_path
    )


def test_classes_that_do_not_fit(tmp_path: Path) -> None:
    state = original_state("global_generator")
    refuse(state, "reads 36 channels, expected 12 or 13", tmp_path, classes=12)
    refuse(state, "reads 36 channels, expected 151 or 152", tmp_path, classes=151)


def test_features_without_encoder_ask_for_it(tmp_path: Path) -> None:
    refuse(original_state("local_enhancer_features"), "does it need its encoder", tmp_path)


def test_an_encoder_that_does_not_belong(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="reads 36 channels, expected 38 or 39"):
        import_pix2pixhd(
            GOLDEN / "nvidia_global_net_G.pth",
            GOLDEN / "nvidia_net_E.pth",
            taxonomy=taxonomy(),
            to=tmp_path / "ckpt",
        )


def test_no_changed_byte_breaks_out_of_the_error_class(tmp_path: Path) -> None:
    content = (GOLDEN / "nvidia_global_net_G.pth").read_bytes()
    for position in range(0, len(content), len(content) // 60):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        file = tmp_path / f"{position}.pth"
        file.write_bytes(damaged)
        with contextlib.suppress(CheckpointError):
            import_pix2pixhd(file, None, taxonomy=taxonomy(), to=tmp_path / str(position))
