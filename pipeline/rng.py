"""Random numbers that depend on the run's seed and the sample alone."""

import numpy as np

MASK = (1 << 64) - 1


def sample_generator(seed: int, index: int, *, stream: int = 0) -> np.random.Generator:
    """The random generator of one sample: Philox keyed by (seed, index).

    Args:
        seed: The run's seed; any integer, 0 included.
        index: The sample's number in the run.
        stream: Separates independent uses of randomness within a sample.
    """
    return np.random.Generator(
        np.random.Philox(key=[seed & MASK, index & MASK], counter=[0, 0, 0, stream & MASK])
    )
