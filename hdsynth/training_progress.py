"""A bar that follows a training on a terminal."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from hdmodel.training.log import TrainingProgress, TrainingStatus

REFRESH_SECONDS = 1.0
SPEED_SECONDS = 600.0


class _Bar(Progress):
    """A bar with a line of losses below."""

    losses = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.losses:
            yield Text(self.losses, no_wrap=True, overflow="ellipsis", style="dim")


@contextmanager
def training_bar() -> "Iterator[TrainingProgress | None]":
    """Show stage, step, time per step, time left and losses on stderr, if that is a terminal.

    Yields:
        What `hdmodel.training.train` shall call, or None where there is no terminal.
    """
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield None
        return
    with _Bar(
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[speed]}", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        speed_estimate_period=SPEED_SECONDS,
    ) as progress:
        task = progress.add_task("starting", total=None, speed="")
        shown, since = 0, monotonic()

        def show(status: "TrainingStatus") -> None:
            nonlocal shown, since
            if status.losses is None:
                progress.reset(
                    task,
                    total=status.steps,
                    completed=status.step,
                    description=status.stage,
                )
                shown, since = status.step, monotonic()
                return
            now = monotonic()
            # Reading losses makes the device wait for its queue, so it is not done every step.
            if now - since < REFRESH_SECONDS and status.step < status.steps:
                return
            seconds = (now - since) / (status.step - shown)
            progress.losses = describe_losses(status.losses())
            progress.update(
                task,
                completed=status.step,
                description=status.stage,
                speed=f"{seconds:.2f} s/step",
            )
            shown, since = status.step, now

        yield show


def describe_losses(losses: Mapping[str, float]) -> str:
    """The losses in one line; those that share the first word of their names stand together."""
    groups: dict[str, list[str]] = {}
    for name, value in losses.items():
        first = name.partition("_")[0]
        alike = [other for other in losses if other.partition("_")[0] == first]
        title = first if len(alike) > 1 else name.replace("_", " ")
        groups.setdefault(title, []).append(f"{value:.3g}")
    return ", ".join(f"{title} {'/'.join(values)}" for title, values in groups.items())
