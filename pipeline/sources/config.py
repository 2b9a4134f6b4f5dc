"""What a dataset is: where it lies, in which format, and how its files are named."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from hdmodel.settings import Settings
from hdmodel.suggestions import did_you_mean
from pipeline.sources.layouts import LAYOUTS

InstanceMode = Literal["files", "components", "none"]
PhotoMode = Literal["auto", "required", "none"]
InstanceCoding = Literal["cityscapes", "index"]

ZARR_FORMAT = "zarr"
FORMATS: tuple[str, ...] = (*sorted(LAYOUTS), ZARR_FORMAT)


def _one_or_many(value: Any) -> Any:  # noqa: ANN401 - checked by pydantic afterwards
    return (value,) if isinstance(value, str) else value


def _text(value: Any) -> Any:  # noqa: ANN401 - checked by pydantic afterwards
    return str(value) if isinstance(value, Path) else value


Suffixes = Annotated[tuple[str, ...], BeforeValidator(_one_or_many), Field(min_length=1)]

Patterns = Annotated[tuple[str, ...], BeforeValidator(_one_or_many)]


class DatasetConfig(Settings):
    """A labelled dataset: label maps, and where there are any, instance maps and photos.

    The keys from `label_dir` on replace what the format sets, for datasets of your own. A
    folder may contain `{split}`.
    """

    root: Annotated[str, BeforeValidator(_text), Field(min_length=1)]
    """Top folder: a path, or any URL fsspec knows."""
    format: str
    """One of `FORMATS`."""
    split: str | None = None
    """The part of the dataset to use, such as train or val."""
    half: Literal[1, 2] | None = None
    """One half of the scenes, which shares none with the other: every other 16 in the order of
    their names."""
    only: Patterns = ()
    """Patterns of names, such as `0016E5*`: scenes that match none are left out."""
    without: Patterns = ()
    """Patterns of names: scenes that match one are left out."""
    taxonomy: str | None = None
    """A shipped taxonomy's name or a YAML file; the format's own if none is given."""
    instances: InstanceMode | None = None
    """Where instances come from: the dataset's files, connected components of thing classes, or
    nowhere (all things are crowd). By default files where the format has them, else nowhere."""
    min_component_area: int = Field(default=16, ge=1)
    """With `instances: components`, smaller components stay crowd; in pixels."""
    photos: PhotoMode = "auto"
    """Whether photos are read where they exist, demanded, or left alone."""
    label_dir: str | None = None
    """Folder of the label maps below the root."""
    label_suffix: Suffixes | None = None
    """What follows a scene's name in its label file's name."""
    instance_dir: str | None = None
    """Folder of the instance maps below the root."""
    instance_suffix: Suffixes | None = None
    """What follows a scene's name in its instance file's name."""
    instance_coding: InstanceCoding | None = None
    """`cityscapes`: class*1000 + k, or the class; `index`: objects numbered within the image."""
    photo_dir: str | None = None
    """Folder of the photos below the root."""
    photo_suffix: Suffixes | None = None
    """What follows a scene's name in its photo's name."""

    @field_validator("format")
    @classmethod
    def _check_format(cls, value: str) -> str:
        return check_format(value, FORMATS)


def check_format(value: str, known: Sequence[str]) -> str:
    """A format's name, if it is a known one.

    Raises:
        ValueError: It is not; the message names the nearest one.
    """
    if value not in known:
        hint = did_you_mean(value, known)
        raise ValueError(f"unknown dataset format{hint} (known: {', '.join(known)})")
    return value


def resolved_dataset(dataset: DatasetConfig) -> DatasetConfig:
    """A dataset with paths that mean the same from every working directory."""
    root, taxonomy = dataset.root, dataset.taxonomy
    update = {
        "root": root if is_url(root) else str(Path(root).resolve()),
        "taxonomy": None if taxonomy is None else resolved_name(taxonomy),
    }
    return dataset.model_copy(update=update)


def is_url(root: str) -> bool:
    """Whether a dataset's root is a URL rather than a local path."""
    return "://" in root or "::" in root


def resolved_name(name: str) -> str:
    """A shipped name as it is, a file's with its whole path."""
    return str(Path(name).resolve()) if Path(name).is_file() else name
