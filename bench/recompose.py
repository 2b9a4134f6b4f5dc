"""Composing scenes, against copy-paste augmentation of the same scenes in the same run.

hdsynth applies programs of eight edits that a policy plans, with occlusion, filled holes and a
record of every object. The peers paste eight objects at random places:

- `copy-paste` as published (Ghiasi et al., CVPR 2021) and as torchvision's reference script does
  it, on a photo and one mask of the whole picture per object, with torchvision's operations;
- `OverlayElements` of albumentations, on the label and the instance map, if it is installed
  (pip install albumentations). It only copies pixels: objects have no order, no boxes, no record.

    python bench/recompose.py
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes
from torchvision.transforms.v2.functional import InterpolationMode, resize

from hdmodel.allocator import tune_allocator
from pipeline.donors.bank import DonorIndex
from pipeline.editing.cutout import Cutout
from pipeline.editing.program import Program
from pipeline.editing.recompose import donors_from, recompose
from pipeline.indexing.record import index_scene
from pipeline.placing.priors import Priors
from pipeline.planning.policy import Policy
from pipeline.planning.sampling import make_sampler
from pipeline.rng import sample_generator
from pipeline.sample_world import draw_scene
from pipeline.scene import Scene, instances_of
from pipeline.taxonomy import Taxonomy

EDITS = 8
SCALE = (0.8, 1.25)
DRAFTS = 30
SMALLEST_DONOR = 300
"""Pixels."""


def world(count: int, size: tuple[int, int]) -> list[Scene]:
    """Scenes of the sample world, with photos."""
    drawn = [draw_scene(0, number, height=size[0], width=size[1]) for number in range(count)]
    return [
        Scene(name=f"{number:03}", label=d.label, instance=d.instance, photo=d.photo)
        for number, d in enumerate(drawn)
    ]


def programs(scenes: list[Scene], taxonomy: Taxonomy) -> list[Program]:
    """For each scene the first program with eight edits that a policy draws.

    In a crowded scene not every edit finds a place; then the longest of some programs is taken.
    """
    records = [index_scene(scene, taxonomy) for scene in scenes]
    light = Policy.load("light")
    constraints = light.constraints.model_copy(update={"max_edits": EDITS})
    tried = {"edits": (3 * EDITS, 3 * EDITS), "constraints": constraints, "mirror": 0.0}
    policy = light.model_copy(update=tried)
    sampler = make_sampler(
        policy,
        records,
        donors=DonorIndex.of(records),
        priors=Priors.fit(records, taxonomy),
        taxonomy=taxonomy,
    )
    longest = []
    for record in records:
        found: list[Program] = []
        while len(found) < DRAFTS and not (found and len(found[-1].operations) == EDITS):
            found.append(sampler.draft(record, sample_generator(0, len(found))).program)
        longest.append(max(found, key=lambda program: len(program.operations)))
    return longest


class CopyPaste:
    """Copy-paste on a photo and one mask of the whole picture per object."""

    def __init__(self, scenes: list[Scene]) -> None:
        self._photos, self._masks, self._labels = [], [], []
        for scene in scenes:
            assert scene.photo is not None
            ids = [item.id for item in instances_of(scene.instance)]
            found = [torch.from_numpy(scene.instance == one) for one in ids]
            self._photos.append(torch.from_numpy(scene.photo).permute(2, 0, 1).contiguous())
            self._masks.append(torch.stack(found))
            self._labels.append(torch.tensor(ids) // 1000)

    def __call__(self, number: int, rng: np.random.Generator) -> None:
        """Paste eight objects of another scene into one."""
        other = int(rng.integers(len(self._photos)))
        photo, masks, labels = self._photos[number], self._masks[number], self._labels[number]
        chosen = torch.from_numpy(rng.permutation(len(self._masks[other]))[:EDITS])
        scale = rng.uniform(*SCALE)
        pasted, shapes = self._jittered(
            self._photos[other], self._masks[other][chosen], scale=scale
        )
        alpha = shapes.any(dim=0)
        photo = torch.where(alpha, pasted, photo)
        masks = masks & ~alpha
        masks = torch.cat([masks, shapes])
        labels = torch.cat([labels, self._labels[other][chosen]])
        left = masks.flatten(1).any(dim=1)
        masks_to_boxes(masks[left])
        labels = labels[left]

    @staticmethod
    def _jittered(photo: Tensor, masks: Tensor, *, scale: float) -> tuple[Tensor, Tensor]:
        """Photo and masks scaled, then cut or padded to the size they had."""
        height, width = photo.shape[1:]
        size = [round(height * scale), round(width * scale)]
        scaled = resize(photo, size, antialias=True)
        shapes = resize(masks.to(torch.uint8), size, interpolation=InterpolationMode.NEAREST)
        canvas = torch.zeros_like(photo)
        shape_canvas = torch.zeros((len(masks), height, width), dtype=torch.bool)
        rows, columns = min(height, size[0]), min(width, size[1])
        canvas[:, :rows, :columns] = scaled[:, :rows, :columns]
        shape_canvas[:, :rows, :columns] = shapes[:, :rows, :columns].bool()
        return canvas, shape_canvas


class Overlay:
    """albumentations' OverlayElements on the label map and the instance map."""

    def __init__(self, scenes: list[Scene]) -> None:
        import albumentations
        import cv2

        cv2.setNumThreads(1)
        self._transform = albumentations.Compose(
            [albumentations.OverlayElements(metadata_key="elements", p=1)]
        )
        self._scenes = scenes
        find = donors_from({scene.name: scene for scene in scenes})
        self._donors: list[tuple[int, Cutout]] = [
            (item.id, find(scene.name, item.id))
            for scene in scenes
            for item in instances_of(scene.instance)
            if item.area >= SMALLEST_DONOR
        ]

    def __call__(self, number: int, rng: np.random.Generator) -> None:
        """Paste eight objects at random places."""
        scene = self._scenes[number]
        height, width = scene.size
        elements = []
        for _ in range(EDITS):
            instance, shape = self._donors[int(rng.integers(len(self._donors)))]
            scale = rng.uniform(*SCALE)
            tall, wide = (
                min(max(1, round(length * scale)), limit - 1)
                for length, limit in zip(shape.mask.shape, scene.size, strict=True)
            )
            top, left = rng.integers(height - tall), rng.integers(width - wide)
            box = (left / width, top / height, (left + wide) / width, (top + tall) / height)
            elements.append(
                {
                    "image": np.full(shape.mask.shape, instance // 1000, np.uint8),
                    "mask": shape.mask.astype(np.uint8),
                    "bbox": box,
                    "mask_id": instance,
                }
            )
        self._transform(image=scene.label, mask=scene.instance, elements=elements)


def seconds(
    work: Callable[[int], Any],
    count: int,
    *,
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> float:
    """Median seconds per scene over several rounds, after one that does not count."""
    found = []
    for _ in range(rounds + 1):
        start = clock()
        for number in range(count):
            work(number)
        found.append((clock() - start) / count)
    return median(found[1:])


def render_seconds(scenes: list[Scene]) -> float:
    """Seconds that the bundled generator takes for a photo, on all cores."""
    from hdmodel.checkpoint import load_generator
    from hdmodel.conditioning import condition
    from pipeline.checkpoints import bundled_checkpoint

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = load_generator(bundled_checkpoint(), dtype=torch.bfloat16)
    features = network.config.feature_channels
    label = torch.from_numpy(scenes[0].label.astype(np.int32))[None]
    instance = torch.from_numpy(scenes[0].instance)[None]
    styles = torch.zeros((1, features, *scenes[0].size)) if features else None

    def render(_: int) -> None:
        with torch.inference_mode():
            network(condition(label, instance, num_classes=35, features=styles).to(torch.bfloat16))

    return seconds(render, 1, rounds=3, clock=time.perf_counter)


def main() -> None:
    """Measure and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="512x1024", help="HxW in pixels")
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.size, options.scenes, options.rounds = "128x256", 4, 1
    height, width = (int(part) for part in options.size.split("x"))
    tune_allocator()
    torch.set_num_threads(1)
    taxonomy = Taxonomy.load("cityscapes")
    scenes = world(options.scenes, (height, width))
    planned = programs(scenes, taxonomy)
    shapes: dict[tuple[str, int], Cutout] = {}
    find = donors_from({scene.name: scene for scene in scenes})

    def donor(name: str, instance: int) -> Cutout:
        if (name, instance) not in shapes:
            shapes[name, instance] = find(name, instance)
        return shapes[name, instance]

    def compose(number: int) -> None:
        recompose(planned[number], scenes[number], donor, taxonomy=taxonomy)

    edits = sum(len(program.operations) for program in planned) / len(planned)
    objects = sum(len(instances_of(scene.instance)) for scene in scenes) / len(scenes)
    ours = seconds(compose, len(scenes), rounds=options.rounds)
    where = f"{height}x{width}, {objects:.0f} objects per scene, one core"
    print(f"hdsynth: {1 / ours:.1f} scenes/s of {edits:.1f} edits ({1000 * ours:.1f} ms), {where}")
    peers: list[tuple[str, Callable[[list[Scene]], Callable[[int, np.random.Generator], None]]]]
    peers = [("copy-paste", CopyPaste), ("OverlayElements", Overlay)]
    for name, make in peers:
        try:
            peer = make(scenes)
        except ImportError as error:
            print(f"{name}: left out ({error}); pip install albumentations")
            continue
        rng = np.random.default_rng(0)
        theirs = seconds(
            lambda number, peer=peer, rng=rng: peer(number, rng),
            len(scenes),
            rounds=options.rounds,
        )
        print(f"{name}: {1 / theirs:.1f} scenes/s of {EDITS} pastes ({1000 * theirs:.1f} ms)")
        print(f"ratio to {name}: {theirs / ours:.2f}")
    photo = render_seconds(scenes)
    print(f"bundled generator: {1000 * photo:.0f} ms per photo on all cores")
    print(f"composing share of composing and rendering: {ours / (ours + photo):.1%}")


if __name__ == "__main__":
    main()
