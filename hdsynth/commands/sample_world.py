"""`hdsynth sample-world`: a street world to try things on."""

from pathlib import Path

import click

from hdsynth.commands.options import SIZE


@click.command("sample-world")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--scenes",
    metavar="N",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="How many scenes to draw; a fifth of them becomes the val split, the rest train.",
)
@click.option(
    "--size",
    metavar="HxW",
    type=SIZE,
    default="256x512",
    show_default=True,
    help="Height x width of the pictures, in pixels.",
)
@click.option(
    "--seed",
    metavar="S",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Another seed draws other streets; the same seed always draws the same ones.",
)
def sample_world(*, folder: Path, scenes: int, size: tuple[int, int], seed: int) -> None:
    """Draw a small street dataset in Cityscapes layout into DIR, to try hdsynth on.

    Photos, labelIds and instanceIds are pixel-exact. DIR must be new or empty; it appears when
    all scenes are drawn.
    """
    from hdsynth.commands.targets import new_folder
    from pipeline.progress import progress_bar
    from pipeline.sample_world import write_dataset

    height, width = size
    with new_folder(folder) as partial, progress_bar("drawing scenes", scenes) as show:
        write_dataset(
            partial,
            scenes=scenes,
            height=height,
            width=width,
            seed=seed,
            progress=lambda done, _: show(done),
        )
    click.echo(
        f"{scenes} scenes of {height}x{width} are in {folder}. Next:\n"
        f"  hdsynth validate {folder} --format cityscapes --split train\n"
        f"  hdsynth render --dataset {folder} --format cityscapes --split train "
        f"--samples {scenes} --size {height}x{width} --out {folder.name}-synth"
    )
