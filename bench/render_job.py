"""What the pipeline costs beside the generator: `python bench/render_job.py`.

Renders a job of the sample world, then the same label maps with the generator alone, in the same
process and the same batches, and prints the ratio of the two times. 1.0 would mean that reading,
editing, hashing, compressing and Beam cost nothing.
"""

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from pipeline.checkpoints import bundled_checkpoint
from pipeline.config import GeneratorSettings, OutputConfig, RenderConfig
from pipeline.fit import photos_per_batch
from pipeline.output.manifest import StyleChoice
from pipeline.output.results import RunResults
from pipeline.rendering.generator import GeneratorSpec, open_generator, render_maps
from pipeline.run import render
from pipeline.sample_world import write_dataset
from pipeline.sources import DatasetConfig
from pipeline.styles.stylist import StyleTable


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--checkpoint", type=Path, default=bundled_checkpoint())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.samples, arguments.height = 4, 64
    height, width = arguments.height, 2 * arguments.height
    with tempfile.TemporaryDirectory() as folder:
        world, out = Path(folder) / "world", Path(folder) / "out"
        write_dataset(world, scenes=24, height=height, width=width, seed=0, val=4)
        config = RenderConfig(
            dataset=DatasetConfig(root=str(world), format="cityscapes", split="train"),
            samples=arguments.samples,
            size=(height, width),
            generator=GeneratorSettings(checkpoint=arguments.checkpoint, device=arguments.device),
            output=OutputConfig(path=out, shard_size=8),
        )
        start = perf_counter()
        summary = render(config)
        whole = perf_counter() - start

        results = RunResults(out)
        rows = list(results.rows(("index", "styles")))
        maps = [results.maps(row["index"]) for row in rows]
        label, instance = (np.stack([found[k] for found in maps]) for k in (1, 2))
        # What the job chose for each object, so that the generator alone draws the same photos.
        styles = [StyleTable.of([StyleChoice(**row) for row in row["styles"]]) for row in rows]
        batch = min(8, photos_per_batch(config.generator.batch_pixels, config.size))
        with open_generator(GeneratorSpec(arguments.checkpoint, config.generator)) as generator:
            start = perf_counter()
            for first in range(0, len(label), batch):
                part = slice(first, first + batch)
                render_maps(label[part], instance[part], generator, styles=styles[part])
            alone = perf_counter() - start
            device = generator.lease.device

    print(f"{arguments.samples} samples of {height}x{width} on {device}")
    print(f"whole job:       {whole:.2f} s (rendering {summary.seconds:.2f} s of it)")
    print(f"generator alone: {alone:.2f} s")
    print(f"ratio rendering / generator alone: {summary.seconds / alone:.2f}")


if __name__ == "__main__":
    main()
