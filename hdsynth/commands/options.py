"""Options, and option types, that commands share."""

import re
from collections.abc import Callable
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
