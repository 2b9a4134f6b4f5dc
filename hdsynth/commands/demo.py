"""`hdsynth demo`: the whole road on the sample world, with the bundled checkpoint."""

from pathlib import Path

import click

SCENES = 40
SIZE = (256, 512)


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="hdsynth-demo",
    show_default=True,
    help="Where everything goes.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="How many samples to make.",
)
def demo(*, out: Path, samples: int) -> None:
    """Draw a small street dataset, edit it, make photos of it in three ways, and score them.

    Run again, it goes on where it stopped.
    """
    from eval.prepare import EvalConfig
    from eval.run import evaluate
    from eval.scorers.config import bundled_scorer
    from hdsynth.commands.eval import show
    from hdsynth.commands.render import exit_on_interrupt, report
    from hdsynth.commands.targets import new_folder
    from pipeline.config import OutputConfig, PhotoConfig, RenderConfig
    from pipeline.inspection.preview import write_preview
    from pipeline.progress import progress_bar
    from pipeline.run import render
    from pipeline.sample_world import write_dataset
    from pipeline.sources import DatasetConfig

    world = out / "world"
    height, width = SIZE
    if not world.exists():
        with new_folder(world) as folder, progress_bar("drawing scenes", SCENES) as advance:
            write_dataset(
                folder,
                scenes=SCENES,
                height=height,
                width=width,
                progress=lambda done, _: advance(done),
            )
    lines = [f"the dataset: {world}"]
    runs = {mode: out / mode / "run" for mode in ("composite", "exemplar", "rendered")}
    for mode, run in runs.items():
        scores = out / mode / "scores"
        exit_on_interrupt(run)
        summary = render(
            RenderConfig(
                dataset=DatasetConfig(root=str(world), format="cityscapes", split="train"),
                samples=samples,
                size=SIZE,
                photo=PhotoConfig(mode=mode),
                output=OutputConfig(path=run, shard_size=8),
            )
        )
        report(summary)
        scored = evaluate(
            EvalConfig(out=run, scorer=bundled_scorer(), report=scores, dtype="bfloat16")
        )
        show(scored, scores)
        lines += [f"{mode}: {run}", f"  the report: {(scores / 'report.html').absolute()}"]
    first, *others = runs.values()
    page = write_preview(first, out / "preview", beside=others)
    lines.append(f"look at them side by side: {page.absolute()}")
    click.echo("\n".join(lines))
