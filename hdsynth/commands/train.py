"""`hdsynth train`: a generator of your own."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.training.job import TrainJob


DATASET_OPTIONS = {
    "dataset": "dataset.root",
    "format": "dataset.format",
    "split": "dataset.split",
    "taxonomy": "dataset.taxonomy",
    "instances": "dataset.instances",
}
"""Command-line option to the key of the configuration that it sets."""


@click.command()
@click.argument("config")
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one key of CONFIG, such as generator.blocks=6; may be repeated. Stages are "
    "counted from 0: --set stages.0.steps=500.",
)
@click.option("--dataset", metavar="DIR", help="Dataset folder, or any fsspec URL.")
@click.option("--format", metavar="FMT", help="Its layout, as for hdsynth render.")
@click.option("--split", metavar="S", help="Which split of it to train on.")
@click.option("--taxonomy", metavar="T", help="Its classes, by name or YAML file.")
@click.option(
    "--instances",
    type=click.Choice(["files", "components", "none"]),
    help="Where objects come from: instance maps, connected components of things, or nowhere.",
)
@click.option(
    "--out",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder to write into; the same command again goes on where it stopped.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto (the first CUDA device, else the CPU), cpu, cuda or cuda:N.",
)
def train(
    *,
    config: str,
    assignments: tuple[str, ...],
    out: Path,
    device: str,
    **options: str | None,
) -> None:
    """Train a pix2pixHD generator.

    CONFIG is a shipped model (hdsynth configs models) or a YAML file of that form; it names the
    dataset, the networks, the losses and the stages. DIR gets metrics.csv, TensorBoard logs,
    sheets of pictures (labels, rendered, real), checkpoints to go on from, and at the end the
    checkpoint DIR/final and the page DIR/report.html.

    With several GPUs: torchrun --nproc-per-node N -m hdsynth train CONFIG --out DIR
    """
    job = load_job(config, assignments, options)
    try:
        final = run_training(job, out=out, device=device)
    except KeyboardInterrupt:
        from hdmodel.training.folder import TrainingFolder

        saved = TrainingFolder(out).saved()
        known = f"{saved[-1].name} is saved" if saved else "nothing is saved yet"
        click.echo(f"hdsynth: {out}: {known}; the same command goes on from there", err=True)
        raise
    if int(os.environ.get("RANK", "0")) == 0:
        click.echo(f"{final}: trained; see {out / 'report.html'}. Next:")
        if job.encoder is not None:
            click.echo(f"  hdsynth styles {final} --dataset DIR --format FMT")
        click.echo(f"  hdsynth render --generator {final} ...")


def load_job(config: str, assignments: Sequence[str], options: Mapping[str, Any]) -> "TrainJob":
    """The training that a command line describes.

    Args:
        config: A shipped model's name, or a YAML file.
        assignments: `a.b=value` overrides, strongest.
        options: Values of `DATASET_OPTIONS`, None where they were not given.

    Raises:
        ConfigError: It describes none.
    """
    from hdsynth.commands.options import training_data
    from hdsynth.commands.shipped import configuration_file
    from pipeline.training.job import TrainJob

    file = configuration_file("models", config)
    data = training_data(file, assignments, options, keys=DATASET_OPTIONS)
    return TrainJob.parse(data, origin=str(file))


def run_training(job: "TrainJob", *, out: Path, device: str = "auto") -> Path:
    """Open the scenes that a training asks for, and train on them.

    Args:
        job: The training run; its number of classes is replaced by the taxonomy's.
        out: The folder to write into.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        The final checkpoint.

    Raises:
        HdsynthError: Something the configuration names cannot be used.
    """
    from contextlib import nullcontext

    from hdmodel.errors import ConfigError
    from hdsynth.training_progress import training_bar
    from pipeline.checkpoints import taxonomy_record
    from pipeline.output.lock import locked
    from pipeline.training.scenes import open_training_scenes

    scenes = open_training_scenes(job.dataset, validation=job.validation)
    # Threads that wait by spinning make every step several times slower when anything else runs.
    # Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from hdmodel.training.checks import check_training
    from hdmodel.training.data_parallel import Processes
    from hdmodel.training.loop import train as train_generator
    from pipeline.devices import candidate_devices

    devices = candidate_devices(device)
    rank, ranks = (int(os.environ.get(f"LOCAL_{name}", 0)) for name in ("RANK", "WORLD_SIZE"))
    if devices != ["cpu"] and ranks > len(devices):
        raise ConfigError(
            f"torchrun: {ranks} processes for {len(devices)} devices ({', '.join(devices)}), "
            "expected at most one each"
        )
    where = torch.device(devices[rank % len(devices)])
    if where.type == "cuda":
        torch.cuda.set_device(where)
    generator = job.generator.model_copy(update={"num_classes": scenes.taxonomy.num_classes})
    job = job.model_copy(update={"generator": generator})
    processes = Processes.join(where)
    record = taxonomy_record(scenes.taxonomy)
    check_training(job, scenes, taxonomy=record, processes=processes)
    out.mkdir(parents=True, exist_ok=True)
    with (
        locked(out) if processes.is_first else nullcontext(),
        training_bar() if processes.is_first else nullcontext() as progress,
    ):
        final = train_generator(
            job,
            scenes,
            taxonomy=record,
            palette=scenes.taxonomy.colors,
            out=out,
            device=where,
            ignored=[c.id for c in scenes.taxonomy.classes if c.void == "clutter"],
            processes=processes,
            progress=progress,
        )
    processes.leave()  # not after an error: it would wait for those that still compute
    return final
