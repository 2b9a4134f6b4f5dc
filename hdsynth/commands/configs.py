"""`hdsynth configs`: what is shipped."""

from pathlib import Path

import click


@click.command()
@click.argument("kind", required=False)
@click.argument("name", required=False)
def configs(*, kind: str | None, name: str | None) -> None:
    """List the shipped configurations, or print one.

    Without arguments, every kind and its names; with KIND (taxonomies, models, scorers, policies,
    jobs, checkpoints), the names of that kind; with KIND and NAME, the file itself, to start one of
    your own from: `hdsynth configs taxonomies cityscapes > mine.yaml`.
    """
    from configs import KINDS, folder, names

    shipped = {key: found for key in KINDS if folder(key).is_dir() and (found := names(key))}
    if kind is None:
        for key, found in shipped.items():
            click.echo(key)
            _list(key, found)
        return
    if kind not in shipped:
        raise click.UsageError(f"No such kind {kind!r}; expected one of {', '.join(shipped)}.")
    if name is None:
        _list(kind, shipped[kind])
        return
    if name not in shipped[kind]:
        raise click.UsageError(
            f"No such configuration {name!r} in {kind}; expected one of {', '.join(shipped[kind])}."
        )
    click.echo(_file(folder(kind), name).read_text(encoding="utf-8"), nl=False)


def _list(kind: str, found: list[str]) -> None:
    from configs import folder

    width = max((len(name) for name in found), default=0)
    for name in found:
        click.echo(f"  {name:{width}}  {_summary(_file(folder(kind), name))}".rstrip())


def _file(folder: Path, name: str) -> Path:
    places = (folder / f"{name}.yaml", folder / name / "config.yaml", folder / name / "scorer.yaml")
    return next(place for place in places if place.is_file())


def _summary(file: Path) -> str:
    """The comment on the first line of a shipped file, which says what it is."""
    with file.open(encoding="utf-8") as lines:
        first = lines.readline().strip()
    return first.removeprefix("#").strip() if first.startswith("#") else ""
