"""A bar that follows a training on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

if TYPE_CHECKING:
    from hdmodel.training import StepLosses, TrainingProgress

REFRESH_SECONDS = 0.5
SPEED_SECONDS = 600.0


@contextmanager
def training_bar(steps: int) -> "Iterator[TrainingProgress | None]":
    """Show step, time per step, losses and time left on stderr, if that is a terminal.

    Args:
        steps: The step that means done.

    Yields:
        What `hdmodel.training.train` shall call, or None where there is no terminal.
    """
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield None
        return
    with Progress(
        BarColumn(bar_width=10),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=SPEED_SECONDS,
    ) as progress:
        task = progress.add_task("starting", total=steps)
        shown = -1
        since = monotonic()

        def show(step: int, losses: "StepLosses | None") -> None:
            nonlocal shown, since
            if losses is None:
                progress.reset(task, completed=step)
                shown, since = step, monotonic()
                return
            now = monotonic()
            # Reading losses makes the device wait for its queue, so it is not done every step.
            if now - since < REFRESH_SECONDS and step < steps:
                return
            text = f"{(now - since) / (step - shown):.2f} s/step {describe_losses(losses)}"
            progress.update(task, completed=step, description=text)
            shown, since = step, now

        yield show


def describe_losses(losses: "StepLosses") -> str:
    """The losses in few words: adversarial, feature matching, discriminator on real and fake."""
    generator, discriminator = losses.generator, losses.discriminator
    return (
        f"adv {generator.adversarial.item():.2f} feat {generator.feature_matching.item():.2f} "
        f"D {discriminator.real.item():.2f}/{discriminator.fake.item():.2f}"
    )
