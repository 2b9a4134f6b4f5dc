"""`hdsynth plan` and `hdsynth render`: the job, dry and for real."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hdsynth.commands.options import SIZE

if TYPE_CHECKING:
    from pipeline.config import RenderConfig
    from pipeline.output.summary import RunSummary
    from pipeline.training.plan import TrainingPlan

BEAM_OPTIONS = "hdsynth.beam_options"

# Command-line option to the key of the config file that it sets.
KEYS = {
    "dataset": "dataset.root",
    "format": "dataset.format",
    "split": "dataset.split",
    "taxonomy": "dataset.taxonomy",
    "instances": "dataset.instances",
    "generator": "generator.checkpoint",
    "device": "generator.device",
    "style": "style.mode",
    "photo": "photo.mode",
    "exclude_near": "photo.exclude_near",
    "policy": "recompose.policy",
    "samples": "samples",
    "size": "size",
    "fit": "fit",
    "seed": "seed",
    "out": "output.path",
    "shard_size": "output.shard_size",
    "workers": "workers",
}
NEEDED_WITHOUT_CONFIG = ("dataset", "format", "size", "out")


class BeamCommand(click.Command):
    """A command whose arguments after `--` are options for Beam."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the part after `--` away before click sees it."""
        if "--" in args:
            position = args.index("--")
            ctx.meta[BEAM_OPTIONS] = args[position + 1 :]
            args = args[:position]
        return super().parse_args(ctx, args)


def job_options(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments and options that `plan` and `render` share."""
    decorators = [
        click.argument("config", required=False, type=click.Path(path_type=Path)),
        click.option(
            "--set",
            "assignments",
            metavar="KEY=VALUE",
            multiple=True,
            help="Set any key of the job, such as generator.dtype=float32. May be repeated.",
        ),
        click.option("--dataset", metavar="DIR", help="Dataset folder, or any fsspec URL."),
        click.option(
            "--format",
            metavar="FMT",
            help="Its layout: cityscapes, camvid, coco_stuff, ade20k, nyu40, helen, folders, zarr.",
        ),
        click.option("--split", metavar="S", help="Which split of it to read."),
        click.option("--taxonomy", metavar="T", help="Its classes, by name or YAML file."),
        click.option(
            "--instances",
            type=click.Choice(["files", "components", "none"]),
            help="Where objects come from: instance maps, connected components of things, or "
            "nowhere.",
        ),
        click.option("--generator", metavar="CKPT", help="Checkpoint folder to render with."),
        click.option(
            "--device",
            metavar="auto|cpu|cuda",
            help="Where to render; auto takes CUDA devices where there are any.",
        ),
        click.option(
            "--photo",
            metavar="rendered|composite|exemplar",
            help="Where pixels come from: all from the generator; real ones wherever there are "
            "some; or all from photos of other scenes. The last two need no generator.",
        ),
        click.option(
            "--exclude-near",
            metavar="N",
            type=int,
            help="Copy no pixels from the N scenes before and after a sample's own, in the order "
            "of their names: in drives they show the same street.",
        ),
        click.option(
            "--style",
            metavar="source|random|mean",
            help="The style of objects, where the generator reads features: that of the photos "
            "they come from, a random mode of its style bank each, or the mean of their class. "
            "--set style.fixed.car=3 sets the mode of a class.",
        ),
        click.option(
            "--policy",
            metavar="P",
            help="Edits to make: light, none or another of `hdsynth configs policies`, or a file.",
        ),
        click.option("--samples", metavar="N", type=int, help="How many samples to make."),
        click.option("--size", metavar="HxW", type=SIZE, help="Height x width of the samples."),
        click.option(
            "--fit",
            metavar="MODE",
            help="How scenes come to --size: resize, resize_crop, resize_pad, crop or pad.",
        ),
        click.option("--seed", metavar="S", type=int, help="Another seed makes other samples."),
        click.option("--out", metavar="DIR", help="Output folder."),
        click.option("--shard-size", metavar="N", type=int, help="Samples per shard file."),
        click.option("--workers", metavar="N", type=int, help="Worker processes here."),
    ]
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def load_config(
    config: Path | None, assignments: tuple[str, ...], options: dict[str, Any]
) -> "RenderConfig":
    """The job that a command line describes.

    Raises:
        ConfigError: It describes none.
    """
    import configs
    from pipeline.config import RenderConfig

    if config is not None:
        config = configs.find("jobs", config)
    else:
        given = {name for name, value in options.items() if value is not None}
        given |= {name for name, key in KEYS.items() if any(a.startswith(key) for a in assignments)}
        missing = [f"--{name}" for name in NEEDED_WITHOUT_CONFIG if name not in given]
        if missing:
            raise click.UsageError(f"without a CONFIG file, {', '.join(missing)} must be given")
    data: dict[str, Any] = {}
    for name, value in options.items():
        if value is not None:
            *parents, leaf = KEYS[name].split(".")
            node = data
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = value
    return RenderConfig.load(config, assignments=assignments, options=data)


@click.command("plan", cls=BeamCommand)
@job_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(
    *, config: Path | None, assignments: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Check a job and say what it would do; writes nothing.

    Takes what `hdsynth render` takes: a CONFIG file, options, or both. CONFIG may also be a
    training (a shipped model, or a file of that form); then --set and the options that name the
    dataset go with it.
    """
    from hdsynth.console import print_json
    from pipeline.forecast import Forecast, forecast
    from pipeline.training.job import is_training

    result: TrainingPlan | Forecast
    if config is not None and is_training(config):
        result = _plan_training(str(config), assignments, options)
    else:
        result = forecast(load_config(config, assignments, options))
    if as_json:
        print_json(result.to_plain())
    else:
        click.echo(result.text())


def _plan_training(
    config: str, assignments: tuple[str, ...], options: dict[str, Any]
) -> "TrainingPlan":
    from hdsynth.commands.train import DATASET_OPTIONS, load_job
    from pipeline.training.plan import plan_training

    given = {name: value for name, value in options.items() if value is not None}
    if foreign := sorted(given.keys() - DATASET_OPTIONS.keys()):
        option = foreign[0].replace("_", "-")
        raise click.UsageError(f"--{option} does not go with a training, which {config} is")
    return plan_training(load_job(config, assignments, given))


@click.command("render", cls=BeamCommand)
@job_options
@click.option("--overwrite", is_flag=True, help="Delete an earlier output of hdsynth in --out.")
@click.option("--retry-failed", is_flag=True, help="Render shards with failed samples again.")
@click.pass_context
def render(
    ctx: click.Context,
    /,
    *,
    config: Path | None,
    assignments: tuple[str, ...],
    overwrite: bool,
    retry_failed: bool,
    **options: Any,
) -> None:
    """Edit a dataset's label maps and render them into zarr shards.

    The job comes from a CONFIG file, from options, or both; options win over the file, --set over
    both. The same command again resumes a job that was stopped, and does nothing for one that is
    done. Anything after `--` goes to Apache Beam, such as `-- --runner=FlinkRunner`.
    """
    from pipeline.errors import RunError
    from pipeline.run import render as run

    job = load_config(config, assignments, options)
    exit_on_interrupt(job.output.path)
    try:
        summary = run(
            job,
            overwrite=overwrite,
            retry_failed=retry_failed,
            beam_options=ctx.meta.get(BEAM_OPTIONS, ()),
        )
    except RunError as error:
        click.echo(f"hdsynth: error: {error}", err=True)
        sys.stderr.flush()
        # Beam's threads may wait for ever for a worker that died.
        os._exit(2)
    report(summary)
    click.echo(f"next: hdsynth preview {summary.out} --to {summary.out}-preview")
    ctx.exit(1 if summary.failed else 0)


def exit_on_interrupt(out: Path) -> None:
    """Make Ctrl-C end the process at once, whichever of Beam's threads is at work.

    Python's own way would first let Beam finish the shard in hand, or turn the interrupt into an
    error of the job.
    """

    def end(*_: object) -> None:
        message = (
            f"\nhdsynth: interrupted; what is committed in {out} is kept, "
            "run the same command again to go on\n"
        )
        show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
        os.write(2, (show_cursor + message).encode())
        os._exit(130)

    signal.signal(signal.SIGINT, end)


def report(summary: "RunSummary") -> None:
    """Print how a run went."""
    if summary.shards_rendered == 0:
        click.echo(f"{summary.out}: nothing to do, all {summary.shards} shards are committed")
    else:
        phases = ", ".join(
            f"{phase} {seconds:.1f} s" for phase, seconds in summary.phase_seconds.items()
        )
        click.echo(
            f"{summary.photos_rendered} photos in {summary.seconds:.1f} s "
            f"({summary.photos_per_second:.2f} photos/s), "
            f"{summary.generator_share:.0%} of it in the generator ({phases})"
        )
    click.echo(f"{summary.out}: {summary.ok} of {summary.samples} samples, {summary.shards} shards")
    if summary.failed:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(summary.failed.items()))
        click.echo(
            f"failed: {kinds}; `hdsynth status {summary.out}` says why, "
            "--retry-failed renders them again"
        )
