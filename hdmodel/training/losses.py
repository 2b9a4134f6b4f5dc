"""The losses of the adversarial training (paper, equations 2 and 3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hdmodel.training.discriminator import ScaleOutput


@dataclass(frozen=True, slots=True)
class GeneratorLosses:
    """What the generator minimises; each a scalar, already weighted, or None where it is off."""

    adversarial: Tensor | None = None
    feature_matching: Tensor | None = None
    perceptual: Tensor | None = None
    l1: Tensor | None = None

    @property
    def terms(self) -> dict[str, Tensor]:
        """Those that are on, by name."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {name: term for name, term in found.items() if term is not None}

    @property
    def total(self) -> Tensor:
        """The sum, to call `backward` on."""
        return torch.stack(list(self.terms.values())).sum()


@dataclass(frozen=True, slots=True)
class DiscriminatorLosses:
    """What the discriminator minimises; each a scalar."""

    real: Tensor
    fake: Tensor

    @property
    def total(self) -> Tensor:
        """Half the sum, to call `backward` on."""
        return (self.real + self.fake) / 2


@dataclass(frozen=True, slots=True)
class StepLosses:
    """The losses of one update, before it."""

    generator: GeneratorLosses
    discriminator: DiscriminatorLosses | None

    @property
    def terms(self) -> dict[str, Tensor]:
        """All of them by the name they have in metrics.csv."""
        terms = self.generator.terms
        if self.discriminator is not None:
            terms["discriminator_real"] = self.discriminator.real
            terms["discriminator_fake"] = self.discriminator.fake
        return terms

    def detached(self) -> "StepLosses":
        """Keep the numbers alone: the graphs behind them hold much memory."""
        generator = {name: term.detach() for name, term in self.generator.terms.items()}
        sides = self.discriminator
        return StepLosses(
            GeneratorLosses(**generator),
            sides and DiscriminatorLosses(real=sides.real.detach(), fake=sides.fake.detach()),
        )


def lsgan(outputs: Sequence[ScaleOutput], *, target: float) -> Tensor:
    """Sum the mean squared distance of the scores to a target over scales.

    Args:
        outputs: The discriminator's outputs, one per scale.
        target: 1 for "real", 0 for "fake".
    """
    return _distance(outputs, target, F.mse_loss)


def cross_entropy(outputs: Sequence[ScaleOutput], *, target: float) -> Tensor:
    """Sum the cross-entropy of the scores, as logits, with a target over scales (pix2pix).

    Args:
        outputs: The discriminator's outputs, one per scale.
        target: 1 for "real", 0 for "fake".
    """
    return _distance(outputs, target, F.binary_cross_entropy_with_logits)


def _distance(
    outputs: Sequence[ScaleOutput], target: float, loss: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    scores = [output.score_B1HW.float() for output in outputs]
    return torch.stack([loss(score, torch.full_like(score, target)) for score in scores]).sum()


ADVERSARIAL: dict[str, Callable[..., Tensor]] = {"lsgan": lsgan, "bce": cross_entropy}
"""The adversarial losses by the name that a configuration gives them."""


def feature_matching(
    fake: Sequence[ScaleOutput], real: Sequence[ScaleOutput], *, weight: float = 10.0
) -> Tensor:
    """Compare the discriminator's features on fake and real photos by L1 (paper, equation 3).

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


def discriminator_losses(
    fake: Sequence[ScaleOutput], real: Sequence[ScaleOutput], *, kind: str = "lsgan"
) -> DiscriminatorLosses:
    """Compute the discriminator's losses from its outputs on fake and real photos.

    Args:
        fake: Outputs on generated photos, one per scale.
        real: Outputs on the photos they stand for, one per scale.
        kind: A name in `ADVERSARIAL`.
    """
    loss = ADVERSARIAL[kind]
    return DiscriminatorLosses(real=loss(real, target=1.0), fake=loss(fake, target=0.0))


def mean_losses(losses: Sequence[StepLosses]) -> StepLosses:
    """Take the mean of each loss over the parts of a batch."""
    generator = {
        name: torch.stack([one.generator.terms[name] for one in losses]).mean()
        for name in losses[0].generator.terms
    }
    sides = [one.discriminator for one in losses if one.discriminator is not None]
    return StepLosses(
        GeneratorLosses(**generator),
        DiscriminatorLosses(
            real=torch.stack([side.real for side in sides]).mean(),
            fake=torch.stack([side.fake for side in sides]).mean(),
        )
        if sides
        else None,
    )
