"""The perceptual loss against torchvision's own network, and weights files that cannot be used."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vgg import cfgs, make_layers
from torchvision.transforms.functional import normalize

from hdmodel.errors import CheckpointError, ConfigError
from hdmodel.training.perceptual import (
    BLURRED,
    PerceptualLoss,
    check_perceptual,
    load_perceptual,
    untrained_perceptual,
)
from hdmodel.training.perceptual_config import PerceptualConfig

CPU = torch.device("cpu")
PLACES = {
    19: {"relu1_1": 1, "relu1_2": 3, "relu2_1": 6, "relu3_1": 11, "relu4_1": 20, "relu5_1": 29},
    16: {"relu1_1": 1, "relu1_2": 3, "relu2_1": 6, "relu3_1": 11, "relu4_1": 18, "relu5_1": 25},
}
"""Where torchvision's networks have these rectifiers."""
PAPER = {"relu1_1": 1 / 32, "relu2_1": 1 / 16, "relu3_1": 1 / 8, "relu4_1": 1 / 4, "relu5_1": 1.0}


@pytest.fixture(scope="module")
def vggs() -> dict[int, nn.Sequential]:
    """The convolutions of torchvision, with random weights."""
    torch.manual_seed(0)
    networks = {16: make_layers(cfgs["D"]), 19: make_layers(cfgs["E"])}
    for layer in (layer for network in networks.values() for layer in network):
        if isinstance(layer, nn.Conv2d):  # so that deep features are as large as the first
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.normal_(layer.bias, 0, 0.1)
    return {depth: network.requires_grad_(False).eval() for depth, network in networks.items()}


def state_of(network: nn.Sequential) -> dict[str, Tensor]:
    state = {f"features.{key}": value for key, value in network.state_dict().items()}
    return state | {"classifier.0.weight": torch.zeros(2, 2), "classifier.0.bias": torch.zeros(2)}


@pytest.fixture(scope="module")
def files(
    vggs: dict[int, nn.Sequential], tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("vgg")
    found = {19: folder / "vgg19-abc.pth", 16: folder / "vgg16.safetensors"}
    torch.save(state_of(vggs[19]), found[19])
    save_file(state_of(vggs[16]), found[16])
    return found


def config(file: Path | str, layers: dict[str, float] = PAPER) -> PerceptualConfig:
    return PerceptualConfig(
        weights=str(file), layers=tuple(layers), layer_weights=tuple(layers.values())
    )


def load(file: Path, layers: dict[str, float] = PAPER) -> PerceptualLoss:
    return load_perceptual(config(file, layers), device=CPU)


def photos(*, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand((2, 3, 32, 48), generator=random) * 2 - 1


@pytest.mark.parametrize("depth", [19, 16])
def test_the_loss_is_that_of_torchvisions_network(
    depth: int, vggs: dict[int, nn.Sequential], files: dict[int, Path]
) -> None:
    fake, real = photos(seed=1), photos(seed=2)
    expected = 0.0
    for layer, weight in PAPER.items():
        part = vggs[depth][: PLACES[depth][layer] + 1]
        a, b = (
            part(normalize((photo + 1) / 2, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
            for photo in (fake, real)
        )
        expected += weight * (a - b).abs().mean().item()
    check_perceptual(config(files[depth]))
    loss = load(files[depth])(fake, real)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_image_itself_can_be_compared(files: dict[int, Path]) -> None:
    fake, real = photos(seed=1), photos(seed=2)
    pixels = (fake - real).abs().mean().item()
    layers = {"relu1_2": 0.5, "image": 2.0}
    both = load(files[19], layers)(fake, real)
    features = load(files[19], {"relu1_2": 0.5})(fake, real)
    assert (both - features).item() == pytest.approx(2 * pixels, rel=1e-4)
    assert load(files[19], {"image": 1.0})(fake, real).item() == pytest.approx(pixels, rel=1e-6)


def test_the_gradient_reaches_the_fake_alone(files: dict[int, Path]) -> None:
    loss = load(files[16])
    fake, real = photos(seed=1).requires_grad_(), photos(seed=2).requires_grad_()
    loss(fake, real).backward()
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0
    assert real.grad is None
    assert not any(p.requires_grad for p in loss.parameters())
    assert all(p.grad is None for p in loss.parameters())
    assert not loss.training


def test_the_gradient_is_the_slope(files: dict[int, Path]) -> None:
    loss = load(files[16], {"image": 1.0, "relu1_1": 1.0, "relu2_1": 0.5}).double()
    fake, real = photos(seed=1).double().requires_grad_(), photos(seed=2).double()
    loss(fake, real).backward()
    assert fake.grad is not None
    direction = torch.randn(fake.shape, generator=torch.Generator().manual_seed(3)).double()
    features = loss.features(real)
    with torch.no_grad():
        ahead, behind = (
            sum(
                weight * F.l1_loss(loss.features(fake + step * direction)[layer], features[layer])
                for layer, weight in zip(loss.config.layers, (1.0, 1.0, 0.5), strict=True)
            )
            for step in (1e-6, -1e-6)
        )
    slope = float(ahead - behind) / 2e-6
    assert float((fake.grad * direction).sum()) == pytest.approx(slope, rel=1e-2)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_mixed_precision_stays_close(layout: torch.memory_format, files: dict[int, Path]) -> None:
    loss = load(files[19])
    fake, real = (photos(seed=seed).contiguous(memory_format=layout) for seed in (1, 2))
    exact = loss(fake, real)
    fake.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        rough = loss(fake, real)
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=0.02)
    rough.backward()
    assert fake.grad is not None
    assert fake.grad.isfinite().all()


def test_nothing_deeper_than_asked_for_is_built(files: dict[int, Path]) -> None:
    loss = load(files[19], {"relu2_1": 1.0})
    shapes = [tuple(p.shape) for p in loss.parameters() if p.ndim == 4]
    assert shapes == [(64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3)]


def test_torchvisions_cache_is_looked_into(
    files: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"has no vgg19-\*\.pth") as caught:
        check_perceptual(PerceptualConfig())
    assert "vgg19(weights='DEFAULT')" in str(caught.value)
    assert "losses.perceptual=0" in str(caught.value)
    cache = tmp_path / "checkpoints"
    cache.mkdir()
    (cache / files[19].name).symlink_to(files[19])
    check_perceptual(PerceptualConfig())
    fake, real = photos(seed=1), photos(seed=2)
    assert torch.equal(
        load_perceptual(PerceptualConfig(), device=CPU)(fake, real), load(files[19])(fake, real)
    )


def refuse(file: Path, message: str, layers: dict[str, float] = PAPER) -> None:
    for attempt in (check_perceptual, lambda config: load_perceptual(config, device=CPU)):
        with pytest.raises(CheckpointError, match=message) as caught:
            attempt(config(file, layers))
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    refuse(tmp_path / "vgg.pth", "no such file; on a machine with internet")


@pytest.mark.parametrize("depth", [19, 16])
def test_files_cut_short(depth: int, files: dict[int, Path], tmp_path: Path) -> None:
    content = files[depth].read_bytes()
    for length in (0, 5, 1000, len(content) // 2, len(content) - 1):
        file = tmp_path / f"{length}{files[depth].suffix}"
        file.write_bytes(content[:length])
        refuse(file, "not a")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_networks(suffix: str, vggs: dict[int, nn.Sequential], tmp_path: Path) -> None:
    state = {key: torch.zeros(1) for key in state_of(vggs[19])}

    def written(name: str, tensors: dict[str, Tensor]) -> Path:
        file = tmp_path / f"{name}{suffix}"
        torch.save(tensors, file) if suffix == ".pth" else save_file(tensors, file)
        return file

    refuse(
        written("small", state), r"features\.0\.weight has shape \(1,\), expected \(64, 3, 3, 3\)"
    )
    del state["features.34.weight"]
    refuse(written("gap", state), "holds 15 convolutions")
    refuse(written("other", {"conv.weight": torch.zeros(1)}), "holds 0 convolutions")
    norm = make_layers([64, "M", 64], batch_norm=True)
    refuse(written("norm", state_of(norm)), "without batch norm")
    no_bias = state_of(vggs[19])
    del no_bias["features.5.bias"]
    refuse(written("bias", no_bias), r"features\.5\.bias is missing")


def test_layers_that_vgg16_does_not_have(files: dict[int, Path]) -> None:
    load(files[19], {"relu3_4": 1.0})
    refuse(files[16], "is a VGG-16, which has no layer 'relu3_4'", {"relu3_4": 1.0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": ["relu1_3"], "layer_weights": [1]}, "unknown 'relu1_3'"),
        ({"layers": ["conv1_1"], "layer_weights": [1]}, "unknown 'conv1_1'"),
        ({"layers": ["relu1_1"]}, "layer_weights has 5 values, expected 1"),
        ({"layers": ["relu1_1"], "layer_weights": [-1]}, "greater than or equal to 0"),
        ({"layers": ["relu1_1"], "layer_weights": ["nan"]}, "finite|greater"),
        ({"layers": [], "layer_weights": []}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PerceptualConfig.parse(settings, origin="train.yaml")


def test_blurred_poolings_need_larger_crops(tmp_path: Path, vggs: dict[int, nn.Sequential]) -> None:
    """What is refused is what would fail, and no more."""
    file = tmp_path / "vgg16.safetensors"
    save_file(state_of(vggs[16]) | {BLURRED: torch.tensor([0.25, 0.5, 0.25])}, file)
    for layers, least in (({"relu1_1": 1.0}, 1), ({"relu3_1": 1.0}, 6), (PAPER, 18)):
        loss = load(file, layers)
        check_perceptual(config(file, layers), least_side=least)
        photo = torch.zeros(1, 3, least, least)
        assert loss(photo, photo) == 0
        if least > 1:
            with pytest.raises(ConfigError, match=f"expected at least {least} for the blurred"):
                check_perceptual(config(file, layers), least_side=least - 1)
            with pytest.raises(RuntimeError):
                loss(photo[..., :-1, :-1], photo[..., :-1, :-1])


def test_the_untrained_network_is_of_the_kind_of_the_weights(
    tmp_path: Path, vggs: dict[int, nn.Sequential], files: dict[int, Path]
) -> None:
    file = tmp_path / "vgg16.safetensors"
    save_file(state_of(vggs[16]) | {BLURRED: torch.tensor([0.25, 0.5, 0.25])}, file)
    for weights in (file, files[16], files[19]):
        untrained, real = untrained_perceptual(config(weights)), load(weights)
        assert [type(a) for a in untrained.vgg] == [type(a) for a in real.vgg]
    assert len(untrained_perceptual(config(tmp_path / "nowhere")).vgg) == len(load(files[19]).vgg)
