import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from PIL import Image

from eval import job as job_module
from eval.confusion import VOID
from eval.counts import CountsFolder, read_counts
from eval.errors import EvalError
from eval.prepare import EvalConfig, prepare
from eval.reports.report import Report
from eval.run import evaluate
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import read_manifests
from pipeline.sources import DatasetConfig
from pipeline.taxonomy import Taxonomy
from tests.datasets import label_file, photo_file
from tests.fake_scorers import ColorScorer, OpenColorScorer
from tests.scored_runs import make_scored_run

ROOT = Path(__file__).parent.parent
CITY = Taxonomy.load("cityscapes")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    return make_scored_run(tmp_path_factory.mktemp("scored"))


def config(out: OutputFolder, report: Path, **changes: object) -> EvalConfig:
    plain = EvalConfig(out=out.root, scorer=Path("made"), report=report, device="cpu")
    return replace(plain, **changes)  # type: ignore[arg-type]


def run(out: OutputFolder, report: Path, **changes: object) -> Report:
    return evaluate(config(out, report, **changes), open_scorer=OpenColorScorer())


@pytest.fixture(scope="module")
def scored(out: OutputFolder, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    folder = tmp_path_factory.mktemp("report") / "r"
    return run(out, folder), folder


def test_scores_are_those_of_a_plain_loop(out: OutputFolder, scored: tuple[Report, Path]) -> None:
    group = zarr.open_group(out.data, mode="r")
    photos, labels = (np.asarray(group[name][:]) for name in ("photo", "label"))
    predicted = ColorScorer().predict(photos)
    target = CITY.train_ids[labels]
    valid = target != VOID
    side = scored[0].rendered
    assert side.scores["acc_valid"].value == np.mean(target[valid] == predicted[valid])
    for c in CITY.classes:
        if c.train_id == VOID:
            continue
        ours, theirs = target == c.train_id, (predicted == c.train_id) & valid
        union = np.count_nonzero(ours | theirs)
        expected = np.count_nonzero(ours & theirs) / union if union else None
        assert side.iou[c.name].value == expected, c.name
    assert np.array(side.confusion).sum() == labels.size == side.pixels
    assert scored[0].oracle.images == 3
    assert scored[0].oracle.scores["mean_iou"].value > side.scores["mean_iou"].value > 0.5


def test_every_object_of_the_manifests_is_scored(
    out: OutputFolder, scored: tuple[Report, Path]
) -> None:
    group = zarr.open_group(out.data, mode="r")
    expected: dict[str, list[bool]] = {}
    for row in read_manifests(out.manifests):
        predicted = ColorScorer().predict(np.asarray(group["photo"][row["index"]])[None])[0]
        instance = np.asarray(group["instance"][row["index"]])
        for item in row["instances"]:
            right = predicted[instance == item["id"]] == CITY.classes[item["class_id"]].train_id
            expected.setdefault(item["origin"], []).append(right.mean() >= 0.5)
    found = {
        r.group: (r.objects, r.readable) for r in scored[0].rendered.recall if r.by == "origin"
    }
    assert found == {origin: (len(v), sum(v)) for origin, v in expected.items()}
    assert "pasted" in found


def test_images_are_listed_with_their_scores(scored: tuple[Report, Path]) -> None:
    rows = pq.read_table(scored[1] / "images.parquet").to_pylist()
    assert [(r["side"], r["index"]) for r in rows] == [
        *(("rendered", k) for k in range(6)),
        *(("real", k) for k in range(3)),
    ]
    worst = min(rows[:6], key=lambda r: r["acc_valid"])
    assert scored[0].rendered.worst[0].index == worst["index"]
    assert rows[0]["iou_train"] is None


def test_worker_processes_change_nothing(
    out: OutputFolder,
    scored: tuple[Report, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where workers find the scorer of the tests
    assert run(out, tmp_path / "r", workers=2) == scored[0]
    for path in (scored[1] / "counts").iterdir():
        other = tmp_path / "r" / "counts" / path.name
        assert pq.read_table(other).equals(pq.read_table(path)), path.name


def test_batches_change_nothing(
    out: OutputFolder, scored: tuple[Report, Path], tmp_path: Path
) -> None:
    assert run(out, tmp_path / "r", batch_pixels=1) == scored[0]


def note_reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The tasks whose photos are read from now on."""
    asked: list[tuple[str, int]] = []
    read = job_module.subjects

    def note(spec: job_module.EvalSpec, task: job_module.Task) -> object:
        asked.append((task.side, task.number))
        return read(spec, task)

    monkeypatch.setattr("eval.reports.pages.draw_extremes", lambda *_: [])
    monkeypatch.setattr(job_module, "subjects", note)
    return asked


def test_photos_are_counted_once(
    out: OutputFolder,
    scored: tuple[Report, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "r"
    run(out, folder)
    asked = note_reads(monkeypatch)
    assert run(out, folder) == scored[0]
    assert asked == []
    (folder / "counts" / "rendered-00001.parquet").unlink()
    assert run(out, folder) == scored[0]
    assert asked == [("rendered", 1)]
    evaluate(config(out, folder), open_scorer=OpenColorScorer(sha256="cd" * 32))
    assert len(asked) == 1 + 4


def test_real_photos_that_changed_are_counted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = make_scored_run(tmp_path)
    world, folder = tmp_path / "world", tmp_path / "r"
    asked = note_reads(monkeypatch)
    real = DatasetConfig(root=str(world), format="cityscapes", split="val")
    first = run(out, folder, real=real)
    asked.clear()
    assert run(out, folder, real=real) == first
    assert asked == []
    # Other photos of the same names, chosen by an option.
    shutil.copytree(world / "leftImg8bit", world / "blank")
    for path in (world / "blank").rglob("*.png"):
        Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(path)
    option = real.model_copy(update={"photo_dir": "blank/{split}"})
    blank = run(out, folder, real=option)
    assert asked == [("real", 0)]
    assert blank.oracle.scores["acc_valid"].value != first.oracle.scores["acc_valid"].value
    # Other files under the old names.
    run(out, folder, real=real)
    for path in (photo_file(world, 0), label_file(world, 1)):
        asked.clear()
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000))
        assert run(out, folder, real=real) == first
        assert asked == [("real", 0)]


def test_the_stamp_of_a_sample_is_that_of_its_manifest(out: OutputFolder, tmp_path: Path) -> None:
    real = DatasetConfig(root=f"file://{out.root}", format="zarr")
    spec = prepare(config(out, tmp_path / "r", real=real), OpenColorScorer()).spec
    (stamp,) = job_module.real_stamps(spec.real, spec.real_dataset, "00000003")
    found = out.manifest(1).stat()
    assert stamp == [str(out.manifest(1)), found.st_size, found.st_mtime_ns]
    remote = spec.real_dataset.model_copy(update={"root": "memory://world"})
    assert job_module.real_stamps(spec.real, remote, "00000003") == []


def test_another_size_of_the_prediction_is_refused(out: OutputFolder, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=r"prediction has the shape \(2, 31, 64\) .*expected"):
        evaluate(config(out, tmp_path / "r"), open_scorer=OpenColorScorer(crop=1))


def test_the_scorer_may_see_photos_at_another_size(out: OutputFolder, tmp_path: Path) -> None:
    report = run(out, tmp_path / "r", input_size=(64, 128))
    assert report.protocol["input_size"] == [64, 128]
    assert report.rendered.pixels == 6 * 32 * 64


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    out = make_scored_run(tmp_path)
    path = out.data / "photo" / "c" / "1" / "0" / "0" / "0"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EvalError, match=r"sample 2 cannot be read .*; see hdsynth verify"):
        run(out, tmp_path / "r")


def test_features_are_kept_if_asked_for(out: OutputFolder, tmp_path: Path) -> None:
    report = run(out, tmp_path / "r")
    prepared = prepare(config(out, tmp_path / "r"), OpenColorScorer())
    counts = CountsFolder(tmp_path / "r" / "counts")
    read = read_counts(
        [counts.file("rendered", k) for k in range(3)],
        num_classes=19,
        num_things=len(prepared.spec.mapping.things),
    )
    photos = np.asarray(zarr.open_group(out.data, mode="r")["photo"][:])
    assert read.features is not None
    means = photos.mean(axis=(1, 2))
    np.testing.assert_allclose(read.features, means, rtol=1e-5)
    assert report.distances is not None
    assert report.distances.features == "mean colours"
    assert report.distances.frechet is not None
    assert report.distances.frechet > 0
    assert report.diversity is None  # no label map was rendered twice
    assert run(out, tmp_path / "n", features="none").distances is None
