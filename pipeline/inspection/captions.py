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
        "cropped": "{name} is gone: {reason}",
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
    def name(key: str = "instance") -> str:
        along = operation.get("along", ())
        return " and ".join(_object(instance, taxonomy) for instance in (operation[key], *along))

    def donor() -> str:
        ids = (operation["donor_instance"], *operation.get("donor_along", ()))
        names = " and ".join(_class(instance, taxonomy) for instance in ids)
        return f"{names} from scene {operation['donor']}{_changes(operation)}"

    match operation["op"]:
        case "mirror_scene":
            return "mirrored left to right"
        case "crop_zoom":
            corner = f"row {operation['top']}, column {operation['left']}"
            return f"enlarged {operation['height']}x{operation['width']} px from {corner} on"
        case "drop":
            return f"removed {name()}"
        case "move":
            return f"moved {name()} {_shift(operation['rows'], operation['columns'])}"
        case "rescale":
            return f"brought {name()} to row {operation['row']}{_changes(operation)}"
        case "flip":
            return f"mirrored {name()}"
        case "duplicate":
            return f"copied {name()}{_changes(operation)}"
        case "paste":
            return f"pasted {donor()}"
        case "replace":
            return f"replaced {name()} by {donor()}"
        case "change_class":
            return f"made {name()} a {operation['to']}"
        case "jitter":
            return f"bent {name()} by up to {operation['amplitude']:g} px"
        case "relabel_region":
            which = "all" if operation["at"] is None else "a region of"
            return f"made {which} {operation['of']} {operation['to']}"
        case "grow_region":
            return f"grew {operation['of']} into {operation['into']} by {operation['pixels']} px"
        case "skyline":
            return f"redrew the line between {operation['upper']} and {operation['lower']}"
        case other:
            return str(other).replace("_", " ")


def _shift(rows: int, columns: int) -> str:
    steps = [
        f"{abs(pixels)} px {word}"
        for pixels, word in (
            (columns, "right" if columns > 0 else "left"),
            (rows, "down" if rows > 0 else "up"),
        )
        if pixels
    ]
    return " and ".join(steps) or "nowhere"


def _changes(operation: Mapping[str, Any]) -> str:
    text = f", at {operation['scale']:.0%}" if operation["scale"] != 1 else ""
    return text + (", mirrored" if operation.get("flip") else "")


def _class(instance: int, taxonomy: Taxonomy) -> str:
    return taxonomy.classes[instance // INSTANCES_PER_CLASS].name


def _object(instance: int, taxonomy: Taxonomy) -> str:
    return f"{_class(instance, taxonomy)} {instance}"
