"""Choosing a feature vector for every object of a sample, and the feature channels that they make.

Shape legend: B batch, F feature channels, K objects of a sample, H x W pixels.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdmodel.checkpoint import ENCODER_FILE, load_encoder, read_checkpoint_config
from hdmodel.encoder import FeatureEncoder
from hdmodel.errors import CheckpointError
from hdmodel.photos import from_uint8
from pipeline.editing.recompose import InstanceRecord
from pipeline.errors import DatasetError
from pipeline.output.manifest import StyleChoice
from pipeline.rng import sample_generator
from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap, Scene
from pipeline.sources.reading import SceneReader
from pipeline.styles.style import Style

if TYPE_CHECKING:
    from hdmodel.styles import StyleBank

SCENES_KEPT = 4096
FIRST_STREAM = 1 << 32
"""The random stream of key k is this plus k: no other use of randomness comes near."""

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class StyleTable:
    """The feature vectors of one instance map, sorted by key."""

    keys: npt.NDArray[np.int32]
    """The values of the instance map [K]."""
    vectors: Vector
    """Features [K, F]."""

    @classmethod
    def of(cls, choices: Sequence[StyleChoice]) -> "StyleTable":
        """The table of all choices for one instance map, sorted by key."""
        return cls(
            np.array([choice.key for choice in choices], np.int32),
            np.array([choice.vector for choice in choices], np.float32),
        )

    def get(self, key: int) -> Vector | None:
        """The vector of a key [F]; None if the map does not have it."""
        place = int(np.searchsorted(self.keys, key))
        found = place < len(self.keys) and self.keys[place] == key
        return self.vectors[place] if found else None


@dataclass(frozen=True, slots=True, eq=False)
class _SceneStyles:
    """The features of the objects of one photo."""

    table: StyleTable
    pixels: npt.NDArray[np.int64]
    """Of each key [K]."""

    def mean(self) -> Vector:
        """The mean over the scene's pixels [F]."""
        weights = self.pixels / self.pixels.sum()
        mean: Vector = (weights @ self.table.vectors.astype(np.float64)).astype(np.float32)
        return mean


class Stylist:
    """Chooses the style of every object of a sample.

    Args:
        style: The style of the job.
        checkpoint: Folder with the encoder and the style bank, as far as the style needs them.
        read: Reads scenes with their photos, fitted to the size of the job; only needed by a style
            that reads photos.
        read_donors: The same for the scenes that pasted objects come from; None if they are of the
            same dataset.
        device: Where photos are encoded.

    Raises:
        CheckpointError: Encoder or style bank cannot be read, or are not those of the style.
    """

    def __init__(
        self,
        style: Style,
        checkpoint: Path,
        *,
        read: SceneReader | None,
        read_donors: SceneReader | None = None,
        device: str,
    ) -> None:
        self._style = style
        self._read = read
        self._read_donors = read_donors or read
        self._device = torch.device(device)
        self._encoder: FeatureEncoder | None = None
        if style.reads_photos:
            found = read_checkpoint_config(checkpoint).sha256.get(ENCODER_FILE)
            if found != style.encoder_sha256:
                raise CheckpointError(
                    f"{checkpoint}: the encoder is another one than when the job was prepared"
                )
            self._encoder = load_encoder(checkpoint, device=device, dtype=torch.float32)
        self._bank: StyleBank | None = None
        if style.bank_sha256 is not None:
            from hdmodel.styles import load_styles

            self._bank = load_styles(checkpoint)
            if self._bank.sha256 != style.bank_sha256:
                raise CheckpointError(
                    f"{checkpoint}: the style bank is another one than when the job was prepared"
                )
        self._scenes: OrderedDict[tuple[SceneReader, str], _SceneStyles] = OrderedDict()
        self._lock = threading.Lock()  # engines may share a model among threads

    @property
    def seconds(self) -> float:
        """Time spent reading files so far."""
        return sum(reader.seconds for reader in {self._read, self._read_donors} if reader)

    def assign_styles(
        self,
        instance: InstanceMap,
        objects: Sequence[InstanceRecord],
        *,
        scene: str,
        index: int,
    ) -> tuple[StyleChoice, ...]:
        """Choose a style for every key of a sample's instance map.

        Args:
            instance: Instance ids, int32 [H, W].
            objects: The single objects in it.
            scene: The scene that the sample was made from.
            index: The sample's number; with the run's seed it keys what is drawn.

        Returns:
            One choice per key, sorted by key.

        Raises:
            DatasetError: A photo that is needed is missing or cannot be read.
        """
        by_id = {item.id: item for item in objects}
        return tuple(
            self._choose(key, by_id.get(key), scene=scene, index=index)
            for key in np.unique(instance).tolist()
        )

    def _choose(
        self, key: int, item: InstanceRecord | None, *, scene: str, index: int
    ) -> StyleChoice:
        """The style of one key; `item` is its record if it is a single object."""
        class_id = key // INSTANCES_PER_CLASS if item is not None else key
        if self._bank is not None:
            number = self._style.fixed.get(class_id)
            if number is None and self._style.mode == "random":
                rng = sample_generator(self._style.seed, index, stream=FIRST_STREAM + key)
                number = self._bank.sample(class_id, rng)
            if number is not None:
                vector = self._bank.modes(class_id)[number]
                return StyleChoice(key, class_id, "mode", number, None, tuple(vector.tolist()))
        if self._style.mode == "source":
            choice: Literal["source", "donor"] = "source"
            read, there = self._read, key
            if item is not None and item.origin == "pasted":
                assert item.donor is not None
                assert item.donor_instance is not None
                read, choice = self._read_donors, "donor"
                scene, there = item.donor, item.donor_instance
            elif item is not None:
                assert item.source_instance is not None
                there = item.source_instance
            assert read is not None
            styles = self._styles_of(read, scene)
            found = styles.table.get(there)
            if found is not None:
                return StyleChoice(key, class_id, choice, None, scene, tuple(found.tolist()))
            if self._bank is None:
                mean = styles.mean()
                return StyleChoice(key, class_id, "fallback", None, scene, tuple(mean.tolist()))
        assert self._bank is not None
        mean = self._bank.mean(class_id)
        return StyleChoice(key, class_id, "mean", None, None, tuple(mean.tolist()))

    def _styles_of(self, read: SceneReader, name: str) -> _SceneStyles:
        with self._lock:
            if (read, name) in self._scenes:
                self._scenes.move_to_end((read, name))
                return self._scenes[read, name]
            styles = self._encode(read(name))
            self._scenes[read, name] = styles
            if len(self._scenes) > SCENES_KEPT:
                self._scenes.popitem(last=False)
            return styles

    def _encode(self, scene: Scene) -> _SceneStyles:
        """The features of a scene's objects; scene by scene, so that they depend on it alone."""
        if scene.photo is None:
            raise DatasetError(f"scene {scene.name}: has no photo, which style source reads")
        assert self._encoder is not None
        keys, first, pixels = np.unique(scene.instance, return_index=True, return_counts=True)
        photo_HWC = torch.tensor(scene.photo, device=self._device)
        instance_HW = torch.tensor(scene.instance, device=self._device)
        with torch.inference_mode():
            photo_CHW = from_uint8(photo_HWC.permute(2, 0, 1))
            features_FHW = self._encoder(photo_CHW[None], instance_HW[None])[0]
            # Constant over each object: any of its pixels will do.
            vectors_FK = features_FHW.flatten(1)[:, torch.tensor(first, device=self._device)]
        return _SceneStyles(StyleTable(keys, vectors_FK.T.contiguous().cpu().numpy()), pixels)


def feature_channels(instance_BHW: Tensor, tables: Sequence[StyleTable]) -> Tensor:
    """Feature channels of instance maps.

    Args:
        instance_BHW: Instance ids, int32 (B, H, W).
        tables: The vectors of every key of each map [B].

    Returns:
        float32 (B, F, H, W), constant over each object, on the device of the maps.
    """
    device = instance_BHW.device
    channels = []
    for instance_HW, table in zip(instance_BHW, tables, strict=True):
        place_HW = torch.searchsorted(torch.from_numpy(table.keys).to(device), instance_HW)
        vectors_KF = torch.from_numpy(table.vectors).to(device)
        channels.append(vectors_KF[place_HW].permute(2, 0, 1))
    return torch.stack(channels)
