from pathlib import Path

import pytest
from pydantic import Field

from hdmodel.errors import ConfigError
from hdmodel.settings import Settings, override, read_yaml


class Inner(Settings):
    width: int = Field(default=1, ge=1)


class Other(Settings):
    kind: str


class Outer(Settings):
    name: str
    inner: Inner = Inner()
    either: Inner | Other | None = None
    named: str | Inner = "none"
    many: tuple[str | Inner, ...] = ()


def test_nested_keys_are_parsed() -> None:
    outer = Outer.parse({"name": "a", "inner": {"width": 3}}, origin="x.yaml")
    assert outer.inner.width == 3
    assert outer.to_plain() == {
        "name": "a",
        "inner": {"width": 3},
        "either": None,
        "named": "none",
        "many": [],
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"nam": "a"}, "x.yaml: .*missing key 'name'.*"),
        ({"name": "a", "iner": {}}, "unknown key 'iner', did you mean 'inner'"),
        ({"name": "a", "inner": {"widht": 2}}, "unknown key 'inner.widht', did you mean 'width'"),
        ({"name": "a", "zzz": 1}, r"unknown key 'zzz' \(known: either, inner, many, name, named\)"),
        ({"name": "a", "inner": {"width": 0}}, "inner.width: .*greater than or equal to 1, got 0"),
        ({"name": "a", "inner": {"width": "wide"}}, "inner.width: .*integer.*got 'wide'"),
    ],
)
def test_mistakes_name_file_key_and_nearest_key(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Outer.parse(data, origin="x.yaml")
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"named": {"widht": 2}}, "unknown key 'named.widht', did you mean 'width'?"),
        (
            {"named": {"width": 0}},
            "named.width: input should be greater than or equal to 1, got 0",
        ),
        (
            {"many": ["a", {"widht": 2}]},
            "unknown key 'many.1.widht', did you mean 'width'?",
        ),
        (
            {"named": 3},
            "named: input should be a valid string, got 3; "
            "named: input should be a valid dictionary or instance of Inner, got 3",
        ),
        (
            {"either": {"kid": "x"}},
            "unknown key 'either.kid', did you mean 'kind'?; missing key 'either.kind'",
        ),
    ],
)
def test_branches_of_unions_are_no_keys(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Outer.parse({"name": "a", **data}, origin="x.yaml")
    assert str(caught.value) == f"x.yaml: {message}"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Inner().width = 2  # type: ignore[misc]


def test_overrides_reach_nested_keys_and_leave_the_original() -> None:
    data = {"a": {"b": 1}, "c": 2}
    changed = override(data, ["a.b=[1, 2]", "a.d.e=text", "c=null", "f={split}annot"])
    assert changed == {"a": {"b": [1, 2], "d": {"e": "text"}}, "c": None, "f": "{split}annot"}
    assert data == {"a": {"b": 1}, "c": 2}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [("novalue", "key=value"), ("=3", "key=value"), ("c.d=1", "'c' holds a value")],
)
def test_wrong_overrides(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override({"c": 2}, [assignment])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a: [", "not valid YAML"), (b"- a", "expected a mapping"), (b"\xff\xfe\xfa", "read|YAML")],
)
def test_broken_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_yaml(tmp_path / "x.yaml")
    assert "x.yaml" in str(caught.value)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "x.yaml") == {}
