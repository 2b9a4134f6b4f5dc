"""Rules: a policy in the class ids of one taxonomy, with the donors there are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.donors.bank import DonorIndex
from pipeline.indexing.record import SceneRecord
from pipeline.placing.placement import Placer
from pipeline.planning.policy import ObjectEdit, Policy
from pipeline.roles import ClassRoles, class_roles
from pipeline.taxonomy import Taxonomy

LEAST_OF_CUT = 0.4
"""Completeness that donors which the picture's border cuts must have."""
MOSTLY_PAIRED = 0.5
"""Share of a class's donors that come with another object, above which none comes alone."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """What the edits of objects go by."""

    policy: Policy
    taxonomy: Taxonomy
    roles: ClassRoles
    """Of its classes."""
    placer: Placer
    """Finds believable places and donors."""
    protected: Flags
    """Classes that are not edited [num_classes]."""
    counted: frozenset[int]
    """Ids of the classes whose number of objects free edits leave alone: the quotas plan it."""
    donor_odds: npt.NDArray[np.float64]
    """Of pasting each class [num_classes]; 0 without donors."""
    donor_counts: npt.NDArray[np.integer]
    """Donors of each class [num_classes]."""
    refused_counts: npt.NDArray[np.integer]
    """Objects of each class that the policy does not let in as donors [num_classes]."""
    whole_counts: npt.NDArray[np.integer]
    """Those of them that are neither cut nor hidden [num_classes]."""
    donor_areas: Mapping[tuple[str, int], int]
    """Pixels of each donor, by scene and instance id."""
    donor_shapes: Mapping[tuple[str, int], npt.NDArray[np.uint8]]
    """Packed silhouettes of the donors, likewise, as in `SceneRecord`."""
    allowed: Mapping[str, Flags]
    """By kind of edit, the classes it is made on [num_classes]."""
    together: Mapping[int, tuple[int, ...]]
    """By class, those of which its objects may bring one along."""
    class_changes: Mapping[str, Mapping[int, list[int]]]
    """For `replace` and `change_class`, the classes that the objects of a class may turn into;
    without `replace`, those keep their class."""

    @classmethod
    def of(
        cls,
        policy: Policy,
        *,
        donors: DonorIndex,
        eligible: Flags,
        placer: Placer,
        taxonomy: Taxonomy,
    ) -> Self:
        """Prepare a policy for the scenes and donors there are.

        The odds of pasting a class go with the square root of its number of donors: rare classes
        are pasted more often than they occur.

        Args:
            policy: What to edit.
            donors: The objects that may be pasted.
            eligible: Which of them the policy lets in, bool [n].
            placer: Finds believable places, and chooses from those donors.
            taxonomy: The taxonomy of the scenes.
        """
        protected = np.isin(taxonomy.class_names, policy.constraints.protected)
        names = np.array(taxonomy.class_names)

        def named(edit: ObjectEdit) -> Flags:
            flags: Flags = taxonomy.is_thing & ~protected
            return flags if edit.classes is None else flags & np.isin(names, edit.classes)

        kinds = {kind: getattr(policy.operations, kind) for kind in policy.operations.weights}
        per_class, refused, whole = (
            np.bincount(donors.classes[chosen], minlength=taxonomy.num_classes)
            for chosen in (eligible, ~eligible, eligible & donors.whole)
        )
        keys = donors.keys
        return cls(
            policy=policy,
            taxonomy=taxonomy,
            roles=class_roles(taxonomy),
            placer=placer,
            protected=protected,
            counted=frozenset(
                target.class_id
                for quota in policy.quotas
                for target in quota.targets(taxonomy)
                if target.kind != "share" and not target.of_stuff
            ),
            donor_odds=np.sqrt(per_class),
            donor_counts=per_class,
            refused_counts=refused,
            whole_counts=whole,
            donor_areas=dict(zip(keys, donors.areas.tolist(), strict=True)),
            donor_shapes=dict(zip(keys, donors.silhouettes, strict=True)),
            allowed={
                kind: named(edit) for kind, edit in kinds.items() if isinstance(edit, ObjectEdit)
            },
            together=_together(taxonomy),
            class_changes=_class_changes(policy, taxonomy),
        )

    def removable(self, record: SceneRecord) -> Flags:
        """Which objects of a scene may be taken out: not too large, and not protected [n]."""
        share = record.areas / (record.size[0] * record.size[1])
        free = ~record.attached_to(self.protected)
        removable: Flags = free & (share <= self.policy.constraints.max_drop_area)
        return removable


def eligible_donors(policy: Policy, donors: DonorIndex, *, taxonomy: Taxonomy) -> Flags:
    """Which donors a policy lets in [n].

    They are large enough, seen completely or cut by the border alone, and away from protected
    classes. What goes along with another is no donor of its own, and of classes that mostly are
    one with another, as riders, only those are that bring it.

    Args:
        policy: With its constraints.
        donors: The donors.
        taxonomy: Their taxonomy.
    """
    constraints = policy.constraints
    protected = np.isin(taxonomy.class_names, constraints.protected)
    height, width = donors.size
    large = donors.areas >= constraints.min_donor_area * height * width
    attached = (donors.companions >= 0) & protected[donors.companions]
    eligible: Flags = large & ~protected[donors.classes] & ~attached & (donors.pieces == 1)
    uncut = donors.cut_sides == 0
    complete = donors.completeness >= constraints.min_completeness
    eligible &= np.where(uncut, complete, donors.completeness >= LEAST_OF_CUT)
    partners = donors.partner_rows
    leads = np.isin(taxonomy.class_names, list(taxonomy.together))[donors.classes]
    eligible &= leads | (donors.partners == 0)
    paired = partners >= 0
    eligible &= paired | (donors.partners == 0)
    eligible &= ~paired | (uncut & (complete & uncut & ~protected[donors.classes])[partners])
    for class_id in np.unique(donors.classes[leads]):
        own = donors.classes == class_id
        if (donors.partners[own] > 0).mean() >= MOSTLY_PAIRED:
            eligible &= paired | ~own
    return eligible


def _together(taxonomy: Taxonomy) -> dict[int, tuple[int, ...]]:
    """By class, those of which its objects may bring one along, by ids."""
    ids = {c.name: c.id for c in taxonomy.classes}
    return {ids[k]: tuple(ids[name] for name in names) for k, names in taxonomy.together.items()}


def _class_changes(policy: Policy, taxonomy: Taxonomy) -> dict[str, dict[int, list[int]]]:
    """For `replace` and `change_class`: what the objects of each class may turn into, by ids.

    A `replace` without such a table is left out: it keeps the class.
    """
    ids = {c.name: c.id for c in taxonomy.classes if c.is_thing}
    for name in policy.constraints.protected:
        ids.pop(name, None)
    operations = policy.operations
    tables = {
        "replace": operations.replace.by if operations.replace else None,
        "change_class": operations.change_class.to if operations.change_class else None,
    }
    changes: dict[str, dict[int, list[int]]] = {}
    for kind, table in tables.items():
        if table is not None:
            changes[kind] = {
                ids[name]: known
                for name, others in table.items()
                if name in ids and (known := [ids[other] for other in others if other in ids])
            }
    return changes
