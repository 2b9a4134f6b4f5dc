from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from eval.errors import EvalError
from eval.filter import scorer_train_ids
from eval.mapping import ClassMapping
from eval.prepare import EvalConfig
from eval.reports.report import Report
from eval.run import evaluate
from pipeline.inspection.verify import verify
from pipeline.output.folder import OutputFolder
from pipeline.reader import SyntheticDataset
from pipeline.taxonomy import Taxonomy
from tests.fake_scorers import ColorScorer, OpenColorScorer
from tests.scored_runs import make_scored_run

CITY = Taxonomy.load("cityscapes")


def run(out: OutputFolder, report: Path, **changes: Any) -> Report:
    config = EvalConfig(
        out=out.root, scorer=Path("made"), report=report, device="cpu", write_filter=True
    )
    return evaluate(replace(config, **changes), open_scorer=OpenColorScorer())


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> tuple[OutputFolder, Report, list[Any]]:
    folder = tmp_path_factory.mktemp("filtered")
    out = make_scored_run(folder, failed={4: "render"})
    before = [pq.read_table(path) for path in sorted(out.manifests.iterdir())]
    return out, run(out, folder / "r", exclude_failed=True), before


def test_masks_mark_what_is_read_worse_than_in_real_photos(
    filtered: tuple[OutputFolder, Report, list[Any]],
) -> None:
    out, report, _ = filtered
    group = zarr.open_group(out.data, mode="r")
    photo, label, mask = (np.asarray(group[n][:]) for n in ("photo", "label", "faithful"))
    target = CITY.train_ids[label]
    right = ColorScorer().predict(photo) == target
    expected = np.where(target == 255, 255, right).astype(np.uint8)
    # Few mistakes on real photos: the limits lie between the losses of right and wrong pixels.
    real = report.oracle.confusion
    missed = [k for k, row in enumerate(real[:-1]) if sum(row) and row[k] / sum(row) < 0.7]
    unseen = [k for k, row in enumerate(real[:-1]) if not sum(row)]
    assert missed == []
    expected[np.isin(target, unseen)] = 255
    expected[4] = 255
    np.testing.assert_array_equal(mask, expected)
    assert report.filter is not None
    assert report.filter.unfaithful_pixels == np.count_nonzero(expected == 0) > 0
    assert report.filter.judged_pixels == np.count_nonzero(expected != 255)
    assert dict(group["faithful"].attrs)["factor"] == 1.25


def test_objects_get_verdicts_in_the_manifests(
    filtered: tuple[OutputFolder, Report, list[Any]],
) -> None:
    out, report, before = filtered
    group = zarr.open_group(out.data, mode="r")
    rows = pq.read_table(out.manifests).to_pylist()
    verdicts = 0
    for row in rows:
        if row["status"] != "ok":
            assert row["faithful"] is None
            continue
        instance = np.asarray(group["instance"][row["index"]])
        mask = np.asarray(group["faithful"][row["index"]])
        assert [v["id"] for v in row["faithful"]] == sorted(i["id"] for i in row["instances"])
        for verdict in row["faithful"]:
            share = np.mean(mask[instance == verdict["id"]] == 0)
            assert verdict["unfaithful_share"] == pytest.approx(share)
            limit = report.filter.limits["other"]  # type: ignore[union-attr]
            assert verdict["faithful"] == (share <= limit)
            verdicts += 1
    assert report.filter is not None
    assert verdicts == report.filter.judged_objects
    for path, table in zip(sorted(out.manifests.iterdir()), before, strict=True):
        assert pq.read_table(path).drop_columns(["faithful"]).equals(table)


def test_a_filtered_run_is_still_whole_and_can_be_filtered_again(
    filtered: tuple[OutputFolder, Report, list[Any]], tmp_path: Path
) -> None:
    out, report, _ = filtered
    # The photos were drawn anew for the test; all else is as recorded.
    assert {problem.array for problem in verify(out.root).problems} == {"photo"}
    assert len(SyntheticDataset(out.root)) == 5
    again = run(out, tmp_path / "r", exclude_failed=True)
    assert again.filter == report.filter
    assert not [p for p in (tmp_path / "r").iterdir() if p.name.startswith(".filter")]


def test_labels_and_photos_must_have_one_size(
    filtered: tuple[OutputFolder, Report, list[Any]], tmp_path: Path
) -> None:
    with pytest.raises(EvalError, match=r"--write-filter: the scorer must see photos at .* 32x64"):
        run(filtered[0], tmp_path / "r", exclude_failed=True, input_size=(64, 128))


def test_train_ids_go_back_to_those_of_the_scorer() -> None:
    table = scorer_train_ids(ClassMapping.between(CITY, CITY))
    np.testing.assert_array_equal(table[:19], np.arange(19))
    assert (table[19:] == 255).all()
