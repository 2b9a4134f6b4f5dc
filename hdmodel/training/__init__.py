"""Training a generator: updates, losses, loading, checkpoints, reports."""
