"""The networks of hdsynth: conditioning, generators, discriminators, losses, checkpoints."""
