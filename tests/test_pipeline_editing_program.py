from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdmodel.errors import ConfigError
from pipeline.editing.program import (
    Drop,
    GrowRegion,
    MirrorScene,
    Move,
    Operation,
    Paste,
    Program,
    RelabelRegion,
    Skyline,
)
from tests.edited_scenes import operations


def test_a_program_is_plain_json() -> None:
    program = Program(
        scene="aachen_000000",
        min_visible_area=50,
        operations=(
            MirrorScene(),
            Drop(instance=26001),
            Move(instance=25000, rows=-1, columns=12, along=(33000,)),
            Paste(donor="bonn_000001", donor_instance=26003, row=300, column=-4, scale=1.25),
        ),
    )
    assert program.to_plain() == {
        "version": 2,
        "scene": "aachen_000000",
        "min_visible_area": 50,
        "min_visible_fraction": 0.0,
        "protected": [],
        "operations": [
            {"op": "mirror_scene"},
            {"op": "drop", "instance": 26001, "along": []},
            {"op": "move", "instance": 25000, "rows": -1, "columns": 12, "along": [33000]},
            {
                "op": "paste",
                "donor": "bonn_000001",
                "donor_instance": 26003,
                "row": 300,
                "column": -4,
                "scale": 1.25,
                "flip": False,
                "donor_along": [],
            },
        ],
    }


@given(st.lists(operations(), max_size=6))
def test_json_round_trip(edits: list[Operation]) -> None:
    program = Program(scene="a", operations=tuple(edits))
    assert Program.model_validate_json(program.model_dump_json()) == program


def test_donors_are_named_once_and_sorted() -> None:
    edits = [Paste(donor=n, donor_instance=26000, row=1, column=1) for n in ("z", "b", "z")]
    assert Program(scene="a", operations=(Drop(instance=26000), *edits)).donors == ("b", "z")
    assert Program(scene="a").donors == ()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"op": "explode", "instance": 26000}, "explode"),
        ({"op": "drop", "instance": 26}, "greater than or equal to 1000"),
        ({"op": "drop", "instance": 25000, "along": [33]}, "greater than or equal to 1000"),
        ({"op": "drop", "instanse": 26000}, "did you mean 'instance'"),
        (
            {
                "op": "paste",
                "donor": "b",
                "donor_instance": 26000,
                "row": 1,
                "column": 1,
                "scale": 0,
            },
            "scale",
        ),
    ],
)
def test_malformed_operations_are_refused(edit: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Program.parse({"scene": "a", "operations": [edit]}, origin="program")


@pytest.mark.parametrize("make", [RelabelRegion, GrowRegion, Skyline])
def test_two_classes_must_differ(make: Callable[..., Operation]) -> None:
    names = {
        RelabelRegion: {"of": "road", "to": "road"},
        GrowRegion: {"of": "road", "into": "road", "pixels": 1},
        Skyline: {"upper": "road", "lower": "road", "rows": (1,)},
    }[make]
    with pytest.raises(ValueError, match="expected two classes, got 'road' twice"):
        make(**names)
