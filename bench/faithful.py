"""How well the faithfulness filter finds objects that do not show what their label says.

Real photos of the sample world are the faithful ones; in a share of their objects a wrong texture
is planted: pixels of another photo, from a place of another class. The filter is calibrated on
other real photos and asked for them.

Usage: OMP_NUM_THREADS=1 python -m bench.faithful [--scorer DIR] [--calibration N] [--scenes N]
       [--share S] [--seed S]
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eval.measures.faithful import (
    FACTOR,
    SHARE,
    UNFAITHFUL,
    UNJUDGED,
    ClassLosses,
    ObjectShare,
    ShareLimits,
    faithful_mask,
    is_faithful,
    object_shares,
    share_limits,
)
from eval.scorers.config import bundled_scorer
from eval.scorers.loading import load_scorer
from eval.scorers.scorer import Scorer
from pipeline.sample_world import draw_scene
from pipeline.sample_world.scene import VAL_START, Drawn
from pipeline.scene import instances_of

SIZE = (256, 512)
SMALLEST = 64
"""Pixels below which no object is asked about."""
LARGE = 400
_TRIES = 50


@dataclass(frozen=True)
class Judged:
    """A photo with planted textures, and what the filter says of it."""

    mask: npt.NDArray[np.uint8]
    planted: npt.NDArray[np.bool_]
    """Pixels that show something else."""
    objects: list[tuple[ObjectShare, bool, int]]
    """Objects, whether their texture is planted, and their area."""


def scenes(seed: int, first: int, count: int) -> Iterator[Drawn]:
    """Scenes of the validation city."""
    for index in range(count):
        yield draw_scene(seed, VAL_START + first + index, height=SIZE[0], width=SIZE[1])


def plant(
    drawn: Drawn, other: Drawn, share: float, random: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], set[int]]:
    """Give a share of the objects pixels of another photo; returns the photo and their ids."""
    photo, planted = drawn.photo.copy(), set[int]()
    for one in instances_of(drawn.instance):
        if one.area < SMALLEST or random.random() >= share:
            continue
        top, left, bottom, right = one.box
        inside = drawn.instance[top:bottom, left:right] == one.id
        for _ in range(_TRIES):
            row = int(random.integers(SIZE[0] - (bottom - top) + 1))
            column = int(random.integers(SIZE[1] - (right - left) + 1))
            window = (slice(row, row + bottom - top), slice(column, column + right - left))
            if (other.label[window][inside] != one.class_id).mean() > 0.9:
                photo[top:bottom, left:right][inside] = other.photo[window][inside]
                planted.add(one.id)
                break
    return photo, planted


def judge(
    scorer: Scorer,
    drawn: Drawn,
    photo: npt.NDArray[np.uint8],
    planted: set[int],
    means: npt.NDArray[np.float64],
) -> Judged:
    """Ask the filter about a photo."""
    train_ids = scorer.taxonomy.train_ids[drawn.label]
    mask = faithful_mask(scorer.losses(photo[None], train_ids[None])[0], train_ids, means)
    areas = {one.id: one.area for one in instances_of(drawn.instance)}
    objects = [
        (one, one.instance in planted, areas[one.instance])
        for one in object_shares(mask, drawn.instance)
        if one.pixels and areas[one.instance] >= SMALLEST
    ]
    return Judged(mask, np.isin(drawn.instance, sorted(planted)), objects)


def calibrate(scorer: Scorer, seed: int, count: int) -> tuple[npt.NDArray[np.float64], ShareLimits]:
    """Class means, and limits of the objects' shares, on real photos."""
    total, kept = ClassLosses.none(), []
    for drawn in scenes(seed, 0, count):
        train_ids = scorer.taxonomy.train_ids[drawn.label]
        losses = scorer.losses(drawn.photo[None], train_ids[None])[0]
        total += ClassLosses.of(losses, train_ids)
        kept.append((losses.astype(np.float16), train_ids, drawn))
    shares: list[ObjectShare] = []
    for losses, train_ids, drawn in kept:
        areas = {one.id: one.area for one in instances_of(drawn.instance)}
        found = object_shares(faithful_mask(losses, train_ids, total.means), drawn.instance)
        shares += [one for one in found if areas[one.instance] >= SMALLEST]
    return total.means, share_limits(shares)


def line(name: str, found: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> str:
    """Precision and recall in words; precision also as a multiple of the share of the planted."""
    right = int((found & true).sum())
    precision, recall = right / max(1, int(found.sum())), right / max(1, int(true.sum()))
    base = float(true.mean())
    return (
        f"{name:<44} precision {precision:.3f} ({precision / max(base, 1e-9):.1f} x chance)  "
        f"recall {recall:.3f}  of {int(true.sum())} planted in {len(true)}"
    )


def main() -> None:
    """Plant, judge, and print precision and recall."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scorer", type=Path, default=bundled_scorer())
    parser.add_argument("--calibration", type=int, default=60, help="real photos to calibrate on")
    parser.add_argument("--scenes", type=int, default=120, help="photos to plant in")
    parser.add_argument("--share", type=float, default=0.05, help="of the objects")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    args = parser.parse_args()
    if args.quick:
        args.calibration, args.scenes, args.share = 3, 3, 0.5
    scorer = load_scorer(args.scorer, device="cpu", dtype="bfloat16")
    means, limits = calibrate(scorer, args.seed, args.calibration)
    random = np.random.default_rng(args.seed)
    judged: list[Judged] = []
    real: list[float] = []
    before: Drawn | None = None
    for drawn in scenes(args.seed, args.calibration, args.scenes + 1):
        if before is not None:
            photo, planted = plant(drawn, before, args.share, random)
            judged.append(judge(scorer, drawn, photo, planted, means))
            clean = (judged[-1].mask != UNJUDGED) & ~judged[-1].planted
            real.append(float((judged[-1].mask[clean] == UNFAITHFUL).mean()))
        before = drawn
    print(
        f"{args.scenes} photos of {SIZE[0]}x{SIZE[1]}, {args.share:.0%} of the objects of at least "
        f"{SMALLEST} pixels planted; a pixel is unfaithful above {FACTOR} x its class's mean loss"
    )
    print(f"pixels of real objects and stuff called unfaithful: {np.mean(real):.3f}")
    valid = [one.mask != UNJUDGED for one in judged]
    print(
        line(
            "pixels",
            np.concatenate([j.mask[v] == UNFAITHFUL for j, v in zip(judged, valid, strict=True)]),
            np.concatenate([j.planted[v] for j, v in zip(judged, valid, strict=True)]),
        )
    )
    objects = [one for j in judged for one in j.objects]
    true = np.array([planted for _, planted, _ in objects])
    area = np.array([area for _, _, area in objects])
    fixed = np.array([one.unfaithful > SHARE for one, _, _ in objects])
    calibrated = np.array([is_faithful(one, limits) is False for one, _, _ in objects])
    for name, found in (
        (f"objects, more than {SHARE:.0%} unfaithful", fixed),
        ("objects, more than all but 5 % of real ones", calibrated),
    ):
        print(line(name, found, true))
        large = area >= LARGE
        print(line(f"  of at least {LARGE} pixels", found[large], true[large]))
        print(line(f"  of {SMALLEST} to {LARGE} pixels", found[~large], true[~large]))
    unjudged = np.array([is_faithful(one, limits) is None for one, _, _ in objects])
    print(
        "objects not judged, as real ones of their class and size cannot be told: "
        f"{int(unjudged.sum())} of {len(objects)}, {int((unjudged & true).sum())} of them planted"
    )


if __name__ == "__main__":
    main()
