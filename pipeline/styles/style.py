"""Styles of objects: what a job asks for, and whether its generator and dataset allow it.

What is looked up when a sample is rendered is in `pipeline.styles.stylist`.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from hdmodel.checkpoint import (
    ENCODER_FILE,
    CheckpointConfig,
    check_weights,
    read_checkpoint_config,
)
from hdmodel.errors import CheckpointError, ConfigError
from hdmodel.settings import Settings
from hdmodel.suggestions import did_you_mean
from pipeline.errors import DatasetError
from pipeline.sources import Source
from pipeline.sources.config import PhotoMode
from pipeline.taxonomy import Taxonomy

if TYPE_CHECKING:
    from hdmodel.styles import StyleBank

StyleMode = Literal["source", "random", "mean"]

MAKE_BANK = "make one with hdsynth styles {checkpoint} --dataset DIR --format FMT"


class StyleConfig(Settings):
    """The styles of objects, for generators that read features; `style: mean` is `{mode: mean}`."""

    mode: StyleMode = "random"
    """`source`: as in the photo they come from. `random`: a mode of the style bank for each object.
    `mean`: the mean of their class in the style bank."""
    fixed: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """For these classes always this mode of the style bank, by class name."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:  # noqa: ANN401 - checked by pydantic afterwards
        return {"mode": data} if isinstance(data, str) else data

    def text(self) -> str:
        """The settings in a few words, such as `random, car 3`."""
        return ", ".join(
            [self.mode, *(f"{name} {number}" for name, number in sorted(self.fixed.items()))]
        )


@dataclass(frozen=True, slots=True)
class Style:
    """The style of a job, checked; small, and pickled into the pipeline."""

    mode: StyleMode
    seed: int
    """The run's seed."""
    fixed: dict[int, int] = field(default_factory=dict)
    """Mode of the style bank by class id."""
    encoder_sha256: str | None = None
    """Digest of the encoder's weights where photos are encoded, else None."""
    bank_sha256: str | None = None
    """Digest of the style bank where it is used, else None."""

    @property
    def reads_photos(self) -> bool:
        """Whether photos of the dataset are encoded."""
        return self.mode == "source"

    def identity(self) -> dict[str, Any]:
        """The part of a job's identity that decides styles; the seed is there already."""
        return {
            "mode": self.mode,
            "fixed": {str(class_id): number for class_id, number in sorted(self.fixed.items())},
            "encoder_sha256": self.encoder_sha256,
            "bank_sha256": self.bank_sha256,
        }


def choose_style(
    asked: StyleConfig | None, checkpoint: Path, *, taxonomy: Taxonomy, seed: int
) -> Style | None:
    """Check that a checkpoint can do what a job asks for.

    Args:
        asked: The job's setting; None stands for `random` if the generator reads features.
        checkpoint: The checkpoint folder.
        taxonomy: Its taxonomy.
        seed: The run's seed.

    Returns:
        The style, or None for a generator that reads no features.

    Raises:
        ConfigError: The generator reads no features, or there is no such class or mode.
        CheckpointError: The encoder or the style bank that the style needs is missing or damaged.
    """
    config = read_checkpoint_config(checkpoint)
    if not config.generator.feature_channels:
        if asked is not None:
            raise ConfigError(
                f"style: {asked.text()!r}, but the generator {checkpoint} reads no features, so "
                "its photos cannot be told how to look; leave style out"
            )
        return None
    asked = asked or StyleConfig()
    if asked.mode == "source":
        _check_encoder(config, checkpoint)
        bank = None
    else:
        bank = _needed_bank(checkpoint, need=f"style {asked.mode}")
    if asked.fixed and bank is None:
        bank = _needed_bank(checkpoint, need="style.fixed")
    return Style(
        mode=asked.mode,
        seed=seed,
        fixed={} if bank is None else _fixed(asked, bank, checkpoint, taxonomy),
        encoder_sha256=config.sha256[ENCODER_FILE] if asked.mode == "source" else None,
        bank_sha256=None if bank is None else bank.sha256,
    )


def _check_encoder(config: CheckpointConfig, checkpoint: Path) -> None:
    if config.encoder is None:
        raise CheckpointError(
            f"{checkpoint}: the checkpoint has no encoder, which style source needs"
        )
    wanted, found = config.generator.feature_channels, config.encoder.out_channels
    if found != wanted:
        raise CheckpointError(
            f"{checkpoint}: the encoder makes {found} feature channels, "
            f"expected {wanted} as the generator reads"
        )
    check_weights(checkpoint, ENCODER_FILE)


def _needed_bank(checkpoint: Path, *, need: str) -> "StyleBank":
    from hdmodel.styles import has_styles, load_styles

    if not has_styles(checkpoint):
        hint = MAKE_BANK.format(checkpoint=checkpoint)
        instead = "" if need == "style.fixed" else ", or use style source"
        raise CheckpointError(
            f"{checkpoint}: the checkpoint has no style bank, which {need} needs; {hint}{instead}"
        )
    return load_styles(checkpoint)


def _fixed(
    asked: StyleConfig, bank: "StyleBank", checkpoint: Path, taxonomy: Taxonomy
) -> dict[int, int]:
    """Modes by class id.

    Raises:
        ConfigError: There is no such class, or the class has no such mode.
    """
    ids = {name: class_id for class_id, name in enumerate(taxonomy.class_names)}
    for name, number in asked.fixed.items():
        if name not in ids:
            hint = did_you_mean(name, ids)
            raise ConfigError(
                f"style.fixed: unknown class {name!r}{hint} (classes: {', '.join(ids)})"
            )
        modes = len(bank.modes(ids[name]))
        if number >= modes:
            raise ConfigError(
                f"style.fixed.{name}: mode {number}, expected 0..{modes - 1}, the modes that "
                f"{name!r} has in the style bank of {checkpoint}"
            )
    return {ids[name]: number for name, number in asked.fixed.items()}


_WHAT_PHOTOS_GIVE = {
    "style source": ("styles", "style random or mean"),
    "photo composite": ("pixels", "photo exemplar with photo.exemplars, or rendered"),
}


def check_photos(
    source: Source,
    scenes: Collection[str],
    *,
    photos: PhotoMode,
    need: Literal["style source", "photo composite"] = "style source",
) -> None:
    """Check that every scene whose photo is needed has one listed.

    Args:
        source: The dataset.
        scenes: Names of the scenes that the job uses.
        photos: The dataset's setting.
        need: What photos are needed for.

    Raises:
        ConfigError: Photos are not to be read.
        DatasetError: Some scenes have none.
    """
    if photos == "none":
        raise ConfigError(f"dataset.photos: none, but {need} reads the photos; use auto")
    wanted = set(scenes)
    missing = [ref.name for ref in source.scenes if ref.name in wanted and ref.photo is None]
    if missing:
        what, instead = _WHAT_PHOTOS_GIVE[need]
        raise DatasetError(
            f"{need}: {len(missing)} of {len(wanted)} scenes have no photo to take {what} "
            f"from, such as {missing[0]}; add the photos, or use {instead}"
        )
