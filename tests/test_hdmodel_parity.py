"""The networks against outputs of the original authors' code (tests/golden)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hdmodel.architecture import DiscriminatorConfig, EncoderConfig, GeneratorConfig
from hdmodel.conditioning import boundary_map, condition
from hdmodel.encoder import FeatureEncoder
from hdmodel.generator import build_generator
from hdmodel.import_pix2pixhd import encoder_keys, generator_keys
from hdmodel.training.discriminator import MultiscaleDiscriminator
from hdmodel.training.losses import discriminator_losses, feature_matching, lsgan

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def scene() -> dict[str, Tensor]:
    return load_file(GOLDEN / "scene.safetensors")


@pytest.fixture(scope="module")
def conditioning(scene: dict[str, Tensor]) -> Tensor:
    return condition(scene["label"][None], scene["instance"][None], num_classes=35)


@pytest.fixture(scope="module")
def photo(scene: dict[str, Tensor]) -> Tensor:
    return scene["photo"].permute(2, 0, 1)[None].float() / 127.5 - 1


def fill(network: nn.Module, golden: dict[str, Tensor], names: dict[str, str]) -> None:
    state = {}
    for key in network.state_dict():
        module, _, parameter = key.rpartition(".")
        state[key] = golden[f"state.{names[module]}.{parameter}"]
    assert len(state) == sum(key.startswith("state.") for key in golden)
    network.load_state_dict(state)


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)


def test_boundary_map_is_the_originals(scene: dict[str, Tensor]) -> None:
    assert torch.equal(boundary_map(scene["instance"][None])[0], scene["edges"].bool())


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("global_generator", GeneratorConfig(base_channels=4, downsamplings=3, blocks=2)),
        (
            "local_enhancer_1",
            GeneratorConfig(
                architecture="local",
                base_channels=4,
                downsamplings=3,
                blocks=2,
                enhancers=1,
                enhancer_blocks=2,
            ),
        ),
        (
            "local_enhancer_2",
            GeneratorConfig(
                architecture="local",
                base_channels=2,
                downsamplings=2,
                blocks=2,
                enhancers=2,
                enhancer_blocks=1,
            ),
        ),
        (
            "local_enhancer_features",
            GeneratorConfig(
                architecture="local",
                feature_channels=3,
                base_channels=4,
                downsamplings=2,
                blocks=2,
                enhancers=1,
                enhancer_blocks=2,
            ),
        ),
    ],
)
def test_generators_render_the_originals_photos(
    name: str, config: GeneratorConfig, scene: dict[str, Tensor]
) -> None:
    golden = load_file(GOLDEN / f"{name}.safetensors")
    network = build_generator(config)
    fill(network, golden, dict(generator_keys(config)))
    inputs = condition(
        scene["label"][None],
        scene["instance"][None],
        num_classes=35,
        features=golden.get("features"),
    )
    assert_same(network(inputs), golden["output"])


def test_encoder_gives_the_originals_features(scene: dict[str, Tensor], photo: Tensor) -> None:
    golden = load_file(GOLDEN / "encoder.safetensors")
    config = EncoderConfig(base_channels=4, downsamplings=4, out_channels=3)
    network = FeatureEncoder(config)
    fill(network, golden, dict(encoder_keys(config)))
    assert_same(network(photo, scene["instance"][None]), golden["output"])


def test_discriminator_and_losses_are_the_originals(conditioning: Tensor, photo: Tensor) -> None:
    golden = load_file(GOLDEN / "discriminator.safetensors")
    network = MultiscaleDiscriminator(
        DiscriminatorConfig(base_channels=8, layers=3, scales=3), in_channels=39
    )
    # The original numbers its scales from the coarsest one.
    names = {
        f"scales.{scale}.{ours}": f"scale{2 - scale}_layer{layer}.0"
        for scale in range(3)
        for layer, ours in enumerate(["hidden.0", "hidden.1", "hidden.2", "hidden.3", "score"])
    }
    fill(network, golden, names)

    (real,) = network(conditioning, photo)
    for scale, output in enumerate(real):
        for layer, features in enumerate(output.features):
            assert_same(features, golden[f"real.{scale}.{layer}"])

    (fake,) = network(conditioning, golden["fake"])
    of_discriminator = discriminator_losses(fake, real)
    assert_same(lsgan(fake, target=1.0), golden["loss.lsgan_g"][0])
    assert_same(feature_matching(fake, real), golden["loss.feature_matching_lambda10"][0])
    assert_same(of_discriminator.real, golden["loss.lsgan_d_real"][0])
    assert_same(of_discriminator.fake, golden["loss.lsgan_d_fake"][0])


def test_a_batch_gives_each_sample_its_own_features(conditioning: Tensor, photo: Tensor) -> None:
    network = MultiscaleDiscriminator(
        DiscriminatorConfig(base_channels=4, layers=2, scales=2), in_channels=39
    )
    (both,) = network(conditioning.repeat(2, 1, 1, 1), torch.cat([photo, -photo]))
    first, second = network(conditioning, photo, -photo)
    for pair, *alone in zip(both, first, second, strict=True):
        for place, one in enumerate(alone):
            for a, b in zip(pair.features, one.features, strict=True):
                torch.testing.assert_close(a[place], b[0], rtol=0, atol=1e-4)
