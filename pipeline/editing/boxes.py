"""Boxes: top, left, bottom, right in pixels; bottom and right are exclusive."""

Box = tuple[int, int, int, int]


def slices(box: Box, *, within: Box = (0, 0, 0, 0)) -> tuple[slice, slice]:
    """A box as slices of the picture, or of an array whose corner lies where another box's does."""
    top, left, bottom, right = box
    return (
        slice(top - within[0], bottom - within[0]),
        slice(left - within[1], right - within[1]),
    )


def common(one: Box, other: Box) -> Box:
    """The box that two have in common; top is not above bottom where there is none."""
    return (
        max(one[0], other[0]),
        max(one[1], other[1]),
        min(one[2], other[2]),
        min(one[3], other[3]),
    )


def part_in(box: Box, window: Box) -> float:
    """The part of a box that lies in another one."""
    top, left, bottom, right = common(box, window)
    shown = max(bottom - top, 0) * max(right - left, 0)
    return shown / ((box[2] - box[0]) * (box[3] - box[1]))
