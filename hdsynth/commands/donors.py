"""`hdsynth donors`: banks of objects that can be put into other scenes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hdsynth.commands.options import SIZE, dataset_keys, dataset_options, fit_option, limit_option

if TYPE_CHECKING:
    from pipeline.donors.bank import DonorBank
    from pipeline.fit import FitMode


@click.group()
def donors() -> None:
    """Collect the objects of a dataset that other scenes can borrow, or show them.

    A render job uses the objects of its own scenes unless it names such a bank: --set
    recompose.donors=DIR
    """


@donors.command()
@dataset_options(required=True)
@click.option(
    "--size",
    metavar="HxW",
    type=SIZE,
    required=True,
    help="Height x width to which scenes are fitted: that of the jobs that use the bank.",
)
@fit_option()
@limit_option
@click.option(
    "--to",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="The bank to make, a new or empty folder.",
)
@click.option(
    "--complete",
    is_flag=True,
    help="Make up the hidden parts of donors after whole ones, where those fit well.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def build(
    *,
    size: tuple[int, int],
    fit: "FitMode",
    limit: int | None,
    to: Path,
    complete: bool,
    as_json: bool,
    **dataset: Any,
) -> None:
    """Make a donor bank of a dataset.

    It holds the shape of every object that stands on a known surface, what cuts or hides it, and
    where its photo lies.
    """
    from pipeline.donors.writer import build_bank
    from pipeline.sources import DatasetConfig

    config = DatasetConfig.parse(dataset_keys(**dataset), origin="command line")
    bank = build_bank(to, config, size=size, mode=fit, limit=limit, complete=complete)
    _print(bank, as_json=as_json)
    if not as_json:
        click.echo(f"{to}: is a donor bank now. Next:")
        click.echo(f"  hdsynth donors show {to} --to donors.png")
        click.echo(f"  hdsynth render --set recompose.donors={to} ...")


@donors.command()
@click.argument("bank", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--to",
    metavar="FILE.png",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the shapes of some donors of each class; a file that exists is replaced.",
)
@click.option(
    "--min-completeness",
    "least",
    metavar="0..1",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Only donors that are seen at least so completely; policies ask for 0.9.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(*, bank: Path, to: Path | None, least: float, as_json: bool) -> None:
    """Say what a donor bank holds. The donors of a run are in OUT/donors."""
    from pipeline.donors.bank import DonorBank
    from pipeline.donors.sheet import write_donor_sheet

    if to is not None and to.suffix.lower() != ".png":
        raise click.BadParameter(f"{to}: expected a file name that ends in .png", param_hint="--to")
    opened = DonorBank.open(bank)
    opened.check_masks()
    _print(opened, as_json=as_json, least=least)
    if to is not None:
        write_donor_sheet(opened, to, least=least)
        if not as_json:
            click.echo(f"{to}: shapes of donors of each class")


def _print(bank: "DonorBank", *, as_json: bool, least: float = 0.0) -> None:
    from dataclasses import asdict

    from rich.markup import escape
    from rich.table import Table

    from hdsynth.console import print_json, stdout
    from pipeline.donors.sheet import count_donors

    classes, info = count_donors(bank, least=least), bank.info
    shown = sum(entry.donors for entry in classes)
    if as_json:
        print_json(
            {
                "donors": str(bank.path),
                "dataset": info.dataset.to_plain(),
                "size": list(info.size),
                "fit": info.fit,
                "taxonomy": bank.taxonomy.name,
                "sha256": bank.sha256,
                "scenes": len(bank.index.names),
                "objects": shown,
                "classes": [asdict(entry) for entry in classes],
            }
        )
        return
    height, width = info.size
    title = f"{shown} donors from {len(bank.index.names)} scenes of {height}x{width}"
    table = Table(title=title, title_justify="left")
    for column in ("class", "donors", "whole", "cut", "hidden", "completed", "heights (px)"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for entry in classes:
        least, median, most = entry.heights
        table.add_row(
            escape(entry.name),
            *map(str, (entry.donors, entry.whole, entry.cut, entry.hidden, entry.completed)),
            f"{least} .. {median} .. {most}",
        )
    stdout.print(table)
