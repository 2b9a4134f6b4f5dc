"""Devices: which ones a job may use, and how worker processes share them out."""

import fcntl
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hdmodel.errors import ConfigError

MAX_PROCESSES_PER_DEVICE = 64


def candidate_devices(request: str) -> list[str]:
    """The torch devices that a request allows on this machine.

    Args:
        request: `auto` (all CUDA devices, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises:
        ConfigError: A CUDA device is asked for and there is none.
    """
    if request == "cpu":
        return ["cpu"]
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if request == "auto" and count == 0:
        return ["cpu"]
    found = [f"cuda:{number}" for number in range(count)]
    if request in ("auto", "cuda") and found:
        return found
    if request in found:
        return [request]
    raise ConfigError(
        f"device {request!r}: not on this machine, which has {', '.join(found) or 'no CUDA device'}"
    )


@dataclass(frozen=True, slots=True)
class Lease:
    """A device held by this process until it ends or closes the lease."""

    device: str
    lock: IO[bytes] | None
    """The locked file, or None where there is nothing to share out."""

    def close(self) -> None:
        """Give the device back; closing again does nothing."""
        if self.lock is not None:
            self.lock.close()


def lease_device(devices: Sequence[str], folder: Path | None = None) -> Lease:
    """Take the device that the fewest processes of this machine use.

    Processes take turns over the devices: each gets one of its own while there are enough, then
    they double up. A lease is a locked file, so it goes with its process, however that ends.

    Args:
        devices: The allowed devices, not empty.
        folder: Where the locks lie; by default a folder of this user on this machine.

    Raises:
        ConfigError: Every device is held by `MAX_PROCESSES_PER_DEVICE` processes.
    """
    if list(devices) == ["cpu"]:
        return Lease("cpu", None)
    folder = folder or Path(tempfile.gettempdir()) / f"hdsynth-devices-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    for turn in range(MAX_PROCESSES_PER_DEVICE):
        for device in devices:
            path = folder / f"{device.replace(':', '-')}.{turn}.lock"
            lock = path.open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            return Lease(device, lock)
    raise ConfigError(
        f"no free device: each of {', '.join(devices)} is used by "
        f"{MAX_PROCESSES_PER_DEVICE} processes"
    )
