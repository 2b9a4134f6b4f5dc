"""`python -m hdsynth`."""

from hdsynth.cli import main

main(prog_name="hdsynth")
