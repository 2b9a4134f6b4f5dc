"""Proposed edits of scenes keep what they promise, recomputed from their boxes.

What is expected comes from boxes and maps, counted by hand, from the taxonomy's file, and from what
the scenes were drawn with: the camera of the sample world, the sizes of `plane`.
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
import yaml

import configs
from pipeline.donors.bank import DonorIndex
from pipeline.editing.program import Duplicate, Move, Paste, Replace, Rescale
from pipeline.indexing.record import BOTTOM, GRID, LEFT, RIGHT, TOP, SceneRecord, index_scene
from pipeline.placing.placement import Limits, Placer, PlannedScene
from pipeline.placing.priors import Priors
from pipeline.sample_world import draw_scene
from pipeline.sample_world.camera import place_camera
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.scenes import CAR, PERSON, ROAD, SKY

CITY = Taxonomy.load("cityscapes")
BUS, TRAIN = 28, 31
SIZE = (128, 256)
LIMITS = Limits(max_cover=0.5, min_area=0.0003)
Box = npt.NDArray[np.integer]
WORLD_SEED, SCENES = 3, 24
PLANE_HORIZON = 50
PLANE_SIZES = {PERSON: 1.0, CAR: 0.8, BUS: 1.6}
"""Object height over the distance of its contact row from the horizon."""
PLANE_SIGMA = 0.12
"""Scatter of ln height."""


@pytest.fixture(scope="module")
def records() -> list[SceneRecord]:
    drawn = (draw_scene(WORLD_SEED, i, height=SIZE[0], width=SIZE[1]) for i in range(SCENES))
    return [index_scene(Scene(d.name, d.label, d.instance), CITY) for d in drawn]


@pytest.fixture(scope="module")
def placer(records: list[SceneRecord]) -> Placer:
    return Placer(Priors.fit(records, CITY), DonorIndex.of(records), CITY, limits=LIMITS)


def plane(seed: int) -> SceneRecord:
    """Rectangles on a road below a known horizon, as tall as their class is at their row."""
    rng = np.random.default_rng(seed)
    label = np.full(SIZE, SKY, np.uint8)
    label[PLANE_HORIZON:] = ROAD
    instance = label.astype(np.int32)
    for number, bottom in enumerate(np.sort(rng.integers(PLANE_HORIZON + 15, SIZE[0], 6))):
        class_id = int(rng.choice(list(PLANE_SIZES)))
        size = PLANE_SIZES[class_id] * np.exp(PLANE_SIGMA * rng.standard_normal())
        tall = round(float(size * (bottom - PLANE_HORIZON)))
        left = int(rng.integers(0, SIZE[1] - tall))
        box = (slice(max(bottom - tall, 0), bottom), slice(left, left + tall))
        label[box], instance[box] = class_id, 1000 * class_id + number
    return index_scene(Scene(f"plane {seed}", label, instance), CITY)


@pytest.fixture(scope="module")
def planes() -> list[SceneRecord]:
    return [plane(seed) for seed in range(60)]


@pytest.fixture(scope="module")
def plane_placer(planes: list[SceneRecord]) -> Placer:
    """A placer that knows how the planes were drawn; what a fit finds is tested elsewhere."""
    fitted = Priors.fit(planes, CITY).content
    names = {CITY.class_names[class_id]: size for class_id, size in PLANE_SIZES.items()}
    told = fitted.model_copy(
        update={
            "horizon": PLANE_HORIZON / SIZE[0],
            "spread": 1e-4,
            "classes": tuple(
                entry.model_copy(update={"size": names[entry.name], "sigma": PLANE_SIGMA})
                if entry.name in names
                else entry
                for entry in fitted.classes
            ),
        }
    )
    return Placer(Priors(told, CITY), DonorIndex.of(planes), CITY, limits=LIMITS)


def true_horizon(index: int) -> float:
    """The row of the horizon of the camera that drew a scene of the sample world."""
    rng = np.random.Generator(np.random.Philox(key=[WORLD_SEED, index]))
    dice = Random(int.from_bytes(rng.bytes(16), "little"))
    return place_camera(dice, height=SIZE[0], width=SIZE[1]).horizon


def supports(class_id: int) -> set[int]:
    """The classes that a class may stand on, as the taxonomy's file says."""
    plain = yaml.safe_load(configs.find("taxonomies", "cityscapes").read_text())
    ids = {entry["name"]: entry["id"] for entry in plain["classes"]}
    names = {number: name for name, number in ids.items()}
    return {ids[name] for name in plain["support"][names[class_id]]}


def usually_hidden(records: Sequence[SceneRecord], class_id: int) -> float:
    """The share of its box that 95 % of the objects of a class have hidden at most."""
    shares: dict[int, list[float]] = {}
    for record in records:
        for own, box in zip(record.classes.tolist(), record.boxes, strict=True):
            shares.setdefault(own, []).append(min(hidden_share(box, record.boxes), 1))
    assert len(shares[class_id]) >= 20  # with fewer, objects of other classes would count
    return round(float(np.quantile(shares[class_id], 0.95)), 4)


def pasted(
    placer: Placer, records: list[SceneRecord], class_id: int, **options: tuple[float, float]
) -> Iterator[tuple[PlannedScene, Paste, Box, Box]]:
    """Pastes into fresh scenes: the scene, the operation, its box and the others'."""
    for seed, record in enumerate(records * 3):
        scene = placer.planned(record)
        before = scene.boxes.copy()
        operation = placer.paste(scene, class_id, np.random.default_rng(seed), **options)
        assert (scene.boxes[: len(before)] == before).all()
        if operation is None:
            assert len(scene.boxes) == len(before)
        else:
            yield scene, operation, scene.boxes[-1], before


def donor_row(placer: Placer, operation: Paste | Replace) -> int:
    donors = placer.donors
    scene = donors.names.index(operation.donor)
    (row,) = np.flatnonzero((donors.scenes == scene) & (donors.ids == operation.donor_instance))
    return int(row)


def hidden_share(box: Box, others: Box) -> float:
    """The share of a box that boxes further down cover, each counted by itself."""
    shared = 0
    for other in others[others[:, 2] > box[2]]:
        tall = min(box[2], other[2]) - max(box[0], other[0])
        wide = min(box[3], other[3]) - max(box[1], other[1])
        shared += max(tall, 0) * max(wide, 0)
    return float(shared / ((box[2] - box[0]) * (box[3] - box[1])))


def ground_at(record: SceneRecord, row: int, column: float) -> int:
    """The stuff at a point, as the coarse map shows it left or right of things.

    The nearest cell in the row that is not a thing's, the left one of two; of a row of things
    alone, what the next row with stuff below it shows, else the next above.
    """
    row, column = min(row, SIZE[0] - 1), min(int(column), SIZE[1] - 1)
    cell, across = row * GRID[0] // SIZE[0], column * GRID[1] // SIZE[1]
    for near in (*range(cell, GRID[0]), *range(cell - 1, -1, -1)):
        classes = record.grid[near].tolist()
        stuff = [c for c in range(GRID[1]) if classes[c] < PERSON]
        if stuff:
            return int(classes[min(stuff, key=lambda c: (abs(c - across), c))])
    raise AssertionError("nothing but things")


def joint(boxes: Box) -> Box:
    """The box around all boxes [4]."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def mirror_bits(sides: int) -> int:
    swapped = {LEFT: RIGHT, RIGHT: LEFT}
    return sum(swapped.get(bit, bit) for bit in (LEFT, RIGHT, TOP, BOTTOM) if sides & bit)


@pytest.mark.parametrize("class_id", [PERSON, CAR, BUS])
def test_pastes_could_be_true(placer: Placer, records: list[SceneRecord], class_id: int) -> None:
    support = supports(class_id)
    most = min(LIMITS.max_cover, usually_hidden(records, class_id))
    kinds, count = set(), 0
    for scene, operation, box, others in pasted(placer, records, class_id):
        count += 1
        row = donor_row(placer, operation)
        top, left, bottom, right = (int(edge) for edge in box)
        assert operation.donor_instance // 1000 == class_id
        assert operation.donor != scene.record.name
        assert operation.row == bottom - 1
        assert operation.column == left
        tall = placer.donors.heights[row]
        assert bottom - top == max(1, round(float(tall * operation.scale)))
        assert 0.5 <= operation.scale <= 1.5
        assert top >= 0
        assert left >= 0
        assert bottom <= SIZE[0]
        assert right <= SIZE[1]
        cut, hidden = (
            int(sides[row]) for sides in (placer.donors.cut_sides, placer.donors.hidden_sides)
        )
        if operation.flip:
            assert class_id == PERSON  # vehicles look another way from the other side
            cut = mirror_bits(cut)
        kinds.add(cut)
        # What something nearer hid would have to be hidden again, and so is not used.
        assert not hidden if cut else placer.donors.whole[row]
        assert (left == 0) >= bool(cut & LEFT)
        assert (right == SIZE[1]) >= bool(cut & RIGHT)
        if cut & BOTTOM:
            continue
        for foot in (0.15, 0.5, 0.85):
            assert ground_at(scene.record, bottom, left + foot * (right - left)) in support
        assert hidden_share(box, others) <= most + 1e-9
    assert count > 7
    assert 0 in kinds


def deviation(class_id: int, bottoms: Box, tall: Box) -> npt.NDArray[np.float64]:
    """By how many standard deviations ln heights differ from those `plane` was drawn with."""
    expected = PLANE_SIZES[class_id] * (bottoms - PLANE_HORIZON)
    off: npt.NDArray[np.float64] = np.log(tall / expected) / PLANE_SIGMA
    return off


@pytest.mark.parametrize("class_id", [PERSON, CAR, BUS])
def test_pasted_objects_are_as_tall_as_those_of_the_scenes(
    plane_placer: Placer, planes: list[SceneRecord], class_id: int
) -> None:
    boxes = np.array([box for _, _, box, _ in pasted(plane_placer, planes, class_id)])
    assert len(boxes) > 15
    off = deviation(class_id, boxes[:, 2], boxes[:, 2] - boxes[:, 0])
    # Smaller objects pass the checks more often, and rounding to pixels adds to the scatter.
    assert 0.3 < np.std(off) < 1.3
    assert abs(np.mean(off)) < 0.8


@pytest.mark.parametrize("class_id", [PERSON, CAR, BUS])
def test_drawn_heights_are_those_of_the_perspective(
    plane_placer: Placer, planes: list[SceneRecord], class_id: int
) -> None:
    off: list[float] = []
    for record in planes:
        scene = plane_placer.planned(record)
        spots = plane_placer.spotter.draw(scene, class_id, np.random.default_rng(0), count=200)
        bottoms, tall = spots.boxes[:, 2], spots.boxes[:, 2] - spots.boxes[:, 0]
        clear = tall > 12  # rounding matters less
        off += deviation(class_id, bottoms[clear], tall[clear]).tolist()
    # As tall as the donors are among their class, of which each scene has a few.
    assert abs(np.mean(off)) < 0.35
    assert 0.5 < np.std(off) < 1.3


def test_cut_donors_are_used_beside_whole_ones(placer: Placer, records: list[SceneRecord]) -> None:
    donors = placer.donors
    rows = [donor_row(placer, o) for _, o, _, _ in pasted(placer, records, CAR)]
    assert donors.cut_sides[rows].any()
    assert donors.whole[rows].any()
    assert ((donors.cut_sides[rows] > 0) != donors.whole[rows]).all()


@pytest.mark.parametrize("wanted", [(0.2, 0.6), (0.7, 0.9)])
def test_occluded_pastes_are_as_hidden_as_asked(
    placer: Placer, records: list[SceneRecord], wanted: tuple[float, float]
) -> None:
    found = 0
    for _, operation, box, others in pasted(placer, records, CAR, occluded=wanted):
        found += 1
        assert wanted[0] <= hidden_share(box, others) <= wanted[1]
        assert donors_are_whole(placer, operation)
    assert found > 20


def donors_are_whole(placer: Placer, operation: Paste | Replace) -> bool:
    return bool(placer.donors.whole[donor_row(placer, operation)])


def test_the_generator_decides_all(placer: Placer, records: list[SceneRecord]) -> None:
    def run(seed: int) -> list[object]:
        # A new placer each time: one remembers which donors it used.
        own = Placer(placer.priors, placer.donors, CITY, limits=LIMITS)
        rng = np.random.default_rng(seed)
        scene = own.planned(records[0])
        found: list[object] = [own.paste(scene, c, rng) for c in (CAR, PERSON, BUS, CAR)]
        found += [own.move(scene, 0, rng), own.rescale(scene, 1, rng)]
        return [*found, own.duplicate(scene, 0, rng), own.replace(scene, 0, CAR, rng)]

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_only_eligible_donors_and_classes_that_have_some(
    placer: Placer, records: list[SceneRecord]
) -> None:
    few = np.flatnonzero(placer.donors.whole & (placer.donors.classes == CAR))[:3]
    eligible = np.isin(np.arange(len(placer.donors.ids)), few)
    own = Placer(placer.priors, placer.donors, CITY, limits=LIMITS, eligible=eligible)
    rows = {donor_row(own, o) for _, o, _, _ in pasted(own, records, CAR)}
    assert rows
    assert rows <= set(few.tolist())
    assert not list(pasted(own, records, PERSON))
    assert not list(pasted(own, records, TRAIN, occluded=(0.1, 0.5)))


def test_no_donors_at_all(placer: Placer, records: list[SceneRecord]) -> None:
    empty = DonorIndex.of(records).select(np.zeros(0, np.intp))
    bare = Placer(placer.priors, empty, CITY, limits=LIMITS)
    assert not list(pasted(bare, records, CAR))
    assert bare.replace(bare.planned(records[0]), 0, CAR, np.random.default_rng(0)) is None


def edited(
    placer: Placer,
    records: list[SceneRecord],
    edit: Callable[[PlannedScene, int, np.random.Generator], object],
) -> Iterator[tuple[PlannedScene, int, Box, object]]:
    """Edits of every whole object: the scene, the object, the boxes before, the operation."""
    rng = np.random.default_rng(1)
    for record in records:
        for index in range(len(record.ids)):
            scene = placer.planned(record)
            before = scene.boxes.copy()
            operation = edit(scene, index, rng)
            if operation is None:
                assert (scene.boxes == before).all()
                continue
            yield scene, index, before, operation


def check_stands(scene: PlannedScene, box: Box, class_id: int, most: float) -> None:
    top, left, bottom, right = (int(edge) for edge in box)
    assert 0 <= top < bottom <= SIZE[0]
    assert 0 <= left < right <= SIZE[1]
    for foot in (0.15, 0.5, 0.85):
        under = ground_at(scene.record, bottom, left + foot * (right - left))
        assert under in supports(class_id)
    assert most <= LIMITS.max_cover


def test_moves_are_small_and_stand(placer: Placer, records: list[SceneRecord]) -> None:
    found = list(edited(placer, records, placer.move))
    assert len(found) > 10
    for scene, index, before, operation in found:
        assert isinstance(operation, Move)
        assert operation.instance == scene.record.ids[index]
        shift = np.array([operation.rows, operation.columns] * 2)
        members = scene.members(index)
        assert (scene.boxes[members] == before[members] + shift).all()
        assert operation.along == tuple(scene.ids[members[1:]].tolist())
        assert abs(operation.rows) <= round(LIMITS.move[0] * SIZE[0])
        assert abs(operation.columns) <= round(LIMITS.move[1] * SIZE[1])
        assert not scene.record.truncated[index]
        others, box = np.delete(scene.boxes, members, axis=0), scene.joint_box(index)
        share = hidden_share(box, others)
        check_stands(scene, box, int(scene.class_ids[index]), share)


def test_rescaled_objects_follow_the_horizon(placer: Placer, records: list[SceneRecord]) -> None:
    found = list(edited(placer, records, placer.rescale))
    assert len(found) > 10
    horizons: dict[str, float] = {}
    for number, record in enumerate(records):
        # Heights grow with the distance from the horizon: the row about which all edits of a scene
        # scale distances, by least squares.
        edits = [(s, i, b, o) for s, i, b, o in found if s.record is record]
        if edits:
            scales = np.array([o.scale for *_, o in edits if isinstance(o, Rescale)])
            old = np.array([joint(b[s.members(i)])[2] for s, i, b, _ in edits])
            new = np.array([scene.joint_box(index)[2] for scene, index, _, _ in edits])
            fixed = ((new - scales * old) * (1 - scales)).sum() / ((1 - scales) ** 2).sum()
            assert abs(fixed - true_horizon(number)) < 0.06 * SIZE[0]
            horizons[record.name] = float(fixed)
    assert len(found) > 2 * len(horizons)
    for scene, index, before, operation in found:
        assert isinstance(operation, Rescale)
        box, horizon = scene.joint_box(index), horizons[scene.record.name]
        members = scene.members(index)
        assert operation.row == box[2] - 1
        assert operation.column == box[1]
        ratio = (box[2] - horizon) / (joint(before[members])[2] - horizon)
        assert operation.scale == pytest.approx(ratio, abs=1e-4)
        others = np.delete(scene.boxes, members, axis=0)
        check_stands(scene, box, int(scene.class_ids[index]), hidden_share(box, others))


def test_copies_and_replacements_stand(placer: Placer, records: list[SceneRecord]) -> None:
    copies = list(edited(placer, records, placer.duplicate))
    assert len(copies) > 10
    for scene, index, before, operation in copies:
        assert isinstance(operation, Duplicate)
        assert operation.instance == scene.record.ids[index]
        members = scene.members(index)
        assert scene.class_ids[len(before) :].tolist() == scene.class_ids[members].tolist()
        box = joint(scene.boxes[len(before) :])
        check_stands(scene, box, int(scene.class_ids[index]), hidden_share(box, before))
    buses = list(edited(placer, records, lambda s, i, rng: placer.replace(s, i, BUS, rng)))
    assert len(buses) > 10
    for scene, index, before, operation in buses:
        assert isinstance(operation, Replace)
        assert donors_are_whole(placer, operation)
        members = scene.members(index)
        assert not scene.present[members].any()
        assert scene.class_ids[-1] == BUS
        old, new = joint(before[members]), scene.boxes[-1]
        assert new[2] == old[2]
        assert abs((new[1] + new[3]) - (old[1] + old[3])) <= 1
        share = hidden_share(new, np.delete(before, members, axis=0))
        check_stands(scene, new, BUS, share)


def test_a_planned_scene_books_ids_and_boxes(records: list[SceneRecord], placer: Placer) -> None:
    scene = placer.planned(records[0])
    cars = scene.ids[scene.class_ids == CAR].tolist()
    first = scene.add((10, 10, 20, 30), CAR)
    second = scene.add((10, 40, 20, 60), CAR)
    free = [i for i in range(26000, 27000) if i not in cars][:2]
    assert scene.ids[[first, second]].tolist() == free
    scene.remove(first)
    assert scene.add((1, 1, 2, 2), CAR) == second + 1
    assert scene.ids[-1] not in [*cars, *free]
    scene.move(second, np.array([5, 5, 9, 9]))
    assert scene.boxes[second].tolist() == [5, 5, 9, 9]
    assert len(scene.others()) == scene.present.sum() == len(scene.ids) - 1
    assert len(scene.others(second)) == scene.present.sum() - 1


def test_void_and_crowds_block(placer: Placer) -> None:
    label = np.full(SIZE, 7, np.uint8)
    label[:50] = 23
    label[100:] = 1  # ego vehicle
    label[60:90, 100:200] = PERSON  # a crowd: no single objects
    record = index_scene(Scene("blocked", label, label.astype(np.int32)), CITY)
    scene = placer.planned(record)
    free, crowd, ego = (
        np.array([b]) for b in ([60, 20, 80, 40], [60, 120, 80, 140], [90, 0, 110, 9])
    )
    assert scene.blocked_share(free)[0] == 0
    assert scene.blocked_share(crowd)[0] == 1
    assert scene.blocked_share(ego)[0] == pytest.approx(0.5, abs=0.06)
    believable = placer.places.believable
    assert believable(scene, free, CAR)[0]
    assert not believable(scene, crowd, CAR)[0]
    assert not believable(scene, ego, CAR)[0]
    flush = np.array([True])
    assert believable(scene, np.array([[60, 20, 100, 60]]), CAR, flush=flush)[0]
    assert not believable(scene, free, CAR, flush=flush)[0]


def test_mirrored_scenes_use_mirrored_places(placer: Placer, records: list[SceneRecord]) -> None:
    straight = placer.planned(records[0])
    turned = placer.planned(records[0].mirrored(), mirrored=True)
    for scene in (straight, turned):
        placer.paste(scene, CAR, np.random.default_rng(0))
    one, other = (np.diff(s.densities[CAR], prepend=0).reshape(GRID) for s in (straight, turned))
    # But for cells of things that lie as near to the stuff on their left as to that on their right.
    assert np.isclose(one[:, ::-1], other).mean() > 0.99
