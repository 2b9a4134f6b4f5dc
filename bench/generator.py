"""How fast the generator renders, against the plain network in the same run.

Fast is what a render job does: bfloat16, channels last, a tuned allocator. Plain is the same
network in float32, as torch runs it out of the box. The plain one runs first, in a process of its
own, because the allocator cannot be tuned back.

    python bench/generator.py --model pix2pixhd-local --size 512x1024
"""

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import configs
from pipeline.training.job import read_train_job


def seconds_per_photo(
    model: str, size: tuple[int, int], *, fast: bool, repeats: int, device_name: str
) -> tuple[float, float]:
    """Median seconds of one forward pass at batch 1, and the network's parameters in millions."""
    import torch

    from hdmodel.allocator import tune_allocator
    from hdmodel.conditioning import condition
    from hdmodel.generator import build_generator
    from hdmodel.layers import initialise

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = torch.device(device_name)
    config = read_train_job(configs.find("models", model)).generator
    network = build_generator(config)
    initialise(network, torch.Generator().manual_seed(0))
    network.requires_grad_(False).eval().to(device)
    if fast:
        tune_allocator()
        network.to(torch.bfloat16).to(memory_format=torch.channels_last)
    blocks = torch.arange(size[0] * size[1]).view(1, *size) // (16 * size[1])
    label_BHW = (blocks % config.num_classes).to(device)
    times = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            started = time.perf_counter()
            dtype = torch.bfloat16 if fast else torch.float32
            inputs = condition(label_BHW, label_BHW, num_classes=config.num_classes, dtype=dtype)
            network(inputs).cpu()  # waits for the device
            times.append(time.perf_counter() - started)
    return median(times[1:]), sum(p.numel() for p in network.parameters()) / 1e6


def main() -> None:
    """Measure both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pix2pixhd-local", choices=configs.names("models"))
    parser.add_argument("--size", default="512x1024", help="HxW in pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.model, options.size, options.repeats = "tiny", "64x128", 1
    height, width = (int(part) for part in options.size.split("x"))
    seconds = {}
    for name, fast in (("plain", False), ("fast", True)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds[name], millions = pool.apply(
                seconds_per_photo,
                (options.model, (height, width)),
                {"fast": fast, "repeats": options.repeats, "device_name": options.device},
            )
        print(f"{name}: {seconds[name]:.3f} s per photo of {height}x{width}, {millions:.1f} M")
    print(f"ratio: {seconds['plain'] / seconds['fast']:.2f}")


if __name__ == "__main__":
    main()
