"""The U-Net: the published sizes, the plain formula, dropout in training alone."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdmodel.architecture import GeneratorConfig
from hdmodel.generator import Generator, build_generator
from hdmodel.layers import initialise

BASE = 4


def shape(downsamplings: int = 4, **settings: object) -> GeneratorConfig:
    defaults = {"architecture": "unet", "num_classes": 2, "base_channels": BASE}
    return GeneratorConfig.model_validate(defaults | {"downsamplings": downsamplings} | settings)


def seeded(config: GeneratorConfig) -> Generator:
    network = build_generator(config)
    initialise(network, torch.Generator().manual_seed(0))
    return network.requires_grad_(False).eval()


def noise(height: int, width: int, *, batch: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.rand((batch, 3, height, width), generator=random)


def test_the_published_size() -> None:
    """The released network, 3 to 3 channels, prints 54.414 M parameters.

    Those are its 4x4 convolutions, batch norm's scale and offset, and one bias of 3. Ours has no
    scale and offset, and biases in the first and the last strided convolution, too.
    """
    with torch.device("meta"):
        network = build_generator(shape(8, base_channels=64, num_classes=3, instance_edges=False))
    down = [64, 128, 256, 512, 512, 512, 512, 512]
    up = [512, 512, 512, 512, 256, 128, 64]
    convolutions = 3 * down[0] + sum(a * b for a, b in pairwise(down))
    inputs = [512, *(2 * width for width in up)]
    convolutions += sum(a * b for a, b in zip(inputs, [*up, 3], strict=True))
    batch_norm = 2 * (sum(down[1:-1]) + sum(up))
    assert 16 * convolutions + batch_norm + 3 == pytest.approx(54.414e6, abs=500)
    counted = sum(p.numel() for p in network.parameters())
    assert counted == 16 * convolutions + 3 + 64 + 512


def by_hand(weights: dict[str, Tensor], x: Tensor, levels: int) -> Tensor:
    """The network written down from the paper's appendix, for three levels or more."""

    def down(level: int, x: Tensor) -> Tensor:
        bias = weights.get(f"unet.down.{level}.conv.bias")
        return F.conv2d(x, weights[f"unet.down.{level}.conv.weight"], bias, stride=2, padding=1)

    seen = [down(0, x)]
    for level in range(1, levels - 1):
        seen.append(F.instance_norm(down(level, F.leaky_relu(seen[-1], 0.2))))
    x = down(levels - 1, F.leaky_relu(seen[-1], 0.2))
    for step in range(levels - 1):
        weight = weights[f"unet.up.{step}.conv.weight"]
        x = F.instance_norm(F.conv_transpose2d(F.relu(x), weight, stride=2, padding=1))
        x = torch.cat([seen[levels - 2 - step], x], dim=1)
    last, bias = weights["unet.last.weight"], weights["unet.last.bias"]
    return torch.tanh(F.conv_transpose2d(F.relu(x), last, bias, stride=2, padding=1))


@pytest.mark.parametrize("levels", [3, 5])
def test_the_network_is_the_papers(levels: int) -> None:
    network = seeded(shape(levels))
    for bias in (p for name, p in network.named_parameters() if name.endswith("bias")):
        bias.add_(0.1)
    inputs = noise(64, 96, batch=2)
    expected = by_hand(dict(network.named_parameters()), inputs, levels)
    torch.testing.assert_close(network(inputs), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("levels", [1, 2, 5])
@pytest.mark.parametrize("size", [(1, 1), (2, 50), (37, 53)])
def test_any_size_comes_back(levels: int, size: tuple[int, int]) -> None:
    photo = seeded(shape(levels))(noise(*size))
    assert photo.shape == (1, 3, *size)
    assert photo.dtype == torch.float32
    assert photo.isfinite().all()
    assert photo.abs().max() <= 1


def test_a_single_pixel_at_the_bottom_still_counts() -> None:
    """With a norm there, the map would be 0 and its weights without a gradient."""
    config = shape(4)
    network = build_generator(config)
    inputs = noise(config.size_multiple, config.size_multiple)
    network(inputs).square().sum().backward()
    deepest = network.get_parameter("unet.down.3.conv.weight")
    assert deepest.grad is not None
    assert deepest.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (3, [False, False]),
        (4, [True, False, False]),
        (8, [True, True, True, False, False, False, False]),
    ],
)
def test_the_deepest_levels_of_the_decoder_have_dropout(levels: int, expected: list[bool]) -> None:
    """Isola et al., appendix: CD512-CD512-CD512-C512-C256-C128-C64."""
    with torch.device("meta"):
        network = build_generator(shape(levels))
    up = network.get_submodule("unet.up")
    found = [
        any(isinstance(part, nn.Dropout) for part in level.modules()) for level in up.children()
    ]
    assert found == expected


def test_dropout_is_for_training_alone() -> None:
    network = seeded(shape(4))
    inputs = noise(32, 32)
    assert torch.equal(network(inputs), network(inputs))
    network.train()
    torch.manual_seed(0)
    assert not torch.equal(network(inputs), network(inputs))


def test_half_precision_stays_close() -> None:
    config = shape(4)
    inputs = noise(48, 64)
    exact = seeded(config)(inputs)
    half = seeded(config).to(torch.bfloat16).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = seeded(config)(inputs)
    for rough in (half(inputs), mixed):
        assert rough.dtype == torch.float32
        assert (exact - rough).abs().mean() < 0.01 * exact.std() + 0.01
