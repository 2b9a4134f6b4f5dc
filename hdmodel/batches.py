"""Random batches of training samples, the same for the same seed and step.

Shapes: B batch, C channels, H height, W width.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdmodel.errors import InputError

Sample = tuple[
    npt.NDArray[np.unsignedinteger], npt.NDArray[np.signedinteger], npt.NDArray[np.uint8]
]
"""Label [H, W], instance [H, W], photo uint8 [H, W, 3]."""

_ORDER, _CROP = 0, 1


class Samples(Protocol):
    """What a training set must offer; a torch map-style dataset does."""

    def __len__(self) -> int:
        """The number of samples."""
        ...

    def __getitem__(self, index: int, /) -> Sample:
        """One sample."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Maps and photos, on one device."""

    label_BHW: Tensor
    """int32."""
    instance_BHW: Tensor
    """int32."""
    photo_BCHW: Tensor
    """float32 in [-1, 1]."""


class RandomCrops:
    """Cuts random crops, half of them mirrored, out of samples in a random order.

    Batch number n is a function of the seed and n alone, so training can stop and go on anywhere.

    Args:
        samples: The training set.
        crop: Height and width in pixels.
        batch: Samples per batch.
        seed: Of the order and of the crops.
    """

    def __init__(self, samples: Samples, *, crop: tuple[int, int], batch: int, seed: int) -> None:
        self._samples = samples
        self._crop = crop
        self._batch = batch
        self._seed = seed
        self._epoch = -1
        self._order = np.zeros(0, np.int64)

    def batch(self, number: int, *, device: torch.device) -> Batch:
        """One batch.

        Args:
            number: Counts batches from 0.
            device: Where to put it.

        Raises:
            InputError: A sample is smaller than the crop.
        """
        first = number * self._batch
        return stack([self._draw(first + k) for k in range(self._batch)], device=device)

    def _draw(self, number: int) -> Sample:
        epoch, place = divmod(number, len(self._samples))
        if epoch != self._epoch:
            random = np.random.default_rng([self._seed, _ORDER, epoch])
            self._order, self._epoch = random.permutation(len(self._samples)), epoch
        label, instance, photo = self._samples[int(self._order[place])]
        height, width = self._crop
        if label.shape[0] < height or label.shape[1] < width:
            raise InputError(
                f"training sample of {label.shape[0]}x{label.shape[1]} pixels, "
                f"expected at least the crop, {height}x{width}"
            )
        random = np.random.default_rng([self._seed, _CROP, number])
        top = int(random.integers(label.shape[0] - height + 1))
        left = int(random.integers(label.shape[1] - width + 1))
        window = (
            slice(top, top + height),
            slice(left, left + width),
        )
        label, instance, photo = label[window], instance[window], photo[window]
        if random.random() < 0.5:
            label, instance, photo = label[:, ::-1], instance[:, ::-1], photo[:, ::-1]
        return label, instance, photo


def stack(samples: list[Sample], *, device: torch.device) -> Batch:
    """Samples of one size as tensors."""
    labels, instances, photos = zip(*samples, strict=True)
    photo_BHWC = torch.from_numpy(np.stack(photos)).to(device)
    return Batch(
        label_BHW=torch.from_numpy(np.stack(labels).astype(np.int32)).to(device),
        instance_BHW=torch.from_numpy(np.stack(instances).astype(np.int32)).to(device),
        photo_BCHW=photo_BHWC.permute(0, 3, 1, 2).float() / 127.5 - 1,
    )
