"""Speed of drawing sample-world scenes on one core, against the goal of 10 scenes per second.

Usage: OMP_NUM_THREADS=1 python -m bench.sample_world [--scenes N] [--size HxW]
"""

import argparse
import time

from pipeline.sample_world import draw_scene

GOAL = 10.0
"""Scenes of 256 x 512 pixels per second of processor time; writing PNG files is excluded."""


def main() -> None:
    """Draw scenes and print scenes per second and the ratio to the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--size", default="256x512", help="HxW in pixels")
    args = parser.parse_args()
    height, width = (int(side) for side in args.size.split("x"))
    for index in range(12):  # Textures and sprites are made once.
        draw_scene(0, index, height=height, width=width)
    start_cpu, start = time.process_time(), time.perf_counter()
    for index in range(args.scenes):
        draw_scene(0, 12 + index, height=height, width=width)
    cpu, wall = time.process_time() - start_cpu, time.perf_counter() - start
    rate = args.scenes / cpu
    print(f"sample world {height}x{width}: {rate:.1f} scenes/s of processor time", end=" ")
    print(f"({args.scenes / wall:.1f} by the clock), {rate / GOAL:.2f} x the goal of {GOAL:g}")


if __name__ == "__main__":
    main()
