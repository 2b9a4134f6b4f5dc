"""`hdsynth train-scorer`: a segmentation network that reads photos back."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hdsynth.commands.train import DATASET_OPTIONS

if TYPE_CHECKING:
    from eval.scorers.job import ScorerJob

OPTIONS = {**DATASET_OPTIONS, "half": "dataset.half"}
"""Command-line option to the key of the configuration that it sets."""


@click.command("train-scorer")
@click.argument("config")
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one key of CONFIG, such as batch=4 or network.architecture=unet; may be repeated.",
)
@click.option("--dataset", metavar="DIR", help="Dataset folder, or any fsspec URL.")
@click.option("--format", metavar="FMT", help="Its layout, as for hdsynth render.")
@click.option("--split", metavar="S", help="Which split of it to train on.")
@click.option("--taxonomy", metavar="T", help="Its classes, by name or YAML file.")
@click.option(
    "--half",
    type=click.IntRange(1, 2),
    help="Train on one half of the split (every other 16 scenes), to score photos made from the "
    "other.",
)
@click.option(
    "--out",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder that becomes the scorer; the same command again goes on where it stopped.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto (the first CUDA device, else the CPU), cpu, cuda or cuda:N.",
)
def train_scorer(
    *,
    config: str,
    assignments: tuple[str, ...],
    out: Path,
    device: str,
    **options: str | None,
) -> None:
    """Train a scorer on the real photos of a dataset.

    CONFIG is a shipped one (hdsynth configs scorers) or a YAML file of that form. DIR becomes the
    scorer for hdsynth eval: scorer.yaml, with its scores on held-out photos, and its weights.
    """
    job = load_job(config, assignments, options)
    scores = run_training(job, out=out, device=device)
    click.echo(
        f"{out}: trained; mean IoU {scores['mean_iou'] or 0:.4f}, accuracy "
        f"{scores['acc_valid'] or 0:.4f} on {scores['scenes']} held-out scenes. Next:\n"
        f"  hdsynth eval OUT --scorer {out} --real DIR --report DIR"
    )


def load_job(config: str, assignments: Sequence[str], options: Mapping[str, Any]) -> "ScorerJob":
    """The training that a command line describes.

    Args:
        config: The name of a shipped one, or a YAML file.
        assignments: `a.b=value` overrides, strongest.
        options: Values of `OPTIONS`, None where they were not given.

    Raises:
        ConfigError: It describes none.
    """
    from eval.scorers.job import ScorerJob
    from hdsynth.commands.options import training_data
    from hdsynth.commands.shipped import configuration_file

    file = configuration_file("scorers", config)
    data = training_data(file, assignments, options, keys=OPTIONS)
    return ScorerJob.parse(data, origin=str(file))


def run_training(job: "ScorerJob", *, out: Path, device: str = "auto") -> Mapping[str, Any]:
    """Open the scenes that a training asks for, and train on them.

    Args:
        job: The training run.
        out: The folder to write into.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        The scores on the held-out scenes.

    Raises:
        HdsynthError: Something the configuration names cannot be used.
    """
    from hdsynth.training_progress import training_bar
    from pipeline.output.lock import locked
    from pipeline.training.scenes import open_training_scenes

    scenes = open_training_scenes(job.dataset, validation=job.validation)
    # Threads that wait by spinning make every step several times slower when anything else runs.
    # Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from eval.scorers.training import train_scorer as train
    from pipeline.devices import candidate_devices

    where = torch.device(candidate_devices(device)[0])
    out.mkdir(parents=True, exist_ok=True)
    with locked(out), training_bar() as progress:
        scorer = train(
            job,
            scenes,
            taxonomy=scenes.taxonomy,
            out=out,
            device=where,
            names=scenes.training_names,
            progress=progress,
        )
    return scorer.scores
