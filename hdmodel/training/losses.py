"""The losses of the adversarial training: the paper's (equations 2 and 3), and of pixels."""

from collections.abc import Callable, Mapping, Sequence
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
    pixel: Tensor | None = None

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
    """What a discriminator minimises; each a scalar."""

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
    discriminators: Mapping[str, DiscriminatorLosses]
    """By the name of the discriminator."""

    @property
    def terms(self) -> dict[str, Tensor]:
        """All of them by the name they have in metrics.csv."""
        terms = self.generator.terms
        for name, losses in self.discriminators.items():
            terms |= {f"{name}_real": losses.real, f"{name}_fake": losses.fake}
        return terms

    def detached(self) -> "StepLosses":
        """Keep the numbers alone: the graphs behind them hold much memory."""
        generator = {name: term.detach() for name, term in self.generator.terms.items()}
        return StepLosses(
            GeneratorLosses(**generator),
            {
                name: DiscriminatorLosses(real=losses.real.detach(), fake=losses.fake.detach())
                for name, losses in self.discriminators.items()
            },
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


NO_CLASS = -1
"""In a label map: nothing is known of this pixel, and nothing said of it."""


def class_counts(label_BHW: Tensor, *, num_classes: int) -> Tensor:
    """Count the pixels of each class; `NO_CLASS` is none. int64 maps to float32 (K,)."""
    ids = (label_BHW + 1).flatten()
    ones = torch.ones_like(ids, dtype=torch.float32)
    return torch.zeros(num_classes + 1, device=ids.device).scatter_add_(0, ids, ones)[1:]


def class_weights(counts: Tensor, *, balance: float) -> Tensor:
    """Weigh pixels of rare classes more: by their share to the power of minus `balance`.

    Args:
        counts: Pixels of each class, (K,).
        balance: 0 weighs all pixels alike, 1 all classes.

    Returns:
        float32 (K,); the mean over the pixels counted is 1, and classes without any have 0.

    Example:
        >>> class_weights(torch.tensor([8.0, 2.0, 0.0]), balance=1.0)
        tensor([0.6250, 2.5000, 0.0000])
    """
    share = counts / counts.sum().clamp(min=1)
    weights = torch.where(share > 0, share.clamp(min=1e-12) ** -balance, 0.0)
    return weights / (share * weights).sum().clamp(min=1e-12)


def class_loss(logits_BKHW: Tensor, label_BHW: Tensor, *, weights: Tensor) -> Tensor:
    """Compare what a pixel discriminator says with the label map (OASIS, equations 1 and 2).

    Args:
        logits_BKHW: Of the K classes and of "fake", which comes last.
        label_BHW: Class ids or `NO_CLASS`, int64.
        weights: Of the classes, (K,).

    Returns:
        The cross-entropy, weighted, in the mean over all pixels; those without a class give 0.
    """
    entropy_BHW = F.cross_entropy(
        logits_BKHW.float(), label_BHW, ignore_index=NO_CLASS, reduction="none"
    )
    return (entropy_BHW * weights[label_BHW.clamp(min=0)]).mean()


def fake_loss(logits_BKHW: Tensor, label_BHW: Tensor) -> Tensor:
    """Compare what a pixel discriminator says of generated photos with "fake" (OASIS, equation 1).

    Args:
        logits_BKHW: As for `class_loss`.
        label_BHW: Tells which pixels have a class; nothing is asked of the others.

    Returns:
        The cross-entropy in the mean over all pixels.
    """
    fake = logits_BKHW.shape[1] - 1
    target_BHW = torch.where(label_BHW == NO_CLASS, NO_CLASS, fake)
    entropy_BHW = F.cross_entropy(
        logits_BKHW.float(), target_BHW, ignore_index=NO_CLASS, reduction="none"
    )
    return entropy_BHW.mean()


def mean_losses(losses: Sequence[StepLosses]) -> StepLosses:
    """Take the mean of each loss over the parts of a batch."""
    generator = {
        name: torch.stack([one.generator.terms[name] for one in losses]).mean()
        for name in losses[0].generator.terms
    }
    discriminators = {
        name: DiscriminatorLosses(
            real=torch.stack([one.discriminators[name].real for one in losses]).mean(),
            fake=torch.stack([one.discriminators[name].fake for one in losses]).mean(),
        )
        for name in losses[0].discriminators
    }
    return StepLosses(GeneratorLosses(**generator), discriminators)
