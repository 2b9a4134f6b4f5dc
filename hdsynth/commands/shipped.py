"""Finding the configuration that a command names: a shipped one, or a file."""

from pathlib import Path


def configuration_file(kind: str, name_or_path: str) -> Path:
    """The YAML file of a shipped configuration, or of the user's own.

    Args:
        kind: The folder of `configs/`, such as models or scorers.
        name_or_path: What the user gave.

    Raises:
        ConfigError: There is no such file.
    """
    import configs
    from hdmodel.errors import ConfigError
    from hdmodel.suggestions import did_you_mean

    path = configs.find(kind, name_or_path)
    if path.is_file():
        return path
    shipped = configs.names(kind)
    raise ConfigError(
        f"{kind.removesuffix('s')} {name_or_path!r}: no such file, and not one of "
        f"{', '.join(shipped)}{did_you_mean(name_or_path, shipped, before='; ')}"
    )
