"""Layouts: how the files of each known dataset are named."""

from dataclasses import dataclass, replace
from typing import Literal

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")


@dataclass(frozen=True, slots=True)
class Role:
    """The files of one kind: a folder below the root and what follows the scene's name."""

    folder: str
    """May contain `{split}`; a `/{split}` at its end may be left out by datasets without splits."""
    suffixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a dataset keeps label maps, instance maps and photos."""

    label: Role
    instance: Role | None = None
    photo: Role | None = None
    taxonomy: str | None = None
    instance_coding: Literal["cityscapes", "index"] = "cityscapes"
    name_from: Literal["file", "path"] = "file"
    """Scenes are called by their file's name, or by its path below the folder, with `_` for `/`."""

    @property
    def roles(self) -> dict[str, Role]:
        """The kinds of files the layout has, by name."""
        found = {"label": self.label, "instance": self.instance, "photo": self.photo}
        return {kind: role for kind, role in found.items() if role is not None}


_PNG = (".png",)
_STEMS = Layout(
    label=Role("labels/{split}", _PNG),
    photo=Role("images/{split}", IMAGE_SUFFIXES),
    name_from="path",
)

LAYOUTS: dict[str, Layout] = {
    "cityscapes": Layout(
        label=Role("gtFine/{split}", ("_gtFine_labelIds.png",)),
        instance=Role("gtFine/{split}", ("_gtFine_instanceIds.png",)),
        photo=Role("leftImg8bit/{split}", ("_leftImg8bit.png", "_leftImg8bit.jpg")),
        taxonomy="cityscapes",
    ),
    "coco_stuff": Layout(
        label=Role("{split}_label", _PNG),
        instance=Role("{split}_inst", _PNG),
        photo=Role("{split}_img", IMAGE_SUFFIXES),
        taxonomy="coco_stuff",
        instance_coding="index",
    ),
    "camvid": Layout(
        label=Role("{split}annot", _PNG),
        photo=Role("{split}", IMAGE_SUFFIXES),
        taxonomy="camvid",
    ),
    "ade20k": Layout(
        label=Role("annotations/{split}", _PNG),
        photo=Role("images/{split}", IMAGE_SUFFIXES),
        taxonomy="ade20k",
    ),
    "nyu40": replace(_STEMS, taxonomy="nyu40"),
    "helen": replace(_STEMS, taxonomy="helen"),
    "folders": _STEMS,
}
"""The known formats; every one can be bent with the keys of `DatasetConfig`."""
