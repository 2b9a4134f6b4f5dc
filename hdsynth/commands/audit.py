"""`hdsynth audit`: what people say of the edits of runs.

Pages of edits come from `hdsynth preview OUT --audit N`. Marks are shown by a command of its own,
like priors and donors, because they need no run and may be of several.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeline.inspection.audit_marks import Marks, Rate

TITLES = {
    "all": "right",
    "operation": "right, by operation",
    "class": "right, by class",
    "reason": "wrong, by reason",
}


@click.group()
def audit() -> None:
    """Show what people say of single edits of runs.

    hdsynth preview OUT --audit N --to DIR makes the page on which they say it.
    """


@audit.command()
@click.argument(
    "files", metavar="MARKS...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(*, files: tuple[Path, ...], as_json: bool) -> None:
    """Print how many edits are right, by operation, class and reason, with 95 % intervals.

    Several files of marks stand beside each other.
    """
    from hdsynth.console import print_json
    from pipeline.inspection.audit_marks import rates, read_marks

    found = [(path, read_marks(path)) for path in files]
    columns = [(path, marks, rates(marks.marks)) for path, marks in found]
    if as_json:
        print_json(
            {
                "files": [
                    {
                        "marks": str(path),
                        "fingerprint": marks.fingerprint,
                        "rates": [rate.to_plain() for rate in own],
                    }
                    for path, marks, own in columns
                ]
            }
        )
    else:
        _print(columns)


def _print(columns: "list[tuple[Path, Marks, list[Rate]]]") -> None:
    from rich.markup import escape
    from rich.table import Table

    from hdsynth.console import stdout

    table = Table()
    table.add_column("", no_wrap=True)
    for path, marks, _ in columns:
        table.add_column(escape(f"{path}\nrun {marks.fingerprint}"), justify="right")
    for group, title in TITLES.items():
        names = sorted({rate.name for _, _, own in columns for rate in own if rate.group == group})
        if names:
            table.add_section()
            table.add_row(f"[bold]{title}[/bold]")
        for name in names:
            table.add_row(escape(name), *(_cell(group, name, own) for _, _, own in columns))
    stdout.print(table)


def _cell(group: str, name: str, rates: "list[Rate]") -> str:
    rate = next((rate for rate in rates if (rate.group, rate.name) == (group, name)), None)
    if rate is None and group == "reason" and rates:
        # Any edit could have been wrong for it, and none was.
        rate = replace(rates[0], count=0)
    if rate is None:
        return "-"
    low, high = rate.interval
    return f"{rate.count}/{rate.judged} {rate.share:.0%} ({100 * low:.0f}-{high:.0%})"
