"""The losses of the adversarial training (paper, equations 2 and 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hdmodel.discriminator import ScaleOutput


@dataclass(frozen=True, slots=True)
class GeneratorLosses:
    """What the generator minimises; each a scalar."""

    adversarial: Tensor
    feature_matching: Tensor
    """Already weighted by lambda."""

    @property
    def total(self) -> Tensor:
        """The sum, to call `backward` on."""
        return self.adversarial + self.feature_matching


@dataclass(frozen=True, slots=True)
class DiscriminatorLosses:
    """What the discriminator minimises; each a scalar."""

    real: Tensor
    fake: Tensor

    @property
    def total(self) -> Tensor:
        """Half the sum, to call `backward` on."""
        return (self.real + self.fake) / 2


def lsgan(outputs: Sequence[ScaleOutput], *, target: float) -> Tensor:
    """Mean squared distance of the scores to a target, summed over scales.

    Args:
        outputs: The discriminator's outputs, one per scale.
        target: 1 for "real", 0 for "fake".
    """
    losses = []
    for output in outputs:
        score = output.score_B1HW.float()
        losses.append(F.mse_loss(score, torch.full_like(score, target)))
    return torch.stack(losses).sum()


def feature_matching(
    fake: Sequence[ScaleOutput], real: Sequence[ScaleOutput], *, weight: float = 10.0
) -> Tensor:
    """L1 distance of the discriminator's features on fake and real photos (paper, equation 3).

    Layers weigh 4 / (layers + 1) and scales 1 / scales as in the released code. No gradient
    flows through the features of the real photos.

    Args:
        fake: Outputs on generated photos, one per scale.
        real: Outputs on the photos they stand for, one per scale.
        weight: The paper's lambda.
    """
    losses = []
    for fake_scale, real_scale in zip(fake, real, strict=True):
        layer_weight = 4.0 / len(real_scale.hidden)
        losses += [
            layer_weight * F.l1_loss(a.float(), b.detach().float())
            for a, b in zip(fake_scale.hidden, real_scale.hidden, strict=True)
        ]
    return weight / len(fake) * torch.stack(losses).sum()


def generator_losses(
    fake: Sequence[ScaleOutput], real: Sequence[ScaleOutput], *, feature_weight: float = 10.0
) -> GeneratorLosses:
    """The generator's losses from the discriminator's outputs on fake and real photos."""
    return GeneratorLosses(
        adversarial=lsgan(fake, target=1.0),
        feature_matching=feature_matching(fake, real, weight=feature_weight),
    )


def discriminator_losses(
    fake: Sequence[ScaleOutput], real: Sequence[ScaleOutput]
) -> DiscriminatorLosses:
    """The discriminator's losses from its outputs on fake and real photos."""
    return DiscriminatorLosses(real=lsgan(real, target=1.0), fake=lsgan(fake, target=0.0))
