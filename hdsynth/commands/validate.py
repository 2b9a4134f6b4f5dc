"""`hdsynth validate`: whether a dataset can be used, before any compute is spent."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.sources.validate import Report

PROBLEMS_SHOWN = 20
EXIT_ERRORS = 2


@click.command("validate")
@click.argument("root", metavar="DIR")
@click.option(
    "--format",
    "format_",
    metavar="FMT",
    required=True,
    help="cityscapes, coco_stuff, camvid, ade20k, nyu40, helen, folders, or zarr.",
)
@click.option("--split", metavar="S", help="The part to check, such as train or val.")
@click.option("--taxonomy", metavar="T", help="A shipped taxonomy or a YAML file.")
@click.option(
    "--instances",
    type=click.Choice(["files", "components", "none"]),
    help="Where single objects come from; by default files, where the format has them.",
)
@click.option(
    "--photos",
    type=click.Choice(["auto", "required", "none"]),
    help="Check photos where they exist (auto), demand them, or leave them alone.",
)
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any other key of a job's dataset section, such as label_dir=labels/{split}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.pass_context
def validate(
    ctx: click.Context,
    *,
    root: str,
    format_: str,
    split: str | None,
    taxonomy: str | None,
    instances: str | None,
    photos: str | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check the labelled dataset in DIR: every file is read, nothing is written.

    Label values against the taxonomy, instances against the labels under them, names that find no
    partner, sizes, unreadable files. Exits with 2 if there are errors.
    """
    from hdmodel.settings import override
    from hdsynth.console import print_json
    from pipeline.progress import progress_bar
    from pipeline.sources import DatasetConfig, open_source
    from pipeline.sources.validate import validate as check

    options = {
        "root": root,
        "format": format_,
        "split": split,
        "taxonomy": taxonomy,
        "instances": instances,
        "photos": photos,
    }
    given = {key: value for key, value in options.items() if value is not None}
    config = DatasetConfig.parse(override(given, assignments), origin="command line")
    source = open_source(config)
    with progress_bar("checking scenes", len(source.scenes)) as show:
        report = check(source, photos=config.photos != "none", progress=show)
    if as_json:
        print_json({"dataset": config.to_plain(), **report.to_json()})
    else:
        _print_report(report, Path(root).name or root)
    if not report.ok:
        ctx.exit(EXIT_ERRORS)


def _print_report(report: "Report", title: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    from hdsynth.console import stdout

    pixels = sum(c.pixels for c in report.classes)
    table = Table(title=f"{escape(title)}, taxonomy {report.taxonomy}", title_justify="left")
    for name in ("id", "class", "share", "scenes", "objects"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for c in report.classes:
        share = f"{100 * c.pixels / pixels:.3f} %"
        table.add_row(str(c.class_id), c.name, share, str(c.scenes), str(c.objects or ""))
    if report.classes:
        stdout.print(table)
    sizes = ", ".join(f"{height}x{width} ({count})" for height, width, count in report.sizes[:5])
    more = f" and {len(report.sizes) - 5} more" if len(report.sizes) > 5 else ""
    facts: list[tuple[str, Any]] = [
        ("scenes", report.scenes),
        ("photos", report.photos),
        ("sizes", f"{sizes}{more}" or "none readable"),
        ("void", f"{100 * report.void_share:.2f} % of pixels"),
        ("classes absent", len(report.absent)),
    ]
    for name, value in facts:
        stdout.print(f"{name}: {value}", soft_wrap=True)
    for kind, color, problems in (
        ("warning", "yellow", report.warnings),
        ("error", "red", tuple(map(str, report.errors))),
    ):
        for problem in problems[:PROBLEMS_SHOWN]:
            stdout.print(f"[{color}]{kind}[/]: {escape(problem)}", soft_wrap=True)
        if len(problems) > PROBLEMS_SHOWN:
            stdout.print(f"{kind}: and {len(problems) - PROBLEMS_SHOWN} more", soft_wrap=True)
    verdict = "[green]ok[/]" if report.ok else f"[red]{len(report.errors)} errors[/]"
    stdout.print(f"result: {verdict}", soft_wrap=True)
