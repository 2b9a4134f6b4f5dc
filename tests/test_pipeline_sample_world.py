"""The sample world: determinism, encoding, perspective, occlusion, files."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hdmodel.errors import InputError
from pipeline.errors import OutputError
from pipeline.sample_world import Drawn, draw_scene, write_dataset

# Cityscapes' own numbers, written out: the table of the dataset's helper scripts.
THINGS = set(range(24, 34))
STUFF = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}


@pytest.fixture(scope="module")
def scenes() -> list[Drawn]:
    """Thirty scenes at a quarter of the usual area."""
    return [draw_scene(0, index, height=128, width=256) for index in range(30)]


def digest(drawn: Drawn) -> str:
    """Return a hash over all pixels and the name."""
    parts = (drawn.photo.tobytes(), drawn.label.tobytes(), drawn.instance.tobytes())
    return hashlib.sha256(b"".join(parts) + drawn.name.encode()).hexdigest()


def test_same_seed_and_index_give_the_same_bytes() -> None:
    first = digest(draw_scene(3, 7, height=96, width=192))
    draw_scene(3, 8, height=96, width=192)
    assert digest(draw_scene(3, 7, height=96, width=192)) == first


def test_seed_and_index_change_the_scene() -> None:
    drawn = [draw_scene(s, i, height=64, width=128) for s, i in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert len({d.photo.tobytes() for d in drawn}) == 4
    assert len({d.label.tobytes() for d in drawn}) == 4


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    index=st.integers(0, 10**6 - 1),
    height=st.integers(32, 150),
    width=st.integers(32, 220),
)
def test_maps_agree_with_each_other_at_any_size(
    seed: int, index: int, height: int, width: int
) -> None:
    drawn = draw_scene(seed, index, height=height, width=width)
    assert drawn.photo.shape == (height, width, 3)
    assert drawn.photo.dtype == np.uint8
    assert drawn.label.shape == drawn.instance.shape == (height, width)
    assert drawn.label.dtype == np.uint8
    assert drawn.instance.dtype == np.int32
    pairs = set(zip(drawn.label.ravel().tolist(), drawn.instance.ravel().tolist(), strict=True))
    for label, instance in pairs:
        if label in THINGS:
            assert instance // 1000 == label
        else:
            assert label in STUFF
            assert instance == label
    for thing in THINGS:
        numbers = sorted(i % 1000 for label, i in pairs if label == thing)
        assert numbers == list(range(len(numbers)))


def test_large_and_small_sizes() -> None:
    for height, width in ((64, 128), (1024, 2048), (256, 256), (300, 200)):
        assert draw_scene(0, 3, height=height, width=width).label.shape == (height, width)


def test_the_classes_of_a_street_occur(scenes: list[Drawn]) -> None:
    seen = set(np.unique(np.concatenate([d.label.ravel() for d in scenes])).tolist())
    must = {1, 4, 7, 8, 9, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 33}
    assert must <= seen


def test_no_pixel_is_left_unpainted(scenes: list[Drawn]) -> None:
    assert not any((d.label == 0).any() for d in scenes)


def test_every_scene_has_road_sky_and_something_beside_them(scenes: list[Drawn]) -> None:
    for drawn in scenes:
        share = np.bincount(drawn.label.ravel(), minlength=34) / drawn.label.size
        assert share[7] > 0.05, drawn.name
        assert share[11] + share[21] + share[12] > 0.03, drawn.name
        assert share[24:].sum() > 0.0005, drawn.name
    assert np.mean([np.mean(d.label == 23) for d in scenes]) > 0.05


def test_lower_cars_are_larger(scenes: list[Drawn]) -> None:
    feet, heights = [], []
    for drawn in scenes:
        for ident in np.unique(drawn.instance[drawn.label == 26]):
            rows, columns = np.nonzero(drawn.instance == ident)
            inside = columns.min() > 0 and columns.max() < drawn.label.shape[1] - 1
            if inside and rows.size > 20:
                feet.append(rows.max())
                heights.append(np.ptp(rows) + 1)
    assert len(feet) > 50
    assert np.corrcoef(feet, heights)[0, 1] > 0.6


def test_cars_hide_each_other(scenes: list[Drawn]) -> None:
    touching = 0
    for drawn in scenes:
        left, right = drawn.instance[:, :-1], drawn.instance[:, 1:]
        border = (left // 1000 == 26) & (right // 1000 == 26) & (left != right)
        touching += int(border.sum() > 3)
    assert touching > 10


def test_photos_vary_in_brightness_and_are_not_flat(scenes: list[Drawn]) -> None:
    means = [d.photo.mean() for d in scenes]
    assert np.ptp(means) > 50
    for drawn in scenes:
        assert drawn.photo.std() > 12, drawn.name


def test_labels_follow_the_photo(scenes: list[Drawn]) -> None:
    # Colour steps must be far larger across label borders than within a class.
    across, within = [], []
    for drawn in scenes:
        photo = drawn.photo.astype(np.float64).mean(axis=2)
        step = np.abs(np.diff(photo, axis=1))
        border = drawn.label[:, 1:] != drawn.label[:, :-1]
        across.append(step[border].mean())
        within.append(step[~border].mean())
    assert np.mean(across) > 2.5 * np.mean(within)


def test_dataset_has_the_layout_of_cityscapes(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_dataset(
        tmp_path, scenes=5, height=64, width=128, seed=4, progress=lambda *a: calls.append(a)
    )
    assert calls == [(k, 5) for k in range(1, 6)]
    for split, city, first, count in (
        ("train", "sampletown", 0, 4),
        ("val", "sampleport", 500_000, 1),
    ):
        stems = [f"{city}_{first + k:06d}_000019" for k in range(count)]
        gt = tmp_path / "gtFine" / split / city
        photos = tmp_path / "leftImg8bit" / split / city
        assert sorted(p.name for p in photos.iterdir()) == [f"{s}_leftImg8bit.png" for s in stems]
        assert sorted(p.name for p in gt.iterdir()) == sorted(
            f"{s}_gtFine_{kind}.png" for s in stems for kind in ("labelIds", "instanceIds")
        )
        for k, stem in enumerate(stems):
            with Image.open(gt / f"{stem}_gtFine_labelIds.png") as image:
                assert image.mode == "L"
                label = np.asarray(image)
            with Image.open(gt / f"{stem}_gtFine_instanceIds.png") as image:
                assert image.mode == "I;16"
                instance = np.asarray(image).astype(np.int32)
            with Image.open(photos / f"{stem}_leftImg8bit.png") as image:
                assert image.mode == "RGB"
                photo = np.asarray(image)
            drawn = draw_scene(4, first + k, height=64, width=128)
            assert drawn.name == stem
            assert np.array_equal(label, drawn.label)
            assert np.array_equal(instance, drawn.instance)
            assert np.array_equal(photo, drawn.photo)


def test_scenes_do_not_depend_on_their_number(tmp_path: Path) -> None:
    write_dataset(tmp_path / "few", scenes=2, val=1, height=32, width=64)
    write_dataset(tmp_path / "many", scenes=5, val=2, height=32, width=64)
    few = [p for p in (tmp_path / "few").rglob("*.png")]
    assert len(few) == 6
    for path in few:
        twin = tmp_path / "many" / path.relative_to(tmp_path / "few")
        assert twin.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("scenes", "val", "text"), [(0, None, "scenes is 0"), (4, 5, "val is 5"), (4, -1, "val is -1")]
)
def test_wrong_counts_are_refused(tmp_path: Path, scenes: int, val: int | None, text: str) -> None:
    with pytest.raises(InputError, match=text):
        write_dataset(tmp_path, scenes=scenes, val=val)
    assert list(tmp_path.iterdir()) == []


def test_wrong_size_seed_and_index_are_refused() -> None:
    with pytest.raises(InputError, match="31x64"):
        draw_scene(0, 0, height=31, width=64)
    with pytest.raises(InputError, match="seed is -1"):
        draw_scene(-1, 0)
    with pytest.raises(InputError, match="index is -2"):
        draw_scene(0, -2)
    with pytest.raises(InputError, match="seed is 18446744073709551616"):
        draw_scene(2**64, 0)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "here"
    blocked.write_text("in the way")
    with pytest.raises(OutputError, match="here"):
        write_dataset(blocked, scenes=1, height=32, width=64)
