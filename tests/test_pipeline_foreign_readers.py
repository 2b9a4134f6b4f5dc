"""An output read by a program that knows nothing of hdsynth."""

import json
import subprocess
import sys
from pathlib import Path

from tests.outputs import HEIGHT, WIDTH, make_run

READER = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
import pyarrow.parquet as pq
import zarr

out = Path(sys.argv[1])
data = zarr.open_group(out / "data.zarr", mode="r")
rows = []
for path in sorted((out / "manifest").glob("shard-*.parquet")):
    rows += pq.read_table(path).to_pylist()
for row in rows:
    for name in ("photo", "label", "instance"):
        pixels = np.asarray(data[name][row["index"]])
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == row[f"{name}_sha256"], (name, row)
    if row["status"] == "failed":
        continue
    label, instance = data["label"][row["index"]], data["instance"][row["index"]]
    ids, areas = np.unique(instance[instance >= 1000], return_counts=True)
    assert [i["id"] for i in row["instances"]] == ids.tolist()
    assert [i["area"] for i in row["instances"]] == areas.tolist()
    for item in row["instances"]:
        box = instance[item["top"]:item["bottom"], item["left"]:item["right"]]
        assert (box == item["id"]).sum() == item["area"]
        assert (label[instance == item["id"]] == item["class_id"]).all()
        assert data.attrs["taxonomy"]["classes"][item["class_id"]]["name"] == item["class_name"]
plan = pq.read_table(out / "plan.parquet").to_pylist()
ours = [m for m in sys.modules if m.split(".")[0] in ("hdsynth", "pipeline", "hdmodel", "eval")]
assert not ours, ours
print(json.dumps({
    "indices": [row["index"] for row in rows],
    "failed": [row["index"] for row in rows if row["status"] == "failed"],
    "planned": [row["index"] for row in plan],
    "arrays": {name: [list(a.shape), list(a.chunks), list(a.shards), str(a.dtype),
                      list(a.metadata.dimension_names)]
               for name, a in data.arrays()},
    "attributes": sorted(data.attrs),
}))
"""


def test_plain_zarr_and_pyarrow_read_everything(tmp_path: Path) -> None:
    out = make_run(
        tmp_path / "run", samples=7, shard_size=2, failed={5: "render"}, uncommitted=(1,)
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", READER, str(out.root)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["indices"] == [0, 1, 4, 5, 6]
    assert found["planned"] == list(range(7))
    assert found["failed"] == [5]
    maps, axes = [7, HEIGHT, WIDTH], ["sample", "y", "x"]
    assert found["arrays"] == {
        "photo": [
            [*maps, 3],
            [1, HEIGHT, WIDTH, 3],
            [2, HEIGHT, WIDTH, 3],
            "uint8",
            [*axes, "rgb"],
        ],
        "label": [maps, [1, HEIGHT, WIDTH], [2, HEIGHT, WIDTH], "uint8", axes],
        "instance": [maps, [1, HEIGHT, WIDTH], [2, HEIGHT, WIDTH], "int32", axes],
    }
    assert found["attributes"] == ["config_fingerprint", "generator_hash", "taxonomy", "versions"]


def test_the_documented_snippet_reads_the_good_samples(tmp_path: Path) -> None:
    document = (Path(__file__).parent.parent / "docs" / "output.md").read_text("utf-8")
    snippet = document.split("```python\n")[1].split("```")[0]
    out = make_run(tmp_path / "run", samples=5, shard_size=2, failed={1: "read"}, uncommitted=(1,))
    assert 'Path("OUT")' in snippet
    program = snippet.replace('Path("OUT")', f"Path({str(out.root)!r})")
    program += '        print(row["index"], photo.shape, label.dtype, instance.dtype)\n'
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    shape = f"({HEIGHT}, {WIDTH}, 3)"
    assert result.stdout.split("\n") == [f"{i} {shape} uint8 int32" for i in (0, 4)] + [""]
