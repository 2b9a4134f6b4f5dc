"""What commands show on stdout and stderr."""

import json

import pytest

from hdsynth import console


def test_print_json_is_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"share": 0.25, "names": ["Zürich", "a [b] c"], "none": None}
    console.print_json(data)
    shown = capsys.readouterr()
    assert json.loads(shown.out) == data
    assert shown.err == ""


def test_print_json_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        console.print_json({"iou": float("nan")})
