"""What discriminators see: moved, coloured and cut alike, with gradients; and bent samples."""

import numpy as np
import pytest
import torch

from hdmodel.errors import ConfigError
from hdmodel.training.augmentation import Augmentation
from hdmodel.training.augmentation_config import AugmentationConfig
from hdmodel.training.batches import RandomBatches, stack
from hdmodel.training.config import TrainConfig
from hdmodel.training.warp import warp
from tests.trainings import Squares, config


def draw(seed: int = 0, batch: int = 3, **strengths: float) -> Augmentation:
    return Augmentation.draw(
        AugmentationConfig(**strengths),
        size=(20, 30),
        randoms=[np.random.default_rng([seed, sample]) for sample in range(batch)],
    )


def photos(batch: int = 3) -> torch.Tensor:
    return torch.rand(batch, 3, 20, 30, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_off_changes_nothing() -> None:
    x = photos()
    assert draw().photo(x) is x
    assert draw().moved(x) is x


def test_shifts_move_photo_and_map_alike_and_leave_a_border() -> None:
    augmentation = draw(translation=0.25)
    assert len({*augmentation.shifts}) == 3
    assert max(abs(down) for down, _ in augmentation.shifts) <= 5
    x = photos()
    label = torch.arange(20 * 30).reshape(1, 1, 20, 30).expand(3, 1, 20, 30)
    moved, ids = augmentation.photo(x), augmentation.moved(label, outside=-1)
    for sample, (down, right) in enumerate(augmentation.shifts):
        for row, column in np.ndindex(20, 30):
            above, left = row - down, column - right
            inside = 0 <= above < 20 and 0 <= left < 30
            expected = x[sample, :, above, left] if inside else torch.zeros(3)
            assert torch.equal(moved[sample, :, row, column], expected)
            assert ids[sample, 0, row, column] == (above * 30 + left if inside else -1)


def test_cutout_takes_out_one_rectangle() -> None:
    augmentation = draw(cutout=0.5)
    ones = torch.ones(3, 1, 20, 30, dtype=torch.int64)
    left = augmentation.moved(ones, outside=-1)
    for sample, (rows, columns) in enumerate(augmentation.holes):
        inside = left[sample, 0, rows, columns]
        assert (inside == -1).all()
        assert int((left[sample] == -1).sum()) == inside.numel() <= 10 * 15
    assert torch.equal(augmentation.photo(ones.float()) == 0, left == -1)


def test_colours_by_hand() -> None:
    augmentation = draw(colour=1.0)
    x = photos()
    for sample, (brightness, saturation, contrast) in enumerate(augmentation.colours):
        assert -0.5 <= brightness <= 0.5
        assert 0 <= saturation <= 2
        assert 0.5 <= contrast <= 1.5
        expected = x[sample].numpy().astype(np.float64) + brightness
        grey = expected.mean(0)
        expected = grey + saturation * (expected - grey)
        expected = expected.mean() + contrast * (expected - expected.mean())
        np.testing.assert_allclose(
            augmentation.photo(x)[sample].numpy(), expected, rtol=1e-4, atol=1e-5
        )


def test_gradients_go_through() -> None:
    augmentation = draw(translation=0.1, colour=1.0, cutout=0.3)
    x = photos().requires_grad_()
    (gradient,) = torch.autograd.grad(augmentation.photo(x).sum(), x)
    assert (gradient != 0).float().mean() > 0.3


def test_the_seed_decides() -> None:
    strengths = {"translation": 0.2, "colour": 1.0, "cutout": 0.4}
    assert draw(1, **strengths) == draw(1, **strengths) != draw(2, **strengths)


def test_bent_samples_keep_their_ids_and_their_contours() -> None:
    label, instance, photo = Squares(size=(96, 128))[0]
    bent = warp(label, instance, photo, pixels=3.0, random=np.random.default_rng(0))
    assert [a.dtype for a in bent] == [label.dtype, instance.dtype, photo.dtype]
    assert [a.shape for a in bent] == [label.shape, instance.shape, photo.shape]
    assert set(np.unique(bent[0])) <= set(np.unique(label))
    assert (bent[1] == bent[0]).all()  # Squares has them equal
    assert 0.03 < (bent[0] != label).mean() < 0.6
    # The photo is the colour of the label but where it is between two.
    by_label = stack([(bent[0], bent[1], photo)]).label_BHW[0].numpy()
    colours = np.array([[0, 0, 0], [200, 40, 40], [40, 200, 40]])[by_label]
    far = np.abs(bent[2].astype(int) - colours).max(-1) > 110
    assert far.mean() < 0.02


def test_displacements_are_smooth_and_as_large_as_asked() -> None:
    columns = np.broadcast_to(np.arange(256), (256, 256)).astype(np.uint8)
    sample = (columns, columns.astype(np.int32), np.stack([columns] * 3, -1))
    moves = []
    for seed in range(10):
        bent = warp(*sample, pixels=4.0, random=np.random.default_rng(seed))[2][..., 0].astype(int)
        inner = (bent - columns)[32:-32, 32:-32]
        moves.append(inner)
        assert np.abs(np.diff(inner, axis=0)).max() <= 2
    assert 1.5 < np.std(moves) < 4.5


def test_batches_are_bent_where_it_is_asked_and_reproducibly() -> None:
    made = [
        RandomBatches(Squares(), crop=(48, 64), batch=2, seed=(0,), mirror=False, warp=pixels)[3]
        for pixels in (0.0, 2.0, 2.0)
    ]
    assert not torch.equal(made[0].label_BHW, made[1].label_BHW)
    assert torch.equal(made[1].label_BHW, made[2].label_BHW)
    assert torch.equal(made[1].photo_BCHW, made[2].photo_BCHW)


def test_without_a_discriminator_there_is_nothing_to_change() -> None:
    plain = config().to_plain()
    plain["losses"] |= {"adversarial": "none", "feature_matching": 0, "l1": 1}
    plain["augmentation"] = {"colour": 0.5}
    with pytest.raises(ConfigError, match="augmentation changes what discriminators see"):
        TrainConfig.parse(plain, origin="test")


@pytest.mark.parametrize(
    ("key", "value"), [("translation", 0.6), ("colour", -0.1), ("cutout", 0.8)]
)
def test_strengths_out_of_range(key: str, value: float) -> None:
    plain = config().to_plain() | {"augmentation": {key: value}}
    with pytest.raises(ConfigError, match=f"augmentation.{key}"):
        TrainConfig.parse(plain, origin="test")
