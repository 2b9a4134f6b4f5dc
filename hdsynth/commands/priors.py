"""`hdsynth priors`: what a dataset tells about where objects stand and how tall they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hdsynth.commands.options import SIZE, dataset_keys, dataset_options, fit_option, limit_option

if TYPE_CHECKING:
    from pipeline.fit import FitMode
    from pipeline.placing.priors import PriorsFile


RARE = 0.05
"""Surfaces on which fewer of a class stand are not shown in the table."""


@click.group()
def priors() -> None:
    """Fit places and sizes of objects to a dataset, or show them.

    A render job fits them to its own scenes and leaves them in OUT/priors.json.
    """


@priors.command()
@dataset_options(required=True)
@click.option(
    "--size",
    metavar="HxW",
    type=SIZE,
    required=True,
    help="Height x width to which scenes are fitted.",
)
@fit_option("mode")
@limit_option
@click.option(
    "--to",
    metavar="FILE.json",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write; one that exists is replaced.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def fit(
    *,
    size: tuple[int, int],
    mode: "FitMode",
    limit: int | None,
    to: Path,
    as_json: bool,
    **dataset: Any,
) -> None:
    """Fit priors to the objects of a dataset.

    For each class of things: its size in perspective, what it stands on, where, how many there are
    in a scene, and how close they come to each other.
    """
    from pipeline.indexing.index import index_source
    from pipeline.placing.priors import Priors
    from pipeline.sources import DatasetConfig, open_source

    if to.suffix.lower() != ".json":
        raise click.BadParameter(
            f"{to}: expected a file name that ends in .json", param_hint="--to"
        )
    if not to.parent.is_dir():
        raise click.BadParameter(f"{to}: there is no folder {to.parent}", param_hint="--to")
    source = open_source(DatasetConfig.parse(dataset_keys(**dataset), origin="command line"))
    records = index_source(source, size=size, mode=mode, limit=limit)
    fitted = Priors.fit(records, source.taxonomy)
    fitted.save(to)
    _print(to, fitted.content, as_json=as_json)


@priors.command()
@click.argument("file", metavar="FILE.json", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(*, file: Path, as_json: bool) -> None:
    """Print priors as a table. Those of a run are in OUT/priors.json."""
    from pipeline.placing.priors import read_priors

    _print(file, read_priors(file), as_json=as_json)


def _print(path: Path, content: "PriorsFile", *, as_json: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from hdsynth.console import print_json, stdout

    if as_json:
        plain = content.to_plain()
        for entry in plain["classes"]:
            del entry["contacts"]
        print_json({"priors": str(path), **plain})
        return
    objects = sum(entry.objects for entry in content.classes)
    title = (
        f"{objects} objects of {content.scenes} scenes; horizon at {content.horizon:.1%} of the "
        f"height, +- {content.spread:.1%}"
    )
    table = Table(title=title, title_justify="left")
    columns = ("class", "objects", "whole", "height", "scatter", "per scene", "hidden", "stands on")
    for column in columns:
        left = column in ("class", "stands on")
        table.add_column(column, justify="left" if left else "right", no_wrap=column == "class")
    unseen = []
    for entry in content.classes:
        if not entry.objects:
            unseen.append(entry.name)
            continue
        grounds = sorted(entry.support.items(), key=lambda item: -item[1])
        table.add_row(
            escape(entry.name),
            str(entry.objects),
            str(entry.whole),
            f"{entry.size:.2f}",
            f"{entry.sigma:.0%}",
            f"{entry.count.mean:.1f}",
            f"{entry.max_overlap:.0%}",
            escape(", ".join(f"{name} {share:.0%}" for name, share in grounds if share > RARE)),
        )
    stdout.print(table)
    stdout.print(
        "height: over that of the camera; per scene: mean; hidden: at most, of 95 % of the objects",
        soft_wrap=True,
    )
    if unseen:
        names = ", ".join(unseen)
        stdout.print(escape(f"no objects of {names}: guessed from the others"), soft_wrap=True)
