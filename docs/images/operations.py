"""Draw the pictures of docs/recompose.md: each operation on a scene of the sample world.

python docs/images/operations.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from PIL import Image

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
from pipeline.editing.recompose import donors_from, recompose
from pipeline.pictures import draw_map
from pipeline.sample_world import draw_scene
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy

FOLDER = Path(__file__).resolve().parent / "operations"
SIZE, WIDTH, GAP = (256, 512), 360, 4
OPERATIONS: tuple[tuple[int, Operation], ...] = (
    (3, MirrorScene()),
    (3, CropZoom(top=40, left=60, height=180, width=360)),
    (3, Drop(instance=26006)),
    (3, Move(instance=26000, rows=0, columns=180)),
    (3, Rescale(instance=26006, row=230, column=130, scale=1.9)),
    (3, Flip(instance=26006)),
    (3, Duplicate(instance=26006, row=186, column=270, scale=1.15, flip=True)),
    (3, Paste(donor="4", donor_instance=28000, row=175, column=235, scale=1.05)),
    (3, Replace(instance=26006, donor="4", donor_instance=28000, scale=1.1)),
    (3, ChangeClass(instance=26006, to="truck")),
    (3, Jitter(instance=26006, amplitude=7, seed=1)),
    (3, RelabelRegion(of="vegetation", to="building")),
    (3, GrowRegion(of="vegetation", into="building", pixels=12)),
    (8, Skyline(lower="building", rows=(30, 60, 60, 95, 20, 45))),
)


def scene(number: int) -> Scene:
    """A scene of the sample world, under its number."""
    drawn = draw_scene(0, number, height=SIZE[0], width=SIZE[1])
    return Scene(name=str(number), label=drawn.label, instance=drawn.instance)


def main() -> None:
    """Write one picture per operation: before, after."""
    taxonomy = Taxonomy.load("cityscapes")
    FOLDER.mkdir(exist_ok=True)
    donors = donors_from({"4": scene(4)})
    for number, operation in OPERATIONS:
        source = scene(number)
        program = Program(scene=source.name, operations=(operation,))
        made = recompose(program, source, donors, taxonomy=taxonomy)
        assert not [event for event in made.log if event.kind == "skipped"], made.log
        before = draw_map(source.label, source.instance, taxonomy.colors, width=WIDTH)
        after = draw_map(
            made.scene.label,
            made.scene.instance,
            taxonomy.colors,
            changed=made.changed,
            width=WIDTH,
        )
        gap = np.full((before.shape[0], GAP, 3), 255, np.uint8)
        picture = Image.fromarray(np.concatenate([before, gap, after], axis=1))
        picture.quantize(32).save(FOLDER / f"{operation.op}.png", optimize=True)


if __name__ == "__main__":
    main()
