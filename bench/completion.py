"""How well hidden parts of donors are made up: pictures to judge, and shapes of which all is known.

Measured: silhouettes of other donors are laid over whole ones, so that they hide a tenth to half of
them, and these are completed from those of other scenes. IoU is that with the whole shape, of what
is seen alone, of its convex hull as far as something nearer lies there, and of the completed shape;
`hidden` is that of the hidden parts alone. Only shapes on which the votes fit and agree count, and
how many those are. The ratio is that of what hull and completion miss of the hidden parts.

Pictures (--to): completed donors of the bank, each before (in its scene, blue) and after (blue:
seen; orange: made up), numbered as they are to be judged.

    python bench/completion.py [--dataset DIR --format NAME --split NAME --size HxW]
        [--instances components] [--to FILE.png] [--most N]
    python bench/completion.py --quick

Without a dataset, or with --quick, the scenes are some of the sample world.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import Delaunay

from pipeline.donors.alignment import Models
from pipeline.donors.bank import DonorBank
from pipeline.donors.completion import MODEL_AREA, MOST, VOTES, complete
from pipeline.donors.surroundings import Surroundings
from pipeline.donors.writer import build_bank
from pipeline.fit import fit
from pipeline.sample_world import write_dataset
from pipeline.sources import DatasetConfig, Source

CELL, COLUMNS, LINE = 200, 4, 16
PAPER, INK = (255, 255, 255), (0, 0, 0)
SEEN, MADE_UP, NEARER, CONTOUR = (40, 60, 200), (230, 120, 20), (225, 225, 225), (40, 40, 40)
TRUE_HEIGHT = 96
"""Height of the whole shapes that are covered, in pixels."""
CASES, QUICK_CASES = 200, 30
"""Shapes of each class that are covered, at most."""
HIDDEN = (0.1, 0.5)
"""Least and largest part of them that is."""
SCENES, QUICK_SCENES = 60, 16
SIZE = (256, 512)

Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]


def chosen_rows(bank: DonorBank, most: int) -> list[int]:
    """Completed donors, at most so many, spread evenly over the bank."""
    rows = np.flatnonzero(bank.index.completed > 0)
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.intp)
    return [int(row) for row in rows[places]]


def before_and_after(bank: DonorBank, source: Source, row: int) -> tuple[Pixels, Pixels]:
    """A completed donor in its scene, and its shape, RGB uint8 [h, w, 3]."""
    name, instance = bank.index.keys[row]
    scene = source.read(name, photo=False)
    scene = fit(scene, bank.info.size, bank.info.fit, taxonomy=bank.taxonomy)
    shape, made_up = bank.cutout(name, instance), bank.made_up(name, instance)
    top, left, bottom, right = shape.box
    tall, wide = bottom - top, right - left
    rows = slice(max(0, top - tall // 2), bottom + tall // 2)
    columns = slice(max(0, left - wide // 2), right + wide // 2)
    ids = scene.instance[rows, columns]
    before = bank.taxonomy.colors[scene.label[rows, columns]] // 2 + 100
    edges = np.zeros(ids.shape, np.bool_)
    edges[:-1] |= ids[:-1] != ids[1:]
    edges[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    before[edges] = CONTOUR
    before[ids == instance] = SEEN
    after = np.full((*scene.size, 3), PAPER, np.uint8)
    part = after[top:bottom, left:right]
    part[shape.mask] = SEEN
    part[made_up] = MADE_UP
    return before, after[rows, columns]


def write_sheet(bank: DonorBank, source: Source, rows: list[int], to: Path) -> None:
    """Draw donors, numbered from 0, before and after."""
    size = (COLUMNS * (2 * CELL + 16), -(-len(rows) // COLUMNS) * (CELL + LINE))
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    index = bank.index
    for number, row in enumerate(rows):
        x, y = number % COLUMNS * (2 * CELL + 16), number // COLUMNS * (CELL + LINE)
        for place, pixels in enumerate(before_and_after(bank, source, row)):
            scale = CELL / max(pixels.shape)
            tall, wide = (max(1, round(length * scale)) for length in pixels.shape[:2])
            picture = Image.fromarray(pixels).resize((wide, tall), Image.Resampling.NEAREST)
            sheet.paste(picture, (x + place * (CELL + 4), y))
        name = bank.taxonomy.class_names[index.classes[row]]
        text = f"{number}: {name}, {index.heights[row]} px, {index.completed[row]:.0%} made up"
        pen.text((x, y + CELL + 1), text, INK)
    sheet.save(to)


def resized(mask: Mask, height: int) -> Mask:
    """A mask at another height, its aspect kept."""
    width = max(1, round(mask.shape[1] * height / mask.shape[0]))
    image = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height))
    kept: Mask = np.asarray(image) >= 128
    return kept


def covered(whole: Mask, other: Mask, rng: np.random.Generator) -> Surroundings | None:
    """A whole shape, and another before it; None if that hides too little or too much."""
    tall, wide = whole.shape
    there = np.pad(whole, ((tall, tall), (wide, wide)))
    nearer = resized(other, round(tall * rng.uniform(1, 1.5)))
    top = 2 * tall + round(rng.uniform(0.05, 0.4) * tall) - nearer.shape[0]
    left = wide + round(rng.uniform(-nearer.shape[1], wide))
    hiding = np.zeros_like(there)
    first = max(0, left), max(0, top)
    end = left + nearer.shape[1], top + nearer.shape[0]
    part = hiding[first[1] : end[1], first[0] : end[0]]
    part[:] = nearer[first[1] - top :, first[0] - left :][: part.shape[0], : part.shape[1]]
    share = np.count_nonzero(hiding & there) / np.count_nonzero(there)
    seen = there & ~hiding
    if not HIDDEN[0] <= share <= HIDDEN[1] or ndimage.label(seen)[1] > 2:
        return None
    return Surroundings((0, 0, *there.shape), seen, hiding, ~hiding & ~there)


def convex_hull(mask: Mask) -> Mask:
    """The pixels in the convex hull of a mask's."""
    points = np.argwhere(mask)
    there = np.argwhere(np.ones(mask.shape, np.bool_))
    inside: Mask = Delaunay(points).find_simplex(there) >= 0
    return inside.reshape(mask.shape)


def iou(one: Mask, other: Mask) -> float:
    """Intersection over union of two masks."""
    return np.count_nonzero(one & other) / max(1, np.count_nonzero(one | other))


def scores(around: Surroundings, whole: Mask, models: Models) -> tuple[float, ...] | None:
    """IoU of what is seen, its hull and the completed shape, and of the hidden parts of the latter.

    None if the votes do not fit or agree.
    """
    completion = complete(around, models)
    if not completion.is_good:
        return None
    tall, wide = whole.shape
    truth, hiding = np.pad(whole, ((tall, tall), (wide, wide))), around.hiding
    hull = around.seen | (convex_hull(around.seen) & hiding)
    made = around.seen | completion.made_up
    return (
        *(iou(truth, mask) for mask in (around.seen, hull, made)),
        *(iou(truth & hiding, mask & hiding) for mask in (hull, made)),
    )


def covered_cases(
    bank: DonorBank, masks: dict[int, Mask], own: list[int], *, cases: int
) -> Iterator[tuple[Surroundings, Mask, Models]]:
    """Whole donors of a class behind others, and those of other scenes to complete them from."""
    rng = np.random.default_rng(0)
    scenes = bank.index.scenes
    for number in range(cases):
        row = own[number % len(own)]
        apart = [masks[other] for other in own if scenes[other] != scenes[row]]
        whole = resized(masks[row], TRUE_HEIGHT)
        around = covered(whole, masks[int(rng.choice(list(masks)))], rng)
        if around is not None and len(apart) >= VOTES:
            yield around, whole, Models.of(apart)


def measured(bank: DonorBank, *, cases: int) -> Iterator[str]:
    """A line for each class of which some shapes are completed, and the ratio over all of them."""
    index = bank.index
    seen_wholly = index.whole & (index.completed == 0) & (index.areas >= MODEL_AREA)
    masks = {int(row): bank.cutout(*index.keys[row]).mask for row in np.flatnonzero(seen_wholly)}
    missed = []
    for class_id in np.unique(index.classes[list(masks)]).tolist():
        own = [row for row in masks if index.classes[row] == class_id][:MOST]
        found = [scores(*case) for case in covered_cases(bank, masks, own, cases=cases)]
        kept = [case for case in found if case is not None]
        if not found:
            continue
        text = f"{bank.taxonomy.class_names[class_id]:<12} kept {len(kept):3d} of {len(found):3d}"
        if kept:
            seen, hull, made, hull_hidden, made_hidden = np.mean(kept, axis=0)
            text += (
                f"   IoU: seen {seen:.3f}, hull {hull:.3f}, completed {made:.3f}"
                f"   hidden: hull {hull_hidden:.3f}, completed {made_hidden:.3f}"
            )
            missed.extend([(1 - case[3], 1 - case[4]) for case in kept])
        yield text
    by_hull, by_completion = np.mean(missed, axis=0)
    yield f"ratio of what hull and completion miss: {by_hull / by_completion:.2f}"


def dataset_of(given: argparse.Namespace, scratch: Path) -> tuple[DatasetConfig, tuple[int, int]]:
    """The dataset that was named, or a sample world, and the size of its scenes."""
    if given.dataset is None or given.quick:
        scenes = QUICK_SCENES if given.quick else SCENES
        write_dataset(scratch / "world", scenes=scenes, height=SIZE[0], width=SIZE[1], val=0)
        told = {"root": str(scratch / "world"), "format": "cityscapes", "split": "train"}
        return DatasetConfig.parse(told, origin="command line"), SIZE
    told = {"root": given.dataset, "format": given.format, "split": given.split}
    if given.instances:
        told["instances"] = given.instances
    height, width = map(int, given.size.split("x"))
    return DatasetConfig.parse(told, origin="command line"), (height, width)


def main() -> None:
    """Build a bank with completed donors, measure, and draw them if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for option in ("dataset", "format", "split", "size", "instances"):
        parser.add_argument(f"--{option}")
    parser.add_argument("--to", type=Path)
    parser.add_argument("--most", type=int, default=60)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        config, size = dataset_of(given, Path(scratch))
        bank = build_bank(Path(scratch) / "bank", config, size=size, mode="resize", complete=True)
        index = bank.index
        counts = (index.completed > 0).sum(), (index.whole & (index.completed == 0)).sum()
        print(f"{counts[0]} donors completed, beside {counts[1]} that are seen whole")
        for line in measured(bank, cases=QUICK_CASES if given.quick else CASES):
            print(line)
        if given.to is not None:
            rows = chosen_rows(bank, given.most)
            write_sheet(bank, bank.open_source(), rows, given.to)
            print(f"{given.to}: {len(rows)} of them")


if __name__ == "__main__":
    main()
