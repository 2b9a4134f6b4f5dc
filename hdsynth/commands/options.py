"""Options, and option types, that commands share."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click


class SizeType(click.ParamType):  # type: ignore[type-arg] # generic only in new releases
    """An image size `HxW` in pixels, as a tuple of height and width."""

    name = "HxW"

    def convert(
        self,
        value: str | tuple[int, int],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[int, int]:
        """Height and width of a text such as `256x512`."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d*)[xX]([1-9]\d*)", value.strip())
        if not match:
            self.fail(
                f"{value!r} is not a size; expected height x width in pixels, such as 256x512",
                param,
                ctx,
            )
        return int(match[1]), int(match[2])


SIZE = SizeType()

Command = Callable[..., None]


def dataset_options(
    *, required: bool, folder: str = "Dataset folder"
) -> Callable[[Command], Command]:
    """The options that name a dataset; a command hands their values to `dataset_keys`.

    Args:
        required: Whether a dataset must be named.
        folder: What the help of --dataset calls it.
    """
    return together(
        click.option(
            "--dataset",
            metavar="DIR",
            required=required,
            help=f"{folder}, or any fsspec URL.",
        ),
        click.option(
            "--format",
            "format_",
            metavar="FMT",
            required=required,
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
        click.option(
            "--set",
            "assignments",
            metavar="KEY=VALUE",
            multiple=True,
            help="Any other key of a job's dataset section, such as label_dir=labels/{split}.",
        ),
    )


def dataset_keys(
    *,
    dataset: str | None,
    format_: str | None,
    split: str | None,
    taxonomy: str | None,
    instances: str | None,
    assignments: tuple[str, ...],
) -> dict[str, Any]:
    """The given keys of a job's dataset section."""
    from hdmodel.settings import override

    options = {
        "root": dataset,
        "format": format_,
        "split": split,
        "taxonomy": taxonomy,
        "instances": instances,
    }
    return override({k: v for k, v in options.items() if v is not None}, assignments)


def together(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several decorators as one; the first is the outermost."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def fit_option(name: str = "fit") -> Callable[[Command], Command]:
    """The option that says how scenes are brought to a size, as a parameter of some name."""
    return click.option(
        "--fit",
        name,
        metavar="MODE",
        default="resize",
        show_default=True,
        type=click.Choice(["resize", "resize_crop", "resize_pad", "crop", "pad"]),
        help="How scenes are fitted: resize, resize_crop, resize_pad, crop or pad.",
    )


limit_option = click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    help="Use at most N scenes, spread evenly.  [default: all]",
)


def training_data(
    file: Path,
    assignments: Sequence[str],
    options: Mapping[str, Any],
    *,
    keys: Mapping[str, str],
) -> dict[str, Any]:
    """A training's configuration: a file, then options that name its dataset, then assignments.

    Args:
        file: The YAML file.
        assignments: `a.b=value` overrides, strongest.
        options: Values of options, None where they were not given.
        keys: By option, the key that it sets.

    Raises:
        ConfigError: The file cannot be read, an assignment makes no sense, or a dataset is named
            without its format for a training of the sample world.
    """
    from hdmodel.errors import ConfigError
    from hdmodel.settings import override, read_yaml
    from pipeline.training.job import SAMPLE_WORLD, WORLD_KEYS

    given = {keys[name]: value for name, value in options.items() if value is not None}
    data = override(read_yaml(file), [f"{key}=" for key in given])
    for key, value in given.items():
        data["dataset"][key.removeprefix("dataset.")] = value
    if "dataset.format" in given:
        for key in WORLD_KEYS:  # of a training that was made for the sample world
            data["dataset"].pop(key, None)
    data = override(data, assignments)
    if "dataset.root" in given and data["dataset"].get("format") == SAMPLE_WORLD:
        raise ConfigError(
            f"--dataset needs --format, the layout of its files; {file.name} is of the sample world"
        )
    return data
