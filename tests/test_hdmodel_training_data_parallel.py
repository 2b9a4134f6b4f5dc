"""Two processes together give what one gives alone."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hdmodel.architecture import PixelDiscriminatorConfig
from hdmodel.errors import ConfigError
from hdmodel.training.augmentation_config import AugmentationConfig
from hdmodel.training.config import LossConfig, TrainConfig
from hdmodel.training.data_parallel import Processes
from tests.trainings import config, run, stage

CHILD = """
from pathlib import Path
import torch
from hdmodel.training.data_parallel import Processes
from tests.test_hdmodel_training_data_parallel import setting
from tests.trainings import run

torch.set_num_threads(1)
processes = Processes.join(torch.device("cpu"))
run(setting(pixel=float(sys.argv[2])), Path(sys.argv[1]), processes=processes)
processes.leave()
"""


def setting(*, pixel: float) -> TrainConfig:
    """Four updates of four samples; with a pixel discriminator also what few photos need."""
    return config(
        autocast=False,
        losses=LossConfig(pixel=pixel),
        pixel_discriminator=PixelDiscriminatorConfig(channels=16),
        augmentation=AugmentationConfig(translation=0.2 * pixel, colour=0.5 * pixel),
        stages=(stage(batch=4),),
    )


@pytest.mark.parametrize("pixel", [0, 1])
def test_two_processes_train_as_one_with_the_whole_batch(tmp_path: Path, pixel: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    children = [
        subprocess.Popen(
            [sys.executable, "-c", f"import sys{CHILD}", str(tmp_path / "two"), str(pixel)],
            cwd=Path(__file__).parent.parent,
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    run(setting(pixel=pixel), tmp_path / "one")
    one, two = (
        load_file(tmp_path / name / "last" / "generator.safetensors") for name in ("one", "two")
    )
    for key, value in one.items():
        # Four updates of at most 2e-4 each; biases before a norm get rounding noise as gradient.
        if key.endswith("weight"):
            torch.testing.assert_close(two[key], value, rtol=0, atol=2e-5)
    rows = [
        (tmp_path / name / "metrics.csv").read_text().splitlines()[1:] for name in ("one", "two")
    ]
    for ours, theirs in zip(*rows, strict=True):
        ours, theirs = ([float(value) for value in row.split(",")[2:-3]] for row in (ours, theirs))
        assert len(ours) == 4 + 3 * pixel
        assert theirs == pytest.approx(ours, rel=1e-3)


def test_shares_are_even_parts() -> None:
    assert [Processes(rank, 3).share(6, accumulate=1) for rank in range(3)] == [
        slice(0, 2),
        slice(2, 4),
        slice(4, 6),
    ]
    with pytest.raises(ConfigError, match="batch is 6, expected a multiple of 4: 2 processes wit"):
        Processes(0, 2).share(6, accumulate=2)
