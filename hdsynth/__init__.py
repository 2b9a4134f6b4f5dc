"""hdsynth: synthetic training data from edited label maps."""

__version__ = "0.1.0"
