import subprocess
import sys
from pathlib import Path

import pytest

from hdmodel.errors import ConfigError
from pipeline import devices
from pipeline.devices import candidate_devices, lease_device

FAKE = ["cuda:0", "cuda:1"]


def test_the_cpu_needs_no_lease() -> None:
    assert candidate_devices("cpu") == ["cpu"]
    lease = lease_device(["cpu"])
    assert lease.device == "cpu"
    assert lease.descriptor is None


def test_processes_get_devices_of_their_own_then_double_up(tmp_path: Path) -> None:
    leases = [lease_device(FAKE, tmp_path) for _ in range(5)]
    assert [lease.device for lease in leases] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]
    leases[1].close()
    assert lease_device(FAKE, tmp_path).device == "cuda:1"


def test_a_lease_goes_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.devices import lease_device\n"
        f"lease = lease_device({FAKE!r}, Path({str(tmp_path)!r}))\n"
        "print(lease.device, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "cuda:0"
        here = lease_device(FAKE, tmp_path)
        assert here.device == "cuda:1"
        other.kill()
    assert lease_device(FAKE, tmp_path).device == "cuda:0"


def test_too_many_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "MAX_PROCESSES_PER_DEVICE", 1)
    lease_device(["cuda:0"], tmp_path)
    with pytest.raises(ConfigError, match="no free device"):
        lease_device(["cuda:0"], tmp_path)


@pytest.mark.parametrize(
    ("request_", "count", "expected"),
    [
        ("auto", 0, ["cpu"]),
        ("auto", 2, ["cuda:0", "cuda:1"]),
        ("cuda", 2, ["cuda:0", "cuda:1"]),
        ("cuda:1", 2, ["cuda:1"]),
        ("cpu", 2, ["cpu"]),
    ],
)
def test_requests(
    request_: str, count: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert candidate_devices(request_) == expected


@pytest.mark.parametrize("request_", ["cuda", "cuda:3"])
def test_a_device_that_is_not_here_is_refused(
    request_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=f"'{request_}'.*no CUDA device"):
        candidate_devices(request_)
