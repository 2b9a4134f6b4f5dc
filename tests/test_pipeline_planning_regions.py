import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.editing.program import GrowRegion, RelabelRegion, Skyline
from pipeline.indexing.record import index_scene
from pipeline.planning.policy import Operations
from pipeline.planning.regions import SKYLINE_POINTS, Regions
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.scenes import BUILDING, ROAD, SKY, street

CITY = Taxonomy.load("cityscapes")
VEGETATION = 21


def operations(**edits: object) -> Operations:
    return Operations.parse(edits, origin="test")


def wide(name: str, *, line: int = 32) -> Scene:
    """Sky over vegetation from row `line`, building on the right, over road; 128x256."""
    scene = street(name, height=128, width=256)
    label = scene.label.copy()
    label[label == BUILDING] = VEGETATION
    label[line:32, :] = VEGETATION
    label[:line][label[:line] == VEGETATION] = SKY
    label[line:64, 200:] = BUILDING
    instance = np.where(scene.instance >= 1000, scene.instance, label.astype(np.int32))
    return Scene(name=name, label=label, instance=instance)


@given(st.integers(0, 2**40), st.booleans(), st.sampled_from([(48, 96), (128, 256), (75, 131)]))
def test_a_relabelled_region_is_where_its_pixel_lies(
    seed: int, mirrored: bool, size: tuple[int, int]
) -> None:
    regions = Regions(
        operations(relabel_region={"pairs": [["road", "sidewalk"], ["vegetation", "building"]]}),
        [],
        taxonomy=CITY,
    )
    scene = street(height=size[0], width=size[1])
    record = index_scene(scene, CITY)
    label = scene.label[:, ::-1] if mirrored else scene.label
    found = regions.draw(
        "relabel_region",
        record.mirrored() if mirrored else record,
        np.random.default_rng(seed),
        mirrored=mirrored,
    )
    assert found is not None
    operation, edited = found
    assert isinstance(operation, RelabelRegion)
    assert (operation.of, operation.to) == ("road", "sidewalk")
    assert operation.at is not None
    assert label[operation.at] == ROAD
    assert not (edited.grid == ROAD).any()
    assert ((edited.grid == 8) == (record.grid[:, :: -1 if mirrored else 1] == ROAD)).all()


def test_only_neighbours_grow() -> None:
    edit = {"pairs": [["sky", "road"], ["building", "road"]], "pixels": [0.02, 0.05]}
    regions = Regions(operations(grow_region=edit), [], taxonomy=CITY)
    record = index_scene(street(height=128, width=256), CITY)
    for seed in range(20):
        found = regions.draw("grow_region", record, np.random.default_rng(seed), mirrored=False)
        assert found is not None
        operation = found[0]
        assert isinstance(operation, GrowRegion)
        assert (operation.of, operation.into) == ("building", "road")
        assert 0.02 * 128 - 0.5 <= operation.pixels <= 0.05 * 128 + 0.5


def test_a_sky_line_is_that_of_another_scene() -> None:
    records = [index_scene(wide("low", line=32), CITY), index_scene(wide("high", line=16), CITY)]
    regions = Regions(operations(skyline={}), records, taxonomy=CITY)
    for record, expected in zip(records, (16, 32), strict=True):
        found = regions.draw("skyline", record, np.random.default_rng(0), mirrored=False)
        assert found is not None
        operation = found[0]
        assert isinstance(operation, Skyline)
        assert (operation.upper, operation.lower) == ("sky", "vegetation")
        assert operation.rows == (expected,) * SKYLINE_POINTS
    alone = Regions(operations(skyline={}), records[:1], taxonomy=CITY)
    assert alone.draw("skyline", records[0], np.random.default_rng(0), mirrored=False) is None


def test_what_a_scene_or_taxonomy_lacks_is_left_out() -> None:
    record = index_scene(street(), CITY)
    edits = operations(
        relabel_region={"pairs": [["tree", "building"], ["car", "road"], ["ego vehicle", "road"]]},
        grow_region={"pairs": [["terrain", "road"]]},
        skyline={"lower": "tree"},
    )
    regions = Regions(edits, [record], taxonomy=CITY)
    for kind in ("relabel_region", "grow_region", "skyline"):
        assert regions.draw(kind, record, np.random.default_rng(0), mirrored=False) is None


def test_protected_classes_do_not_change() -> None:
    record = index_scene(street(), CITY)
    edits = operations(relabel_region={"pairs": [["road", "sidewalk"]]})
    regions = Regions(edits, [], taxonomy=CITY, protected=["sidewalk"])
    rng = np.random.default_rng(0)
    assert regions.draw("relabel_region", record, rng, mirrored=False) is None


def test_a_class_is_relabelled_once() -> None:
    record = index_scene(street(), CITY)
    edits = operations(relabel_region={"pairs": [["road", "sidewalk"], ["sky", "building"]]})
    regions = Regions(edits, [], taxonomy=CITY)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        found = regions.draw("relabel_region", record, rng, mirrored=False, relabelled=["road"])
        assert found is not None
        assert isinstance(found[0], RelabelRegion)
        assert found[0].of == "sky"


def relabelled(scene: Scene, others: list[Scene]) -> bool:
    """Whether vegetation of a scene is made a building, where others show what is usual."""
    records = [index_scene(one, CITY) for one in others]
    edits = operations(relabel_region={"pairs": [["vegetation", "building"]]})
    regions = Regions(edits, records, taxonomy=CITY)
    record = index_scene(scene, CITY)
    found = regions.draw("relabel_region", record, np.random.default_rng(0), mirrored=False)
    return found is not None


def planted(where: tuple[slice, slice], *, bare: bool = False) -> Scene:
    scene = street("planted", height=128, width=256)
    shown = np.zeros(scene.size, bool)
    shown[where] = True
    if bare:
        shown[:, (np.arange(256) // 2) % 3 > 0] = False
    scene.label[shown] = scene.instance[shown] = VEGETATION
    return scene


def test_only_regions_become_a_class_where_and_as_large_as_that_class_is() -> None:
    houses = [street(str(n), height=128, width=256) for n in range(3)]  # in rows 32 to 63
    assert relabelled(planted((slice(20, 64), slice(60, 160))), houses)
    lawn = planted((slice(100, 128), slice(60, 160)))
    assert not relabelled(lawn, houses)
    assert relabelled(lawn, [])
    bush = planted((slice(56, 64), slice(60, 68)))
    assert not relabelled(bush, houses)
    assert not relabelled(planted((slice(20, 64), slice(60, 160)), bare=True), houses)
    small = [planted((slice(32, 64), slice(0, 240)))]  # all but 16 columns of its houses are hidden
    assert not relabelled(planted((slice(0, 64), slice(0, 256))), small)


def test_lines_of_roofs_are_straight_between_few_corners() -> None:
    one, other = (street(name, height=128, width=256) for name in ("one", "other"))
    rows, columns = np.indices(one.size)
    gable = (rows >= np.minimum(10 + np.abs(columns - 80) // 4, 30)) & (rows < 40)
    one.label[gable] = one.instance[gable] = BUILDING
    regions = Regions(
        operations(skyline={"lower": "building"}),
        [index_scene(one, CITY), index_scene(other, CITY)],
        taxonomy=CITY,
    )
    record = index_scene(other, CITY)
    found = regions.draw("skyline", record, np.random.default_rng(0), mirrored=False)
    assert found is not None
    assert isinstance(found[0], Skyline)
    line = np.array(found[0].rows)
    bends = np.abs(np.diff(line, 2)) > 1
    assert bends.sum() <= 8
    assert abs(line.min() - 10) <= 3


@given(st.integers(0, 2**40))
def test_every_draw_has_a_seed_of_its_own(seed: int) -> None:
    records = [index_scene(wide("low", line=32), CITY), index_scene(wide("high", line=16), CITY)]
    edits = operations(
        relabel_region={"pairs": [["building", "vegetation"]]},
        grow_region={"pairs": [["vegetation", "sky"]]},
        skyline={},
    )
    regions = Regions(edits, records, taxonomy=CITY)
    for kind in ("relabel_region", "grow_region", "skyline"):
        one, again, other = (
            regions.draw(kind, records[0], np.random.default_rng(n), mirrored=False)
            for n in (seed, seed, seed + 1)
        )
        assert one is not None
        assert again is not None
        assert other is not None
        assert one[0] == again[0]
        assert one[0] != other[0]


def test_trees_that_hang_over_other_things_do_not_become_a_fence() -> None:
    edits = operations(relabel_region={"pairs": [["vegetation", "fence"]]})
    for bottom, expected in ((64, True), (52, False)):  # on the road, or before the building
        scene = planted((slice(36, bottom), slice(60, 160)))
        record = index_scene(scene, CITY)
        regions = Regions(edits, [record], taxonomy=CITY)
        found = regions.draw("relabel_region", record, np.random.default_rng(0), mirrored=False)
        assert (found is not None) == expected
