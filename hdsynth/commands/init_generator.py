"""`hdsynth init-generator`: a generator that has not learnt anything yet."""

from pathlib import Path

import click


@click.command("init-generator")
@click.argument("config")
@click.option(
    "--to",
    metavar="CKPT",
    required=True,
    type=click.Path(path_type=Path),
    help="The checkpoint folder to make; must be new or empty.",
)
@click.option(
    "--taxonomy",
    metavar="T",
    help="The classes it shall render: a shipped name (hdsynth configs taxonomies) or a YAML "
    "file.  [default: the one that CONFIG names]",
)
@click.option(
    "--seed",
    metavar="S",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Another seed gives other random weights.",
)
def init_generator(*, config: str, to: Path, taxonomy: str | None, seed: int) -> None:
    """Make a checkpoint with random weights, to try a job before a generator is trained.

    CONFIG is a shipped model (hdsynth configs models) or a YAML file of that form. The photos of
    such a generator are noise; labels, sizes, speed and disk use are those of the real thing.
    """
    from hdsynth.commands.shipped import configuration_file
    from pipeline.checkpoints import taxonomy_record
    from pipeline.output.targets import check_new
    from pipeline.taxonomy import Taxonomy
    from pipeline.training.job import read_train_job

    check_new(to)
    model = read_train_job(configuration_file("models", config))
    record = taxonomy_record(Taxonomy.load(taxonomy or model.taxonomy))
    from hdmodel.initialise import init_checkpoint

    init_checkpoint(model.generator, encoder=model.encoder, taxonomy=record, seed=seed, to=to)
    click.echo(
        f"{to}: an untrained generator for the {record.num_classes} classes of {record.name}. Next:"
    )
    click.echo(
        f"  hdsynth render --generator {to} --dataset DIR --format FMT "
        "--samples N --size HxW --out OUT"
    )
