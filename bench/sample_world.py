"""Speed of drawing sample-world scenes on one core, against the goal of 10 scenes per second.

Usage: OMP_NUM_THREADS=1 python -m bench.sample_world [--scenes N] [--size HxW] [--classes]
"""

import argparse
import time

import numpy as np

from pipeline.sample_world import draw_scene

GOAL = 10.0
"""Scenes of 256 x 512 pixels per second of processor time; writing PNG files is excluded."""


def print_classes(scenes: int, height: int, width: int) -> None:
    """Print, for each label id, its share of all pixels and of the scenes that show it."""
    pixels, shown, things = np.zeros(34), np.zeros(34), np.zeros(34)
    for index in range(scenes):
        drawn = draw_scene(0, index, height=height, width=width)
        count = np.bincount(drawn.label.ravel(), minlength=34)
        pixels += count
        shown += count > 0
        idents = np.unique(drawn.instance)
        things += np.bincount(idents[idents >= 1000] // 1000, minlength=34)
    print("| id | pixels | scenes | instances per scene |")
    print("|---:|---:|---:|---:|")
    for label in np.flatnonzero(pixels):
        share, seen = 100 * pixels[label] / pixels.sum(), 100 * shown[label] / scenes
        each = f"{things[label] / scenes:.2f}" if things[label] else ""
        print(f"| {label} | {share:.2f} % | {seen:.0f} % | {each} |")


def main() -> None:
    """Draw scenes and print scenes per second and the ratio to the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--size", default="256x512", help="HxW in pixels")
    parser.add_argument("--classes", action="store_true", help="print class shares instead")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    args = parser.parse_args()
    if args.quick:
        args.scenes, args.size = 4, "64x128"
    height, width = (int(side) for side in args.size.split("x"))
    if args.classes:
        print_classes(args.scenes, height, width)
        return
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
