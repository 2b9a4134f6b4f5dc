"""Random small scenes and programs, for tests of recomposition, and what applies them."""

from collections.abc import Sequence

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from pipeline.editing.program import (
    ChangeClass,
    CropZoom,
    Drop,
    Duplicate,
    Flip,
    GrowRegion,
    Jitter,
    MirrorScene,
    Move,
    Operation,
    Paste,
    Program,
    RelabelRegion,
    Replace,
    Rescale,
    Skyline,
)
from pipeline.editing.recompose import Recomposed, donors_from, recompose
from pipeline.scene import InstanceMap, Scene
from pipeline.taxonomy import Taxonomy

CITY = Taxonomy.load("cityscapes")
SURFACES = (7, 8, 9, 11, 17, 21, 23)
FRAME, CLUTTER = (1,), (0, 4)
FROZEN = FRAME + CLUTTER
THINGS = (24, 25, 26, 33)
slowly = settings(deadline=None, max_examples=60)


@st.composite
def scenes(draw: st.DrawFn, *, name: str = "a", stuff: bool = True, fewest: int = 0) -> Scene:
    """A grid of stuff and void under rectangles of things; Cityscapes ids, 6 to 24 pixels.

    Fewer things than `fewest` can be seen where void or others hide them.
    """
    height, width = draw(st.integers(6, 24)), draw(st.integers(6, 24))
    backgrounds = st.sampled_from(SURFACES + FROZEN if stuff else FROZEN + THINGS)
    cells = np.array(draw(st.lists(backgrounds, min_size=12, max_size=12)), np.uint8)
    label = np.kron(cells.reshape(3, 4), np.ones((8, 6), np.uint8))[:height, :width].copy()
    instance = label.astype(np.int32)
    rectangle = st.tuples(
        st.sampled_from(THINGS),
        st.integers(0, 3),
        st.integers(0, height - 1),
        st.integers(0, width - 1),
        st.integers(1, 10),
        st.integers(1, 10),
    )
    for class_id, k, top, left, tall, wide in draw(
        st.lists(rectangle, min_size=fewest, max_size=5)
    ):
        box = (slice(top, top + tall), slice(left, left + wide))
        free = ~np.isin(label[box], FROZEN)
        label[box][free] = class_id
        instance[box][free] = class_id * 1000 + k
    if stuff:
        label[0, 0] = instance[0, 0] = SURFACES[0]
    return Scene(name=name, label=label, instance=instance)


def objects() -> st.SearchStrategy[int]:
    """Ids of objects that `scenes` may hold."""
    return st.builds(lambda c, k: c * 1000 + k, st.sampled_from(THINGS), st.integers(0, 4))


def instance_operations(*, donor: str = "b") -> st.SearchStrategy[Operation]:
    """Any operation on objects, most of them on those that `scenes` may hold."""
    shift, place = st.integers(-12, 12), st.integers(-6, 28)
    scale = st.sampled_from([0.3, 0.75, 1.0, 1.5, 2.2])
    put = {"row": place, "column": place, "scale": scale}
    bring = {"donor": st.just(donor), "donor_instance": objects(), "flip": st.booleans()}
    return st.one_of(
        st.builds(Drop, instance=objects()),
        st.builds(Move, instance=objects(), rows=shift, columns=shift),
        st.builds(Rescale, instance=objects(), **put),
        st.builds(Flip, instance=objects()),
        st.builds(Duplicate, instance=objects(), flip=st.booleans(), **put),
        st.builds(Paste, **bring, **put),
        st.builds(Replace, instance=objects(), scale=scale, **bring),
        st.builds(ChangeClass, instance=objects(), to=st.sampled_from(["car", "bus", "road"])),
        st.builds(
            Jitter,
            instance=objects(),
            amplitude=st.sampled_from([0.5, 1.5, 4.0]),
            seed=st.integers(0, 9),
        ),
    )


def stuff_operations() -> st.SearchStrategy[Operation]:
    """Any operation on stuff; some name classes that cannot be edited."""
    names = ["road", "sidewalk", "building", "vegetation", "sky", "static", "car"]
    pairs = st.permutations(names).map(lambda order: order[:2])
    spot = st.none() | st.tuples(st.integers(0, 23), st.integers(0, 23))
    line = st.lists(st.integers(-3, 28), min_size=1, max_size=4).map(tuple)
    return pairs.flatmap(
        lambda pair: st.one_of(
            st.builds(RelabelRegion, of=st.just(pair[0]), to=st.just(pair[1]), at=spot),
            st.builds(
                GrowRegion, of=st.just(pair[0]), into=st.just(pair[1]), pixels=st.integers(1, 6)
            ),
            st.builds(Skyline, upper=st.just(pair[0]), lower=st.just(pair[1]), rows=line),
        )
    )


def scene_operations() -> st.SearchStrategy[Operation]:
    """Mirrors and windows, some of which reach out of the picture."""
    corner, length = st.integers(0, 8), st.integers(1, 16)
    return st.one_of(
        st.just(MirrorScene()),
        st.builds(CropZoom, top=corner, left=corner, height=length, width=length),
    )


def operations(*, donor: str = "b") -> st.SearchStrategy[Operation]:
    """Any operation."""
    return st.one_of(
        instance_operations(donor=donor),
        instance_operations(donor=donor),
        stuff_operations(),
        scene_operations(),
    )


def run(
    scene: Scene,
    *edits: Operation,
    donors: Sequence[Scene] = (),
    min_visible_area: int = 0,
    min_visible_fraction: float = 0,
    protected: tuple[str, ...] = (),
) -> Recomposed:
    program = Program(
        scene=scene.name,
        operations=edits,
        min_visible_area=min_visible_area,
        min_visible_fraction=min_visible_fraction,
        protected=protected,
    )
    return recompose(program, scene, donors_from({d.name: d for d in donors}), taxonomy=CITY)


def pixels(instance_map: InstanceMap) -> dict[int, tuple[int, tuple[int, int, int, int]]]:
    """Area and box of every object, counted pixel by pixel."""
    found: dict[int, list[tuple[int, int]]] = {}
    for (row, column), value in np.ndenumerate(instance_map):
        if value >= 1000:
            found.setdefault(int(value), []).append((row, column))
    return {
        key: (
            len(points),
            (
                min(r for r, _ in points),
                min(c for _, c in points),
                max(r for r, _ in points) + 1,
                max(c for _, c in points) + 1,
            ),
        )
        for key, points in found.items()
    }


def same_maps(one: Scene, other: Scene) -> None:
    np.testing.assert_array_equal(one.label, other.label)
    np.testing.assert_array_equal(one.instance, other.instance)
