"""Variants: photos of one and the same label map, and how different they look.

Shape legend: V variants of one label map.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from eval.job import EvalSpec, PhotoScorer, read_subject
from eval.measures.diversity import Diversity, diversity, perceptual_distances
from pipeline.output.manifest import OK, read_manifests

MAPS, MOST_VARIANTS = 24, 4
"""How many label maps are looked at, and how many photos of each."""
COLUMNS = ("index", "status", "label_sha256", "instance_sha256")


def find_variants(
    rows: Sequence[Mapping[str, object]], *, maps: int = MAPS, most: int = MOST_VARIANTS
) -> list[list[int]]:
    """Numbers of samples with the same label and instance map, spread evenly over the run.

    Args:
        rows: Rows of the manifests with `COLUMNS`.
        maps: How many label maps at most.
        most: How many samples of each at most.
    """
    groups: dict[object, list[int]] = {}
    for row in rows:
        if row["status"] == OK:
            key = (row["label_sha256"], row["instance_sha256"])
            groups.setdefault(key, []).append(int(str(row["index"])))
    found = [group[:most] for group in groups.values() if len(group) > 1]
    places = {k * len(found) // maps for k in range(maps)} if found else set()
    return [found[place] for place in sorted(places)]


def measure_diversity(spec: EvalSpec, scorer: PhotoScorer) -> Diversity | None:
    """How different photos of the same label map look; None if none was rendered twice.

    Args:
        spec: Where the photos are.
        scorer: Whose encoder looks at them.
    """
    variants = find_variants(list(read_manifests(spec.out.manifests, COLUMNS)))
    if not variants:
        return None
    distances = []
    for group in variants:
        photos = [read_subject(spec, "rendered", index).scene.photo for index in group]
        stages = scorer.feature_maps(np.stack([photo for photo in photos if photo is not None]))
        distances.append(perceptual_distances(stages))
    return diversity(distances)
