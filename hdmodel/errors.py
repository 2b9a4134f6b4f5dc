"""The errors a user can cause, under one base class."""


class HdsynthError(Exception):
    """Base of every error that hdsynth raises on purpose; its text is the whole message."""


class InputError(HdsynthError):
    """The input or the command is wrong; the command line exits with 2."""


class ConfigError(InputError):
    """A configuration file, key or value is wrong."""


class CheckpointError(InputError):
    """A checkpoint folder or a weights file cannot be used."""


class TrainingError(HdsynthError):
    """A training cannot go on; the command line exits with 2."""
