"""The errors of the data side; see `hdmodel.errors` for their base."""

from hdmodel.errors import HdsynthError, InputError


class DatasetError(InputError):
    """A dataset, or one of its files, cannot be used as asked."""


class TaxonomyError(InputError):
    """A taxonomy is malformed, or does not fit the data or the generator."""


class OutputError(InputError):
    """An output folder cannot be written, resumed or read."""


class RunError(HdsynthError):
    """A run stopped before its end for a reason that lies outside the samples."""
