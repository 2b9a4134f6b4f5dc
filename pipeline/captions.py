"""Edits in words, for people who look at samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.scene import INSTANCES_PER_CLASS
from pipeline.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit in words."""

    text: str
    skipped: str | None = None
    """Why it was left out."""


def describe(
    program: Mapping[str, Any], events: Sequence[Mapping[str, Any]], taxonomy: Taxonomy
) -> tuple[tuple[Edit, ...], tuple[str, ...]]:
    """What a program did, in words: its edits, and what else they caused.

    Args:
        program: The program as plain data.
        events: The events of its record as plain data.
        taxonomy: The taxonomy of the run.
    """
    skipped = {e["operation"]: e["reason"] for e in events if e["kind"] == "skipped"}
    edits = tuple(
        Edit(_words(operation, taxonomy), skipped.get(position))
        for position, operation in enumerate(program["operations"])
    )
    phrases = {
        "hidden": "{name} is gone: {reason}",
        "removed_small": "{name} was taken out: {reason}",
        "kept_small": "{name} was left in: {reason}",
    }
    consequences = tuple(
        phrases[e["kind"]].format(name=_object(e["instance"], taxonomy), reason=e["reason"])
        for e in events
        if e["kind"] in phrases
    )
    return edits, consequences


def _words(operation: Mapping[str, Any], taxonomy: Taxonomy) -> str:
    match operation["op"]:
        case "mirror_scene":
            return "mirrored left to right"
        case "drop":
            return f"removed {_object(operation['instance'], taxonomy)}"
        case "move":
            rows, columns = operation["rows"], operation["columns"]
            steps = [
                f"{abs(pixels)} px {word}"
                for pixels, word in (
                    (columns, "right" if columns > 0 else "left"),
                    (rows, "down" if rows > 0 else "up"),
                )
                if pixels
            ]
            return f"moved {_object(operation['instance'], taxonomy)} " + (
                " and ".join(steps) or "nowhere"
            )
        case "paste":
            name = taxonomy.classes[operation["donor_instance"] // INSTANCES_PER_CLASS].name
            text = f"pasted {name} from scene {operation['donor']}"
            if operation["scale"] != 1:
                text += f", at {operation['scale']:.0%}"
            return text + (", mirrored" if operation["flip"] else "")
        case other:
            return str(other).replace("_", " ")


def _object(instance: int, taxonomy: Taxonomy) -> str:
    return f"{taxonomy.classes[instance // INSTANCES_PER_CLASS].name} {instance}"
