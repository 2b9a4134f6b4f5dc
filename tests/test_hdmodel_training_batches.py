"""Batches: where their pixels come from, the same for the same number, shared out evenly."""

import os
from collections import Counter

import numpy as np
import pytest
import torch

from hdmodel.errors import InputError, TrainingError
from hdmodel.training.batches import RandomBatches, Sample, load, stack
from tests.trainings import CPU, Squares


class Numbered:
    """Every pixel tells its sample and its place."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Sample:
        pixels = np.arange(10 * 12).reshape(10, 12)
        photo = np.stack([pixels, pixels, pixels], -1).astype(np.uint8)
        return np.full((10, 12), index, np.uint8), pixels.astype(np.int32), photo


def test_crops_come_from_the_samples_and_every_sample_is_seen() -> None:
    batches = RandomBatches(Numbered(), crop=(4, 6), batch=2, seed=(0,))
    seen, mirrored, corners = Counter(), set(), set()
    for number in range(20):
        batch = batches[number].to(CPU)
        for label, instance, photo in zip(
            batch.label_BHW, batch.instance_BHW, batch.photo_BCHW, strict=True
        ):
            seen[int(label[0, 0])] += 1
            step = int(instance[0, 1] - instance[0, 0])
            mirrored.add(step)
            window = instance if step == 1 else instance.flip(1)
            first = int(window[0, 0])
            corners.add(first)
            expected = first + 12 * torch.arange(4)[:, None] + torch.arange(6)
            assert torch.equal(window, expected.int())
            assert torch.equal(((photo[0] + 1) * 127.5).round().int(), instance)
    assert seen == {0: 10, 1: 10, 2: 10, 3: 10}
    assert mirrored == {1, -1}
    assert len(corners) > 15


def test_nothing_is_mirrored_unless_asked() -> None:
    batches = RandomBatches(Numbered(), crop=(4, 6), batch=2, seed=(0,), mirror=False)
    steps = {int(i[0, 1] - i[0, 0]) for n in range(20) for i in batches[n].instance_BHW}
    assert steps == {1}


def test_objects_are_numbered_through_and_apart_in_different_samples() -> None:
    instance = np.array([[26001, 26001, 7], [26002, 7, 7]], np.int32)
    sample = (np.zeros((2, 3), np.uint8), instance, np.zeros((2, 3, 3), np.uint8))
    batch = stack([sample, sample])
    assert batch.objects == 6
    first, second = batch.object_BHW.tolist()
    assert first == [[1, 1, 0], [2, 0, 0]]
    assert second == [[4, 4, 3], [5, 3, 3]]


def test_shares_of_processes_are_the_whole_batch() -> None:
    whole = RandomBatches(Squares(), crop=(32, 40), batch=4, seed=(1, 2))[7]
    shares = [
        RandomBatches(Squares(), crop=(32, 40), batch=4, seed=(1, 2), share=part)[7]
        for part in (slice(0, 2), slice(2, 4))
    ]
    for name in ("label_BHW", "instance_BHW", "photo_BCHW"):
        parts = torch.cat([getattr(share, name) for share in shares])
        assert torch.equal(parts, getattr(whole, name))


def test_a_loading_process_gives_what_loading_here_gives() -> None:
    batches = RandomBatches(Squares(), crop=(32, 40), batch=2, seed=(3,))
    here, there = (
        list(load(batches, range(4, 9), loaders=loaders, pin=False)) for loaders in (0, 1)
    )
    assert len(here) == len(there) == 5
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.photo_BCHW, other.photo_BCHW)
        assert torch.equal(one.object_BHW, other.object_BHW)
    other_seed = RandomBatches(Squares(), crop=(32, 40), batch=2, seed=(4,))[4]
    assert not torch.equal(other_seed.photo_BCHW, here[0].photo_BCHW)


@pytest.mark.parametrize("loaders", [0, 1])
def test_what_is_wrong_with_a_sample_arrives_as_it_is(loaders: int) -> None:
    batches = RandomBatches(Squares(size=(16, 64)), crop=(32, 40), batch=1, seed=(0,))
    with pytest.raises(InputError) as refused:
        next(load(batches, range(3), loaders=loaders, pin=False))
    assert str(refused.value).startswith("training sample of 16x64 pixels, expected at least")


def test_a_loading_process_that_dies_is_told() -> None:
    class Deadly(Squares):
        def __getitem__(self, index: int) -> Sample:
            os._exit(1)

    batches = RandomBatches(Deadly(), crop=(32, 40), batch=1, seed=(0,))
    with pytest.raises(TrainingError, match="a process that loads samples died"):
        next(load(batches, range(3), loaders=1, pin=False))


def test_samples_smaller_than_the_crop_are_refused() -> None:
    batches = RandomBatches(Squares(size=(16, 64)), crop=(32, 40), batch=1, seed=(0,))
    with pytest.raises(InputError, match=r"of 16x64 pixels, expected at least the crop, 32x40"):
        batches[0]
