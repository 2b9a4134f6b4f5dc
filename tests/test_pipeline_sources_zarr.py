"""Sources: our own output, written with zarr and pyarrow."""

import pickle
from pathlib import Path

import pytest

from pipeline.errors import DatasetError, TaxonomyError
from pipeline.sources import open_source
from pipeline.sources.validate import validate
from tests.scenes import CAR, ROAD
from tests.sources import config, write_output


def test_zarr(tmp_path: Path) -> None:
    write_output(tmp_path)
    source = open_source(config(tmp_path, format="zarr", taxonomy="cityscapes"))
    assert [ref.name for ref in source.scenes] == ["00000000", "00000002", "00000003"]
    assert source.orphans == ()
    scene = pickle.loads(pickle.dumps(source)).read("00000002")
    assert scene.label.tolist() == [[CAR, ROAD, ROAD], [ROAD] * 3]
    assert scene.instance.tolist() == [[CAR * 1000 + 2, ROAD, ROAD], [ROAD] * 3]
    assert scene.photo.ravel().tolist() == list(range(36, 54))
    assert source.read("00000002", photo=False).photo is None
    with pytest.raises(DatasetError, match=r"data\.zarr sample 3: 1 pixels whose instance"):
        source.read("00000003")
    with pytest.raises(DatasetError, match="no scene"):
        source.read("00000001")
    components = open_source(
        config(tmp_path, format="zarr", instances="components", min_component_area=1)
    )
    assert components.read("00000003").instance[0, 0] == CAR * 1000


@pytest.mark.parametrize("array", ["label", "instance", "photo"])
@pytest.mark.parametrize("loss", ["missing", "empty", "truncated"])
def test_a_lost_shard_is_no_void(tmp_path: Path, array: str, loss: str) -> None:
    write_output(tmp_path)
    lost = tmp_path / "data.zarr" / array / "c" / "1"
    shard = next(path for path in lost.rglob("*") if path.is_file())
    if loss == "missing":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[: 0 if loss == "empty" else -40])
    source = open_source(config(tmp_path, format="zarr"))
    assert source.inspect("00000000").scene is not None
    reading = source.inspect("00000002")
    assert reading.scene is None
    (error,) = reading.errors
    assert error.kind == "unreadable"
    assert f"{array} cannot be read" in error.message
    assert not validate(source).ok


def test_zarr_errors(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected an output of hdsynth render"):
        open_source(config(tmp_path, format="zarr"))
    write_output(tmp_path)
    with pytest.raises(TaxonomyError, match="made with taxonomy 'cityscapes'"):
        open_source(config(tmp_path, format="zarr", taxonomy="camvid"))
    with pytest.raises(DatasetError, match="has no splits"):
        open_source(config(tmp_path, format="zarr", split="val"))
    (tmp_path / "manifest/shard-00001.parquet").write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match=r"shard-00001\.parquet: not a manifest"):
        open_source(config(tmp_path, format="zarr"))
    for path in (tmp_path / "manifest").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="no finished samples"):
        open_source(config(tmp_path, format="zarr"))
