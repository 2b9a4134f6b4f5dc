"""`hdsynth styles`: the styles that the classes of a generator come in."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hdsynth.commands.options import SIZE, dataset_keys, dataset_options, limit_option, together

if TYPE_CHECKING:
    from hdmodel.styles import StyleBank
    from pipeline.fit import FitMode
    from pipeline.scene import Scene
    from pipeline.taxonomy import Taxonomy


class BuildByDefault(click.Group):
    """A group whose arguments mean `build` unless they begin with a subcommand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `build` in front where no subcommand is named."""
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["build", *args]
        return super().parse_args(ctx, args)


def encoding_options(*, required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that name a dataset with photos, a size and a device."""
    return together(
        dataset_options(required=required, folder="Dataset folder with photos"),
        click.option(
            "--size",
            metavar="HxW",
            type=SIZE,
            help="Height x width to which scenes are fitted.  [default: as in the training]",
        ),
        click.option(
            "--fit",
            metavar="MODE",
            help="How: resize, resize_crop, resize_pad, crop or pad.  "
            "[default: as in the training, else resize]",
        ),
        click.option(
            "--device",
            default="auto",
            show_default=True,
            help="auto (the first CUDA device, else the CPU), cpu, cuda or cuda:N.",
        ),
    )


checkpoint_argument = click.argument("checkpoint", metavar="CKPT", type=click.Path(path_type=Path))


@click.group(cls=BuildByDefault, subcommand_metavar="[build] CKPT ... | show CKPT ...")
def styles() -> None:
    """Collect the styles of a dataset's objects into a generator, or show them.

    For generators that read features, made by hdsynth train with an encoder. The same as
    build: hdsynth styles CKPT --dataset DIR --format FMT
    """


@styles.command()
@checkpoint_argument
@encoding_options(required=True)
@click.option(
    "--modes",
    metavar="K",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="Modes per class at most; a class of n objects has at most n/3.",
)
@click.option(
    "--min-area",
    metavar="N",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Pixels from which an object counts, at --size; smaller ones count where their class has "
    "no others.",
)
@limit_option
@click.option(
    "--seed",
    metavar="S",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of the clustering.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def build(
    *,
    checkpoint: Path,
    modes: int,
    min_area: int,
    limit: int | None,
    seed: int,
    device: str,
    size: tuple[int, int] | None,
    fit: str | None,
    as_json: bool,
    **dataset: Any,
) -> None:
    """Make the style bank of a generator.

    Every object of the dataset is encoded, and the objects of each class are clustered by K-means
    into the modes the class comes in. Best done on the dataset and split the generator was trained
    on; keys that are not given are those of the training. A bank that CKPT has already is replaced.
    """
    from hdmodel.checkpoint import read_checkpoint_config
    from hdmodel.styles import describe_styles, save_styles
    from hdsynth.console import print_json
    from pipeline.devices import candidate_devices
    from pipeline.styles.bank import encoding_size, make_style_bank, style_dataset

    config = style_dataset(checkpoint, dataset_keys(**dataset))
    fitted, fit_mode = encoding_size(checkpoint, size, fit)
    bank = make_style_bank(
        checkpoint,
        config,
        size=fitted,
        fit_mode=fit_mode,
        modes=modes,
        min_area=min_area,
        seed=seed,
        device=candidate_devices(device)[0],
        limit=limit,
    )
    save_styles(checkpoint, bank)
    names = read_checkpoint_config(checkpoint).taxonomy.class_names
    if as_json:
        print_json({"checkpoint": str(checkpoint), **describe_styles(bank, names)})
        return
    _print_bank(bank, names)
    click.echo(f"{checkpoint}: has a style bank now. Next:")
    click.echo(f"  hdsynth styles show {checkpoint} --to styles.png")
    click.echo(f"  hdsynth render --generator {checkpoint} --style random ...")


@styles.command()
@checkpoint_argument
@encoding_options(required=False)
@click.option(
    "--scene",
    "name",
    metavar="NAME",
    help="Which scene of the dataset to show.  [default: the first]",
)
@click.option(
    "--to",
    metavar="FILE.png",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The picture to write; one that exists is replaced.",
)
def show(
    *,
    checkpoint: Path,
    name: str | None,
    to: Path,
    device: str,
    size: tuple[int, int] | None,
    fit: str | None,
    **dataset: Any,
) -> None:
    """Draw a scene in every mode of its main classes.

    The picture has a row per class and a column per mode. Without a dataset, a scene of the sample
    world is shown, where the generator has the classes of Cityscapes.
    """
    from hdmodel.styles import load_styles
    from pipeline.devices import candidate_devices
    from pipeline.styles.bank import encoding_size
    from pipeline.styles.sheet import write_style_sheet

    if to.suffix.lower() != ".png":
        raise click.BadParameter(f"{to}: expected a file name that ends in .png", param_hint="--to")
    load_styles(checkpoint)
    fitted, fit_mode = encoding_size(checkpoint, size, fit)
    keys = dataset_keys(**dataset)
    if not keys and name is None:
        scene, taxonomy = _sample_scene(checkpoint, fitted)
    elif "root" not in keys or "format" not in keys:
        raise click.UsageError("a scene of a dataset needs --dataset and --format")
    else:
        scene, taxonomy = _dataset_scene(checkpoint, keys, name, fitted, fit_mode)
    where = candidate_devices(device)[0]
    write_style_sheet(checkpoint, scene, taxonomy=taxonomy, to=to, device=where)
    click.echo(f"{to}: scene {scene.name} in every mode of its main classes")


def _sample_scene(checkpoint: Path, size: tuple[int, int]) -> "tuple[Scene, Taxonomy]":
    from hdmodel.checkpoint import read_checkpoint_config
    from pipeline.errors import TaxonomyError
    from pipeline.sample_world import draw_scene
    from pipeline.sample_world.scene import VAL_START
    from pipeline.scene import Scene
    from pipeline.taxonomy import Taxonomy

    taxonomy = Taxonomy.load("cityscapes")
    record = read_checkpoint_config(checkpoint).taxonomy
    if record.fingerprint != taxonomy.fingerprint:
        raise TaxonomyError(
            f"{checkpoint}: made for taxonomy {record.name!r}, which the sample world does not "
            "have; name a dataset with --dataset and --format"
        )
    height, width = size
    drawn = draw_scene(0, VAL_START, height=height, width=width)
    return Scene(drawn.name, drawn.label, drawn.instance, drawn.photo), taxonomy


def _dataset_scene(
    checkpoint: Path,
    keys: dict[str, Any],
    name: str | None,
    size: tuple[int, int],
    fit_mode: "FitMode",
) -> "tuple[Scene, Taxonomy]":
    from pipeline.checkpoints import choose_checkpoint
    from pipeline.sources import open_source
    from pipeline.sources.source import find_ref
    from pipeline.styles.bank import read_fitted, style_dataset

    source = open_source(style_dataset(checkpoint, keys))
    choose_checkpoint(checkpoint, source.taxonomy)
    ref = find_ref(source.scenes, name) if name is not None else source.scenes[0]
    return read_fitted(source, ref, size=size, fit_mode=fit_mode), source.taxonomy


def _print_bank(bank: "StyleBank", names: tuple[str, ...]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from hdmodel.styles import describe_styles
    from hdsynth.console import stdout

    table = Table(title="Modes by class", title_justify="left")
    for column in ("class", "objects", "used", "of pixels", "modes"):
        table.add_column(column, justify="left" if column == "class" else "right")
    without: dict[str, list[str]] = {}
    for row in describe_styles(bank, names)["classes"]:
        if row["fallback"] is not None:
            without.setdefault(row["fallback"], []).append(row["name"])
            continue
        table.add_row(
            escape(row["name"]),
            str(row["objects"]),
            *(f"{100 * row['coverage'][key]:.1f} %" for key in ("objects", "pixels")),
            str(len(row["modes"])),
        )
    stdout.print(table)
    for fallback, classes in without.items():
        text = f"no objects of {', '.join(classes)}: they look like the {fallback}"
        stdout.print(escape(text), soft_wrap=True)
