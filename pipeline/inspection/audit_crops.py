"""Where an edit lies in its sample, and pictures of that place for a person to judge.

Shape legend: H x W pixels of a sample, h x w of a crop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.editing.boxes import Box, slices
from pipeline.editing.recompose import Recomposed
from pipeline.inspection.audit_edits import AppliedEdit
from pipeline.inspection.page import IMAGES, Picture, save_map, save_photo
from pipeline.pictures import Mask, draw_frame, draw_map, draw_objects, single_objects, view_width
from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap, Photo

CONTEXT = 1.5
"""How much a crop shows around an edit, in sizes of the edit."""
LEAST_PART = 1 / 6
"""Width of the smallest crop over that of the sample."""
SHIFTS = frozenset({"move", "rescale"})
"""Operations that change a sample where an object was and where it is."""
LEAST_WIDTH, MOST_WIDTH = 480, 960
"""Of the pictures of a crop, in pixels."""
SCENE_WIDTH = 360
STRIP_WIDTH, STRIP_GAP = 300, 6
"""Of each picture of a strip, and what is between them, in pixels."""


@dataclass(frozen=True, slots=True)
class EditPictures:
    """The pictures of one edit."""

    crop: Box
    before: Picture
    """The label map of the source, as the program frames it."""
    after: Picture
    """The label map after all edits, with an outline around what this one changed."""
    photo: Picture
    objects: Picture | None
    """The objects after all edits, where there are several to tell apart."""
    scene: Picture
    """The whole label map after all edits, with a frame around the crop."""
    strip: Picture
    """Before, after and photo beside each other, smaller, in one picture."""

    @property
    def crops(self) -> tuple[Picture, ...]:
        """The pictures of the crop, in the order in which they are looked at."""
        objects = () if self.objects is None else (self.objects,)
        return (self.before, self.after, *objects, self.photo)


def pixels_of(edit: AppliedEdit, made: Recomposed) -> Mask:
    """The pixels of the final maps that an edit put there, bool [H, W].

    Of a moved object that is where it was and where it is. What later edits covered is not among
    them.
    """
    pixels: Mask = made.origin == edit.position
    return pixels


def crop_of(edit: AppliedEdit, pixels: Mask, instance: InstanceMap) -> Box:
    """The part of a sample that shows an edit and what is around it.

    It is a square, or as wide as that where the picture is not so tall. If a moved object has
    gone so far that both its places fill more than half of the picture's width or height, only the
    place where it is now counts.

    Args:
        edit: The edit.
        pixels: What the edit changed, bool [H, W], at least one pixel.
        instance: Instance ids after all edits [H, W].
    """
    height, width = pixels.shape
    top, left, bottom, right = _bounds(pixels)
    if edit.op in SHIFTS and (bottom - top > height / 2 or right - left > width / 2):
        now = pixels & (instance >= INSTANCES_PER_CLASS)
        top, left, bottom, right = _bounds(now if now.any() else pixels)
    side = max(round((1 + CONTEXT) * max(bottom - top, right - left)), round(LEAST_PART * width), 1)
    rows, columns = min(side, height), min(side, width)
    first_row = _start((top + bottom) // 2, rows, height)
    first_column = _start((left + right) // 2, columns, width)
    return first_row, first_column, first_row + rows, first_column + columns


def draw_edit(
    edit: AppliedEdit,
    made: Recomposed,
    photo: Photo,
    colors: npt.NDArray[np.uint8],
    *,
    number: int,
    to: Path,
) -> EditPictures | None:
    """Draw the pictures of an edit; None if later edits cover all of it.

    Args:
        edit: The edit.
        made: What became of its sample.
        photo: The photo of the sample, uint8 [H, W, 3].
        colors: RGB of each class, uint8 [num_classes, 3].
        number: Of the edit on the page, for the names of the files.
        to: The folder of the page.
    """
    pixels = pixels_of(edit, made)
    if not pixels.any():
        return None
    crop = crop_of(edit, pixels, made.scene.instance)
    part = slices(crop)
    width = view_width(crop[3] - crop[1], least=LEAST_WIDTH, most=MOST_WIDTH)
    label, instance = made.scene.label[part], made.scene.instance[part]

    def save(drawn: Photo, name: str, title: str) -> Picture:
        file = f"{IMAGES}/{number:04d}-{name}.png"
        return save_map(drawn, to, file, title=title, alt=f"edit {number}: {title}")

    def draw(width: int) -> tuple[Photo, Photo, Photo]:
        framed = made.framed
        return (
            draw_map(framed.label[part], framed.instance[part], colors, width=width),
            draw_map(label, instance, colors, changed=pixels[part], width=width),
            _enlarged(photo[part], width=width),
        )

    before, after, shown = draw(width)
    objects = None
    if len(single_objects(instance)) > 1:
        drawn = draw_objects(label, instance, colors, width=width)
        objects = save(drawn, "objects", "single objects after")
    return EditPictures(
        crop=crop,
        before=save(before, "before", "labels before"),
        after=save(after, "after", "labels after"),
        photo=save_photo(
            shown,
            to,
            f"{IMAGES}/{number:04d}-photo.jpg",
            title="photo",
            alt=f"edit {number}: photo",
        ),
        objects=objects,
        scene=save(_whole_scene(made, crop, colors), "scene", "whole scene after"),
        strip=save(_beside(draw(STRIP_WIDTH)), "strip", "labels before, labels after, photo"),
    )


def _whole_scene(made: Recomposed, crop: Box, colors: npt.NDArray[np.uint8]) -> Photo:
    """A small picture of the final maps with a frame around a crop, uint8 [h, w, 3]."""
    scene = made.scene
    drawn = draw_map(scene.label, scene.instance, colors, width=SCENE_WIDTH)
    scale = SCENE_WIDTH / scene.size[1]
    top, left, bottom, right = (round(value * scale) for value in crop)
    return draw_frame(drawn, (top, left, bottom, right))


def _beside(pictures: Sequence[Photo]) -> Photo:
    """Pictures of one size beside each other on white, uint8 [h, w, 3]."""
    gap = np.full((pictures[0].shape[0], STRIP_GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


def _enlarged(photo: Photo, *, width: int) -> Photo:
    """A photo at another width, uint8 [h, w, 3]."""
    rows, columns = photo.shape[:2]
    size = (width, max(1, round(rows * width / columns)))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


def _bounds(mask: Mask) -> Box:
    """The box of the pixels of a mask, of which there is at least one."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _start(middle: int, length: int, limit: int) -> int:
    """Where a stretch around a middle begins, so that it lies within 0 .. `limit`."""
    return min(max(middle - length // 2, 0), limit - length)
