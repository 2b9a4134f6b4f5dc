"""Jobs whose photos are copied, against the same job with all pixels from the generator.

    python bench/photo_modes.py [--height H] [--samples N] [--workers N]

The sample world, policy `light`, seed 0. First a job is run in each mode, one after the other, and
its time is given beside that of `photo: rendered` with the bundled generator. Then composing is
measured by itself, on one core: the edits with the photo, before any hole is filled, and without.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.checkpoints import bundled_checkpoint
from pipeline.config import RenderConfig
from pipeline.donors.bank import DonorBank
from pipeline.editing.exposure import LightMeter
from pipeline.editing.recompose import recompose
from pipeline.output.folder import OutputFolder
from pipeline.planning.plan import read_shard_plan
from pipeline.rendering.composite import DonorPhotos
from pipeline.run import render
from pipeline.sample_world import write_dataset
from pipeline.sources import open_source
from pipeline.sources.reading import SceneReader

MODES: dict[str, dict[str, Any]] = {
    "rendered": {"photo": {"mode": "rendered"}},
    "composite, no generator": {"photo": {"mode": "composite"}},
    "composite, generator for what no photo shows": {
        "photo": {"mode": "composite"},
        "generator": {"checkpoint": bundled_checkpoint()},
    },
    "exemplar": {"photo": {"mode": "exemplar"}},
}


def job(world: Path, out: Path, arguments: argparse.Namespace, changes: dict[str, Any]) -> float:
    """Seconds of rendering of a job."""
    config = RenderConfig.parse(
        {
            "dataset": {"root": str(world), "format": "cityscapes", "split": "train"},
            "samples": arguments.samples,
            "size": [arguments.height, 2 * arguments.height],
            "output": {"path": out, "shard_size": 4},
            "workers": arguments.workers,
            **changes,
        },
        origin="bench",
    )
    return render(config).seconds


def timed(call: Callable[[], object]) -> float:
    """Milliseconds of a call."""
    start = perf_counter()
    call()
    return 1000 * (perf_counter() - start)


def composing(out: Path, world: Path, size: tuple[int, int]) -> tuple[float, float]:
    """Median milliseconds of composing a sample of a run with its photo, and without."""
    folder = OutputFolder(out)
    config = RenderConfig.parse(folder.read_config()["config"], origin="bench")
    source = open_source(config.dataset)
    read = SceneReader(source, source.taxonomy, size=size, mode=config.fit, photo=True)
    bank = DonorBank.open(folder.donors)
    photos, light = (
        DonorPhotos(bank.cutout, read, source.taxonomy),
        LightMeter(len(source.taxonomy.classes)),
    )
    with_photo, without = [], []
    for row in read_shard_plan(folder.plan, 0):
        program, scene = row.parsed_program(), read(row.scene)
        for donor in program.donors:
            read(donor)
        bare = scene.without_photo()
        find = photos.for_scene(light(scene))
        edit = partial(recompose, program, taxonomy=source.taxonomy)
        with_photo.append(timed(partial(edit, scene, find)))
        without.append(timed(partial(edit, bare, bank.cutout)))
    return median(with_photo), median(without)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.height, arguments.samples, arguments.workers = 64, 4, 1
    size = arguments.height, 2 * arguments.height
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        write_dataset(world, scenes=12, height=size[0], width=size[1], seed=0, val=2)
        print(f"{arguments.samples} samples of {size[0]}x{size[1]}, {arguments.workers} workers")
        seconds: dict[str, float] = {}
        for number, (name, changes) in enumerate(MODES.items()):
            seconds[name] = job(world, Path(folder) / f"out-{number}", arguments, changes)
            rate = arguments.samples / seconds[name]
            share = seconds[name] / seconds["rendered"]
            print(f"{name:<46} {rate:6.2f} photos/s, ratio of time to rendered: {share:.2f}")
        ours, bare = composing(Path(folder) / "out-1", world, size)
    print(f"composing with a photo {ours:.0f} ms, without {bare:.0f} ms, ratio: {ours / bare:.2f}")


if __name__ == "__main__":
    main()
