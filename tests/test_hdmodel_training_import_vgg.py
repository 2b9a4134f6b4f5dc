"""Importing VGG-16 of other projects: the same answers, and files that are something else."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch.nn import functional as F
from torchvision.models.vgg import cfgs, make_layers

from hdmodel.errors import CheckpointError, InputError
from hdmodel.training.import_vgg import import_vgg
from hdmodel.training.perceptual import load_perceptual
from hdmodel.training.perceptual_config import PerceptualConfig
from hdsynth.cli import main

h5py = pytest.importorskip("h5py")

WIDTHS = {1: (64, 2), 2: (128, 2), 3: (256, 3), 4: (512, 3), 5: (512, 3)}
LAYERS = ("relu1_1", "relu1_2", "relu2_1", "relu3_3", "relu4_1", "relu5_3")
Weights = dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Kernels (H, W, I, O) and biases of random values, by Keras' names."""
    random = np.random.default_rng(0)
    made: Weights = {}
    channels = 3
    for block, (width, count) in WIDTHS.items():
        for place in range(1, count + 1):
            spread = np.sqrt(2 / (9 * channels))
            kernel = random.standard_normal((3, 3, channels, width), np.float32) * spread
            made[f"block{block}_conv{place}"] = (
                kernel.astype(np.float32),
                random.standard_normal(width, np.float32),
            )
            channels = width
    return made


def write(file: Path, weights: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    """A file as Keras 3 writes it: layers counted in each block, their names as attributes."""
    with h5py.File(file, "w") as opened:
        for name, tensors in weights.items():
            block, place = name.split("_conv")
            layer = "conv2d" if place == "1" else f"conv2d_{int(place) - 1}"
            group = opened.create_group(f"{block}/layers/{layer}/vars")
            group.attrs["name"] = name
            for key, tensor in enumerate(tensors):
                group[str(key)] = tensor
        side = opened.create_group("dsn1/vars")
        side.attrs["name"] = "conv2d"
        side["0"] = np.zeros((1, 1, 64, 1), np.float32)
    return file


@pytest.fixture(scope="module")
def imported(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vgg")
    return import_vgg(write(folder / "hed.weights.h5", weights), to=folder / "vgg16.safetensors")


def edge_detectors(weights: Weights, photo_3HW: np.ndarray) -> dict[str, torch.Tensor]:
    """The original's features of a photo, red, green and blue of 0..255."""
    x = photo_3HW[::-1] - np.array([104.00699, 116.66877, 122.67892])[:, None, None]
    features = torch.tensor(x[None]).float()
    found: dict[str, torch.Tensor] = {}
    for name, (kernel, bias) in weights.items():
        if name.endswith("conv1") and name != "block1_conv1":
            features = F.max_pool2d(features, 2)
        kernel_OIHW = torch.tensor(kernel).permute(3, 2, 0, 1)
        features = F.relu(F.conv2d(features, kernel_OIHW, torch.tensor(bias), padding=1))
        found[name.replace("block", "relu").replace("conv", "")] = features
    return found


def test_features_are_the_edge_detectors(weights: Weights, imported: Path) -> None:
    config = PerceptualConfig(
        weights=str(imported), layers=LAYERS, layer_weights=(1.0,) * len(LAYERS)
    )
    photo = np.random.default_rng(1).integers(0, 256, (3, 48, 64)).astype(np.float32)
    expected = edge_detectors(weights, photo)
    found = load_perceptual(config, device=torch.device("cpu")).features(
        torch.tensor(photo[None]) / 127.5 - 1
    )
    assert tuple(found) == LAYERS
    inner = (..., slice(1, -1), slice(1, -1))
    for layer in LAYERS:
        difference = (found[layer] - expected[layer]).abs()
        size = expected[layer].std().item()
        if layer == "relu1_1":
            assert difference[inner].max() < 1e-5 * size
        # The border is another grey, by less than 1 of 255 steps.
        assert difference.mean() < 0.005 * size, layer


def test_the_file_has_torchvisions_names(imported: Path) -> None:
    with torch.device("meta"):
        expected = make_layers(cfgs["D"]).state_dict()
    found = load_file(imported)
    assert {key: tuple(value.shape) for key, value in found.items()} == {
        f"features.{key}": tuple(value.shape) for key, value in expected.items()
    }


def refuse(file: Path, message: str) -> None:
    to = file.with_name("made.safetensors")
    with pytest.raises(CheckpointError, match=message) as caught:
        import_vgg(file, to=to)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not to.exists()


def test_a_missing_file(tmp_path: Path) -> None:
    refuse(tmp_path / "hed.h5", "no such file")


@pytest.mark.parametrize("content", [b"", b"x", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04" * 99])
def test_files_of_another_kind(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "hed.h5"
    file.write_bytes(content)
    refuse(file, r"not a readable \.h5 file")


def test_other_networks(weights: Weights, tmp_path: Path) -> None:
    file = tmp_path / "hed.h5"
    refuse(write(file, {}), "has 0 of the 13 convolutions of VGG-16, block1_conv1 is missing")
    without = {name: value for name, value in weights.items() if name != "block4_conv2"}
    refuse(write(file, without), "has 12 of the 13 .* block4_conv2 is missing")
    wrong = np.zeros((5, 5, 64, 64), np.float32), np.zeros(64, np.float32)
    refuse(write(file, weights | {"block1_conv2": wrong}), r"block1_conv2 has shapes .*5, 5\)")
    flat = np.zeros(3, np.float32), np.zeros(64, np.float32)
    refuse(write(file, weights | {"block1_conv2": flat}), r"has shape \(3,\), expected a conv")
    broken = weights["block1_conv2"][0], np.full(64, np.nan, np.float32)
    refuse(write(file, weights | {"block1_conv2": broken}), "block1_conv2 holds values that are")


def test_targets_that_will_not_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        import_vgg(tmp_path / "hed.h5", to=tmp_path / "vgg.pth")
    taken = tmp_path / "vgg.safetensors"
    taken.write_bytes(b"mine")
    with pytest.raises(InputError, match="expected a new file"):
        import_vgg(tmp_path / "hed.h5", to=taken)
    assert taken.read_bytes() == b"mine"


def test_without_h5py_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match="pip install h5py"):
        import_vgg(tmp_path / "hed.h5", to=tmp_path / "vgg.safetensors")


def shift_tolerant() -> dict[str, torch.Tensor]:
    """A file as stlpips-pytorch has it, with random weights."""
    random = torch.Generator().manual_seed(0)
    line = torch.tensor([1.0, 2.0, 1.0]) / 4
    state = {
        "scaling_layer.shift": torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1),
        "scaling_layer.scale": torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1),
        "lin0.model.1.weight": torch.zeros(1, 64, 1, 1),
    }
    number, channels = 0, 3
    for block, (width, count) in WIDTHS.items():
        if block > 1:
            blur = (line[:, None] * line).expand(channels, 1, 3, 3).clone()
            state[f"net.slice{block}.{number + 1}.filt"] = blur
            number += 2
        for _ in range(count):
            spread = np.sqrt(2 / (9 * channels))
            name = f"net.slice{block}.{number}"
            state[f"{name}.weight"] = torch.randn(width, channels, 3, 3, generator=random) * spread
            state[f"{name}.bias"] = torch.randn(width, generator=random) / 10
            number, channels = number + 2, width
    return state


def save_state(file: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save(state, file)
    return file


def test_features_are_the_shift_tolerant_networks(tmp_path: Path) -> None:
    state = shift_tolerant()
    assert "net.slice5.32.weight" in state  # the numbers that the real file has
    file = import_vgg(save_state(tmp_path / "vgg.pth", state), to=tmp_path / "vgg.safetensors")
    config = PerceptualConfig(weights=str(file), layers=LAYERS, layer_weights=(1.0,) * len(LAYERS))
    photo = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    x = (photo - state["scaling_layer.shift"]) / state["scaling_layer.scale"]
    expected, block = {}, 1
    convolutions = [key for key in state if key.startswith("net.") and key.endswith(".weight")]
    place = 0
    for key in convolutions:
        if int(key[len("net.slice")]) != block:
            block, place = block + 1, 0
            blur = next(
                v for k, v in state.items() if k.startswith(f"net.slice{block}.") and "filt" in k
            )
            x = F.pad(F.max_pool2d(x, 2, stride=1), (2, 2, 2, 2), mode="reflect")
            x = F.conv2d(x, blur, stride=2, groups=blur.shape[0])
        x = F.relu(F.conv2d(x, state[key], state[key.replace("weight", "bias")], padding=1))
        place += 1
        expected[f"relu{block}_{place}"] = x
    found = load_perceptual(config, device=torch.device("cpu")).features(photo)
    assert tuple(found) == LAYERS
    for layer in LAYERS:
        difference = (found[layer] - expected[layer]).abs().mean()
        assert difference < 2e-3 * expected[layer].std(), layer  # its constants are rounded


def test_other_files_with_the_ending_of_the_shift_tolerant_one(tmp_path: Path) -> None:
    file, state = tmp_path / "vgg.pth", shift_tolerant()
    refuse(file, "no such file")
    refuse(save_state(file, {"a": torch.zeros(1)}), r"has 0 convolutions .* stlpips-pytorch")
    name = "net.slice1.2.weight"
    refuse(save_state(file, state | {name: torch.zeros(64, 64, 5, 5)}), r"net.slice1.2 has shape")
    without = {key: value for key, value in state.items() if key != "net.slice1.2.bias"}
    refuse(save_state(file, without), "net.slice1.2 .* and a bias")
    refuse(save_state(file, state | {name: state[name] * torch.nan}), "are not finite")
    blur = "net.slice2.5.filt"
    refuse(save_state(file, state | {blur: state[blur] * 2}), "blur otherwise")
    refuse(save_state(file, state | {blur: torch.ones(64, 1, 1, 1)}), "blur otherwise")
    scale = "scaling_layer.scale"
    refuse(save_state(file, state | {scale: state[scale] * 2}), "does not normalise")


def test_the_command_on_the_shift_tolerant_network(tmp_path: Path) -> None:
    file, to = save_state(tmp_path / "vgg.pth", shift_tolerant()), tmp_path / "vgg.safetensors"
    result = CliRunner().invoke(main, ["import-vgg", str(file), "--to", str(to)])
    assert result.exit_code == 0, result.output
    assert "blurred poolings" in result.output
    assert f"--set losses.perceptual=10 --set vgg.weights={to}" in result.output


def test_the_command(weights: Weights, tmp_path: Path) -> None:
    file, to = write(tmp_path / "hed.weights.h5", weights), tmp_path / "vgg16-hed.safetensors"
    result = CliRunner().invoke(main, ["import-vgg", str(file), "--to", str(to)])
    assert result.exit_code == 0, result.output
    assert "stand-in" in result.output
    assert f"--set losses.perceptual=2 --set vgg.weights={to}" in result.output
    assert to.is_file()
    again = CliRunner().invoke(main, ["import-vgg", str(file), "--to", str(to)])
    assert again.exit_code == 2
    assert "expected a new file" in again.output
