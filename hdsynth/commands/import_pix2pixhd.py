"""`hdsynth import-pix2pixhd`: weights of the original project."""

from pathlib import Path

import click


@click.command("import-pix2pixhd")
@click.option(
    "--generator",
    metavar="G.pth",
    required=True,
    type=click.Path(path_type=Path),
    help="The generator's weights, such as latest_net_G.pth; global or local.",
)
@click.option(
    "--encoder",
    metavar="E.pth",
    type=click.Path(path_type=Path),
    help="The feature encoder's weights, latest_net_E.pth, if the generator uses features.",
)
@click.option(
    "--taxonomy",
    metavar="T",
    required=True,
    help="The classes the generator was trained on: a shipped name (hdsynth configs taxonomies) "
    "or a YAML file.",
)
@click.option(
    "--to",
    metavar="CKPT",
    required=True,
    type=click.Path(path_type=Path),
    help="The checkpoint folder to make; must be new or empty.",
)
def import_pix2pixhd(*, generator: Path, encoder: Path | None, taxonomy: str, to: Path) -> None:
    """Turn weights of the original pix2pixHD project into an hdsynth checkpoint.

    The architecture is read off the weights. The .pth files are opened without running any code
    they may hold.
    """
    from pipeline.checkpoints import taxonomy_record
    from pipeline.output.targets import check_new
    from pipeline.taxonomy import Taxonomy

    check_new(to)
    record = taxonomy_record(Taxonomy.load(taxonomy))
    from hdmodel.import_pix2pixhd import import_pix2pixhd as convert

    convert(generator, encoder, taxonomy=record, to=to)
    click.echo(f"{to}: a checkpoint for the {record.name} taxonomy. Next:")
    click.echo(
        f"  hdsynth render --generator {to} --dataset DIR --format FMT "
        "--samples N --size HxW --out OUT"
    )
