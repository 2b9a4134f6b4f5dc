"""What a source is: named scenes that can be read, with what is wrong about each."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal, Protocol

from pipeline.errors import DatasetError
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy

ProblemKind = Literal["missing", "unreadable", "value", "size", "instance", "photo"]


@dataclass(frozen=True, slots=True)
class SceneRef:
    """Where one scene lies; paths are relative to the root of its source."""

    name: str
    label: str
    instance: str | None = None
    photo: str | None = None
    index: int | None = None
    """The sample's number, in sources that are arrays."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with one file; its text names file, value and what was expected."""

    file: str
    kind: ProblemKind
    message: str
    values: tuple[tuple[int, int], ...] = ()
    """The offending numbers, and how many pixels hold each."""

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What came of reading one scene."""

    scene: Scene | None
    """None if there are errors."""
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()

    def unwrap(self) -> Scene:
        """The scene.

        Raises:
            DatasetError: There are errors; the message is all of them.
        """
        if self.scene is None:
            raise DatasetError("; ".join(str(error) for error in self.errors))
        return self.scene


class Source(Protocol):
    """A dataset as scenes; small and pickleable, so that workers can be handed one."""

    @property
    def taxonomy(self) -> Taxonomy:
        """The taxonomy of the scenes' label maps."""

    @property
    def scenes(self) -> tuple[SceneRef, ...]:
        """All scenes, sorted by name."""

    @property
    def orphans(self) -> tuple[str, ...]:
        """Instance maps and photos that belong to no label map."""

    def read(self, scene: str | SceneRef, *, photo: bool = True) -> Scene:
        """Read a scene at its own size.

        Args:
            scene: Its name or its ref.
            photo: Whether to read the photo, where there is one.

        Raises:
            DatasetError: There is no such scene, or one of its files cannot be used.
        """

    def inspect(self, scene: str | SceneRef, *, photo: bool = True) -> Reading:
        """Read a scene and say everything that is wrong with it.

        Args:
            scene: Its name or its ref.
            photo: Whether to read the photo, where there is one.

        Raises:
            DatasetError: There is no such scene.
        """


def find_ref(scenes: Sequence[SceneRef], scene: str | SceneRef) -> SceneRef:
    """Find a scene by name among refs sorted by name.

    Raises:
        DatasetError: There is none.
    """
    if isinstance(scene, SceneRef):
        return scene
    position = bisect.bisect_left(scenes, scene, key=attrgetter("name"))
    if position == len(scenes) or scenes[position].name != scene:
        raise DatasetError(f"scene {scene!r}: the dataset has no scene of that name")
    return scenes[position]
