"""Finding the model that a command names."""

import difflib
from pathlib import Path


def model_file(name_or_path: str) -> Path:
    """The YAML file of a shipped model, or of the user's own.

    Raises:
        ConfigError: There is no such model.
    """
    import configs
    from hdmodel.errors import ConfigError

    path = configs.find("models", name_or_path)
    if path.is_file():
        return path
    shipped = configs.names("models")
    near = difflib.get_close_matches(name_or_path, shipped, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(
        f"model {name_or_path!r}: no such file, and not one of {', '.join(shipped)}{hint}"
    )
