"""Choosing a feature vector for every object of a sample, and painting them as feature channels.

Shape legend: B batch, F feature channels, K objects of a sample, H x W pixels.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdmodel.checkpoint import ENCODER_FILE, load_encoder, read_checkpoint_config
from hdmodel.encoder import FeatureEncoder
from hdmodel.errors import CheckpointError
from hdmodel.photos import from_uint8
from pipeline.errors import DatasetError
from pipeline.output.manifest import Record
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
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> "StyleTable":
        """The table that a record's `styles` describe."""
        return cls(
            np.array([row["key"] for row in rows], np.int32),
            np.array([row["vector"] for row in rows], np.float32),
        )

    def get(self, key: int) -> Vector | None:
        """The vector of a key [F]; None if the map does not have it."""
        place = int(np.searchsorted(self.keys, key))
        found = place < len(self.keys) and self.keys[place] == key
        return self.vectors[place] if found else None


@dataclass(frozen=True, slots=True, eq=False)
class _SceneLooks:
    table: StyleTable
    pixels: npt.NDArray[np.int64]
    """Of each key [K]."""

    def mean(self) -> Vector:
        """The mean over the scene's pixels [F]."""
        weights = self.pixels / self.pixels.sum()
        mean: Vector = (weights @ self.table.vectors.astype(np.float64)).astype(np.float32)
        return mean


class Stylist:
    """Chooses how the objects of samples look.

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
        self._looks: OrderedDict[tuple[SceneReader, str], _SceneLooks] = OrderedDict()
        self._lock = threading.Lock()  # engines may share a model among threads

    @property
    def seconds(self) -> float:
        """Time spent reading files so far."""
        return sum(reader.seconds for reader in {self._read, self._read_donors} if reader)

    def dress(self, record: Record, instance: InstanceMap) -> None:
        """Choose how the objects of a sample look, and note it in its record.

        Args:
            record: The sample's record; `styles` and the `style` of its instances are filled in.
            instance: The sample's instance map, int32 [H, W].

        Raises:
            DatasetError: A photo that is needed is missing or cannot be read.
        """
        objects = {item["id"]: item for item in record.instances}
        styles = [
            self._choose(key, objects.get(key), record) for key in np.unique(instance).tolist()
        ]
        for row in styles:
            if row["key"] in objects:
                objects[row["key"]]["style"] = describe(row)
        record.styles = styles

    def _choose(self, key: int, item: Mapping[str, Any] | None, record: Record) -> dict[str, Any]:
        """The row of `styles` for one key; `item` is its row of `instances` if it is an object."""
        class_id = key // INSTANCES_PER_CLASS if item is not None else key
        if self._bank is not None:
            number = self._style.fixed.get(class_id)
            if number is None and self._style.mode == "random":
                rng = sample_generator(self._style.seed, record.index, stream=FIRST_STREAM + key)
                number = self._bank.sample(class_id, rng)
            if number is not None:
                vector = self._bank.modes(class_id)[number]
                return _row(key, class_id, "mode", vector, number=int(number))
        if self._style.mode == "source":
            read, scene, there, choice = self._read, record.scene, key, "source"
            if item is not None and item["origin"] == "pasted":
                read, scene, choice = self._read_donors, item["donor"], "donor"
                there = item["donor_instance"]
            elif item is not None:
                there = item["source_instance"]
            assert read is not None
            looks = self._looks_of(read, scene)
            found = looks.table.get(there)
            if found is not None:
                return _row(key, class_id, choice, found, scene=scene)
            if self._bank is None:
                return _row(key, class_id, "fallback", looks.mean(), scene=scene)
        assert self._bank is not None
        return _row(key, class_id, "mean", self._bank.mean(class_id))

    def _looks_of(self, read: SceneReader, name: str) -> _SceneLooks:
        with self._lock:
            if (read, name) in self._looks:
                self._looks.move_to_end((read, name))
                return self._looks[read, name]
            looks = self._encode(read(name))
            self._looks[read, name] = looks
            if len(self._looks) > SCENES_KEPT:
                self._looks.popitem(last=False)
            return looks

    def _encode(self, scene: Scene) -> _SceneLooks:
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
        return _SceneLooks(StyleTable(keys, vectors_FK.T.contiguous().cpu().numpy()), pixels)


def _row(
    key: int,
    class_id: int,
    choice: str,
    vector: Vector,
    *,
    number: int | None = None,
    scene: str | None = None,
) -> dict[str, Any]:
    return {
        "key": key,
        "class_id": class_id,
        "choice": choice,
        "mode": number,
        "scene": scene,
        "vector": vector.tolist(),
    }


def describe(row: Mapping[str, Any]) -> str:
    """A row of `styles` in a word or two, such as `source` or `mode 3`."""
    return f"mode {row['mode']}" if row["choice"] == "mode" else str(row["choice"])


def paint(instance_BHW: Tensor, tables: Sequence[StyleTable]) -> Tensor:
    """Feature channels of instance maps.

    Args:
        instance_BHW: Instance ids, int32 (B, H, W).
        tables: The vectors of every key of each map [B].

    Returns:
        float32 (B, F, H, W), constant over each object, on the device of the maps.
    """
    device = instance_BHW.device
    painted = []
    for instance_HW, table in zip(instance_BHW, tables, strict=True):
        place_HW = torch.searchsorted(torch.from_numpy(table.keys).to(device), instance_HW)
        vectors_KF = torch.from_numpy(table.vectors).to(device)
        painted.append(vectors_KF[place_HW].permute(2, 0, 1))
    return torch.stack(painted)
