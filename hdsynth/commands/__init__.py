"""The commands of `hdsynth`, one module each; at their top they import click and little else."""
