"""Random small scenes and programs for property tests of recomposition."""

import numpy as np
from hypothesis import strategies as st

from pipeline.program import Drop, MirrorScene, Move, Operation, Paste
from pipeline.scene import Scene

SURFACES = (7, 8, 9, 11, 17, 21, 23)
FROZEN = (0, 1, 4)
THINGS = (24, 26, 33)


@st.composite
def scenes(draw: st.DrawFn, *, name: str = "a", stuff: bool = True) -> Scene:
    """A grid of stuff and void under rectangles of things; Cityscapes ids, 6 to 24 pixels."""
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
    for class_id, k, top, left, tall, wide in draw(st.lists(rectangle, max_size=5)):
        box = (slice(top, top + tall), slice(left, left + wide))
        free = ~np.isin(label[box], FROZEN)
        label[box][free] = class_id
        instance[box][free] = class_id * 1000 + k
    if stuff:
        label[0, 0] = instance[0, 0] = SURFACES[0]
    return Scene(name=name, label=label, instance=instance)


def operations(*, donor: str = "b") -> st.SearchStrategy[Operation]:
    """Any operation, most of them on objects that `scenes` may hold."""
    ids = st.builds(lambda c, k: c * 1000 + k, st.sampled_from(THINGS), st.integers(0, 4))
    shift, place = st.integers(-12, 12), st.integers(-6, 28)
    return st.one_of(
        st.just(MirrorScene()),
        st.builds(Drop, instance=ids),
        st.builds(Move, instance=ids, rows=shift, columns=shift),
        st.builds(
            Paste,
            donor=st.just(donor),
            donor_instance=ids,
            row=place,
            column=place,
            scale=st.sampled_from([0.3, 0.75, 1.0, 1.5, 2.2]),
            flip=st.booleans(),
        ),
    )
