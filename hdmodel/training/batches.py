"""Random batches of training samples, the same for the same seed and update.

Shapes: B batch, C channels, H height, W width.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hdmodel.errors import HdsynthError, InputError, TrainingError
from hdmodel.photos import from_uint8
from hdmodel.training.warp import warp

Sample = tuple[
    npt.NDArray[np.unsignedinteger], npt.NDArray[np.signedinteger], npt.NDArray[np.uint8]
]
"""Label [H, W], instance [H, W], photo uint8 [H, W, 3]."""

_ORDER, _CROP = 0, 1
_BATCHES_AHEAD = 3


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
    object_BHW: Tensor
    """The objects of the batch numbered through from 0: int64, apart in different samples."""
    photo_BCHW: Tensor
    """uint8 as loaded, float32 in [-1, 1] after `to`."""
    objects: int
    """How many objects there are."""

    def __len__(self) -> int:
        return len(self.label_BHW)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device, its photos scaled to [-1, 1]."""
        moved = self._each(lambda tensor: tensor.to(device, non_blocking=True))
        return replace(moved, photo_BCHW=from_uint8(moved.photo_BCHW))

    def pin_memory(self) -> "Batch":
        """The batch in memory from which a GPU can copy while it computes."""
        return self._each(Tensor.pin_memory)

    def split(self, parts: int) -> list["Batch"]:
        """The batch in equal parts, which keep its numbers of objects."""
        size = len(self) // parts
        return [self._each(itemgetter(slice(k * size, (k + 1) * size))) for k in range(parts)]

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(
            label_BHW=change(self.label_BHW),
            instance_BHW=change(self.instance_BHW),
            object_BHW=change(self.object_BHW),
            photo_BCHW=change(self.photo_BCHW),
            objects=self.objects,
        )


class RandomBatches(Dataset[Batch]):
    """Cuts random crops, half of them mirrored, out of samples in a random order.

    Batch number n is a function of the seed and n alone, so training can stop and go on anywhere,
    and processes can each take their share of it.

    Args:
        samples: The training set.
        crop: Height and width in pixels.
        batch: Samples per update, over all processes.
        seed: Of the order and of the crops; numbers that together are a seed.
        mirror: Whether half of the samples are mirrored left to right.
        warp: By about how many pixels samples are bent; 0 leaves them as they are.
        share: The samples of each batch that are drawn here; all of them by default.
    """

    def __init__(
        self,
        samples: Samples,
        *,
        crop: tuple[int, int],
        batch: int,
        seed: Sequence[int],
        mirror: bool = True,
        warp: float = 0.0,
        share: slice = slice(None),
    ) -> None:
        self.samples = samples
        self._crop = crop
        self._batch = batch
        self._seed = tuple(seed)
        self._mirror = mirror
        self._warp = warp
        self._share = range(batch)[share]
        self._epoch = -1
        self._order = np.zeros(0, np.int64)

    def __getitem__(self, number: int) -> Batch:
        """One batch on the CPU; batches count from 0.

        Raises:
            InputError: A sample is smaller than the crop.
        """
        first = number * self._batch
        return stack([self._draw(first + place) for place in self._share])

    def _draw(self, number: int) -> Sample:
        epoch, place = divmod(number, len(self.samples))
        if epoch != self._epoch:
            random = np.random.default_rng([*self._seed, _ORDER, epoch])
            self._order, self._epoch = random.permutation(len(self.samples)), epoch
        label, instance, photo = self.samples[int(self._order[place])]
        height, width = self._crop
        if label.shape[0] < height or label.shape[1] < width:
            raise InputError(
                f"training sample of {label.shape[0]}x{label.shape[1]} pixels, "
                f"expected at least the crop, {height}x{width}"
            )
        random = np.random.default_rng([*self._seed, _CROP, number])
        top = int(random.integers(label.shape[0] - height + 1))
        left = int(random.integers(label.shape[1] - width + 1))
        window = (
            slice(top, top + height),
            slice(left, left + width),
        )
        label, instance, photo = label[window], instance[window], photo[window]
        if self._mirror and random.random() < 0.5:
            label, instance, photo = label[:, ::-1], instance[:, ::-1], photo[:, ::-1]
        if self._warp:
            return warp(label, instance, photo, pixels=self._warp, random=random)
        return label, instance, photo


class _Guarded(Dataset["Batch | HdsynthError"]):
    """Batches, or what is wrong with one: as a value an error leaves a loading process whole."""

    def __init__(self, batches: RandomBatches) -> None:
        self._batches = batches

    def __getitem__(self, number: int) -> Batch | HdsynthError:
        try:
            return self._batches[number]
        except HdsynthError as error:
            return error


def load(
    batches: RandomBatches, numbers: Iterable[int], *, loaders: int, pin: bool
) -> Iterator[Batch]:
    """Batches in order, made ahead of their use.

    Args:
        batches: What to load.
        numbers: The numbers of the batches.
        loaders: Processes that load; 0 loads each batch when it is asked for.
        pin: Whether to put them where a GPU copies from at its own pace.

    Raises:
        HdsynthError: A sample cannot be used; the error of who reads it.
        TrainingError: A loading process died.
    """
    loader: DataLoader[Batch | HdsynthError] = DataLoader(
        _Guarded(batches),
        batch_size=None,
        sampler=numbers,
        num_workers=loaders,
        prefetch_factor=_BATCHES_AHEAD if loaders else None,
        multiprocessing_context="fork" if loaders and sys.platform == "linux" else None,
        pin_memory=pin,
    )
    loaded = iter(loader)
    while True:
        try:
            batch = next(loaded)
        except StopIteration:
            return
        except RuntimeError as error:
            if not loaders:
                raise
            raise TrainingError(
                f"a process that loads samples died ({' '.join(str(error).split())})"
            ) from error
        if isinstance(batch, HdsynthError):
            raise batch
        yield batch


def stack(samples: Sequence[Sample]) -> Batch:
    """Samples of one size as a batch on the CPU."""
    labels, instances, photos = zip(*samples, strict=True)
    numbers = np.empty((len(samples), *labels[0].shape), np.int64)
    objects = 0
    for place, instance in enumerate(instances):
        ids, inverse = np.unique(instance, return_inverse=True)
        numbers[place] = inverse.reshape(instance.shape) + objects
        objects += len(ids)
    return Batch(
        label_BHW=torch.from_numpy(np.stack(labels).astype(np.int32)),
        instance_BHW=torch.from_numpy(np.stack(instances).astype(np.int32)),
        object_BHW=torch.from_numpy(numbers),
        photo_BCHW=torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2),
        objects=objects,
    )
