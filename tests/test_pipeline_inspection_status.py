import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

from hdsynth.commands.output import status as status_command
from pipeline.errors import OutputError
from pipeline.inspection.status import read_status
from pipeline.output.folder import OutputFolder
from pipeline.output.lock import LOCK, lock_holder, locked
from pipeline.planning.quotas import Quota, QuotaReport
from pipeline.taxonomy import Taxonomy
from tests.datasets import stem
from tests.outputs import make_run

HOLDER = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
os.pwrite(descriptor, f"{os.getpid()}\\n".encode(), 0)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    return make_run(
        tmp_path_factory.mktemp("run"),
        samples=12,
        shard_size=2,
        failed={1: "read", 4: "render"},
        uncommitted=(5,),
    )


def test_counts_are_those_of_the_records(out: OutputFolder) -> None:
    status = read_status(out.root)
    assert (status.shards_planned, status.shards_committed) == (6, 5)
    assert (status.samples_planned, status.samples_committed, status.samples_ok) == (12, 10, 8)
    assert status.samples_failed == {"read": 1, "render": 1}
    assert not status.complete
    assert not status.running
    assert "same hdsynth render command" in status.advice
    first = status.errors[0]
    assert (first.index, first.scene, first.kind) == (1, stem(1), "read")
    assert first.error == f"{stem(1)}: <made up> for a test"


def test_edits_are_counted_over_composed_samples(out: OutputFolder) -> None:
    status = read_status(out.root)
    # Samples 0..9 without 1 (its mirror was never applied); 5 skips one of its two drops.
    counts = {o.operation: (o.planned, o.done, o.skipped) for o in status.operations}
    assert counts == {
        "mirror_scene": (1, 1, 0),
        "drop": (4, 3, 1),
        "move": (2, 2, 0),
        "paste": (1, 1, 0),
    }
    assert status.events["skipped"] == 1
    assert status.pasted == {"car": 1}


def test_quotas_are_measured_on_the_good_samples(tmp_path: Path) -> None:
    city = Taxonomy.load("cityscapes")
    wishes = [
        {"class": "car", "at_least": 4, "in": 0.5},
        {"class": "person", "times": 2},
        {"class": "car", "occluded": [0.05, 1], "in": 0.5},
        {"pixel_share": {"car": 0.1, "road": 0.5}},
    ]
    targets = [t for wish in wishes for t in Quota.parse(wish, origin="test").targets(city)]
    reports = [
        QuotaReport(target, target.text(), source_mean=0.5, forecast=0.25) for target in targets
    ]
    out = make_run(
        tmp_path, samples=8, failed={1: "read", 4: "render"}, uncommitted=(3,), quotas=reports
    )
    stored = zarr.open_group(out.data, mode="r")["instance"]
    maps = [stored[index] for index in (0, 2, 3, 5)]  # of shards 0 to 2, without the failed
    counts = [Counter(int(i) // 1000 for i in np.unique(m) if i >= 1000) for m in maps]
    cars, people, _, pixels, road = read_status(out.root).quotas
    assert cars.achieved == np.mean([count[26] >= 4 for count in counts])
    assert people.achieved == np.mean([count[24] for count in counts]) / 0.5
    assert pixels.achieved == pytest.approx(np.mean([(m // 1000 == 26).mean() for m in maps]))
    assert road.achieved is None
    assert cars.forecast == 0.25
    shown = CliRunner().invoke(status_command, [str(out.root)]).output
    assert "at least 4 car in 50% of the samples: source not known, forecast 25.0%" in shown
    plain = json.loads(CliRunner().invoke(status_command, [str(out.root), "--json"]).output)
    assert [entry["achieved"] for entry in plain["quotas"]][:2] == [cars.achieved, people.achieved]


def test_speed_is_that_of_the_records(out: OutputFolder) -> None:
    status = read_status(out.root)
    # Ten committed samples of 0.5 + 0.25 + 3 + 0.25 s each.
    assert status.phase_seconds == {"read": 5.0, "compose": 2.5, "render": 30.0, "write": 2.5}
    assert status.photos_per_worker_second == pytest.approx(8 / 40)


def test_the_recent_rate_skips_pauses_between_attempts(tmp_path: Path) -> None:
    out = make_run(tmp_path, samples=12, shard_size=2)
    now = time.time()
    # Two commits, a night, then four commits ten seconds apart: 2 samples per 10 s.
    for shard, age in enumerate((40000, 39990, 30, 20, 10, 0)):
        os.utime(out.manifest(shard), (now - age, now - age))
    assert read_status(out.root).recent_photos_per_second == pytest.approx(0.2)


def test_a_job_at_work_is_seen_and_not_disturbed(tmp_path: Path) -> None:
    out = make_run(tmp_path, samples=4, uncommitted=(1,))
    assert lock_holder(out.root) == (False, None)
    assert not (out.root / LOCK).exists()
    command = [sys.executable, "-c", HOLDER, str(out.root / LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        status = read_status(out.root)
        assert (status.running, status.process) == (True, holder.pid)
        assert "writing here" in status.advice
        with pytest.raises(OutputError, match="another job is writing"), locked(out.root):
            pass
        holder.kill()
    assert lock_holder(out.root) == (False, None)
    with locked(out.root):
        assert lock_holder(out.root) == (True, os.getpid())


def test_a_damaged_record_is_named_and_the_rest_is_counted(tmp_path: Path) -> None:
    out = make_run(tmp_path, samples=4)
    out.manifest(0).write_bytes(b"PAR1")
    status = read_status(out.root)
    assert status.samples_ok == 2
    assert len(status.unreadable_manifests) == 1
    assert str(out.manifest(0)) in status.unreadable_manifests[0]
    assert "hdsynth verify" in status.advice


def test_folders_without_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not an output of hdsynth"):
        read_status(tmp_path)
    folder = OutputFolder(tmp_path)
    with locked(folder.root), pytest.raises(OutputError, match="being prepared"):
        read_status(tmp_path)


def test_a_run_without_any_shard_yet_has_a_status(tmp_path: Path) -> None:
    out = make_run(tmp_path, samples=2, uncommitted=(0,))
    status = read_status(out.root)
    assert (status.samples_committed, status.recent_photos_per_second) == (0, None)
    result = CliRunner().invoke(status_command, [str(out.root)])
    assert result.exit_code == 0
    assert "0 of 1 committed" in result.stdout


def test_the_command_prints_text_or_one_json_object(out: OutputFolder) -> None:
    text = CliRunner().invoke(status_command, [str(out.root)]).stdout
    for part in ("5 of 6 committed", "8 good of 12", "1 at read", "<made up>", "car 1"):
        assert part in text
    result = CliRunner().invoke(status_command, [str(out.root), "--json"])
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert data["samples_failed"] == {"read": 1, "render": 1}
    assert data["errors"][1]["kind"] == "render"
    assert data["complete"] is False


def test_a_finished_run_says_so(tmp_path: Path) -> None:
    good = make_run(tmp_path / "good", samples=2)
    assert read_status(good.root).advice == "The run is finished and every sample is good."
    bad = make_run(tmp_path / "bad", samples=2, failed={0: "render"})
    assert "--retry-failed" in read_status(bad.root).advice
