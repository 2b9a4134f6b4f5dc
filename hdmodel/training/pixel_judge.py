"""What the pixel discriminator says in an update: of which classes pixels are, and which are fake.

Shapes: B batch, H height, W width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hdmodel.architecture import PixelDiscriminatorConfig
from hdmodel.training.backbone import WIDTHS, Backbone
from hdmodel.training.batches import Batch
from hdmodel.training.data_parallel import Processes
from hdmodel.training.losses import (
    NO_CLASS,
    DiscriminatorLosses,
    class_counts,
    class_loss,
    class_weights,
    fake_loss,
)
from hdmodel.training.pixel_discriminator import PixelDiscriminator


class PixelJudge:
    """The pixel discriminator with the backbone whose features it reads.

    Args:
        config: Its size, and how classes are weighed.
        backbone: On its device.
        num_classes: Of the label maps.
        ignored: Class ids of no look of their own, of which nothing is said.
        device: Where label maps are.
        seed: Of what is random in the new discriminator beside its weights.
    """

    def __init__(
        self,
        config: PixelDiscriminatorConfig,
        backbone: Backbone,
        *,
        num_classes: int,
        ignored: Sequence[int],
        device: torch.device,
        seed: int,
    ) -> None:
        self.config = config
        self.backbone = backbone
        with torch.random.fork_rng(devices=[]):  # its norms draw from torch's global state
            torch.manual_seed(seed)
            self.network = PixelDiscriminator(config, num_classes=num_classes, widths=WIDTHS)
        self._class_of = torch.arange(num_classes, device=device)
        self._class_of[list(ignored)] = NO_CLASS

    def classes(self, batch: Batch) -> Tensor:
        """The label map, int64 (B, H, W), with `NO_CLASS` for ignored classes."""
        return self._class_of[batch.label_BHW.long()]

    def class_weights(self, batch: Batch, processes: Processes) -> Tensor:
        """The weights of the classes, (num_classes,), in the batch of all processes together."""
        counts = class_counts(self.classes(batch), num_classes=len(self._class_of))
        return class_weights(processes.mean(counts), balance=self.config.balance)

    def judge(
        self, label_BHW: Tensor, fake_BCHW: Tensor, real_BCHW: Tensor, *, class_weight: Tensor
    ) -> tuple[Tensor, DiscriminatorLosses]:
        """Judge generated and real photos of the same label maps.

        Args:
            label_BHW: int64, `NO_CLASS` where nothing is known.
            fake_BCHW: (B, 3, H, W) in [-1, 1]; the gradient flows into them.
            real_BCHW: The same.
            class_weight: What `class_weights` says.

        Returns:
            The generator's loss, not yet weighted, and the discriminator's.
        """
        with torch.no_grad():
            of_real = self.backbone(real_BCHW)
        real_BKHW = self.network(real_BCHW, of_real)
        fake_BKHW = self.network(fake_BCHW, self.backbone(fake_BCHW))
        return class_loss(fake_BKHW, label_BHW, weights=class_weight), DiscriminatorLosses(
            real=class_loss(real_BKHW, label_BHW, weights=class_weight),
            fake=fake_loss(fake_BKHW, label_BHW),
        )
