"""`hdsynth eval`: how well the photos of a run can be read back, and whether that is enough."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hdsynth.commands.options import SIZE
from hdsynth.commands.render import BEAM_OPTIONS, BeamCommand, exit_on_interrupt

if TYPE_CHECKING:
    from eval.prepare import EvalConfig
    from eval.reports.gate import Gate
    from eval.reports.report import Report

EXIT_GATE = 3
DTYPES = ("float32", "bfloat16", "float16")
PRESETS = ("as-rendered", "paper", "spade-512")


@click.command("eval", cls=BeamCommand)
@click.argument("paths", metavar="OUT", nargs=-1, required=True)
@click.option(
    "--scorer", metavar="DIR", type=click.Path(path_type=Path), help="The segmentation network."
)
@click.option(
    "--report", metavar="DIR", type=click.Path(path_type=Path), help="The folder to write into."
)
@click.option("--real", metavar="DIR", help="Real photos; the dataset of the run if not given.")
@click.option("--format", "format_", metavar="FMT", help="Layout of --real.")
@click.option("--split", metavar="S", help="Which split of the real photos to score.")
@click.option("--taxonomy", metavar="T", help="Classes of --real, by name or YAML file.")
@click.option(
    "--instances",
    type=click.Choice(["files", "components", "none"]),
    help="Where objects of --real come from.",
)
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any other key of the real dataset, such as photo_dir=images/{split}.",
)
@click.option(
    "--protocol",
    type=click.Choice(PRESETS),
    default=PRESETS[0],
    show_default=True,
    help="Sizes and resampling; part of the protocol id.",
)
@click.option(
    "--input-size", metavar="HxW", type=SIZE, help="Size at which the scorer sees photos."
)
@click.option("--fail-under-miou", metavar="X", type=float, help="Least mean IoU.")
@click.option(
    "--fail-under-oracle-ratio", metavar="R", type=float, help="Least mean IoU / oracle's."
)
@click.option(
    "--independent-scorer",
    is_flag=True,
    help="Refuse a scorer that began with the weights of a network which the generator's losses "
    "asked.",
)
@click.option(
    "--gate",
    "gate_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="YAML file of rules, such as floors per class.",
)
@click.option(
    "--baseline",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="An earlier report.json, or its folder; being worse beyond noise fails the gate.",
)
@click.option(
    "--exclude-failed",
    is_flag=True,
    help="Leave out samples that failed or are not made yet, instead of refusing.",
)
@click.option(
    "--write-filter",
    is_flag=True,
    help="Also mark unfaithful pixels and objects in OUT: the array `faithful` beside the labels, "
    "and verdicts in the manifests.",
)
@click.option(
    "--filter-factor",
    metavar="X",
    type=click.FloatRange(min=0, min_open=True),
    default=1.25,
    show_default=True,
    help="A pixel is unfaithful above X times its class's mean loss on real photos.",
)
@click.option(
    "--features",
    metavar="none|scorer|imagenet|FILE",
    default="scorer",
    show_default=True,
    help="Whose features the distances between rendered and real photos are taken on; FILE holds "
    "Inception-v3 weights of torch-fidelity, and they are FID and KID.",
)
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="float32",
    show_default=True,
    help="Arithmetic of the scorer.",
)
@click.option(
    "--device",
    metavar="auto|cpu|cuda",
    default="auto",
    show_default=True,
    help="Where the scorer runs.",
)
@click.option(
    "--batch-pixels",
    metavar="N",
    type=click.IntRange(min=1),
    default=4_000_000,
    show_default=True,
    help="Largest batch, in pixels; at least one photo at a time.",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=1, max=1024),
    default=1,
    show_default=True,
    help="Worker processes here.",
)
@click.option("--compare", is_flag=True, help="Compare the reports OUT OUT ... instead.")
@click.option(
    "--table",
    type=click.Choice(["markdown", "latex", "both"]),
    default="both",
    show_default=True,
    help="What --compare prints.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    *,
    paths: tuple[str, ...],
    compare: bool,
    table: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Say how real the photos of the run in OUT are.

    The scorer, a segmentation network, reads the photos back; what it reads is compared with the
    label maps they were rendered from, and with what it reads in real photos: the oracle. DIR gets
    report.html, report.md, report.json, images.parquet and junit.xml.

    With a rule (--fail-under-..., --gate, --baseline) the exit code is 3 if one is violated.
    Anything after `--` goes to Apache Beam.

    `hdsynth eval --compare REPORT NAME=REPORT ...` prints tables of several reports instead.
    """
    if compare:
        print_comparison(paths, table)
        return
    if len(paths) != 1:
        raise click.UsageError(f"expected one OUT, got {len(paths)}; --compare takes many reports")
    for name in ("scorer", "report"):
        if options[name] is None:
            raise click.UsageError(f"--{name} must be given")
    from eval.run import evaluate as run
    from hdsynth.console import print_json
    from pipeline.errors import RunError

    config = read_options(Path(paths[0]), options)
    gate = read_gate(options)
    exit_on_interrupt(config.report)
    try:
        report = run(
            config,
            gate=gate,
            baseline=options["baseline"],
            beam_options=ctx.meta.get(BEAM_OPTIONS, ()),
        )
    except RunError as error:
        click.echo(f"hdsynth: error: {error}", err=True)
        sys.stderr.flush()
        # Beam's threads may wait for ever for a worker that died.
        os._exit(2)
    if as_json:
        print_json(report.to_plain())
    else:
        show(report, config.report)
    for rule in report.failed_rules:
        click.echo(f"hdsynth: gate: {rule.message}", err=True)
    ctx.exit(EXIT_GATE if report.failed_rules else 0)


def read_options(out: Path, options: dict[str, Any]) -> "EvalConfig":
    """The evaluation that a command line describes.

    Raises:
        ConfigError: It describes none.
    """
    from eval.prepare import EvalConfig
    from hdmodel.settings import override
    from pipeline.output.folder import OutputFolder
    from pipeline.sources import DatasetConfig

    keys = {
        "root": options["real"],
        "format": options["format_"],
        "split": options["split"],
        "taxonomy": options["taxonomy"],
        "instances": options["instances"],
    }
    given = override({k: v for k, v in keys.items() if v is not None}, options["assignments"])
    real = None
    if given:
        if "root" not in given:
            # The run's own dataset with some keys changed, another split say.
            given = OutputFolder(out).read_config()["config"]["dataset"] | given
        elif "format" not in given:
            raise click.UsageError("--real needs --format, the layout of its files")
        real = DatasetConfig.parse(given, origin="command line")
    return EvalConfig(
        out=out,
        scorer=options["scorer"],
        report=options["report"],
        real=real,
        preset=options["protocol"],
        input_size=options["input_size"],
        dtype=options["dtype"],
        device=options["device"],
        batch_pixels=options["batch_pixels"],
        workers=options["workers"],
        exclude_failed=options["exclude_failed"],
        features=options["features"],
        independent_scorer=options["independent_scorer"],
        write_filter=options["write_filter"],
        filter_factor=options["filter_factor"],
    )


def read_gate(options: dict[str, Any]) -> "Gate | None":
    """The rules that a command line sets, on top of those of its file; None without any.

    Raises:
        ConfigError: They are malformed.
    """
    from eval.reports.gate import Gate
    from hdmodel.settings import read_yaml

    file = options["gate_file"]
    data = read_yaml(file) if file else {}
    for key, option in (
        ("mean_iou", "fail_under_miou"),
        ("oracle_ratio", "fail_under_oracle_ratio"),
    ):
        if options[option] is not None:
            data[key] = options[option]
    if not data and options["baseline"] is None and file is None:
        return None
    return Gate.parse(data, origin=str(file) if file else "command line")


def print_comparison(paths: tuple[str, ...], table: str) -> None:
    """Print tables like the paper's."""
    from eval.reports.compare import (
        caption,
        class_table,
        read_systems,
        score_table,
        to_latex,
        to_markdown,
    )

    systems = read_systems(paths)
    tables = [score_table(systems), class_table(systems)]
    words = caption(systems)
    if table in ("markdown", "both"):
        click.echo("\n".join(to_markdown(t) for t in tables))
        click.echo(words)
    if table == "both":
        click.echo()
    if table in ("latex", "both"):
        click.echo("\n".join(to_latex(t, caption=words) for t in tables), nl=False)


def show(report: "Report", folder: Path) -> None:
    """Print the scores for people."""
    from eval.reports.pages import number, percent
    from eval.scores import HEADLINE

    width = max(len(words) for words in HEADLINE.values())
    click.echo(f"{'':{width}}  rendered    oracle     ratio")
    for key, words in HEADLINE.items():
        cells = (
            report.rendered.scores[key].value,
            report.oracle.scores[key].value,
            report.ratio[key].value,
        )
        click.echo(f"{words:{width}}  " + "  ".join(f"{number(cell):>8}" for cell in cells))
    click.echo(
        f"{percent(report.ratio['mean_iou'].value)} of the "
        f"oracle's mean IoU; {report.rendered.images} rendered and {report.oracle.images} real "
        f"photos, protocol {report.protocol_id}"
    )
    if report.filter is not None:
        marked = report.filter
        click.echo(
            f"marked as unfaithful: {marked.unfaithful_pixels:,} of {marked.judged_pixels:,} "
            f"pixels, {marked.unfaithful_objects:,} of {marked.judged_objects:,} objects"
        )
    for warning in report.warnings:
        click.echo(f"note: {warning}", err=True)
    click.echo(f"see {folder / 'report.html'}")
