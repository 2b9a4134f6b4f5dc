"""Jobs and their donors: those of their own scenes, and those of a bank they name."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hdmodel.checkpoint import load_encoder
from hdmodel.errors import InputError
from pipeline.donors.bank import INDEX, MASKS, DonorBank
from pipeline.donors.writer import build_bank
from pipeline.editing.program import Paste
from pipeline.errors import DatasetError, OutputError
from pipeline.forecast import forecast
from pipeline.indexing.record import index_scene
from pipeline.inspection.replay import replay
from pipeline.output.folder import OutputFolder
from pipeline.placing.priors import Priors
from pipeline.run import render
from pipeline.sources import DatasetConfig
from pipeline.taxonomy import Taxonomy
from tests.datasets import (
    instance_file,
    label_file,
    photo_file,
    stem,
    write_checkpoint,
    write_checkpoint_with_features,
    write_cityscapes,
)
from tests.plans import read_plan
from tests.scenes import street
from tests.test_pipeline_run import job, pixels, records

SIZE = (32, 64)
PASTES: dict[str, Any] = {
    "edits": [3, 5],
    "operations": {"paste": 1},
    "constraints": {"min_edit_area": 0.0, "min_donor_area": 0.0},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes(tmp_path_factory.mktemp("world"), photos=True)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of the same names as in `world`, mirrored, with other photos."""
    root = write_cityscapes(tmp_path_factory.mktemp("other"), photos=True)
    for number in range(5):
        for path in (label_file(root, number), instance_file(root, number)):
            Image.fromarray(np.asarray(Image.open(path))[:, ::-1].copy()).save(path)
        photo = 255 - np.asarray(Image.open(photo_file(root, number)))
        Image.fromarray(photo).save(photo_file(root, number))
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


def bank_of(root: Path, to: Path, *, size: tuple[int, int] = SIZE) -> DonorBank:
    config = DatasetConfig(root=str(root), format="cityscapes", split="val")
    return build_bank(to, config, size=size, mode="resize")


def pastes(out: Path) -> dict[int, list[Paste]]:
    return {
        row.index: [o for o in row.parsed_program().operations if isinstance(o, Paste)]
        for row in read_plan(out / "plan.parquet")
    }


def test_an_output_carries_the_donors_of_its_own_scenes(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "world"
    shutil.copytree(world, mine)
    out = tmp_path / "out"
    render(job(mine, checkpoint, out, recompose={"policy": PASTES}))
    carried = DonorBank.open(out / "donors")
    carried.check_masks()
    direct = bank_of(mine, tmp_path / "direct")
    listed = [
        {
            (bank.index.names[scene], instance): bank.cutout(bank.index.names[scene], instance)
            for scene, instance in zip(bank.index.scenes, bank.index.ids.tolist(), strict=True)
        }
        for bank in (carried, direct)
    ]
    assert listed[0].keys() == listed[1].keys()
    for key, shape in listed[0].items():
        assert shape.box == listed[1][key].box
        np.testing.assert_array_equal(shape.mask, listed[1][key].mask)
    found = pastes(out)
    assert sum(map(len, found.values())) > 5
    # The shapes are in the output: the donors' own files are not needed any more.
    index = next(i for i, operations in found.items() if operations)
    donor = next(o.donor for o in found[index] if o.donor != records(out)[index]["scene"])
    label_file(mine, next(n for n in range(5) if stem(n) == donor)).write_bytes(b"gone")
    assert replay(out, index, to=tmp_path / "again", photo=False).maps == "identical"


def test_two_workers_read_the_same_donors(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    outs = []
    for workers in (1, 2):
        outs.append(tmp_path / str(workers))
        config = job(world, checkpoint, outs[-1], recompose={"policy": PASTES}, workers=workers)
        render(config)
    one, two = (pixels(out) for out in outs)
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name])
    for name in (INDEX, MASKS):
        assert (outs[0] / "donors" / name).read_bytes() == (outs[1] / "donors" / name).read_bytes()


def test_a_job_pastes_from_the_bank_it_names(
    world: Path, other: Path, checkpoint: Path, tmp_path: Path
) -> None:
    bank = bank_of(other, tmp_path / "bank")
    out = tmp_path / "out"
    config = job(
        world, checkpoint, out, recompose={"policy": PASTES, "donors": str(tmp_path / "bank")}
    )
    planned = forecast(config)
    render(config)
    assert DonorBank.open(out / "donors").sha256 == bank.sha256
    assert OutputFolder(out).read_config()["identity"]["donors"] == bank.sha256
    found = pastes(out)
    assert sum(map(len, found.values())) == planned.edits["paste"] > 5
    for row in records(out):
        pasted = [item for item in row["instances"] if item["origin"] == "pasted"]
        for item in pasted:
            assert bank.cutout(item["donor"], item["donor_instance"]).area > 0
            assert item["source_instance"] is None
        for item in row["instances"]:
            if item["origin"] == "source":
                assert item["source_instance"] // 1000 == item["class_id"]
                assert item["donor"] is None
    # Resuming needs the same donors.
    assert render(config).ok == 10
    bank_of(world, tmp_path / "bank2")
    changed = {"policy": PASTES, "donors": str(tmp_path / "bank2")}
    with pytest.raises(OutputError, match="donors: was"):
        render(job(world, checkpoint, out, recompose=changed))
    shutil.rmtree(tmp_path / "bank2")
    with pytest.raises(DatasetError, match="bank2: not a donor bank"):
        render(job(world, checkpoint, out, recompose=changed))


def _flip_last_bit(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def _remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [_flip_last_bit, _remove])
def test_a_damaged_bank_stops_a_job_before_it_begins(
    world: Path, checkpoint: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    out, recompose = tmp_path / "out", {"policy": PASTES, "donors": str(tmp_path / "bank")}
    bank_of(world, tmp_path / "bank")
    damage(tmp_path / "bank" / MASKS)
    with pytest.raises(DatasetError, match=r"bank: not a whole donor bank .*masks\.bin"):
        render(job(world, checkpoint, out, recompose=recompose))
    assert not out.exists()


def test_a_bank_of_another_size_is_refused(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    bank_of(world, tmp_path / "bank", size=(64, 128))
    recompose = {"policy": PASTES, "donors": str(tmp_path / "bank")}
    with pytest.raises(DatasetError, match="donors of scenes of 64x128, expected 32x64"):
        render(job(world, checkpoint, tmp_path / "out", recompose=recompose))


def test_the_donors_of_an_output_are_checked_on_resume(
    world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    config = job(world, checkpoint, out, recompose={"policy": PASTES})
    render(config)
    _flip_last_bit(out / "donors" / MASKS)
    with pytest.raises(DatasetError, match=r"out/donors: not a whole donor bank"):
        render(config)
    leftover = out / f".donors.{'0' * 32}.tmp"
    leftover.mkdir()
    (leftover / MASKS).touch()
    assert OutputFolder(out).sweep() == [leftover]
    assert not leftover.exists()
    assert render(config, overwrite=True).ok == 10


def test_pasted_objects_look_as_in_the_photos_of_the_banks_dataset(
    world: Path, other: Path, tmp_path: Path
) -> None:
    checkpoint = write_checkpoint_with_features(tmp_path / "features")
    bank_of(other, tmp_path / "bank")
    out = tmp_path / "out"
    recompose = {"policy": PASTES, "donors": str(tmp_path / "bank")}
    config = job(
        world,
        checkpoint,
        out,
        recompose=recompose,
        style="source",
        generator={"batch_pixels": 1},
    )
    render(config)
    encoder = load_encoder(checkpoint)
    seen = set()
    for row in records(out):
        objects = {item["id"]: item for item in row["instances"]}
        for style in row["styles"]:
            root, scene, key = world, row["scene"], style["key"]
            if key in objects and objects[key]["origin"] == "pasted":
                root, scene = other, objects[key]["donor"]
                key = objects[key]["donor_instance"]
            elif key in objects:
                key = objects[key]["source_instance"]
            seen.add(root)
            number = next(n for n in range(5) if stem(n) == scene)
            photo = np.asarray(Image.open(photo_file(root, number))).transpose(2, 0, 1)
            scaled = torch.from_numpy((photo / 127.5 - 1).astype(np.float32))[None]
            with torch.inference_mode():
                features = encoder.encode_pixels(scaled)[0].numpy().astype(np.float64)
            mask = np.asarray(Image.open(instance_file(root, number))).astype(np.int32) == key
            np.testing.assert_allclose(style["vector"], features[:, mask].mean(axis=1), atol=1e-5)
    assert seen == {world, other}
    report = replay(out, 0, to=tmp_path / "again")
    assert report.maps == "identical"
    assert report.photo is not None
    assert report.photo.identical


def test_a_job_places_by_the_priors_it_names(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    city = Taxonomy.load("cityscapes")
    path = tmp_path / "priors.json"
    Priors.fit([index_scene(street(height=64, width=128), city)], city).save(path)
    out = tmp_path / "out"
    config = job(world, checkpoint, out, recompose={"policy": PASTES, "priors": str(path)})
    render(config)
    assert (out / "priors.json").read_bytes() == path.read_bytes()
    plain = tmp_path / "plain"
    render(job(world, checkpoint, plain, recompose={"policy": PASTES}))
    assert pastes(out) != pastes(plain)
    with pytest.raises(OutputError, match="priors: was None"):
        render(job(world, checkpoint, plain, recompose={"policy": PASTES, "priors": str(path)}))
    path.write_text("{}")
    with pytest.raises(InputError, match=r"priors\.json"):
        render(config)


def test_a_bank_without_photos_has_no_looks(world: Path, tmp_path: Path) -> None:
    checkpoint = write_checkpoint_with_features(tmp_path / "features")
    bare = write_cityscapes(tmp_path / "bare")
    bank_of(bare, tmp_path / "bank")
    recompose = {"policy": PASTES, "donors": str(tmp_path / "bank")}
    config = job(world, checkpoint, tmp_path / "out", recompose=recompose, style="source")
    with pytest.raises(DatasetError, match="5 of 5 scenes have no photo"):
        render(config)
