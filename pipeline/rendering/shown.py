"""Whether photos show what programs ask for, found out before anything is computed."""

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hdmodel.errors import ConfigError
from pipeline.config import PhotoConfig
from pipeline.editing.program import ChangeClass, Paste, Program, RelabelRegion, Replace
from pipeline.exemplars.catalogue import Catalogue
from pipeline.indexing.record import SceneRecord
from pipeline.roles import class_roles
from pipeline.scene import INSTANCES_PER_CLASS
from pipeline.taxonomy import Taxonomy

log = logging.getLogger("hdsynth.render")

SUBSTITUTED = 0.01
"""A class with at most this share of a scene's pixels may take after what is beside it."""

Flags = npt.NDArray[np.bool_]


def check_shown(
    samples: Sequence[tuple[Program, SceneRecord]],
    catalogue: Catalogue,
    *,
    photo: PhotoConfig,
    generator: bool,
    taxonomy: Taxonomy,
) -> None:
    """Check that exemplars show the classes that samples need, or that a generator draws them.

    What exemplar photos lack of a class that is rare in its scene is no more than a warning.

    Args:
        samples: Programs, and the records of their scenes.
        catalogue: Of the exemplars.
        photo: Who fills holes, and which exemplars are too near.
        generator: Whether there is one.
        taxonomy: Of the scenes.

    Raises:
        ConfigError: A class is shown by none, or a scene has no exemplar that is not too near.
    """
    lacking: Counter[str] = Counter()
    substituted: dict[str, str] = {}
    frozen = class_roles(taxonomy).frozen
    for program, record in samples:
        near = catalogue.near(record.name, reach=photo.exclude_near)
        if photo.mode == "exemplar" and near.issuperset(catalogue.names):
            raise ConfigError(
                f"scene {record.name!r}: all {len(catalogue.names)} exemplars are the scene itself "
                f"or too near it (photo.exclude_near {photo.exclude_near}); add photos, or exclude "
                "fewer"
            )
        shown = catalogue.classes(without=near)
        regions = _regions(program, taxonomy)
        if photo.is_composite:
            lacking.update(_names(regions & ~shown & (record.pixels == 0), taxonomy))
            continue
        wanted = regions | _things(program, taxonomy)
        share = record.pixels / record.pixels.sum()
        lacking.update(_names((wanted | (share > SUBSTITUTED)) & ~shown & ~frozen, taxonomy))
        few = _names((share > 0) & (share <= SUBSTITUTED) & ~wanted & ~shown & ~frozen, taxonomy)
        substituted |= {name: record.name for name in few}
    if generator and photo.fill != "exemplar":
        return
    for name, count in lacking.most_common(1):
        raise ConfigError(
            f"{count} of {len(samples)} samples need pixels of {name!r}, which no photo of "
            f"{_where(photo, catalogue)} shows; add such photos (photo.exemplars), give a "
            "generator (--generator CKPT), or leave such edits or scenes out"
        )
    if substituted:
        name, scene = next(iter(substituted.items()))
        log.warning(
            "exemplars lack %s (such as scene %s has): pixels of them take after what is beside "
            "them, and pixel_source says where",
            ", ".join(sorted(substituted)),
            scene,
        )


def _where(photo: PhotoConfig, catalogue: Catalogue) -> str:
    near = f" or those within {photo.exclude_near} of it" if photo.exclude_near else ""
    return f"the {len(catalogue.names)} exemplars but their own scene{near}"


def _names(classes: Flags, taxonomy: Taxonomy) -> list[str]:
    return [taxonomy.class_names[c] for c in np.flatnonzero(classes).tolist()]


def _regions(program: Program, taxonomy: Taxonomy) -> Flags:
    """The classes that a program makes regions of [num_classes]."""
    made = {o.to for o in program.operations if isinstance(o, RelabelRegion)}
    return np.isin(np.array(taxonomy.class_names), list(made))


def _things(program: Program, taxonomy: Taxonomy) -> Flags:
    """The classes of the objects that a program brings in, or makes of others [num_classes]."""
    found = np.zeros(taxonomy.num_classes, np.bool_)
    for operation in program.operations:
        if isinstance(operation, Paste | Replace):
            for instance in (operation.donor_instance, *operation.donor_along):
                found[instance // INSTANCES_PER_CLASS] = True
        elif isinstance(operation, ChangeClass):
            found[taxonomy.class_names.index(operation.to)] = True
    return found
