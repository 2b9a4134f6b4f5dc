import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eval.errors import EvalError
from eval.measures.features import imagenet_extractor
from eval.measures.inception import inception_extractor, inception_name
from eval.scorers.config import bundled_scorer
from eval.scorers.loading import load_scorer

CPU = torch.device("cpu")


class Stand(nn.Module):
    """As torch-fidelity's network is called, with the means of the colours as features.

    The package itself is no dependency of the tests: it installs a top-level package `tests`.
    """

    def __init__(
        self, name: str, features_list: list[str], feature_extractor_weights_path: str
    ) -> None:
        super().__init__()
        assert features_list == ["2048"]
        self.scale = nn.Parameter(torch.zeros(()))
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))

    def forward(self, photo_BCHW: Tensor) -> tuple[Tensor]:
        """The colours' means, scaled."""
        assert photo_BCHW.dtype == torch.uint8
        assert photo_BCHW.shape[1] == 3
        return (photo_BCHW.double().mean((2, 3)) * self.scale,)


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = Stand
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save({"scale": torch.tensor(2.0)}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_features_are_those_of_inception_and_stages_those_of_the_scorer(weights: Path) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (2, 40, 70, 3), np.uint8)
    stages = load_scorer(bundled_scorer(), device="cpu").feature_maps(photos)
    scorer = load_scorer(bundled_scorer(), device="cpu")
    scorer.with_inception(weights)
    assert scorer.features_name == inception_name(weights)
    expected = 2 * photos.astype(np.float64).mean((1, 2))
    np.testing.assert_allclose(scorer.features(photos), expected, rtol=1e-5)
    for found, wanted in zip(scorer.feature_maps(photos), stages, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="expected none, scorer, imagenet or a file"):
        inception_name(tmp_path / "nothing.pth")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(EvalError, match=r"other\.pth: not the Inception-v3 of torch-fidelity"):
        inception_extractor(tmp_path / "other.pth", CPU, stages=lambda: imagenet_extractor(CPU))


def test_the_package_is_asked_for(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(EvalError, match=r"pip install 'hdsynth\[fid\]'"):
        inception_extractor(weights, CPU, stages=lambda: imagenet_extractor(CPU))
