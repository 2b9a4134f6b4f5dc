"""The edits of a run that a person could judge, and which of them to show first."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.inspection.captions import describe
from pipeline.scene import INSTANCES_PER_CLASS
from pipeline.taxonomy import Taxonomy

FRAMING = frozenset({"mirror_scene", "crop_zoom"})
"""Operations on whole scenes, about which there is nothing to judge."""
BRINGS_CLASS = {
    "change_class": "to",
    "relabel_region": "to",
    "grow_region": "of",
    "skyline": "lower",
}
"""Operations that name the class they bring in, and under which key."""


@dataclass(frozen=True, slots=True)
class AppliedEdit:
    """One operation that was applied to a sample."""

    sample: int
    """The number of the sample in the run."""
    position: int
    """Of the operation in the program, from 1, as in the map `origin`."""
    op: str
    class_name: str
    """The class of the object that is edited; of what comes in, where one takes another's place."""
    caption: str


def applied_edits(
    rows: Iterable[Mapping[str, Any]], taxonomy: Taxonomy
) -> dict[str, list[AppliedEdit]]:
    """The edits that were applied, by kind of operation, each kind in order of samples.

    Args:
        rows: Records of samples with `index`, `program` and `events`.
        taxonomy: The taxonomy of the run.
    """
    found: dict[str, list[AppliedEdit]] = {}
    for row in rows:
        program = json.loads(row["program"])
        edits, _ = describe(program, [json.loads(text) for text in row["events"]], taxonomy)
        for place, (operation, edit) in enumerate(zip(program["operations"], edits, strict=True)):
            op = operation["op"]
            if edit.skipped is None and op not in FRAMING:
                found.setdefault(op, []).append(
                    AppliedEdit(
                        sample=row["index"],
                        position=place + 1,
                        op=op,
                        class_name=_class_name(operation, taxonomy),
                        caption=edit.text,
                    )
                )
    return {op: found[op] for op in sorted(found)}


def in_order_of_choice(edits: Mapping[str, Sequence[AppliedEdit]]) -> Iterator[AppliedEdit]:
    """All edits, so ordered that the first ones, however many, are spread evenly.

    Kinds of operations take turns; those of one kind are spread over the samples. Each kind starts
    in another part of the run, so that the first edits are not all of the same samples.

    Args:
        edits: The edits by kind of operation, as `applied_edits` gives them.

    Example:
        >>> edits = {"drop": [AppliedEdit(n, 1, "drop", "car", "") for n in range(5)]}
        >>> [edit.sample for edit in in_order_of_choice(edits)]
        [0, 4, 2, 1, 3]
    """
    orders = []
    for number, own in enumerate(edits.values()):
        start = number * len(own) // len(edits)
        orders.append([own[(start + place) % len(own)] for place in _spread(len(own))])
    for turn in range(max(map(len, orders), default=0)):
        yield from (order[turn] for order in orders if turn < len(order))


def _spread(count: int) -> list[int]:
    """The numbers below `count` in the order of their mirrored bits: 0, then the middle, ..."""
    bits = max(count - 1, 1).bit_length()
    return sorted(range(count), key=lambda number: int(f"{number:0{bits}b}"[::-1], 2))


def _class_name(operation: Mapping[str, Any], taxonomy: Taxonomy) -> str:
    op = operation["op"]
    if op in BRINGS_CLASS:
        name: str = operation[BRINGS_CLASS[op]]
        return name
    instance: int = operation.get("donor_instance", operation.get("instance"))
    return taxonomy.class_names[instance // INSTANCES_PER_CLASS]
