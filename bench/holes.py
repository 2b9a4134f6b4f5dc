"""Who fills holes best, and how fast: exemplars guided by labels, against what one would try first.

Silhouettes of real objects of other photos are laid over the stuff of each photo; what is behind
them is known. L1 is the mean absolute difference to it inside the holes, 0..255, which a blur makes
small; so detail stands beside it, the mean difference of neighbouring pixels over the truth's. With
a scorer, accuracy and mean IoU are of its predictions inside the holes. Rivals, in the same run:
the same field without labels, the mean colour of each class, and OpenCV's Telea if it is installed
(pip install opencv-python-headless).

    python bench/holes.py [--data DIR] [--scorer DIR] [--photos N] [--threads N] [--pictures DIR]
    python bench/holes.py --quick

DIR is a folder of CamVid with val/ and valannot/. Without one, or with --quick, the photos are a
few of the sample world.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from pipeline.exemplars.fill import fill_holes
from pipeline.sample_world import draw_scene
from pipeline.scene import LabelMap, Photo
from pipeline.taxonomy import Taxonomy

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "camvid"
SIZE = (192, 256)
SHARE = 0.117
"""Of the pixels of all photos that lie in holes."""
SMALLEST = 40
"""Pixels of a silhouette."""
LARGE_SIZE, LARGE_HOLE = (1024, 2048), (100, 100)
QUICK_PHOTOS = 3
APART = 20
"""Photos between one and those its silhouettes are of; neighbours show the same objects."""

Mask = npt.NDArray[np.bool_]
Fill = Callable[[Photo, LabelMap, Mask], Photo]


@dataclass(frozen=True)
class Case:
    """A photo, its labels and the holes laid over it."""

    photo: Photo
    label: LabelMap
    hole: Mask


def camvid(data: Path) -> Iterator[tuple[Photo, LabelMap]]:
    """Photos of `val` and their label maps."""
    size = SIZE[::-1]
    for file in sorted((data / "val").iterdir()):
        label = Image.open(data / "valannot" / f"{file.stem}.png")
        photo = Image.open(file).convert("RGB").resize(size, Image.Resampling.BOX)
        yield np.asarray(photo), np.asarray(label.resize(size, Image.Resampling.NEAREST))


def sample_world() -> Iterator[tuple[Photo, LabelMap]]:
    """Photos of the sample world and their label maps."""
    for number in range(QUICK_PHOTOS):
        drawn = draw_scene(0, number, height=SIZE[0], width=SIZE[1])
        yield drawn.photo, drawn.label


def silhouettes(label: LabelMap, taxonomy: Taxonomy) -> list[Mask]:
    """Connected components of the things of a label map."""
    found = []
    for class_id in np.unique(label[taxonomy.is_thing[label]]):
        parts, count = ndimage.label(label == class_id)
        areas = np.bincount(parts.ravel())
        found += [parts == part for part in range(1, count + 1) if areas[part] >= SMALLEST]
    return found


def lay(scenes: list[tuple[Photo, LabelMap]], taxonomy: Taxonomy) -> list[Case]:
    """Silhouettes of other photos, where they stand there, over the stuff of each photo."""
    objects = [silhouettes(label, taxonomy) for _, label in scenes]
    is_stuff = ~(taxonomy.is_thing | taxonomy.is_void)
    cases = []
    for number, (photo, label) in enumerate(scenes):
        rng = np.random.default_rng(number)
        apart = min(APART, len(scenes) // 3)
        others = [n for n in range(len(scenes)) if abs(n - number) >= max(apart, 1)]
        choices = [shape for n in others for shape in objects[n]]
        stuff, hole = is_stuff[label], np.zeros(label.shape, np.bool_)
        for choice in rng.permutation(len(choices)):
            if hole.mean() >= SHARE:
                break
            hole |= choices[choice] & stuff
        cases.append(Case(photo, label, hole))
    return cases


def mean_colours(photo: Photo, label: LabelMap, hole: Mask) -> Photo:
    """Each pixel of a hole in the mean colour of its class outside."""
    filled = photo.copy()
    for class_id in np.unique(label[hole]):
        alike = label == class_id
        kept = alike & ~hole
        if kept.any():
            filled[alike & hole] = photo[kept].mean(axis=0)
    return filled


def rivals(threads: int) -> dict[str, Fill]:
    """Ours first."""

    def ours(photo: Photo, label: LabelMap, hole: Mask) -> Photo:
        return fill_holes(photo, label, hole, threads=threads).photo

    def no_labels(photo: Photo, label: LabelMap, hole: Mask) -> Photo:
        return fill_holes(photo, np.zeros_like(label), hole, threads=threads).photo

    found = {"guided by labels": ours, "without labels": no_labels, "mean of class": mean_colours}
    try:
        import cv2
    except ImportError:
        print("Telea: left out; pip install opencv-python-headless")
        return found

    def telea(photo: Photo, label: LabelMap, hole: Mask) -> Photo:
        return cv2.inpaint(photo, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)

    return {**found, "OpenCV's Telea": telea}


def detail(photo: Photo, hole: Mask) -> float:
    """The sum of differences between neighbouring pixels of a hole."""
    values = photo.astype(np.float64)
    down, across = hole[1:] & hole[:-1], hole[:, 1:] & hole[:, :-1]
    found = np.abs(np.diff(values, axis=0))[down].sum()
    return float(found + np.abs(np.diff(values, axis=1))[across].sum())


class Reading:
    """What a scorer reads inside the holes.

    Args:
        path: Its folder.
        taxonomy: Of the label maps.
    """

    def __init__(self, path: Path, taxonomy: Taxonomy) -> None:
        import torch

        from eval.scorers.loading import load_scorer

        self._scorer = load_scorer(path, device=torch.device("cpu"))
        self._train_ids = taxonomy.train_ids
        self._counts = np.zeros((256, 256), np.int64)

    def add(self, photo: Photo, case: Case) -> None:
        """Count one photo."""
        read = self._scorer.predict(photo[None])[0][case.hole]
        true = self._train_ids[case.label[case.hole]]
        np.add.at(self._counts, (true, read), 1)

    def take(self) -> str:
        """Accuracy and mean IoU of what was counted, which is then forgotten."""
        counts, self._counts = self._counts[:255], np.zeros_like(self._counts)
        hits = np.diag(counts)
        shown = counts.sum(axis=1) > 0
        union = counts.sum(axis=1) + counts[:, :255].sum(axis=0) - hits
        iou = (hits[shown] / union[shown]).mean()
        return f"  accuracy {hits.sum() / counts.sum():.3f}  mIoU {iou:.3f}"


def large_hole(case: Case, threads: int) -> float:
    """Milliseconds for a hole of 10 000 pixels in a photo of 1024x2048."""
    size = LARGE_SIZE[::-1]
    photo = np.asarray(Image.fromarray(case.photo).resize(size, Image.Resampling.BICUBIC))
    label = np.asarray(Image.fromarray(case.label).resize(size, Image.Resampling.NEAREST))
    hole = np.zeros(LARGE_SIZE, np.bool_)
    hole[550 : 550 + LARGE_HOLE[0], 900 : 900 + LARGE_HOLE[1]] = True
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        fill_holes(photo, label, hole, threads=threads)
        spent.append(time.perf_counter() - start)
    return 1000 * min(spent)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--scorer", type=Path)
    parser.add_argument("--photos", type=int, help="every n-th, so that about so many are used")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pictures", type=Path, help="where to write photos beside their fills")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    real = options.data.is_dir() and not options.quick
    taxonomy = Taxonomy.load("camvid" if real else "cityscapes")
    scenes = list(camvid(options.data) if real else sample_world())
    cases = lay(scenes, taxonomy)
    if options.photos:
        cases = cases[:: max(1, len(cases) // options.photos)]
    share = np.mean([case.hole.mean() for case in cases])
    where = "CamVid val" if real else "the sample world"
    print(f"{len(cases)} photos of {where}, {SIZE[0]}x{SIZE[1]}, {share:.1%} of pixels in holes")
    reading = Reading(options.scorer, taxonomy) if options.scorer else None
    start = time.perf_counter()
    fill_holes(cases[0].photo, cases[0].label, cases[0].hole)
    print(f"first call, compiling where no cache is: {time.perf_counter() - start:.1f} s")
    if reading:
        for case in cases:
            reading.add(case.photo, case)
        print(f"{'real photos':18} L1  0.0{reading.take()}")
    ours = None
    for name, fill in rivals(options.threads).items():
        error = pixels = spent = details = true_details = 0.0
        for number, case in enumerate(cases):
            start = time.perf_counter()
            filled = fill(case.photo, case.label, case.hole)
            spent += time.perf_counter() - start
            wrong = np.abs(filled[case.hole].astype(np.int64) - case.photo[case.hole])
            error, pixels = error + wrong.sum(), pixels + wrong.size
            details += detail(filled, case.hole)
            true_details += detail(case.photo, case.hole)
            if reading:
                reading.add(filled, case)
            if options.pictures and name == "guided by labels":
                options.pictures.mkdir(parents=True, exist_ok=True)
                marked = np.where(case.hole[..., None], np.uint8([255, 0, 255]), case.photo)
                beside = np.concatenate([case.photo, marked, filled], axis=1)
                Image.fromarray(beside).save(options.pictures / f"{number:03}.png")
        found = error / pixels
        ours = ours or found
        scores = reading.take() if reading else ""
        spent = 1000 * spent / len(cases)
        print(
            f"{name:18} L1 {found:4.1f} ({found / ours:.2f} of ours)"
            f"  detail {details / true_details:.2f}{scores}  {spent:.0f} ms"
        )
    spent = large_hole(cases[0], options.threads)
    print(f"a hole of 10000 pixels at 1024x2048: {spent:.0f} ms, {options.threads} threads")


if __name__ == "__main__":
    main()
