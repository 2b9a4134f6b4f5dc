from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from hdmodel.errors import ConfigError
from pipeline import devices
from pipeline.devices import candidate_devices, lease_device
from tests.processes import another_process

FAKE = ["cuda:0", "cuda:1"]


def test_the_cpu_needs_no_lease() -> None:
    assert candidate_devices("cpu") == ["cpu"]
    lease = lease_device(["cpu"])
    assert lease.device == "cpu"
    assert lease.lock is None


def test_processes_get_devices_of_their_own_then_double_up(tmp_path: Path) -> None:
    with ExitStack() as held:
        leases = [held.enter_context(closing(lease_device(FAKE, tmp_path))) for _ in range(5)]
        assert [lease.device for lease in leases] == [
            "cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0",
        ]  # fmt: skip
        leases[1].close()
        with closing(lease_device(FAKE, tmp_path)) as again:
            assert again.device == "cuda:1"


def test_closing_a_lease_twice_closes_nothing_else(tmp_path: Path) -> None:
    lease = lease_device(["cuda:0"], tmp_path)
    lease.close()
    with (tmp_path / "other").open("w") as other:  # takes the number that became free
        lease.close()
        other.write("still open")
    assert (tmp_path / "other").read_text() == "still open"


def test_a_lease_goes_with_its_process(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from pipeline.devices import lease_device\n"
        f"lease = lease_device({FAKE!r}, Path({str(tmp_path)!r}))\n"
        "print(lease.device, flush=True); sys.stdin.read()"
    )
    with (
        another_process(code, says="cuda:0"),
        closing(lease_device(FAKE, tmp_path)) as here,
    ):
        assert here.device == "cuda:1"
    with closing(lease_device(FAKE, tmp_path)) as afterwards:
        assert afterwards.device == "cuda:0"


def test_too_many_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "MAX_PROCESSES_PER_DEVICE", 1)
    with (
        closing(lease_device(["cuda:0"], tmp_path)),
        pytest.raises(ConfigError, match="no free device"),
    ):
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
