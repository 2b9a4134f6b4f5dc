"""What an edit may do with each class: surfaces can be covered and grown, void stays as it is."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.taxonomy import Taxonomy

BUILT = ("building", "house", "skyscraper", "tower", "hovel", "wall", "fence", "bridge")
GROWN = ("vegetation", "tree", "bush", "plant", "palm", "hedge")
"""First words of the names of classes, for taxonomies without categories."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassRoles:
    """The part each class of a taxonomy plays when a scene is edited.

    Every class is exactly one of a thing, a surface, or frozen.
    """

    thing: npt.NDArray[np.bool_]
    """Classes of single objects, bool [num_classes]."""
    surface: npt.NDArray[np.bool_]
    """Stuff that objects may cover and that may fill holes, bool [num_classes]."""
    frozen: npt.NDArray[np.bool_]
    """Void that no edit spreads (ego vehicle, borders, unlabelled), [num_classes]."""
    clutter: npt.NDArray[np.bool_]
    """The frozen classes of which edits may cover small patches, bool [num_classes]."""
    upright: npt.NDArray[np.bool_]
    """Surfaces that are single things in truth, of category `object`: poles, traffic signs. They
    stand before or behind what is put beside them, and do not fill holes [num_classes]."""
    sided: npt.NDArray[np.bool_]
    """Things that look another way from each side of the road, of category `vehicle`: seen from the
    left they do not serve on the left, nor does their mirror image [num_classes]."""
    ground: npt.NDArray[np.bool_]
    """Surfaces that lie flat and carry things: roads, pavements, grass [num_classes]."""
    built: npt.NDArray[np.bool_]
    """Surfaces with straight edges: buildings, walls, fences [num_classes]."""
    grown: npt.NDArray[np.bool_]
    """Surfaces that grew: trees, bushes, hedges [num_classes]."""
    support: npt.NDArray[np.bool_]
    """Row: thing class; column: stuff classes it may stand on, bool [num_classes, num_classes].

    Empty rows belong to things the taxonomy says nothing about.
    """


def class_roles(taxonomy: Taxonomy) -> ClassRoles:
    """Derive the roles of a taxonomy's classes.

    Void means two things in practice: pixels without meaning, and real surfaces that scores leave
    out (Cityscapes' parking, bridge). The second kind are surfaces here: void stuff that some
    thing may stand on, or whose category also holds scored stuff.
    """
    scored = {c.category for c in taxonomy.classes if not (c.void or c.is_thing)} - {""}
    stood_on = {name for names in taxonomy.support.values() for name in names}
    surface = np.array(
        [
            not c.is_thing and (not c.void or c.name in stood_on or c.category in scored)
            for c in taxonomy.classes
        ]
    )
    ids = {c.name: c.id for c in taxonomy.classes}
    support = np.zeros((taxonomy.num_classes, taxonomy.num_classes), np.bool_)
    for thing, grounds in taxonomy.support.items():
        support[ids[thing], [ids[ground] for ground in grounds]] = True
    categories = np.array([c.category for c in taxonomy.classes])
    frozen = ~surface & ~taxonomy.is_thing
    kinds = np.array([(c.name.replace("-", " ").split() or [""])[0] for c in taxonomy.classes])
    sky = (categories == "sky") | (kinds == "sky")
    ground = surface & ~sky & (support.any(axis=0) | (categories == "flat"))
    built = (categories == "construction") | np.isin(kinds, BUILT)
    grown = (categories == "nature") | np.isin(kinds, GROWN)
    return ClassRoles(
        thing=taxonomy.is_thing,
        surface=surface,
        frozen=frozen,
        clutter=frozen & np.array([c.void == "clutter" for c in taxonomy.classes]),
        upright=surface & (categories == "object"),
        sided=taxonomy.is_thing & (categories == "vehicle"),
        ground=ground,
        built=surface & built & ~ground,
        grown=surface & grown & ~ground,
        support=support,
    )
