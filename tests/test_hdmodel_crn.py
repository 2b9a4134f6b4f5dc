"""The cascaded refinement network: the published sizes, the plain formula, any size and dtype."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdmodel.architecture import GeneratorConfig
from hdmodel.generator import Generator, build_generator
from hdmodel.layers import initialise

PUBLISHED = {
    6: [1024, 1024, 1024, 1024, 1024, 512, 512],
    7: [1024, 1024, 1024, 1024, 1024, 512, 512, 128],
    8: [1024, 1024, 1024, 1024, 1024, 512, 512, 128, 32],
}
"""Channels of the modules for photos 256, 512 and 1024 pixels high, in the released code."""


def shape(doublings: int = 3, **settings: object) -> GeneratorConfig:
    defaults = {"architecture": "crn", "num_classes": 3, "base_channels": 1}
    return GeneratorConfig.model_validate(defaults | {"downsamplings": doublings} | settings)


def seeded(config: GeneratorConfig) -> Generator:
    network = build_generator(config)
    initialise(network, torch.Generator().manual_seed(0))
    return network.requires_grad_(False).eval()


def noise(height: int, width: int, *, batch: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.rand((batch, 4, height, width), generator=random)


@pytest.mark.parametrize("doublings", PUBLISHED)
def test_the_published_sizes(doublings: int) -> None:
    """Weights counted from the widths: 3x3 without biases, norms with scale and offset, 1x1."""
    config = shape(doublings, base_channels=64, num_classes=20, instance_edges=False)
    with torch.device("meta"):
        network = build_generator(config)
    expected, before = 0, 0
    for width in PUBLISHED[doublings]:
        expected += 9 * (20 + before) * width + 9 * width**2 + 4 * width
        before = width
    expected += 3 * before + 3
    assert sum(p.numel() for p in network.parameters()) == expected
    firsts = [p.shape[0] for n, p in network.named_parameters() if n.endswith("conv1.weight")]
    assert firsts == PUBLISHED[doublings]
    assert (4 << doublings) % config.size_multiple == 0


def layer_norm(x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Over all values of a sample, as the released code's library computes it."""
    values = x.double().numpy()
    mean = values.mean(axis=(1, 2, 3), keepdims=True)
    variance = values.var(axis=(1, 2, 3), keepdims=True)
    normal = torch.tensor((values - mean) / np.sqrt(variance + 1e-5))
    return (normal * scale.view(1, -1, 1, 1) + offset.view(1, -1, 1, 1)).float()


def test_the_network_is_the_papers() -> None:
    network = seeded(shape())
    random = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.copy_(torch.randn(parameter.shape, generator=random))
    weights = dict(network.named_parameters())
    inputs = noise(16, 40, batch=2)
    features = None
    for level, halvings in enumerate((8, 4, 2, 1)):
        blocks = inputs.reshape(2, 4, 16 // halvings, halvings, 40 // halvings, halvings)
        x = blocks.mean(dim=(3, 5))
        if features is not None:
            double = nn.UpsamplingBilinear2d(scale_factor=2)
            x = torch.cat([double(features), x], dim=1)
        for part in "12":
            name = f"cascade.refinements.{level}."
            x = F.conv2d(x, weights[f"{name}conv{part}.weight"], padding="same")
            norm = f"{name}norm{part}"
            x = layer_norm(x, weights[f"{norm}.weight"], weights[f"{norm}.bias"])
            x = torch.maximum(x, 0.2 * x)
        features = x
    assert features is not None
    last, bias = weights["cascade.last.weight"], weights["cascade.last.bias"]
    expected = torch.tanh(F.conv2d(features, last, bias))
    torch.testing.assert_close(network(inputs), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("doublings", [1, 4, 9])
@pytest.mark.parametrize("size", [(1, 1), (2, 50), (37, 53)])
def test_any_size_comes_back(doublings: int, size: tuple[int, int]) -> None:
    photo = seeded(shape(doublings))(noise(*size))
    assert photo.shape == (1, 3, *size)
    assert photo.dtype == torch.float32
    assert photo.isfinite().all()
    assert photo.abs().max() <= 1


def test_a_photo_does_not_depend_on_its_batch() -> None:
    network = seeded(shape())
    inputs = noise(32, 32, batch=3)
    together = network(inputs)
    for index in range(3):
        alone = network(inputs[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=1e-5)


def test_half_precision_stays_close() -> None:
    config = shape(base_channels=4)
    inputs = noise(48, 64)
    exact = seeded(config)(inputs)
    half = seeded(config).to(torch.bfloat16).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = seeded(config)(inputs)
    for rough in (half(inputs), mixed):
        assert rough.dtype == torch.float32
        assert (exact - rough).abs().mean() < 0.01 * exact.std() + 0.01


def test_every_weight_learns() -> None:
    network = build_generator(shape())
    with torch.autocast("cpu", torch.bfloat16):
        photo = network(noise(24, 24))
    photo.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
