"""Protocols: at which sizes, with which resamplers and rules photos are scored.

A score without its protocol means nothing: the same photos get other scores from another network,
at another size, or with void counted otherwise. A protocol's id is a hash of all of that.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from eval.errors import EvalError
from eval.mapping import ClassMapping
from pipeline.fit import FitMode, fit
from pipeline.scene import Photo, Scene
from pipeline.taxonomy import Taxonomy

Preset = Literal["paper", "spade-512", "as-rendered"]
"""How photos come to the size at which they are scored:

- `paper`: at their native size; real photos must have the size of the rendered ones;
- `spade-512`: rendered at 256x512 (H x W), upsampled to 1024x2048 before scoring; real photos
  are brought to 256x512 first, so that both lose the same;
- `as-rendered`: at the size of the run; real photos are brought to it as the run fits scenes.
"""
PRESETS: tuple[str, ...] = get_args(Preset)

SPADE_RENDERED, SPADE_SCORED = (256, 512), (1024, 2048)
PHOTO_RESAMPLER, LABEL_RESAMPLER = "bicubic", "nearest"
VOID_RULE = "void targets are ignored; acc_void_as_error counts them wrong"
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ScoreProtocol:
    """All that decides a score besides the photos themselves."""

    preset: Preset
    rendered_size: Size
    """H, W of the rendered photos, to which real ones are brought."""
    score_size: Size
    """H, W at which predictions and labels are compared."""
    input_size: Size
    """H, W at which the scorer sees photos."""
    fit: FitMode
    """How real photos are brought to `rendered_size`; see `pipeline.fit`."""
    scorer: str
    """SHA-256 of the scorer's weights."""
    scorer_dtype: str
    """Arithmetic of the scorer."""
    taxonomy: str
    """Name of the data's taxonomy."""
    taxonomy_fingerprint: str
    classes: tuple[str, ...]
    """The evaluated classes, in order."""
    split: str
    """Which part of the real dataset is scored."""
    rendered: int
    """How many rendered photos are scored."""
    real: int
    """How many real photos are scored."""
    photo_resampler: str = PHOTO_RESAMPLER
    label_resampler: str = LABEL_RESAMPLER
    void_rule: str = VOID_RULE

    @property
    def id(self) -> str:
        """Hash of everything above: scores with equal ids may be compared."""
        text = json.dumps(self.to_plain(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_plain(self) -> dict[str, Any]:
        """The protocol as JSON-compatible data."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def check_real(self, size: Size, *, where: str) -> None:
        """Check that a real photo may be scored beside the rendered ones.

        Args:
            size: H, W of the real photo.
            where: Its name, for the message.

        Raises:
            EvalError: The preset wants it at native size, and that differs.
        """
        if self.preset == "paper" and size != self.rendered_size:
            raise EvalError(
                f"{where}: {size[0]}x{size[1]}, but the protocol 'paper' scores at native size and "
                f"the rendered photos have {self.rendered_size[0]}x{self.rendered_size[1]}; "
                "use --protocol as-rendered"
            )


def choose_protocol(
    preset: Preset,
    *,
    rendered_size: Size,
    input_size: Size | None,
    fit_mode: FitMode,
    scorer: str,
    scorer_dtype: str,
    taxonomy: Taxonomy,
    mapping: ClassMapping,
    split: str,
    rendered: int,
    real: int,
) -> ScoreProtocol:
    """The protocol of a preset for a run.

    Args:
        preset: See `Preset`.
        rendered_size: H, W of the rendered photos.
        input_size: H, W at which the scorer sees photos; that of scoring if none is given.
        fit_mode: How the run fits scenes.
        scorer: SHA-256 of the scorer's weights.
        scorer_dtype: Arithmetic of the scorer.
        taxonomy: Of the data.
        mapping: The evaluated classes.
        split: Name of the real photos' split.
        rendered: Number of rendered photos.
        real: Number of real photos.

    Raises:
        EvalError: The run's size does not fit the preset.
    """
    score_size = rendered_size
    if preset == "spade-512":
        if rendered_size != SPADE_RENDERED:
            raise EvalError(
                f"protocol 'spade-512' expects photos of 256x512, the run has "
                f"{rendered_size[0]}x{rendered_size[1]}; use --protocol as-rendered"
            )
        score_size = SPADE_SCORED
    return ScoreProtocol(
        preset=preset,
        rendered_size=rendered_size,
        score_size=score_size,
        input_size=input_size or score_size,
        fit=fit_mode,
        scorer=scorer,
        scorer_dtype=scorer_dtype,
        taxonomy=taxonomy.name,
        taxonomy_fingerprint=taxonomy.fingerprint,
        classes=mapping.names,
        split=split,
        rendered=rendered,
        real=real,
    )


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs between two protocols, a line per key.

    Args:
        one: A protocol as plain data.
        other: Another.
    """
    return [
        f"{key}: {_short(one.get(key))} and {_short(other.get(key))}"
        for key in dict.fromkeys([*one, *other])
        if one.get(key) != other.get(key)
    ]


def _short(value: object) -> str:
    if isinstance(value, list):
        value = ("x" if all(isinstance(v, int) for v in value) else ", ").join(map(str, value))
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def resize_photo(photo: Photo, size: Size) -> Photo:
    """A photo at another size, bicubic and antialiased, uint8 [h, w, 3].

    Args:
        photo: RGB, uint8 [H, W, 3].
        size: h, w.
    """
    if photo.shape[:2] == size:
        return photo
    height, width = size
    return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC))


def resize_map(values: npt.NDArray[np.uint8], size: Size) -> npt.NDArray[np.uint8]:
    """A map at another size: each pixel takes the value under its centre, uint8 [..., h, w].

    Args:
        values: uint8 [..., H, W].
        size: h, w.

    Example:
        >>> resize_map(np.array([[0, 1], [2, 3]], np.uint8), (2, 4)).tolist()
        [[0, 0, 1, 1], [2, 2, 3, 3]]
    """
    (height, width), (tall, wide) = values.shape[-2:], size
    if (height, width) == size:
        return values
    rows = (2 * np.arange(tall) + 1) * height // (2 * tall)
    columns = (2 * np.arange(wide) + 1) * width // (2 * wide)
    return values[..., rows[:, None], columns[None, :]]


def scored_scene(scene: Scene, protocol: ScoreProtocol, taxonomy: Taxonomy) -> Scene:
    """A scene as it is scored: maps at `score_size`, photo at `input_size`.

    Args:
        scene: With its photo, real or rendered.
        protocol: The protocol.
        taxonomy: Of the scene's maps.

    Raises:
        EvalError: The scene has no photo, or its size does not fit the protocol.
        DatasetError: The scene cannot be brought to the size of the run.
    """
    if scene.photo is None:
        raise EvalError(f"{scene.name}: has no photo to score")
    protocol.check_real(scene.size, where=scene.name)
    fitted = fit(scene, protocol.rendered_size, protocol.fit, taxonomy)
    assert fitted.photo is not None
    maps = fit(fitted.without_photo(), protocol.score_size, "resize", taxonomy)
    return replace(maps, photo=resize_photo(fitted.photo, protocol.input_size))
