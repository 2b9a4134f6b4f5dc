"""The generators at any size and dtype, and the shapes that ship."""

import pytest
import torch
from torch.nn import functional as F

from hdmodel.allocator import tune_allocator
from hdmodel.architecture import GeneratorConfig
from hdmodel.generator import Generator, build_generator
from hdmodel.layers import InstanceNorm, initialise, pad_to_multiple

SMALL = {"num_classes": 4, "base_channels": 4, "downsamplings": 2, "blocks": 1}
CONFIGS = [
    GeneratorConfig(**SMALL),
    GeneratorConfig(**SMALL, architecture="local", enhancers=1, enhancer_blocks=1),
    GeneratorConfig(**SMALL, architecture="local", enhancers=2, enhancer_blocks=1),
]


def seeded(config: GeneratorConfig) -> Generator:
    network = build_generator(config)
    initialise(network, torch.Generator().manual_seed(0))
    return network.requires_grad_(False).eval()


def noise(config: GeneratorConfig, height: int, width: int, *, batch: int = 1) -> torch.Tensor:
    random = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand((batch, config.in_channels, height, width), generator=random)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (37, 53), (64, 32)])
def test_any_size_comes_back(config: GeneratorConfig, size: tuple[int, int]) -> None:
    photo = seeded(config)(noise(config, *size))
    assert photo.shape == (1, 3, *size)
    assert photo.isfinite().all()
    assert photo.abs().max() <= 1


@pytest.mark.parametrize("config", CONFIGS)
def test_sizes_without_padding_pass_through_the_plain_network(config: GeneratorConfig) -> None:
    network = seeded(config)
    inputs = noise(config, 32, 48)
    assert torch.equal(network(inputs), network.render(inputs))


@pytest.mark.parametrize("config", CONFIGS)
def test_padding_is_a_mirror(config: GeneratorConfig) -> None:
    network = seeded(config)
    inputs = noise(config, 40, 61)
    multiple = config.size_multiple
    below, right = -40 % multiple, -61 % multiple
    mirrored = F.pad(inputs, (0, right, 0, below), mode="reflect")
    assert torch.equal(network(inputs), network.render(mirrored)[..., :40, :61])


def test_narrow_pictures_repeat_their_edge() -> None:
    picture = torch.tensor([[[[1.0, 2.0]]]])
    padded = pad_to_multiple(picture, multiple=2, smallest=4)
    assert torch.equal(padded, torch.tensor([1.0, 2.0, 2.0, 2.0]).expand(1, 1, 4, 4))


@pytest.mark.parametrize("config", CONFIGS)
def test_a_photo_does_not_depend_on_its_batch(config: GeneratorConfig) -> None:
    network = seeded(config)
    inputs = noise(config, 32, 32, batch=3)
    together = network(inputs)
    for index in range(3):
        alone = network(inputs[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=1e-5)


def test_half_precision_stays_close() -> None:
    config = CONFIGS[0]
    inputs = noise(config, 48, 64)
    exact = seeded(config)(inputs)
    rough = seeded(config).to(torch.bfloat16)(inputs)
    assert rough.dtype == torch.float32
    assert (exact - rough).abs().mean() < 0.01 * exact.std() + 0.01


def test_wrong_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="has 7 channels, expected 5"):
        seeded(CONFIGS[0])(torch.zeros((1, 7, 16, 16)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_is_torchs(dtype: torch.dtype, layout: torch.memory_format) -> None:
    x = torch.randn((2, 5, 9, 11), generator=torch.Generator().manual_seed(1)) * 3 + 2
    x = x.to(dtype).contiguous(memory_format=layout)
    expected = F.instance_norm(x.double())
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(InstanceNorm()(x).double(), expected, rtol=0, atol=tolerance)


def test_the_papers_sizes() -> None:
    """Paper: G2 at 2048x1024 has 182.9 M parameters; the appendix gives the widths of G1."""
    with torch.device("meta"):
        local = build_generator(GeneratorConfig(architecture="local", base_channels=32))
        g1 = build_generator(GeneratorConfig())
    assert sum(p.numel() for p in local.parameters()) == pytest.approx(182.9e6, abs=0.05e6)
    widths = [conv.weight.shape[0] for conv in g1.modules() if isinstance(conv, torch.nn.Conv2d)]
    assert widths == [64, 128, 256, 512, 1024, *[1024] * 18, 3]


def test_initial_weights_follow_the_paper_and_the_seed() -> None:
    one, same = (seeded(GeneratorConfig(base_channels=16, downsamplings=2)) for _ in range(2))
    weights = torch.cat([p.flatten() for n, p in one.named_parameters() if n.endswith("weight")])
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    assert weights.mean().item() == pytest.approx(0, abs=1e-4)
    for a, b in zip(one.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_allocator_can_be_tuned_twice() -> None:
    assert tune_allocator() is tune_allocator()
