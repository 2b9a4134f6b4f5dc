"""Pictures of label maps for people: class colours, object outlines, outlines of what changed.

Shape legend: H x W pixels of a map, h x w of a picture.
"""

from colorsys import hsv_to_rgb

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from pipeline.scene import INSTANCES_PER_CLASS, InstanceMap, LabelMap, Photo

Mask = npt.NDArray[np.bool_]

OUTLINE_SHADE = 0.5
"""How far an object's outline is from its class colour, towards black or white, in 0..1."""
DARK = 90
"""Luminance, 0..255, below which a class colour is outlined lighter instead of darker."""
LUMINANCE = (0.299, 0.587, 0.114)
OBJECT_BORDER = (16, 16, 16)
PALENESS = 0.75
"""How far the colours of stuff are from those of its classes, towards white, beside objects."""
HUE_STEP = 0.618034
"""Hues that are this part of a turn apart are far from those of the next few."""
CHANGE_COLOR = (255, 255, 255)
CASING_COLOR = (0, 0, 0)


def colorize(label: LabelMap, colors: npt.NDArray[np.uint8]) -> Photo:
    """The display colours of a label map, RGB uint8 [H, W, 3].

    Args:
        label: Class ids [H, W].
        colors: RGB of each class, uint8 [num_classes, 3].
    """
    return colors[label]


def outlines(instance: InstanceMap) -> Mask:
    """The pixels of single objects along their borders, bool [H, W].

    A pixel of an object counts if one of its four neighbours has another id; pixels beyond the
    edge of the map do not.

    Args:
        instance: Instance ids in Cityscapes' encoding [H, W].
    """
    edge = np.zeros(instance.shape, np.bool_)
    vertical = instance[1:] != instance[:-1]
    horizontal = instance[:, 1:] != instance[:, :-1]
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    result: Mask = edge & (instance >= INSTANCES_PER_CLASS)
    return result


def outline_colors(colors: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Colours that stand out a little from the class colours, uint8 [num_classes, 3].

    Args:
        colors: RGB of each class, uint8 [num_classes, 3].
    """
    dark = (colors @ np.array(LUMINANCE))[:, None] < DARK
    goal = np.where(dark, 255.0, 0.0)
    return np.round(colors + (goal - colors) * OUTLINE_SHADE).astype(np.uint8)


def ring(mask: Mask, *, start: int, width: int) -> Mask:
    """The band around a mask: pixels more than `start`, up to `start + width` steps outside it.

    Steps go to the eight neighbours.
    """
    square = np.ones((3, 3), np.bool_)
    inner = ndimage.binary_dilation(mask, square, iterations=start) if start else mask
    outer: Mask = ndimage.binary_dilation(inner, square, iterations=width)
    return outer & ~inner


def draw_map(
    label: LabelMap,
    instance: InstanceMap,
    colors: npt.NDArray[np.uint8],
    *,
    changed: Mask | None = None,
    width: int | None = None,
) -> Photo:
    """A picture of a scene's maps: class colours, objects outlined, changes outlined in white.

    The white line has a black casing, so it stands out from any class colour.

    Args:
        label: Class ids [H, W].
        instance: Instance ids in Cityscapes' encoding [H, W].
        colors: RGB of each class, uint8 [num_classes, 3].
        changed: What to outline, bool [H, W].
        width: Width of the picture in pixels (height follows); that of the maps if not given.

    Returns:
        RGB, uint8 [h, w, 3]; lines are as thin in large pictures as in small ones.
    """
    if width is not None:
        rows, columns = _sampling(label.shape[0], label.shape[1], width)
        label, instance = label[rows, columns], instance[rows, columns]
        changed = None if changed is None else changed[rows, columns]
    picture = colorize(label, colors)
    edge = outlines(instance)
    picture[edge] = outline_colors(colors)[label[edge]]
    if changed is not None and changed.any():
        thick = max(1, round(picture.shape[1] / 500))
        picture[ring(changed, start=0, width=thick)] = CHANGE_COLOR
        picture[ring(changed, start=thick, width=1)] = CASING_COLOR
    return picture


def draw_objects(
    label: LabelMap,
    instance: InstanceMap,
    colors: npt.NDArray[np.uint8],
    *,
    width: int | None = None,
) -> Photo:
    """A picture of single objects: each in a colour of its own with a dark border, stuff pale.

    Args:
        label: Class ids [H, W].
        instance: Instance ids in Cityscapes' encoding [H, W].
        colors: RGB of each class, uint8 [num_classes, 3].
        width: Width of the picture in pixels (height follows); that of the maps if not given.

    Returns:
        RGB, uint8 [h, w, 3].
    """
    if width is not None:
        rows, columns = _sampling(label.shape[0], label.shape[1], width)
        label, instance = label[rows, columns], instance[rows, columns]
    pale = np.round(colors + (255.0 - colors) * PALENESS).astype(np.uint8)
    picture = colorize(label, pale)
    for number, value in enumerate(single_objects(instance)):
        red, green, blue = hsv_to_rgb(number * HUE_STEP % 1.0, 0.6, 0.92)
        picture[instance == value] = np.round(np.array([red, green, blue]) * 255)
    picture[outlines(instance)] = OBJECT_BORDER
    return picture


def single_objects(instance: InstanceMap) -> list[int]:
    """The ids of the single objects of a map, sorted."""
    ids = np.unique(instance)
    return [int(value) for value in ids[ids >= INSTANCES_PER_CLASS]]


def draw_frame(picture: Photo, box: tuple[int, int, int, int]) -> Photo:
    """A picture with a white frame in a black casing around a box.

    Args:
        picture: RGB, uint8 [h, w, 3].
        box: Top, left, bottom, right in pixels of the picture; bottom and right are exclusive.

    Returns:
        RGB, uint8 [h, w, 3].
    """
    framed = Image.fromarray(picture)
    pen = ImageDraw.Draw(framed)
    top, left, bottom, right = box
    for inset, color in (
        (0, CASING_COLOR),
        (1, CHANGE_COLOR),
        (2, CHANGE_COLOR),
        (3, CASING_COLOR),
    ):
        corners = (left + inset, top + inset, right - 1 - inset, bottom - 1 - inset)
        if corners[0] <= corners[2] and corners[1] <= corners[3]:
            pen.rectangle(corners, outline=color)
    return np.asarray(framed)


def shrink(photo: Photo, *, width: int) -> Photo:
    """A photo at a smaller width, uint8 [h, w, 3]; one that is small enough as it is.

    Args:
        photo: RGB, uint8 [H, W, 3].
        width: Largest width in pixels.
    """
    rows, columns = photo.shape[:2]
    if columns <= width:
        return photo
    size = (width, max(1, round(rows * width / columns)))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


def view_width(columns: int, *, least: int, most: int) -> int:
    """The width at which a map is drawn: a whole multiple if it is small, at most `most`.

    Args:
        columns: W.
        least: Maps narrower than this are enlarged.
        most: Wider maps are reduced to this.
    """
    if columns >= most:
        return most
    return columns * max(1, min(-(-least // columns), most // columns))


def _sampling(
    rows: int, columns: int, width: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Indices that sample a map at the centres of a picture's pixels."""
    height = max(1, round(rows * width / columns))
    y = (2 * np.arange(height) + 1) * rows // (2 * height)
    x = (2 * np.arange(width) + 1) * columns // (2 * width)
    return y[:, None], x[None, :]
