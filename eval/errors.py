"""The errors of scoring; see `hdmodel.errors` for their base."""

from hdmodel.errors import InputError


class EvalError(InputError):
    """Scores cannot be computed, read or compared as asked."""
