"""What all tests share: reproducible property tests, and a process left as it was found."""

import logging
import os
from collections.abc import Iterator

import hypothesis
import pytest

hypothesis.settings.register_profile("hdsynth", deadline=None, derandomize=True)
hypothesis.settings.load_profile("hdsynth")


@pytest.fixture(autouse=True)
def _process_state() -> Iterator[None]:
    """Undo what a command sets for its whole process: an environment variable and log levels."""
    safe_path = os.environ.get("PYTHONSAFEPATH")
    root = logging.getLogger()
    handlers = list(root.handlers)
    loggers = [logging.getLogger(n) for n in ("hdsynth", "hdmodel", "pipeline", "eval")]
    loggers += [logging.getLogger(n) for n in ("apache_beam", "apache_beam.runners")]
    levels = [logger.level for logger in loggers]
    yield
    if safe_path is None:
        os.environ.pop("PYTHONSAFEPATH", None)
    else:
        os.environ["PYTHONSAFEPATH"] = safe_path
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
