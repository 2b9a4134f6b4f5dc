"""The photo of one edited scene: rendered, or of real pixels and what a generator adds to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.editing.recompose import Recomposed
from pipeline.output.manifest import StyleChoice
from pipeline.rendering.composite import Composite, drawn_in
from pipeline.scene import Photo

if TYPE_CHECKING:
    from pipeline.rendering.generator import GeneratorSpec


@dataclass(frozen=True, slots=True, eq=False)
class FinishedPhoto:
    """A photo with nothing left to draw."""

    photo: Photo
    """RGB, uint8 [H, W, 3]."""
    source: npt.NDArray[np.uint8] | None = None
    """`PixelSource` [H, W]; None if a generator rendered all pixels."""
    device: str | None = None
    """What the generator ran on; None if it had nothing to do."""


def finish_photo(
    made: Recomposed,
    composite: Composite | None,
    generator: "GeneratorSpec | None",
    *,
    index: int = 0,
    styles: Sequence[StyleChoice] = (),
) -> FinishedPhoto:
    """Render an edited scene, or have a generator draw what its composite lacks.

    Args:
        made: The scene.
        composite: Its photo as far as real pixels go; None if all pixels are rendered.
        generator: What renders; opened, and needed, only if there is something to render.
        index: The number of the sample, as in `render_one`.
        styles: As in `render_one`.

    Raises:
        InputError: The generator cannot be opened, or a photo that styles are taken from is missing
            or cannot be read.
        ValueError: The generator's output is not finite.
    """
    if composite is not None and not composite.missing.any():
        return FinishedPhoto(composite.photo, composite.source)
    assert generator is not None
    from pipeline.rendering.generator import open_generator, render_one, style_table
    from pipeline.rendering.windows import render_missing

    label, instance = made.scene.label, made.scene.instance
    with open_generator(generator) as opened:
        device = opened.lease.device
        if composite is None:
            photo = render_one(made, opened, index=index, styles=styles)
            return FinishedPhoto(photo, device=device)
        table = style_table(made, opened, index=index, styles=styles)
        drawn = render_missing(label, instance, composite.missing, opened, styles=table)
    photo, source = drawn_in(
        composite.photo,
        composite.source,
        drawn.photo,
        label,
        inside=drawn.inside,
        seam=generator.seam,
    )
    return FinishedPhoto(photo, source, device)
