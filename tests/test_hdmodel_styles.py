"""The style bank: clusters, fallbacks, and what is read back from a checkpoint."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from hdmodel.errors import CheckpointError, InputError
from hdmodel.styles import (
    STYLES_FILE,
    STYLES_INFO,
    StyleBank,
    cluster_styles,
    has_styles,
    load_styles,
    save_styles,
)
from tests.datasets import write_checkpoint, write_checkpoint_with_features

NAMES = ["sky", "car", "bus", "truck", "person", "none"]
CATEGORIES = ["nature", "vehicle", "vehicle", "vehicle", "human", ""]
LOOKS = {"white": ((0.9, 0.9, 0.9), 24), "red": ((0.8, -0.8, -0.8), 12), "black": ((-0.9,) * 3, 6)}
"""The looks of cars, and how many cars have each."""


def cars(rng: np.random.Generator) -> np.ndarray:
    """The looks of 42 cars in random order, spread by up to 0.05 around what they are."""
    centers = np.array([look for look, count in LOOKS.values() for _ in range(count)])
    rng.shuffle(centers)
    return (centers + rng.uniform(-0.05, 0.05, centers.shape)).astype(np.float32)


def cluster(
    features: np.ndarray,
    class_ids: list[int] | np.ndarray,
    pixels: list[int] | np.ndarray | int = 100,
    *,
    modes: int = 3,
    encoder: str = "e" * 64,
    seed: int = 0,
    crowds: list[bool] | None = None,
) -> StyleBank:
    return cluster_styles(
        np.asarray(features, np.float32),
        np.asarray(class_ids),
        np.broadcast_to(pixels, len(features)),
        num_classes=len(NAMES),
        categories=CATEGORIES,
        encoder_sha256=encoder,
        seed=seed,
        modes=modes,
        crowds=None if crowds is None else np.array(crowds),
        class_names=NAMES,
    )


def test_modes_are_the_looks_there_are_most_frequent_first() -> None:
    features = cars(np.random.default_rng(0))
    bank = cluster(features, [1] * len(features))
    assert bank.mode_counts(1).tolist() == [24, 12, 6]
    for center, (look, _) in zip(bank.modes(1), LOOKS.values(), strict=True):
        own = features[np.abs(features - look).max(axis=1) < 0.06].astype(np.float64)
        np.testing.assert_allclose(center, own.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(bank.mean(1), features.astype(np.float64).mean(axis=0), atol=1e-6)
    assert bank.centers.dtype == bank.means.dtype == np.float32


def test_clusters_do_not_depend_on_the_order_of_objects() -> None:
    features = cars(np.random.default_rng(1))
    one = cluster(features, [1] * len(features))
    other = cluster(features[::-1], [1] * len(features))
    np.testing.assert_allclose(one.centers, other.centers, atol=1e-6)
    assert one.counts.tolist() == other.counts.tolist()


def test_equal_input_gives_equal_banks_and_the_hash_tells_others_apart() -> None:
    features = np.random.default_rng(2).uniform(-1, 1, (90, 3)).astype(np.float32)
    banks = [cluster(features, [1] * 90, modes=8) for _ in range(2)]
    assert banks[0].sha256 == banks[1].sha256
    np.testing.assert_array_equal(banks[0].centers, banks[1].centers)
    others = [
        cluster(features, [1] * 90, modes=8, encoder="f" * 64),
        cluster(features, [1] * 90, modes=7),
        cluster(features, [2] * 90, modes=8),
        cluster(features + 0.001, [1] * 90, modes=8),
    ]
    assert len({bank.sha256 for bank in [banks[0], *others]}) == 5


@pytest.mark.parametrize(
    ("objects", "modes"), [(1, 1), (2, 1), (5, 1), (6, 2), (29, 9), (30, 10), (99, 10)]
)
def test_three_objects_make_a_mode(objects: int, modes: int) -> None:
    features = np.random.default_rng(objects).uniform(-1, 1, (objects, 3))
    bank = cluster(features, [4] * objects, modes=10)
    assert len(bank.modes(4)) == modes
    assert bank.mode_counts(4).sum() == objects
    assert (np.diff(bank.mode_counts(4)) <= 0).all()


def test_objects_that_look_the_same_are_one_mode() -> None:
    features = [[0.5, 0.5, 0.5]] * 20 + [[-0.5, 0.5, 0.5]] * 10
    bank = cluster(np.array(features), [1] * 30, modes=10)
    np.testing.assert_array_equal(bank.modes(1), np.float32([[0.5, 0.5, 0.5], [-0.5, 0.5, 0.5]]))
    assert bank.mode_counts(1).tolist() == [20, 10]


def test_classes_without_objects_look_like_the_nearest_of_their_category() -> None:
    features = [[0.0, 0, 0], [0.1, 0, 0], [0.3, 0, 0], [0, 0.6, 0]]
    bank = cluster(np.array(features), [0, 1, 1, 3])
    # Bus is between car and truck; the lower id wins. Nothing else is human, or of no category.
    expected = {
        0: (None, [0, 0, 0]),
        1: (None, [0.2, 0, 0]),
        2: ("mean of car, category vehicle", [0.2, 0, 0]),
        3: (None, [0, 0.6, 0]),
        4: ("mean of all classes", [0.1, 0.15, 0]),
        5: ("mean of all classes", [0.1, 0.15, 0]),
    }
    for class_id, (fallback, mean) in expected.items():
        assert bank.fallback[class_id] == fallback
        np.testing.assert_allclose(bank.mean(class_id), mean, atol=1e-6)
        if fallback is not None:
            np.testing.assert_array_equal(bank.modes(class_id), bank.mean(class_id)[None])
            assert bank.mode_counts(class_id).tolist() == [0]
            assert bank.sample(class_id, np.random.default_rng(0)) == 0


def test_small_objects_and_crowds_count_where_their_class_has_no_others() -> None:
    features = [[0.1, 0, 0], [0.9, 0, 0], [0.5, 0, 0], [0, 0.4, 0], [0, 0, 0.7]]
    bank = cluster(
        np.array(features),
        [1, 1, 1, 2, 4],
        [16, 15, 4000, 3, 100],
        crowds=[False, False, True, False, True],
    )
    np.testing.assert_allclose(bank.mean(1), [0.1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(bank.mean(2), [0, 0.4, 0], atol=1e-6)
    np.testing.assert_allclose(bank.mean(4), [0, 0, 0.7], atol=1e-6)
    # What was left out is not in the mean of all, either.
    np.testing.assert_allclose(bank.mean(5), np.array([0.1, 0.4, 0.7]) / 3, atol=1e-6)
    use = bank.uses[1]
    assert (use.objects, use.used_objects, use.pixels, use.used_pixels) == (3, 1, 4031, 16)


def test_modes_are_drawn_as_often_as_they_occur() -> None:
    bank = cluster(cars(np.random.default_rng(3)), [1] * 42)
    rng = np.random.default_rng(4)
    drawn = np.bincount([bank.sample(1, rng) for _ in range(4200)], minlength=3)
    # Within five standard deviations of 2400, 1200 and 600.
    for count, share in zip(drawn, (24 / 42, 12 / 42, 6 / 42), strict=True):
        assert abs(count - 4200 * share) < 5 * np.sqrt(4200 * share * (1 - share))


def test_no_objects_at_all_are_an_error() -> None:
    with pytest.raises(InputError, match="no objects to cluster, expected at least one"):
        cluster(np.zeros((0, 3)), [])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_an_error(value: float) -> None:
    features = np.zeros((4, 3))
    features[2, 1] = value
    with pytest.raises(InputError, match="features are not finite"):
        cluster(features, [1] * 4)


def test_a_class_that_is_not_there_is_an_error() -> None:
    bank = cluster(np.zeros((1, 3)), [0])
    with pytest.raises(InputError, match=r"class 6: expected 0\.\.5"):
        bank.modes(6)


def encoder_digest(checkpoint: Path) -> str:
    config = yaml.safe_load((checkpoint / "config.yaml").read_text(encoding="utf-8"))
    digest = config["sha256"]["encoder.safetensors"]
    assert isinstance(digest, str)
    return digest


def city_bank(checkpoint: Path, *, features: int = 3, num_classes: int = 35) -> StyleBank:
    looks = np.random.default_rng(5).uniform(-1, 1, (40, features)).astype(np.float32)
    return cluster_styles(
        looks,
        np.repeat([7, 26], 20),
        np.full(40, 50),
        num_classes=num_classes,
        categories=["all"] * num_classes,
        encoder_sha256=encoder_digest(checkpoint),
        seed=9,
        provenance={"scenes": 20},
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint_with_features(tmp_path_factory.mktemp("styles") / "checkpoint")


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "checkpoint"))


def test_a_saved_bank_is_read_back(checkpoint: Path) -> None:
    assert not has_styles(checkpoint)
    bank = city_bank(checkpoint)
    save_styles(checkpoint, city_bank(checkpoint))
    save_styles(checkpoint, bank)  # in place of the older one
    assert has_styles(checkpoint)
    again = load_styles(checkpoint)
    for name in ("centers", "class_ids", "counts", "means"):
        np.testing.assert_array_equal(getattr(again, name), getattr(bank, name))
        assert getattr(again, name).dtype == getattr(bank, name).dtype
    assert (again.sha256, again.fallback, again.uses) == (bank.sha256, bank.fallback, bank.uses)
    assert (again.seed, again.provenance) == (9, bank.provenance)
    assert again.provenance["scenes"] == 20
    info = json.loads((checkpoint / STYLES_INFO).read_text(encoding="utf-8"))
    car = info["classes"][26]
    assert (car["name"], car["objects"], sum(car["modes"])) == ("car", 20, 20)
    assert car["coverage"] == {"objects": 1.0, "pixels": 1.0}
    assert info["classes"][11]["fallback"] == "mean of class 7, category all"
    assert not list(checkpoint.glob("*.tmp")) + list(checkpoint.glob(".*"))


def without_numbers(checkpoint: Path) -> None:
    (checkpoint / STYLES_FILE).unlink()


def with_a_flipped_byte(checkpoint: Path) -> None:
    file = checkpoint / STYLES_FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def cut_short(checkpoint: Path) -> None:
    file = checkpoint / STYLES_INFO
    file.write_bytes(file.read_bytes()[:100])


def without_a_key(checkpoint: Path) -> None:
    (checkpoint / STYLES_INFO).write_text("[]", encoding="utf-8")


def of_the_future(checkpoint: Path) -> None:
    file = checkpoint / STYLES_INFO
    file.write_text(file.read_text(encoding="utf-8").replace('"version": 1', '"version": 2'))


def with_another_encoder(checkpoint: Path) -> None:
    file = checkpoint / "config.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(encoder_digest(checkpoint), "f" * 64), encoding="utf-8")


def without_a_bank(checkpoint: Path) -> None:
    (checkpoint / STYLES_INFO).unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (without_a_bank, "has no style bank; make one with hdsynth styles .* --dataset DIR"),
        (without_numbers, r"styles\.safetensors: No such file or directory; make one with"),
        (with_a_flipped_byte, r"styles\.safetensors: its SHA-256 is not the one in styles\.json"),
        (cut_short, r"styles\.json: damaged or cut short"),
        (without_a_key, r"styles\.json: damaged or cut short"),
        (of_the_future, "hdsynth-styles version 2, expected hdsynth-styles version 1"),
        (with_another_encoder, r"of another encoder \(\w{12}, and config\.yaml has ffffffffffff\)"),
    ],
)
def test_what_cannot_be_used_is_refused(
    checkpoint: Path, harm: Callable[[Path], None], message: str
) -> None:
    save_styles(checkpoint, city_bank(checkpoint))
    harm(checkpoint)
    with pytest.raises(CheckpointError, match=message) as raised:
        load_styles(checkpoint)
    assert "\n" not in str(raised.value)


def test_a_bank_that_does_not_fit_is_not_saved(checkpoint: Path, tmp_path: Path) -> None:
    wide, many = city_bank(checkpoint, features=4), city_bank(checkpoint, num_classes=36)
    for bank, found in ((wide, "35 classes and 4"), (many, "36 classes and 3")):
        with pytest.raises(CheckpointError, match=f"has {found} .* expected 35 and 3"):
            save_styles(checkpoint, bank)
    plain = write_checkpoint(tmp_path / "plain")
    with pytest.raises(CheckpointError, match=r"config\.yaml has no encoder"):
        save_styles(plain, city_bank(checkpoint))
    assert not has_styles(checkpoint)
    assert not has_styles(plain)
