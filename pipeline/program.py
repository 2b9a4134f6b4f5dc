"""Edit programs: what is done to one scene, as data that survives JSON unchanged."""

from typing import Annotated, Literal

from pydantic import Field

from hdmodel.settings import Settings
from pipeline.scene import INSTANCES_PER_CLASS

InstanceId = Annotated[int, Field(ge=INSTANCES_PER_CLASS)]


class MirrorScene(Settings):
    """Mirror the scene left to right; every object keeps its id."""

    op: Literal["mirror_scene"] = "mirror_scene"


class Drop(Settings):
    """Take an object out and fill the hole from the stuff around it."""

    op: Literal["drop"] = "drop"
    instance: InstanceId


class Move(Settings):
    """Shift an object, fill the hole it leaves, and keep its id."""

    op: Literal["move"] = "move"
    instance: InstanceId
    rows: int
    """Shift in pixels, downwards."""
    columns: int
    """Shift in pixels, to the right."""


class Paste(Settings):
    """Bring in an object of another scene.

    It gets the lowest id of its class that no object of the edited scene has, or had before
    this operation.
    """

    op: Literal["paste"] = "paste"
    donor: str
    """Name of the scene the object comes from, as it was before any edit."""
    donor_instance: InstanceId
    row: int
    """The row on which the object's lowest pixels come to lie."""
    column: int
    """The column of the object's leftmost pixels."""
    scale: float = Field(default=1.0, gt=0, le=16)
    """Size in the edited scene over size in the donor scene."""
    flip: bool = False
    """Whether the object is mirrored left to right."""


Operation = Annotated[MirrorScene | Drop | Move | Paste, Field(discriminator="op")]


class Program(Settings):
    """The edits of one sample, in order.

    All coordinates are pixels of the size to which source and donor scenes are fitted. Instance
    ids refer to the map at the moment an operation runs. Ids are stable: an object keeps its id
    through mirrors, moves and the edits of others, and the id of an object that was dropped is
    not given to another one.
    """

    version: Literal[1] = 1
    scene: str
    """Name of the source scene."""
    min_visible_area: int = Field(default=0, ge=0)
    """Objects that the edits leave with fewer visible pixels than this are taken out."""
    operations: tuple[Operation, ...] = ()

    @property
    def donors(self) -> tuple[str, ...]:
        """The names of the scenes that the pastes need, sorted, each once."""
        return tuple(sorted({o.donor for o in self.operations if isinstance(o, Paste)}))
