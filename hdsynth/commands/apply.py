"""`hdsynth apply`: a program written or changed by hand, applied to a scene."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hdsynth.commands.options import SIZE, dataset_keys, dataset_options, fit_option

if TYPE_CHECKING:
    from pipeline.fit import FitMode


@click.command("apply")
@click.argument("program", metavar="PROGRAM.json", type=click.Path(path_type=Path))
@dataset_options(required=False)
@click.option(
    "--run",
    "run",
    metavar="OUT",
    type=click.Path(path_type=Path),
    help="Take dataset, size, donors, photo settings and generator from this run instead.",
)
@click.option("--scene", metavar="NAME", help="The scene to edit.  [default: the program's own]")
@click.option(
    "--size", metavar="HxW", type=SIZE, help="Height x width to fit scenes to.  [default: as read]"
)
@fit_option()
@click.option(
    "--donors",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="A donor bank of that size.  [default: the dataset's own scenes]",
)
@click.option(
    "--generator",
    metavar="CKPT",
    type=click.Path(path_type=Path),
    help="Render the edited scene, or what no photo shows of it, with this generator.  "
    "[default: that of --run, or none]",
)
@click.option(
    "--photo",
    type=click.Choice(["rendered", "composite", "exemplar"]),
    help="Where pixels come from: all from the generator; real ones wherever there are some; or "
    "all from photos of other scenes.  [default: that of --run; else rendered with --generator, "
    "and no photo without]",
)
@click.option(
    "--style",
    type=click.Choice(["source", "random", "mean"]),
    help="The style of objects, for generators that read features.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--to",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="Where to write pictures and maps; must be new or empty.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def apply(
    ctx: click.Context,
    /,
    *,
    program: Path,
    run: Path | None,
    scene: str | None,
    size: tuple[int, int] | None,
    fit: "FitMode",
    donors: Path | None,
    generator: Path | None,
    photo: str | None,
    style: str | None,
    device: str,
    to: Path,
    as_json: bool,
    **dataset: Any,
) -> None:
    """Apply an edit program to a scene, and write its maps, pictures of them, and its photo.

    Programs are JSON; hdsynth replay writes those of a run as program.json, to be changed and
    applied again. Exit code 1 if an operation could not be applied.
    """
    from dataclasses import asdict

    from hdsynth.console import print_json
    from pipeline.config import GeneratorSettings, PhotoConfig
    from pipeline.inspection.apply import apply_program, apply_to_run, read_program
    from pipeline.sources import DatasetConfig
    from pipeline.styles.style import StyleConfig

    keys = dataset_keys(**dataset)
    asked = None if style is None else StyleConfig.parse({"mode": style}, origin="--style")
    if run is not None:
        if keys or size is not None or donors is not None:
            raise click.UsageError("--run brings its dataset, size and donors; leave them out")
        done = apply_to_run(
            read_program(program, scene=scene),
            run,
            to=to,
            photo=photo,
            generator=generator,
            style=asked,
            device=device,
        )
    elif "root" not in keys or "format" not in keys:
        raise click.UsageError("name a dataset (--dataset and --format) or a run (--run)")
    else:
        settings = None
        if generator is not None or photo == "rendered":
            plain = {"checkpoint": generator, "device": device}
            settings = GeneratorSettings.parse(plain, origin="command line")
        done = apply_program(
            read_program(program, scene=scene),
            DatasetConfig.parse(keys, origin="command line"),
            to=to,
            size=size,
            fit=fit,
            donors=donors,
            photo=None if photo is None else PhotoConfig.parse({"mode": photo}, origin="--photo"),
            generator=settings,
            style=asked,
        )
    if as_json:
        print_json(asdict(done) | {"to": str(done.to)})
    else:
        applied = done.operations - len(done.skipped)
        click.echo(
            f"{done.scene}: {applied} of {done.operations} operations, {done.objects} objects"
        )
        for line in (*done.skipped, *done.consequences):
            click.echo(f"  {line}")
        if done.pixels is not None:
            shares = asdict(done.pixels).items()
            click.echo(f"pixels: {', '.join(f'{name} {share:.1%}' for name, share in shares)}")
        click.echo(f"{done.to}: {', '.join(done.files)}")
    ctx.exit(1 if done.skipped else 0)
