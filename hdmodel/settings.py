"""Frozen settings read from YAML, with errors that name file, key and nearest known key."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from hdmodel.errors import ConfigError
from hdmodel.suggestions import did_you_mean

# The same safe loader in C where it was built: six times faster on the larger taxonomies.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Settings(BaseModel):
    """Base of every configuration: frozen, and without room for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, origin: str) -> Self:
        """Build the settings from plain data.

        Args:
            data: Nested mapping of keys to plain values.
            origin: Where the data came from, for error messages (a file name, say).

        Raises:
            ConfigError: A key is unknown or missing, or a value has the wrong type or range.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(_explain(error, cls, data, origin)) from None

    def to_plain(self) -> dict[str, Any]:
        """Turn the settings into plain JSON-compatible data."""
        return self.model_dump(mode="json")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        ConfigError: The file is missing, unreadable, not YAML, or not a mapping.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, got {type(data).__name__}")
    return data


def override(data: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply `a.b=value` assignments to nested plain data, returning a copy.

    Values are YAML, or plain text where they are not valid YAML.

    Raises:
        ConfigError: An assignment has no `=`, or walks through a value that is not a mapping.

    Example:
        >>> override({"output": {"path": "out"}}, ["output.shard_size=16", "samples=100"])
        {'output': {'path': 'out', 'shard_size': 16}, 'samples': 100}
    """
    result: dict[str, Any] = _copy(data)
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {assignment!r}: expected key=value, such as samples=100")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text  # such as label_dir={split}annot
        _assign(result, key.strip().split("."), value, assignment)
    return result


def _assign(node: Any, keys: Sequence[str], value: Any, assignment: str) -> None:  # noqa: ANN401 - plain data
    """Set a value below nested mappings and lists; mappings that are missing are made."""
    for place, name in enumerate(keys):
        key: Any = name
        if isinstance(node, list):
            if not name.isdecimal() or int(name) >= len(node):
                raise ConfigError(
                    f"--set {assignment!r}: {name!r} is no place in a list of {len(node)}, "
                    "which counts from 0"
                )
            key = int(name)
        elif not isinstance(node, dict):
            raise ConfigError(
                f"--set {assignment!r}: {keys[place - 1]!r} holds a value, not a group of keys"
            )
        if place == len(keys) - 1:
            node[key] = value
        else:
            node = node[key] if isinstance(node, list) else node.setdefault(key, {})


def flattened(data: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401 - plain data
    """Turn nested mappings, and lists of mappings, into one mapping of dotted keys.

    Example:
        >>> flattened({"a": {"b": 1}, "c": [{"d": 2}], "e": [3, 4]})
        {'a.b': 1, 'c.0.d': 2, 'e': [3, 4]}
    """
    if isinstance(data, tuple):
        data = list(data)
    if isinstance(data, list) and any(isinstance(item, Mapping) for item in data):
        data = dict(enumerate(data))
    if not isinstance(data, Mapping):
        return {prefix: data}
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= flattened(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _copy(data: Any) -> Any:  # noqa: ANN401 - plain data
    if isinstance(data, Mapping):
        return {key: _copy(value) for key, value in data.items()}
    return [_copy(value) for value in data] if isinstance(data, list) else data


def _explain(
    error: ValidationError, model: type[BaseModel], data: Mapping[str, Any], origin: str
) -> str:
    problems = error.errors(include_url=False)
    located = [(*_keys(problem, data), problem) for problem in problems]
    messages = []
    for keys, is_branch, problem in located:
        if (
            is_branch
            and isinstance(problem["input"], Mapping)
            and problem["type"].endswith("_type")
        ):
            # A branch of a union that takes no mappings; one that does has more to say.
            others = (other for other, _, p in located if p is not problem)
            if any(other[: len(keys)] == keys for other in others):
                continue
        key = ".".join(str(part) for part in keys)
        if problem["type"] == "extra_forbidden":
            message = f"unknown key {key!r}"
            known = _known_keys(model, keys[:-1])
            otherwise = f" (known: {', '.join(known)})"
            message += did_you_mean(str(keys[-1]), known, otherwise=otherwise, cutoff=0.5)
        elif problem["type"] == "missing":
            message = f"missing key {key!r}"
        else:
            text = problem["msg"].removeprefix("Value error, ")
            text = text[:1].lower() + text[1:]
            shown = "" if isinstance(problem["input"], dict) else f", got {problem['input']!r}"
            message = f"{key}: {text}{shown}" if key else text
        messages.append(message)
    return f"{origin}: " + "; ".join(dict.fromkeys(messages))


def _keys(
    problem: Mapping[str, Any], data: Mapping[str, Any]
) -> tuple[tuple[int | str, ...], bool]:
    """The keys of a problem's location, and whether it is a whole branch of a union.

    The location also names branches: what is neither in the data nor the key that is missing.
    """
    keys: list[int | str] = []
    node: Any = data
    is_branch = False
    for place, part in enumerate(problem["loc"], start=1):
        if isinstance(node, Mapping) and part in node:
            node = node[part]
        elif isinstance(part, int):
            node = node[part] if isinstance(node, Sequence) and part < len(node) else None
        elif problem["type"] != "missing" or place < len(problem["loc"]):
            is_branch = True
            continue
        keys.append(part)
        is_branch = False
    return tuple(keys), is_branch


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The field names at a location of nested models; a union contributes all its members'."""
    models: list[type[BaseModel]] = [model]
    for part in location:
        inner: list[type[BaseModel]] = []
        for candidate in models:
            field = _fields(candidate).get(str(part))
            inner += _models_in(field.annotation) if field else [candidate]
        models = inner or models
    return sorted({name for candidate in models for name in _fields(candidate)})


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model under the keys that stand for them in data."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - annotations are of any type
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments = getattr(annotation, "__args__", ())
    return [model for argument in arguments for model in _models_in(argument)]
