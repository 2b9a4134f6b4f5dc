"""Scorers: configuration, loading, predictions and losses against the bare network."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from eval.errors import EvalError
from eval.scorers.config import NetworkConfig, ScorerTraining, bundled_scorer, read_scorer_config
from eval.scorers.loading import load_scorer
from eval.scorers.network import build_network, padded, start_from
from hdmodel.errors import CheckpointError, ConfigError
from hdmodel.training.config import TrainingSet
from pipeline.taxonomy import Taxonomy

NETWORK = NetworkConfig(options={"encoder_depth": 3, "psp_out_channels": 16})
"""The paper's kind, with few features."""
TOY = Taxonomy.parse(
    {
        "name": "toy",
        "version": 1,
        "classes": [
            {"id": 0, "name": "void", "color": [0, 0, 0], "void": True},
            {"id": 1, "name": "red", "color": [200, 40, 40], "train_id": 0},
            {"id": 2, "name": "green", "color": [40, 200, 40], "train_id": 1},
        ],
    },
    origin="test",
)


def save_scorer(folder: Path, network: torch.nn.Module, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    weights = folder / "scorer.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, weights)
    plain = {
        "format": "hdsynth-scorer",
        "version": 1,
        "network": NETWORK.to_plain(),
        "taxonomy": TOY.to_plain(),
        "size": [48, 64],
        "normalisation": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]},
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        **changes,
    }
    (folder / "scorer.yaml").write_text(yaml.safe_dump(plain))
    return folder


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(NETWORK, num_classes=2).eval()


@pytest.fixture
def saved(tmp_path: Path, network: torch.nn.Module) -> Path:
    return save_scorer(tmp_path / "scorer", network)


def photos(height: int = 32, width: int = 64, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def seen(photo: np.ndarray) -> torch.Tensor:
    values = (photo / 255 - [0.4, 0.5, 0.6]) / [0.2, 0.25, 0.3]
    return torch.from_numpy(values.transpose(0, 3, 1, 2)).float()


def test_predictions_and_losses_are_those_of_the_bare_network(
    saved: Path, network: torch.nn.Module
) -> None:
    scorer = load_scorer(saved, device="cpu")
    with torch.inference_mode():
        logits = network(seen(photos()))
    assert (scorer.predict(photos()) == logits.argmax(1).numpy()).all()
    train_ids = np.random.default_rng(1).choice([0, 1, 255], (2, 32, 64)).astype(np.uint8)
    wanted = torch.nn.functional.cross_entropy(
        logits, torch.from_numpy(train_ids.astype(np.int64)), ignore_index=255, reduction="none"
    ).numpy()
    found = scorer.losses(photos(), train_ids)
    assert found.dtype == np.float32
    assert np.isnan(found[train_ids == 255]).all()
    kept = train_ids != 255
    np.testing.assert_allclose(found[kept], wanted[kept], rtol=1e-4, atol=1e-5)


def test_features_are_the_mean_of_the_deepest_ones(saved: Path, network: torch.nn.Module) -> None:
    scorer = load_scorer(saved, device="cpu")
    with torch.inference_mode():
        deepest = network.encoder(seen(photos()))[-1]
    np.testing.assert_allclose(
        scorer.features(photos()), deepest.mean((2, 3)).numpy(), rtol=1e-4, atol=1e-5
    )
    assert scorer.features_name == f"tf_efficientnet_lite0 of scorer {scorer.sha256[:12]}"
    assert [m.shape for m in scorer.feature_maps(photos())] == [
        (2, 16, 16, 32),
        (2, 24, 8, 16),
        (2, 40, 4, 8),
    ]


def test_no_prediction_depends_on_the_photos_beside_it(saved: Path) -> None:
    scorer = load_scorer(saved, device="cpu")
    together = scorer.predict(photos(count=3))
    alone = [scorer.predict(photos(count=3)[k : k + 1])[0] for k in range(3)]
    assert (together == np.stack(alone)).all()


def test_any_size_is_scored_at_its_own(saved: Path) -> None:
    scorer = load_scorer(saved, device="cpu")
    assert scorer.size == (48, 64)
    assert scorer.predict(photos(33, 50)).shape == (2, 33, 50)
    edge = padded(torch.arange(6.0).view(1, 1, 2, 3), 4)
    assert edge[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]


def test_bfloat16_decides_nearly_the_same(saved: Path) -> None:
    exact = load_scorer(saved, device="cpu").predict(photos())
    rough = load_scorer(saved, device="cpu", dtype="bfloat16").predict(photos())
    assert (exact == rough).mean() > 0.9


def test_what_a_scorer_says_of_itself(saved: Path) -> None:
    scorer = load_scorer(saved, device="cpu")
    about = scorer.describe()
    assert (about["taxonomy"], about["size"], about["dtype"]) == ("toy", [48, 64], "float32")
    assert about["network"]["architecture"] == "pspnet"
    assert scorer.taxonomy == TOY


def test_the_digest_is_of_all_that_decides_predictions(
    saved: Path, network: torch.nn.Module, tmp_path: Path
) -> None:
    digest = load_scorer(saved, device="cpu").sha256
    assert load_scorer(save_scorer(tmp_path / "copy", network), device="cpu").sha256 == digest
    other = save_scorer(tmp_path / "other", network, normalisation={"mean": [0.1, 0.1, 0.1]})
    assert load_scorer(other, device="cpu").sha256 != digest


def test_wrong_input_is_named(saved: Path) -> None:
    scorer = load_scorer(saved, device="cpu")
    with pytest.raises(EvalError, match=r"train ids of shape \[2, 8, 8\], expected \[2, 32, 64\]"):
        scorer.losses(photos(), np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(EvalError, match=r"photos of float64 \[2, 32, 64, 3\], expected uint8"):
        scorer.predict(photos() / 255)  # type: ignore[arg-type]
    with pytest.raises(EvalError, match="scorer dtype 'int8': expected one of float32"):
        load_scorer(saved, device="cpu", dtype="int8")


def test_damaged_scorers_are_named(saved: Path, network: torch.nn.Module, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such scorer folder"):
        load_scorer(tmp_path / "nothing", device="cpu")
    weights = {k: v.clone() for k, v in load_file(saved / "scorer.safetensors").items()}
    first = next(key for key, value in weights.items() if value.is_floating_point())
    (saved / "scorer.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="SHA-256 differs"):
        load_scorer(saved, device="cpu")
    (saved / "scorer.safetensors").unlink()
    with pytest.raises(CheckpointError, match="expected the scorer's weights"):
        load_scorer(saved, device="cpu")
    poisoned = build_network(NETWORK, num_classes=2)
    poisoned.load_state_dict(weights)
    with torch.no_grad():
        poisoned.state_dict()[first].view(-1)[0] = torch.nan
    with pytest.raises(CheckpointError, match=f"{first} holds NaN or infinity"):
        load_scorer(save_scorer(tmp_path / "nan", poisoned), device="cpu")
    wide = build_network(NETWORK, num_classes=3)
    with pytest.raises(CheckpointError, match=r"segmentation_head\.0\.(weight|bias) is a tensor"):
        load_scorer(save_scorer(tmp_path / "wide", wide), device="cpu")
    (saved / "scorer.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"not a scorer, scorer\.yaml is missing$"):
        load_scorer(saved, device="cpu")
    (saved / "training.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="its training is not finished"):
        load_scorer(saved, device="cpu")


def test_networks_that_do_not_exist_are_named() -> None:
    for keys, message in (
        ({"architecture": "pspnett"}, "'pspnett': unknown, did you mean 'pspnet'"),
        ({"encoder": "resnet19"}, "'resnet19': unknown, did you mean 'resnet1"),
        ({"encoder": "tu-no-such-net"}, "cannot build pspnet on tu-no-such-net"),
        ({"options": {"psp_out_chanels": 3}}, "cannot build pspnet on"),
    ):
        with pytest.raises(EvalError, match=message):
            build_network(NetworkConfig(**keys), num_classes=2)


def test_a_training_starts_from_weights_of_others(
    network: torch.nn.Module, saved: Path, tmp_path: Path
) -> None:
    key = "encoder.model.conv_stem.weight"
    wanted = network.state_dict()[key]
    save_file(network.encoder.state_dict(), tmp_path / "encoder.safetensors")
    torch.save({"state_dict": network.state_dict()}, tmp_path / "whole.pth")
    for initial in (saved, tmp_path / "encoder.safetensors", tmp_path / "whole.pth"):
        fresh = build_network(NETWORK, num_classes=3)  # of other classes: the last layer is new
        start_from(fresh, str(initial), config=NETWORK)
        assert torch.equal(fresh.state_dict()[key], wanted)
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="weights of another network"):
        start_from(network, str(tmp_path / "other.safetensors"), config=NETWORK)
    with pytest.raises(CheckpointError, match="no such file, expected weights"):
        start_from(network, str(tmp_path / "none.pth"), config=NETWORK)
    torch.save(Taxonomy, tmp_path / "code.pth")
    with pytest.raises(CheckpointError, match="not a file of weights alone"):
        start_from(network, str(tmp_path / "code.pth"), config=NETWORK)


def training(**keys: object) -> ScorerTraining:
    plain = {"dataset": TrainingSet(size=(48, 64)), "steps": 4, **keys}
    return ScorerTraining.parse(plain, origin="test")


def test_learning_rates_rise_and_fall() -> None:
    poly = training(steps=100, warmup_steps=4)
    assert poly.learning_rate_factor(0, 100) == pytest.approx(0.2)
    assert poly.learning_rate_factor(50, 100) == pytest.approx(0.5**0.9)
    cosine = training(steps=100, schedule="cosine")
    assert cosine.learning_rate_factor(0, 100) == 1.0
    assert cosine.learning_rate_factor(50, 100) == pytest.approx(0.5)
    assert training(steps=None, epochs=3, batch=4).length(10) == 7


def test_settings_that_do_not_go_together_are_named() -> None:
    for keys, message in (
        ({"epochs": 2}, "give either steps or epochs"),
        ({"crop": (64, 64)}, "crop is .64, 64., expected at most dataset.size"),
        ({"network": {"options": {"classes": 3}}}, "classes is set by hdsynth"),
        ({"normalisation": {"std": [0, 1, 1]}}, "greater than 0"),
        ({"schedule": "step"}, "schedule: input should be 'poly' or 'cosine'"),
    ):
        with pytest.raises(ConfigError, match=message):
            training(**keys)


def test_a_taxonomy_without_train_ids_makes_no_scorer(saved: Path) -> None:
    file = saved / "scorer.yaml"
    plain = yaml.safe_load(file.read_text())
    for c in plain["taxonomy"]["classes"]:
        c["train_id"] = 255
    file.write_text(yaml.safe_dump(plain))
    with pytest.raises(ConfigError, match="every train_id is 255"):
        load_scorer(saved, device="cpu")


@pytest.mark.skipif(not bundled_scorer().is_dir(), reason="the bundled scorer is not there yet")
def test_the_bundled_scorer_reads_the_sample_world() -> None:
    from pipeline.sample_world import draw_scene

    config = read_scorer_config(bundled_scorer())
    assert config.taxonomy.fingerprint == Taxonomy.load("cityscapes").fingerprint
    scorer = load_scorer(bundled_scorer(), device="cpu", dtype="bfloat16")
    drawn = draw_scene(0, 500_000, height=256, width=512)
    train_ids = config.taxonomy.train_ids[drawn.label]
    found = scorer.predict(drawn.photo[None])[0]
    assert (found == train_ids)[train_ids != 255].mean() > 0.7
