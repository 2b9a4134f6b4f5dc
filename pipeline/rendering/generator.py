"""Opening a generator on a device, and rendering with it: one sample, or a batch of maps.

Shape legend: B batch, C conditioning channels, H x W pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hdmodel.allocator import tune_allocator
from hdmodel.checkpoint import load_generator
from hdmodel.conditioning import condition
from hdmodel.photos import to_uint8
from pipeline.config import GeneratorSettings
from pipeline.devices import Lease, candidate_devices, lease_device
from pipeline.editing.recompose import Recomposed
from pipeline.output.manifest import StyleChoice
from pipeline.scene import Photo
from pipeline.sources.reading import SceneReader
from pipeline.styles.style import Style
from pipeline.styles.stylist import StyleTable, Stylist, feature_channels


@dataclass(frozen=True, slots=True)
class GeneratorSpec:
    """Which generator to load, how, and what tells it about styles; small, and can be pickled."""

    checkpoint: Path
    """The folder that was chosen, whether `settings` name it or leave it to us."""
    settings: GeneratorSettings
    style: Style | None = None
    """None if the generator reads no features, or each sample's styles are known."""
    photos: SceneReader | None = None
    """Reads scenes with photos; only needed by a style that reads photos."""
    donor_photos: SceneReader | None = None
    """The same for the scenes of donors, if those are of another dataset."""
    seam: bool = True
    """Whether the contour of what it draws in a photo of real pixels is softened."""


@dataclass(frozen=True, eq=False)  # no slots: the handler refers to it weakly
class LoadedGenerator:
    """A generator on its device."""

    network: nn.Module
    num_classes: int
    instance_edges: bool
    """Whether it reads the boundary map of the instances."""
    lease: Lease
    dtype: torch.dtype
    stylist: Stylist | None = None
    """Chooses the styles of objects; None if nothing has to be chosen."""


def load_on_device(
    spec: GeneratorSpec, *, devices: Callable[[str], list[str]] = candidate_devices
) -> LoadedGenerator:
    """Take a device and load a generator onto it; whoever calls it closes the lease.

    Args:
        spec: The generator.
        devices: Finds the devices of a request.

    Raises:
        InputError: The device is not there, or a file of the checkpoint cannot be used.
    """
    tune_allocator()
    lease = lease_device(devices(spec.settings.device))
    try:
        dtype: torch.dtype = getattr(torch, spec.settings.dtype)
        network = load_generator(spec.checkpoint, device=lease.device, dtype=dtype)
        stylist = None
        if spec.style is not None:
            stylist = Stylist(
                spec.style,
                spec.checkpoint,
                read=spec.photos,
                read_donors=spec.donor_photos,
                device=lease.device,
            )
    except BaseException:
        lease.close()
        raise
    config = network.config
    return LoadedGenerator(
        network, config.num_classes, config.instance_edges, lease, dtype, stylist
    )


@contextmanager
def open_generator(spec: GeneratorSpec) -> Iterator[LoadedGenerator]:
    """Hold a device with a generator on it.

    Raises:
        InputError: The device is not there, or a file of the checkpoint cannot be used.
    """
    generator = load_on_device(spec)
    try:
        yield generator
    finally:
        generator.lease.close()


def render_one(
    made: Recomposed,
    generator: LoadedGenerator,
    *,
    index: int = 0,
    styles: Sequence[StyleChoice] = (),
) -> Photo:
    """Render an edited scene.

    Args:
        made: The scene.
        generator: What renders it.
        index: The number of the sample; with the run's seed it keys styles that are drawn.
        styles: The style of every key of the instance map, if the generator does not choose them.

    Returns:
        RGB, uint8 [H, W, 3].

    Raises:
        DatasetError: A photo that styles are taken from is missing or cannot be read.
        ValueError: The generator's output is not finite.
    """
    table = style_table(made, generator, index=index, styles=styles)
    maps = made.scene.label[None], made.scene.instance[None]
    photo: Photo = render_maps(*maps, generator, styles=None if table is None else [table])[0]
    return photo


def style_table(
    made: Recomposed,
    generator: LoadedGenerator,
    *,
    index: int = 0,
    styles: Sequence[StyleChoice] = (),
) -> StyleTable | None:
    """The features of an edited scene's objects; None if the generator reads none.

    Args:
        made: The scene.
        generator: What chooses them, unless they are given.
        index: As for `render_one`.
        styles: As for `render_one`.

    Raises:
        DatasetError: A photo that styles are taken from is missing or cannot be read.
    """
    scene = made.scene
    if generator.stylist is not None:
        styles = generator.stylist.assign_styles(
            scene.instance, made.instances, scene=scene.name, index=index
        )
    return StyleTable.of(styles) if styles else None


def render_maps(
    label: npt.NDArray[np.unsignedinteger],
    instance: npt.NDArray[np.int32],
    generator: LoadedGenerator,
    *,
    styles: Sequence[StyleTable] | None = None,
) -> Photo:
    """Render photos of label and instance maps.

    Args:
        label: Class ids [B, H, W].
        instance: Instance ids [B, H, W].
        generator: What renders them.
        styles: The features of each map's objects [B]; None if the generator reads none.

    Returns:
        RGB photos, uint8 [B, H, W, 3].

    Raises:
        ValueError: The generator's output is not finite.
    """
    device = torch.device(generator.lease.device)
    with torch.inference_mode():
        instance_BHW = torch.from_numpy(instance).to(device)
        conditioning_BCHW = condition(
            torch.from_numpy(label.astype(np.int32, copy=False)).to(device),
            instance_BHW if generator.instance_edges else None,
            num_classes=generator.num_classes,
            features=None if styles is None else feature_channels(instance_BHW, styles),
            dtype=generator.dtype,
        )
        photo_BCHW: Tensor = generator.network(conditioning_BCHW)
        if not bool(photo_BCHW.isfinite().all()):
            raise ValueError("the generator's output is not finite")
        return to_uint8(photo_BCHW).permute(0, 2, 3, 1).contiguous().cpu().numpy()
