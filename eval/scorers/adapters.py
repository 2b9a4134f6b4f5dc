"""Segmentation models that a team already has: TorchScript and ONNX, as scorers.

Shape legend: B batch, H x W pixels, K channels of the model's output.
"""

import hashlib
import json
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from eval.errors import EvalError
from eval.measures.features import IMAGENET, imagenet_extractor
from eval.scorers.config import Normalisation
from eval.scorers.network import check_finite
from eval.scorers.scorer import Scorer, Segmenter
from hdmodel.errors import CheckpointError, ConfigError
from hdmodel.settings import Settings, read_yaml
from hdmodel.suggestions import did_you_mean
from hdmodel.training.config import Size
from pipeline.taxonomy import IGNORED_TRAIN_ID, Taxonomy

TORCHSCRIPT = (".pt", ".ts", ".torchscript")
ONNX = ".onnx"

_NOT_MEANING = ("taxonomy", "pretrained")
"""Keys of a mapping that say nothing of what the model predicts."""
_FLOATING = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_ONNX_FLOATING = (1, 10, 11)
"""ONNX's numbers of float, float16 and double."""
_SMALLEST = 1e-12
"""Of probabilities, before their logarithm."""


class InputMapping(Settings):
    """What a model wants of photos: float (B, 3, H, W), (photo / 255 - mean) / std."""

    normalisation: Normalisation = Normalisation(
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    """The default is that of most models trained on ImageNet."""
    order: Literal["rgb", "bgr"] = "rgb"
    """Of the channels; mean and std are in this order."""
    size: Size | None = None
    """Height and width that photos must have; any if not given."""
    multiple: int = Field(default=1, ge=1)
    """Photos are padded to a multiple of it on the right and below, and the prediction cut."""


class ModelMapping(Settings):
    """The YAML file beside a model: what goes in, and what its channels mean."""

    taxonomy: str
    """A shipped taxonomy's name or a YAML file; the scorer predicts its train ids."""
    classes: tuple[str | None, ...] = Field(min_length=1)
    """The name of each output channel's class in the taxonomy, in order; null for channels that
    none of its classes answers to. Several channels may be of one class."""
    output: Literal["logits", "probabilities", "classes"] = "logits"
    """What the model gives: (B, K, h, w) scores or probabilities, or the number of the channel per
    pixel, (B, h, w). Smaller scores are scaled up bilinearly."""
    output_name: str | None = None
    """Of several outputs: its key in a dictionary, or its name in an ONNX file; else the first."""
    input: InputMapping = InputMapping()
    pretrained: tuple[str, ...] | None = None
    """Networks of others whose weights the model began with, such as vgg16; empty for none, and
    unknown if not given. Tells whether it is independent of a generator's losses."""


def load_adapter(file: Path, *, device: torch.device) -> Scorer:
    """Load a model with the mapping beside it (`model.onnx` with `model.yaml`).

    Args:
        file: A TorchScript or ONNX file.
        device: Where to compute.

    Raises:
        CheckpointError: The file cannot be read, or holds NaN.
        ConfigError: The mapping is missing or malformed.
        EvalError: onnxruntime is not installed.
    """
    if file.suffix not in (*TORCHSCRIPT, ONNX):
        raise CheckpointError(
            f"{file}: not a scorer, expected a folder of hdsynth train-scorer, a TorchScript file "
            f"({', '.join(TORCHSCRIPT)}) or an ONNX file ({ONNX})"
        )
    mapping_file = file.with_suffix(".yaml")
    if not mapping_file.is_file():
        raise ConfigError(
            f"{mapping_file}: no such file, expected the class mapping of {file.name} "
            "(docs/scorers.md)"
        )
    mapping = ModelMapping.parse(read_yaml(mapping_file), origin=str(mapping_file))
    taxonomy = Taxonomy.load(mapping.taxonomy)
    channels = channel_ids(mapping, taxonomy, origin=str(mapping_file))
    model = _OnnxModel(file, device) if file.suffix == ONNX else _TorchScriptModel(file, device)
    # A taxonomy is what it says, not how it is found.
    meaning = {key: value for key, value in mapping.to_plain().items() if key not in _NOT_MEANING}
    content = [hashlib.sha256(file.read_bytes()).hexdigest(), meaning, taxonomy.fingerprint]
    segmenter: Segmenter = _Adapter(model, mapping, origin=file.name)
    return Scorer(
        segmenter,
        taxonomy=taxonomy,
        channels=channels,
        size=mapping.input.size,
        sha256=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        about={
            "kind": "onnx" if file.suffix == ONNX else "torchscript",
            "path": str(file),
            "mapping": mapping.to_plain(),
            "device": device.type,
        },
        features=partial(imagenet_extractor, device),
        features_name=IMAGENET,
        device=device,
        has_losses=mapping.output != "classes",
        pretrained=None if mapping.pretrained is None else frozenset(mapping.pretrained),
    )


def channel_ids(mapping: ModelMapping, taxonomy: Taxonomy, *, origin: str) -> list[int]:
    """The train id that each channel stands for; 255 for none.

    Args:
        mapping: Names classes of the taxonomy.
        taxonomy: Whose train ids they become.
        origin: The mapping's file, for error messages.

    Raises:
        ConfigError: A name is not in the taxonomy, or no channel has a class that is scored.
    """
    by_name = {c.name: c.train_id for c in taxonomy.classes}
    ids: list[int] = []
    for number, name in enumerate(mapping.classes):
        if name is not None and name not in by_name:
            hint = did_you_mean(name, by_name, before="", otherwise="null stands for no class")
            raise ConfigError(
                f"{origin}: classes.{number} {name!r} is no class of taxonomy "
                f"{taxonomy.name!r}; {hint}"
            )
        ids.append(IGNORED_TRAIN_ID if name is None else by_name[name])
    if all(train_id == IGNORED_TRAIN_ID for train_id in ids):
        raise ConfigError(
            f"{origin}: classes: no channel has a class of taxonomy {taxonomy.name!r} that is "
            "scored, expected some"
        )
    return ids


class _Adapter:
    """A foreign model as a segmenter."""

    def __init__(
        self, model: "_OnnxModel | _TorchScriptModel", mapping: ModelMapping, *, origin: str
    ) -> None:
        self._model = model
        self._mapping = mapping
        self._origin = origin

    def __call__(self, photo_BHWC: Tensor, /) -> Tensor:
        """Logits, float32 (B, K, H, W); the model is given one photo at a time.

        Exported models often take no more.
        """
        found = [self._one(photo_BHWC[k : k + 1]) for k in range(len(photo_BHWC))]
        return found[0] if len(found) == 1 else torch.cat(found)

    def _one(self, photo_BHWC: Tensor) -> Tensor:
        given, (height, width) = self._mapping.input, photo_BHWC.shape[1:3]
        if given.size is not None and (height, width) != given.size:
            raise EvalError(
                f"{self._origin}: photos of {height}x{width}, expected "
                f"{given.size[0]}x{given.size[1]} as its input.size says"
            )
        photo_BCHW = photo_BHWC.permute(0, 3, 1, 2).float() / 255
        if given.order == "bgr":
            photo_BCHW = photo_BCHW.flip(1)
        mean = torch.tensor(given.normalisation.mean, device=photo_BCHW.device)
        std = torch.tensor(given.normalisation.std, device=photo_BCHW.device)
        photo_BCHW = (photo_BCHW - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        below, right = -height % given.multiple, -width % given.multiple
        photo_BCHW = F.pad(photo_BCHW, (0, right, 0, below), mode="replicate")
        found = self._model.run(photo_BCHW.contiguous(), self._mapping.output_name)
        if self._mapping.output == "classes":
            return self._from_classes(found, photo_BCHW)[:, :, :height, :width]
        return self._from_scores(found, photo_BCHW)[:, :, :height, :width]

    def _from_scores(self, found: Tensor, photo_BCHW: Tensor) -> Tensor:
        count = len(self._mapping.classes)
        batch, size = len(photo_BCHW), photo_BCHW.shape[2:]
        whole = (
            found.ndim == 4
            and found.is_floating_point()
            and found.shape[:2] == (batch, count)
            # The same fraction of both sides, rounded either way.
            and abs(found.shape[2] * size[1] - found.shape[3] * size[0]) <= max(size)
            and found.shape[2] <= size[0]
        )
        if not whole:
            self._refuse(found, f"[{batch}, {count}, {size[0]}, {size[1]}] or a fraction of it")
        scores = found.float()
        if self._mapping.output == "probabilities":
            scores = scores.clamp(min=_SMALLEST).log()
        if scores.shape[2:] != size:
            scores = F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
        return scores

    def _from_classes(self, found: Tensor, photo_BCHW: Tensor) -> Tensor:
        count = len(self._mapping.classes)
        batch, size = len(photo_BCHW), photo_BCHW.shape[2:]
        classes = found[:, 0] if found.ndim == 4 and found.shape[1] == 1 else found
        if tuple(classes.shape) != (batch, *size):
            self._refuse(found, f"[{batch}, {size[0]}, {size[1]}], classes")
        if not bool(classes.isfinite().all()):
            raise EvalError(f"{self._origin}: gives NaN or infinity, expected classes")
        classes = classes.long()
        low, high = int(classes.min()), int(classes.max())
        if low < 0 or high >= count:
            raise EvalError(
                f"{self._origin}: predicts class {low if low < 0 else high}, expected 0 to "
                f"{count - 1} as its mapping has {count} classes"
            )
        one_hot = F.one_hot(classes, count).permute(0, 3, 1, 2)
        return torch.zeros_like(one_hot, dtype=torch.float32).masked_fill(one_hot == 0, -torch.inf)

    def _refuse(self, found: Tensor, expected: str) -> None:
        raise EvalError(
            f"{self._origin}: predicts {found.dtype} of shape {list(found.shape)}, expected "
            f"{expected}: batch, channels, height, width (its mapping has "
            f"{len(self._mapping.classes)} classes)"
        )


class _TorchScriptModel:
    """A TorchScript file."""

    def __init__(self, file: Path, device: torch.device) -> None:
        self._file = file
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # newer releases advise other formats
                load: Any = torch.jit.load
                self._module = load(str(file), map_location=device).eval()
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0][:160]
            raise CheckpointError(
                f"{file}: not a TorchScript file ({reason}); a .pt of weights alone has to be "
                "scripted or traced first"
            ) from None
        check_finite(dict(self._module.state_dict()), origin=str(file))

    def run(self, photo_BCHW: Tensor, name: str | None) -> Tensor:
        """The model's output for normalised photos."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = self._module(photo_BCHW)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1][:160]
            raise EvalError(
                f"{self._file}: fails on photos of {list(photo_BCHW.shape)} ({reason})"
            ) from None
        if isinstance(found, dict):
            if name is not None and name not in found:
                raise EvalError(
                    f"{self._file}: output_name {name!r}, expected one of {', '.join(found)}"
                )
            found = found[name or next(iter(found))]
        if isinstance(found, (list, tuple)):
            found = found[0]
        assert isinstance(found, Tensor)
        return found


class _OnnxModel:
    """An ONNX file, run by onnxruntime."""

    def __init__(self, file: Path, device: torch.device) -> None:
        try:
            runtime: Any = import_module("onnxruntime")
        except ImportError:
            raise EvalError(
                f"{file}: needs onnxruntime, which is not installed; expected "
                "pip install 'hdsynth[onnx]'"
            ) from None
        providers = ["CPUExecutionProvider"]
        if device.type == "cuda":
            providers = [p for p in runtime.get_available_providers() if p.startswith("CUDA")]
            if not providers:
                raise EvalError(
                    f"{file}: onnxruntime here computes on the CPU alone, expected device cpu or "
                    "the package onnxruntime-gpu"
                )
        self._file, self._device = file, device
        try:
            self._session: Any = runtime.InferenceSession(str(file), providers=providers)
        except Exception as error:  # noqa: BLE001 - its errors have no class in common
            reason = str(error).strip().splitlines()[0][:160]
            raise CheckpointError(f"{file}: not a readable ONNX file ({reason})") from None
        _check_initialisers(file)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _FLOATING:
            raise CheckpointError(
                f"{file}: has inputs {[(i.name, i.type) for i in inputs]}, expected one of float"
            )
        self._input = inputs[0]

    def run(self, photo_BCHW: Tensor, name: str | None) -> Tensor:
        """The model's output for normalised photos."""
        outputs = [output.name for output in self._session.get_outputs()]
        if name is not None and name not in outputs:
            raise EvalError(
                f"{self._file}: output_name {name!r}, expected one of {', '.join(outputs)}"
            )
        values = photo_BCHW.cpu().numpy().astype(_FLOATING[self._input.type])
        try:
            found = self._session.run([name or outputs[0]], {self._input.name: values})
        except Exception as error:  # noqa: BLE001 - its errors have no class in common
            reason = str(error).strip().splitlines()[0][:160]
            raise EvalError(
                f"{self._file}: fails on photos of {list(values.shape)} ({reason})"
            ) from None
        return torch.from_numpy(np.ascontiguousarray(found[0])).to(self._device)


def _check_initialisers(file: Path) -> None:
    """Refuse a file whose weights hold NaN, where the package onnx is there to read them.

    Infinity is a constant that masks use. Without the package the logits are all that is checked.

    Raises:
        CheckpointError: A weight does.
    """
    try:
        onnx: Any = import_module("onnx")
        weights = onnx.load(str(file)).graph.initializer
    except Exception:  # noqa: BLE001 - onnxruntime has read the file, and needs no onnx
        return
    for weight in weights:
        if weight.data_type in _ONNX_FLOATING:
            values = onnx.numpy_helper.to_array(weight, base_dir=str(file.parent))
            if np.isnan(values).any():
                raise CheckpointError(f"{file}: {weight.name} holds NaN, expected finite weights")
