"""One stage of training: the networks, their losses, and what one update does to them.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdmodel.checkpoint import ENCODER_FILE, GENERATOR_FILE, check_keys, read_tensors
from hdmodel.conditioning import assemble
from hdmodel.encoder import FeatureEncoder, average_over_objects
from hdmodel.errors import CheckpointError
from hdmodel.generator import Generator, LocalEnhancer, build_generator
from hdmodel.layers import initialise, keep_no_activations, place
from hdmodel.training.augmentation import Augmentation
from hdmodel.training.backbone import Backbone, load_backbone
from hdmodel.training.batches import Batch
from hdmodel.training.config import StageConfig, TrainConfig
from hdmodel.training.data_parallel import Processes
from hdmodel.training.discriminator import MultiscaleDiscriminator, ScaleOutput
from hdmodel.training.losses import (
    ADVERSARIAL,
    NO_CLASS,
    DiscriminatorLosses,
    GeneratorLosses,
    StepLosses,
    discriminator_losses,
    feature_matching,
    mean_losses,
)
from hdmodel.training.perceptual import PerceptualLoss, load_perceptual
from hdmodel.training.pixel_discriminator import update_norms
from hdmodel.training.pixel_judge import PixelJudge

DISCRIMINATOR_FILE = "discriminator.safetensors"
PIXEL_DISCRIMINATOR_FILE = "pixel_discriminator.safetensors"
OPTIMISER_FILE = "optimizer.safetensors"
WEIGHTS_FILE = "training.safetensors"
"""The weights that learn, where the checkpoint's own are their running mean."""

_RENDERING_FILES = {"generator": GENERATOR_FILE, "encoder": ENCODER_FILE}
_FILES = {
    "discriminator": DISCRIMINATOR_FILE,
    "pixel_discriminator": PIXEL_DISCRIMINATOR_FILE,
}
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_NOISE, _AUGMENTATION = 2, 3
_POWER_ITERATIONS = 15
_WARM_UP = 10


class Trainer:
    """Generator, encoder, discriminators and their optimisers, for one stage.

    Args:
        config: The training run.
        stage: The stage of it.
        device: Where to train.
        processes: Those that train together.
        perceptual: The perceptual loss where there is one; loaded if not given.
        backbone: What the pixel discriminator reads where there is one; loaded if not given.
        ignored: Class ids of no look of their own: the pixel discriminator says nothing of them.
    """

    def __init__(
        self,
        config: TrainConfig,
        stage: StageConfig,
        *,
        device: torch.device,
        processes: Processes | None = None,
        perceptual: PerceptualLoss | None = None,
        backbone: Backbone | None = None,
        ignored: Sequence[int] = (),
    ) -> None:
        self.config = config
        self.stage = stage
        self.device = device
        self.processes = processes or Processes()
        random = torch.Generator().manual_seed(config.seed)
        shape = config.stage_generator(stage)
        judged = shape.in_channels - shape.feature_channels + shape.out_channels
        self.generator = build_generator(shape)
        self.encoder = None if config.encoder is None else FeatureEncoder(config.encoder)
        self.discriminator = (
            None
            if config.losses.adversarial == "none"
            else MultiscaleDiscriminator(config.discriminator, in_channels=judged)
        )
        self.pixels = None
        if config.losses.pixel:
            self.pixels = PixelJudge(
                config.pixel_discriminator,
                backbone or load_backbone(device=device),
                num_classes=shape.num_classes,
                ignored=ignored,
                device=device,
                seed=config.seed,
            )
        layout = torch.channels_last if config.autocast else torch.contiguous_format
        for network in self._networks.values():
            initialise(network, random)
            place(network, device, layout)
        if self.pixels is not None:
            update_norms(self.pixels.network, times=_POWER_ITERATIONS)
        self.perceptual = perceptual
        if perceptual is None and config.losses.perceptual:
            self.perceptual = load_perceptual(config.vgg, device=device)
        if stage.frozen:
            self._freeze()
        self._averaged: dict[str, Generator | FeatureEncoder] = {}
        if config.average:
            self._averaged["generator"] = build_generator(shape)
            if config.encoder is not None:
                self._averaged["encoder"] = FeatureEncoder(config.encoder)
            for network in self._averaged.values():
                place(network.requires_grad_(False), device, layout)
            self._restart_average()
        self._updates = 0
        self._optimisers = {
            name: torch.optim.Adam(
                parameters,
                lr=config.optimiser.learning_rate,
                betas=(config.optimiser.beta1, config.optimiser.beta2),
                fused=True,
            )
            for name, parameters in self._learning.items()
        }
        if config.recompute:
            for network in self._networks.values():
                keep_no_activations(network)
        if config.compile:
            for name, network in self._networks.items():
                if name != "encoder":  # small, and called in another way
                    network.compile()

    @property
    def _rendering(self) -> dict[str, Generator | FeatureEncoder]:
        """The networks that make photos."""
        networks: dict[str, Generator | FeatureEncoder] = {"generator": self.generator}
        if self.encoder is not None:
            networks["encoder"] = self.encoder
        return networks

    @property
    def _discriminators(self) -> dict[str, nn.Module]:
        """Those that judge photos."""
        found = {
            "discriminator": self.discriminator,
            "pixel_discriminator": None if self.pixels is None else self.pixels.network,
        }
        return {name: network for name, network in found.items() if network is not None}

    @property
    def _networks(self) -> dict[str, nn.Module]:
        return {**self._rendering, **self._discriminators}

    @property
    def _learning(self) -> dict[str, list[nn.Parameter]]:
        """The weights that learn, by the optimiser that moves them."""
        groups: dict[str, list[nn.Module]] = {"generator": [*self._rendering.values()]}
        groups |= {name: [network] for name, network in self._discriminators.items()}
        return {
            name: [p for network in networks for p in network.parameters() if p.requires_grad]
            for name, networks in groups.items()
        }

    def _freeze(self) -> None:
        """Let only the last enhancer and the last layer learn."""
        assert isinstance(self.generator, LocalEnhancer)
        still = [self.generator.trunk, *list(self.generator.enhancers)[:-1]]
        if self.encoder is not None:
            still.append(self.encoder)
        for network in still:
            network.requires_grad_(False)

    @property
    def best_generator(self) -> Generator:
        """The generator to render with: the running mean where there is one."""
        network = self._averaged.get("generator", self.generator)
        assert isinstance(network, Generator)
        return network

    @property
    def best_encoder(self) -> FeatureEncoder | None:
        """The encoder that goes with `best_generator`."""
        network = self._averaged.get("encoder", self.encoder)
        assert network is None or isinstance(network, FeatureEncoder)
        return network

    def update(self, batch: Batch, *, step: int, learning_rate: float) -> StepLosses:
        """Improve all networks on one batch.

        Gradients are those at the weights before the update. What the discriminator says of a photo
        serves both sides: its own gradient stops at its weights, the generator's passes through.

        Args:
            batch: This process's share, on the device.
            step: The number of the update; decides what is random in it.
            learning_rate: Of the generator; the discriminators' is in proportion.

        Returns:
            The losses, averaged over the parts of the batch that this process computes.
        """
        # Dropout draws from torch's global state: make that a function of the update alone.
        noise = np.random.SeedSequence([self.config.seed, _NOISE, step, self.processes.rank])
        torch.manual_seed(int(noise.generate_state(1)[0]))
        weights = None
        if self.pixels is not None:
            update_norms(self.pixels.network)
            weights = self.pixels.class_weights(batch, self.processes)
        parts = batch.split(self.stage.accumulate)
        first = self.processes.rank * len(batch)
        augmentations = [
            self._augmentation(part, step=step, first=first + number * len(part))
            for number, part in enumerate(parts)
        ]
        losses = [
            self._differentiate(part, augmentation, class_weight=weights, weight=1 / len(parts))
            for part, augmentation in zip(parts, augmentations, strict=True)
        ]
        for name, optimiser in self._optimisers.items():
            self.processes.average_gradients(self._learning[name])
            for group in optimiser.param_groups:
                factor = self.config.optimiser.discriminator_factor
                group["lr"] = learning_rate * (1.0 if name == "generator" else factor)
            optimiser.step()
            optimiser.zero_grad()
        self._updates += 1
        self._average()
        return losses[0] if len(losses) == 1 else mean_losses(losses)

    def _augmentation(self, part: Batch, *, step: int, first: int) -> Augmentation:
        """What discriminators see changed: a function of the update and of each sample's place."""
        return Augmentation.draw(
            self.config.augmentation,
            size=(part.label_BHW.shape[1], part.label_BHW.shape[2]),
            randoms=[
                np.random.default_rng([self.config.seed, _AUGMENTATION, step, first + sample])
                for sample in range(len(part))
            ],
        )

    def _differentiate(
        self,
        batch: Batch,
        augmentation: Augmentation,
        *,
        class_weight: Tensor | None,
        weight: float,
    ) -> StepLosses:
        """Add the gradients of a part of a batch, times `weight`, and return its losses."""
        weights = self.config.losses
        with self._autocast():
            conditioning_BCHW, judged_BCHW = self._inputs(batch, self.encoder)
            fake_BCHW = self.generator(conditioning_BCHW)
            seen = [augmentation.photo(x) for x in (fake_BCHW, batch.photo_BCHW)]
            fake, real = self._judge(augmentation.moved(judged_BCHW), *seen)
            pixel, pixel_discriminator = None, None
            if self.pixels is not None and class_weight is not None:
                classes_B1HW = augmentation.moved(
                    self.pixels.classes(batch)[:, None], outside=NO_CLASS
                )
                taken, pixel_discriminator = self.pixels.judge(
                    classes_B1HW[:, 0], *seen, class_weight=class_weight
                )
                pixel = weights.pixel * taken
            perceptual = None
            if self.perceptual is not None:
                perceptual = weights.perceptual * self.perceptual(fake_BCHW, batch.photo_BCHW)
        generator = GeneratorLosses(
            adversarial=ADVERSARIAL[weights.adversarial](fake, target=1.0) if fake else None,
            feature_matching=(
                feature_matching(fake, real, weight=weights.feature_matching)
                if weights.feature_matching
                else None
            ),
            perceptual=perceptual,
            l1=weights.l1 * F.l1_loss(fake_BCHW, batch.photo_BCHW) if weights.l1 else None,
            pixel=pixel,
        )
        discriminators: dict[str, DiscriminatorLosses] = {}
        if fake:
            kind = weights.adversarial
            discriminators["discriminator"] = discriminator_losses(fake, real, kind=kind)
        if pixel_discriminator is not None:
            discriminators["pixel_discriminator"] = pixel_discriminator
        for name, losses in discriminators.items():
            torch.autograd.backward(
                losses.total * weight, inputs=self._learning[name], retain_graph=True
            )
        torch.autograd.backward(generator.total * weight, inputs=self._learning["generator"])
        return StepLosses(generator, discriminators).detached()

    def _judge(
        self, judged_BCHW: Tensor, fake_BCHW: Tensor, real_BCHW: Tensor
    ) -> tuple[Sequence[ScaleOutput], Sequence[ScaleOutput]]:
        """What the discriminator says of fake and real photos; nothing where there is none."""
        if self.discriminator is None:
            return (), ()
        fake, real = self.discriminator(judged_BCHW, fake_BCHW, real_BCHW)
        return fake, real

    def _inputs(self, batch: Batch, encoder: FeatureEncoder | None) -> tuple[Tensor, Tensor]:
        """The generator's input, and the part of it that the discriminator sees too."""
        features = None
        if encoder is not None:
            features = average_over_objects(
                encoder.encode_pixels(batch.photo_BCHW), batch.object_BHW, count=batch.objects
            )
        shape = self.generator.config
        conditioning_BCHW = assemble(
            batch.label_BHW,
            batch.instance_BHW if shape.instance_edges else None,
            num_classes=shape.num_classes,
            features=features,
            dtype=torch.bfloat16 if self.config.autocast else torch.float32,
        )
        known = shape.in_channels - shape.feature_channels
        return conditioning_BCHW, conditioning_BCHW[:, :known].detach()

    @torch.no_grad()
    def render(self, batch: Batch) -> Tensor:
        """Render a batch's maps in the styles of its own photos, float32 (B, 3, H, W)."""
        generator = self.best_generator.eval()
        with self._autocast():
            photo_BCHW: Tensor = generator(self._inputs(batch, self.best_encoder)[0])
        generator.train()
        return photo_BCHW

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.autocast)

    @torch.no_grad()
    def _average(self) -> None:
        """Move the running mean of the weights; young ones forget faster."""
        updates = self._updates
        decay = min(self.config.average, (1 + updates) / (_WARM_UP + updates))
        for name, network in self._averaged.items():
            mean: list[Tensor] = [*network.parameters()]
            torch._foreach_lerp_(mean, [*self._rendering[name].parameters()], 1 - decay)

    @torch.no_grad()
    def take_over(self, earlier: "Trainer") -> None:
        """Start from the networks of the stage before.

        The generator's parts keep their weights, but for the last layer where a new enhancer
        comes under it. Each discriminator goes on at the resolution it knows: where the
        resolution doubled, the finest one is new.
        """
        finer = self.generator.config.levels > earlier.generator.config.levels
        kept = {
            key: value
            for key, value in earlier.best_generator.state_dict().items()
            if not (finer and key.startswith("head."))
        }
        self.generator.load_state_dict(kept, strict=not finer)
        if self.encoder is not None and earlier.best_encoder is not None:
            self.encoder.load_state_dict(earlier.best_encoder.state_dict())
        if self.discriminator is not None and earlier.discriminator is not None:
            halvings = self.generator.config.levels - earlier.generator.config.levels
            known = list(earlier.discriminator.scales)
            for scale, discriminator in enumerate(self.discriminator.scales):
                if 0 <= scale - halvings < len(known):
                    discriminator.load_state_dict(known[scale - halvings].state_dict())
        if self.pixels is not None and earlier.pixels is not None:
            self.pixels.network.load_state_dict(earlier.pixels.network.state_dict())
        self._restart_average()

    @torch.no_grad()
    def start_from(self, checkpoint: Path) -> None:
        """Begin with the generator and the encoder of a checkpoint, in place of random ones.

        Raises:
            CheckpointError: They are damaged, or of other networks.
        """
        for name, network in self._rendering.items():
            _fill(network, read_tensors(checkpoint, _RENDERING_FILES[name]), checkpoint)
        self._restart_average()

    def _restart_average(self) -> None:
        for name, network in self._averaged.items():
            network.load_state_dict(self._rendering[name].state_dict())

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Collect what training needs to go on, beside what renders: tensors by file and key."""
        files = {OPTIMISER_FILE: dict(self._optimiser_state())}
        for name, network in self._discriminators.items():
            files[_FILES[name]] = network.state_dict()
        if self._averaged:
            files[WEIGHTS_FILE] = {
                f"{name}.{key}": value
                for name, network in self._rendering.items()
                for key, value in network.state_dict().items()
            }
        return files

    def _optimiser_state(self) -> Iterator[tuple[str, Tensor]]:
        yield "updates", torch.tensor(self._updates)
        for name, optimiser in self._optimisers.items():
            for key, moments in zip(
                self._learning_keys(name), optimiser.state_dict()["state"].values(), strict=True
            ):
                for moment in _MOMENTS:
                    yield f"{key}.{moment}", moments[moment]

    def _learning_keys(self, optimiser: str) -> list[str]:
        """A name for each weight that an optimiser moves, in its order."""
        learning = {id(p) for p in self._learning[optimiser]}
        return [
            f"{name}.{key}"
            for name, network in self._networks.items()
            for key, parameter in network.named_parameters()
            if id(parameter) in learning
        ]

    def restore(self, checkpoint: Path) -> None:
        """Go on from a checkpoint that `state` was saved with.

        Raises:
            CheckpointError: The checkpoint is damaged, or of other networks.
        """
        for name, network in (self._averaged or self._rendering).items():
            _fill(network, read_tensors(checkpoint, _RENDERING_FILES[name]), checkpoint)
        for name, discriminator in self._discriminators.items():
            _fill(discriminator, read_tensors(checkpoint, _FILES[name]), checkpoint)
        if self._averaged:
            weights = read_tensors(checkpoint, WEIGHTS_FILE)
            for name, network in self._rendering.items():
                _fill(network, _below(weights, name), checkpoint)
        state = read_tensors(checkpoint, OPTIMISER_FILE)
        self._updates = int(state["updates"])
        for name, optimiser in self._optimisers.items():
            moments = {
                index: {
                    moment: _like(_moment(state, f"{key}.{moment}", checkpoint), weight)
                    for moment in _MOMENTS
                }
                for index, (key, weight) in enumerate(
                    zip(self._learning_keys(name), self._learning[name], strict=True)
                )
            }
            optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], checkpoint: Path) -> None:
    check_keys(_shapes(network.state_dict()), _shapes(tensors), origin=str(checkpoint))
    network.load_state_dict(dict(tensors))


def _below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def _moment(state: Mapping[str, Tensor], key: str, checkpoint: Path) -> Tensor:
    if key not in state:
        raise CheckpointError(f"{checkpoint / OPTIMISER_FILE}: {key} is missing")
    return state[key]


def _like(value: Tensor, weight: Tensor) -> Tensor:
    """A moment laid out in memory as its weight: the fused optimiser walks both in one go."""
    return torch.empty_like(weight).copy_(value) if value.shape == weight.shape else value


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}
