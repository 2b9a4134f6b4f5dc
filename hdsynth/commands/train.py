"""`hdsynth train`: a generator of your own."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hdmodel.train_config import TrainConfig


@click.command()
@click.argument("config")
@click.option(
    "--out",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder to write into; the same command again goes on where it stopped.",
)
@click.option(
    "--dataset",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the dataset lies; the same as --set dataset.root=DIR.",
)
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one key of CONFIG, such as batch=4 or generator.blocks=6; may be repeated.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto (the first CUDA device, else the CPU), cpu, cuda or cuda:N.",
)
def train(
    *, config: str, out: Path, dataset: Path | None, assignments: tuple[str, ...], device: str
) -> None:
    """Train a pix2pixHD generator.

    CONFIG is a shipped model (hdsynth configs models) or a YAML file of that form; it names the
    dataset, the networks and the schedule. DIR gets metrics.csv, sheets of pictures (labels,
    rendered, real), checkpoints to go on from, and at the end the checkpoint DIR/final.
    """
    from hdmodel.settings import override, read_yaml
    from hdmodel.train_config import TrainConfig
    from hdsynth.commands.models import model_file

    file = model_file(config)
    if dataset is not None:
        assignments = (*assignments, f"dataset.root={dataset}")
    parsed = TrainConfig.parse(override(read_yaml(file), assignments), origin=str(file))
    final = run_training(parsed, out=out, device=device)
    click.echo(f"{final}: trained. Next:")
    click.echo(f"  hdsynth render --generator {final} ...")


def run_training(config: "TrainConfig", *, out: Path, device: str = "auto") -> Path:
    """Open the dataset that a configuration names, and train on it.

    Args:
        config: The training run; its number of classes is replaced by the taxonomy's.
        out: The folder to write into.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        The final checkpoint.

    Raises:
        HdsynthError: Something the configuration names cannot be used.
    """
    from hdsynth.training_progress import training_bar
    from hdsynth.training_scenes import open_training_scenes
    from pipeline.checkpoints import taxonomy_record

    samples, taxonomy = open_training_scenes(config.dataset, seed=config.seed)
    # Threads that wait by spinning make every step several times slower when anything else runs.
    # Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from hdmodel.training import train as train_generator
    from pipeline.devices import candidate_devices

    generator = config.generator.model_copy(update={"num_classes": taxonomy.num_classes})
    where = torch.device(candidate_devices(device)[0])
    with training_bar(config.steps) as progress:
        return train_generator(
            config.model_copy(update={"generator": generator}),
            samples,
            taxonomy=taxonomy_record(taxonomy),
            palette=taxonomy.colors,
            out=out,
            device=where,
            progress=progress,
        )
