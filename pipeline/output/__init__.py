"""The folder that a run writes, and reading it again."""
