"""Edit programs: what is done to one scene, as data that survives JSON unchanged.

Coordinates are pixels of the size to which source and donor scenes are fitted. Classes are named as
in the taxonomy, objects by their instance ids.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hdmodel.settings import Settings
from pipeline.scene import INSTANCES_PER_CLASS

InstanceId = Annotated[int, Field(ge=INSTANCES_PER_CLASS)]
Scale = Annotated[float, Field(gt=0, le=16)]
RegionSeed = Annotated[int, Field(ge=0, lt=2**63)]


Along = tuple[InstanceId, ...]


class ObjectOperation(Settings):
    """Base of the operations about an object and what is one with it."""

    @model_validator(mode="after")
    def _check_distinct(self) -> Self:
        for first, others in (("instance", "along"), ("donor_instance", "donor_along")):
            ids = (getattr(self, first, None), *getattr(self, others, ()))
            if len(set(ids)) < len(ids):
                raise ValueError(f"{others}: expected other objects than {first}, each once")
        return self


class MirrorScene(Settings):
    """Mirror the scene left to right; every object keeps its id."""

    op: Literal["mirror_scene"] = "mirror_scene"


class CropZoom(Settings):
    """Enlarge a window of the scene to the whole picture; what lies outside is gone."""

    op: Literal["crop_zoom"] = "crop_zoom"
    top: int = Field(ge=0)
    left: int = Field(ge=0)
    height: int = Field(ge=1)
    width: int = Field(ge=1)


class Drop(ObjectOperation):
    """Take an object out and fill the hole with what would be behind."""

    op: Literal["drop"] = "drop"
    instance: InstanceId
    along: Along = ()
    """The ids of objects that are one with it, as a bicycle with its rider, and go with it."""


class Move(ObjectOperation):
    """Shift an object, fill the hole it leaves, and keep its id."""

    op: Literal["move"] = "move"
    instance: InstanceId
    rows: int
    """Shift in pixels, downwards."""
    columns: int
    """Shift in pixels, to the right."""
    along: Along = ()
    """The ids of objects that are one with it, as a bicycle with its rider, and go with it."""


class Rescale(ObjectOperation):
    """Bring an object nearer or farther: another size, where objects of that size stand."""

    op: Literal["rescale"] = "rescale"
    instance: InstanceId
    row: int
    """The row on which its lowest pixels, or those of what is one with it, come to lie."""
    column: int
    """The column of the leftmost pixels, likewise."""
    scale: Scale
    """Its new size over that before."""
    along: Along = ()
    """The ids of objects that are one with it, as a bicycle with its rider, and go with it."""


class Flip(ObjectOperation):
    """Mirror an object where it stands."""

    op: Literal["flip"] = "flip"
    instance: InstanceId
    along: Along = ()
    """The ids of objects that are one with it, as a bicycle with its rider, and go with it."""


class Duplicate(ObjectOperation):
    """Put a copy of an object elsewhere in the same scene."""

    op: Literal["duplicate"] = "duplicate"
    instance: InstanceId
    row: int
    """The row on which the copy's lowest pixels come to lie."""
    column: int
    """The column of the copy's leftmost pixels."""
    scale: Scale = 1.0
    """Size of the copy over that of the object."""
    flip: bool = False
    """Whether the copy is mirrored left to right."""
    along: Along = ()
    """The ids of objects that are one with it, and are copied with it."""


class Paste(ObjectOperation):
    """Bring in an object of another scene.

    It gets the lowest id of its class that no object of the edited scene has, or had before
    this operation.
    """

    op: Literal["paste"] = "paste"
    donor: str
    """Name of the scene the object comes from, as it was before any edit."""
    donor_instance: InstanceId
    row: int
    """The row on which its lowest pixels, or those of what is one with it, come to lie."""
    column: int
    """The column of the leftmost pixels, likewise."""
    scale: Scale = 1.0
    """Size in the edited scene over size in the donor scene."""
    flip: bool = False
    """Whether the object is mirrored left to right."""
    donor_along: Along = ()
    """The ids, in its scene, of objects that are one with it and come along."""


class Replace(ObjectOperation):
    """Put an object of another scene where one stands, centred on the same spot of the ground."""

    op: Literal["replace"] = "replace"
    instance: InstanceId
    """The object that goes."""
    along: Along = ()
    """The ids of objects that are one with it, and go with it."""
    donor: str
    """Name of the scene the new object comes from, as it was before any edit."""
    donor_instance: InstanceId
    scale: Scale = 1.0
    """Size in the edited scene over size in the donor scene."""
    flip: bool = False
    """Whether the object is mirrored left to right."""
    donor_along: Along = ()
    """The ids, in its scene, of objects that are one with it and come along."""


class ChangeClass(Settings):
    """Make an object one of another thing class, with the same shape."""

    op: Literal["change_class"] = "change_class"
    instance: InstanceId
    to: str
    """The new class."""


class Jitter(Settings):
    """Bend an object's contour smoothly."""

    op: Literal["jitter"] = "jitter"
    instance: InstanceId
    amplitude: float = Field(gt=0, le=256)
    """How far the contour moves at most, in pixels."""
    seed: int = Field(ge=0, lt=2**63)
    """Of the random field that bends it."""


class RelabelRegion(Settings):
    """Make a region of stuff one of another class, as trees to building in the paper's figure 1.

    Where what is behind the region (mostly sky) is seen above it, the new class gets a contour of
    its own: roof lines and upright walls if it is built, crowns if it grew. What that leaves of the
    region becomes what is behind.
    """

    op: Literal["relabel_region"] = "relabel_region"
    of: str
    """The class of the region."""
    to: str
    """The new class."""
    at: tuple[int, int] | None = None
    """Row and column of a pixel of the 8-connected region; all regions of the class if none."""
    seed: RegionSeed = 0
    """Of the new contour."""

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        _check_two_classes(self.of, self.to)
        return self


class GrowRegion(Settings):
    """Let stuff grow into its neighbour; shrinking one is growing the other.

    Ground grows with straight edges, by less the farther away it is; what was built by whole
    houses; what grew, such as trees, irregularly and with gaps between single ones.
    """

    op: Literal["grow_region"] = "grow_region"
    of: str
    """The class that grows."""
    into: str
    """The class that gives way."""
    pixels: int = Field(ge=1, le=4096)
    """How far at most."""
    seed: RegionSeed = 0
    """Of where it grows how far."""

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        _check_two_classes(self.of, self.into)
        return self


class Skyline(Settings):
    """Redraw the line at which one class of stuff ends and another begins below it.

    Where a column holds `upper` and, right below it, `lower`, the line between them is brought to
    the given row. It goes no farther than the next object or other stuff, though past poles and
    specks of void, and comes back to where it was towards the columns in which it cannot move;
    pixels of other classes stay.
    """

    op: Literal["skyline"] = "skyline"
    upper: str = "sky"
    lower: str = "vegetation"
    rows: Annotated[tuple[int, ...], Field(min_length=1, max_length=4096)]
    """The first row of `lower` at evenly spaced columns, from the leftmost to the rightmost; in
    between, along straight lines."""
    seed: RegionSeed = 0
    """Of the fine detail that the line gets where `lower` grew, as trees did."""

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        _check_two_classes(self.upper, self.lower)
        return self


def _check_two_classes(one: str, other: str) -> None:
    if one == other:
        raise ValueError(f"expected two classes, got {one!r} twice")


Operation = Annotated[
    MirrorScene
    | CropZoom
    | Drop
    | Move
    | Rescale
    | Flip
    | Duplicate
    | Paste
    | Replace
    | ChangeClass
    | Jitter
    | RelabelRegion
    | GrowRegion
    | Skyline,
    Field(discriminator="op"),
]


class Program(Settings):
    """The edits of one sample, in order.

    Instance ids refer to the map at the moment an operation runs. While a program runs, ids are
    stable: an object keeps its id through mirrors, moves and the edits of others, and the id of an
    object that is gone is not given to another one. At the end, those of each class are numbered
    through from 0.

    Example:
        >>> program = Program(scene="street", operations=(Drop(instance=26000), MirrorScene()))
        >>> program.to_plain()["operations"]
        [{'op': 'drop', 'instance': 26000, 'along': []}, {'op': 'mirror_scene'}]
        >>> Program.model_validate_json(program.model_dump_json()) == program
        True
    """

    version: Literal[2] = 2
    scene: str
    """Name of the source scene."""
    min_visible_area: int = Field(default=0, ge=0)
    """Objects that the edits leave with fewer visible pixels than this are taken out."""
    min_visible_fraction: float = Field(default=0.0, ge=0, le=1)
    """Objects of which the edits leave a smaller part than this are taken out."""
    protected: tuple[str, ...] = ()
    """Classes whose objects are not edited, and which never grow; they may be covered by what
    stands nearer. Names that the taxonomy does not have are ignored."""
    operations: tuple[Operation, ...] = ()

    @property
    def donors(self) -> tuple[str, ...]:
        """The names of the scenes that objects come from, sorted, each once."""
        return tuple(sorted({o.donor for o in self.operations if isinstance(o, Paste | Replace)}))
