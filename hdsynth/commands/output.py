"""`hdsynth status`, `verify`, `replay` and `preview`: what to do with the output of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.inspection.replay import ReplayReport
    from pipeline.inspection.status import RunStatus
    from pipeline.inspection.verify import VerifyReport

EXIT_INCOMPLETE = 1
EXIT_DAMAGED = 2
PROBLEMS_SHOWN = 20
DEFAULT_SAMPLES = 24

out_argument = click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
to_option = click.option(
    "--to",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="Where to write it; must be new or empty.",
)


@click.command("status")
@out_argument
@json_option
def status(*, out: Path, as_json: bool) -> None:
    """Say how far the run in OUT is, how fast it goes and what failed.

    Can be asked at any time, also while a job is writing.
    """
    from hdsynth.console import print_json
    from pipeline.inspection.status import read_status

    result = read_status(out)
    if as_json:
        print_json(status_to_plain(result))
    else:
        show_status(result)


@click.command("verify")
@out_argument
@json_option
@click.pass_context
def verify(ctx: click.Context, *, out: Path, as_json: bool) -> None:
    """Read every committed shard of OUT again and compare it with its record.

    Exit code 0: all is well. 1: something is missing or failed, what is there is good. 2: damage;
    the report names shard, sample and array, and says how to have them made anew.
    """
    from hdsynth.console import print_json
    from pipeline.inspection.verify import verify as check

    report = check(out)
    if as_json:
        print_json(verify_to_plain(report))
    else:
        show_verify(report)
    if report.damaged:
        ctx.exit(EXIT_DAMAGED)
    ctx.exit(0 if report.complete else EXIT_INCOMPLETE)


@click.command("replay")
@out_argument
@click.argument("index", metavar="INDEX", type=int)
@to_option
@click.option(
    "--device",
    metavar="auto|cpu|cuda",
    help="Where to render; as in the run if not given.",
)
@click.option("--maps-only", is_flag=True, help="Do not render the photo.")
@json_option
@click.pass_context
def replay(
    ctx: click.Context,
    *,
    out: Path,
    index: int,
    to: Path,
    device: str | None,
    maps_only: bool,
    as_json: bool,
) -> None:
    """Make sample INDEX of the run in OUT again, from its record and the dataset.

    Label and instance maps must come out bit by bit as recorded, else the dataset has changed
    since the run (exit code 2). For a failed sample: what fails now.
    """
    from hdsynth.console import print_json
    from pipeline.inspection.replay import replay as make_again

    report = make_again(out, index, to=to, device=device, photo=not maps_only)
    if as_json:
        print_json(replay_to_plain(report))
    else:
        show_replay(report)
    ctx.exit(EXIT_INCOMPLETE if report.error else 0)


@click.command("preview")
@out_argument
@click.option(
    "--to",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="Where to write the page; new, empty, or an earlier preview, which is replaced.",
)
@click.option(
    "--samples",
    metavar="N",
    type=click.IntRange(min=1),
    default=DEFAULT_SAMPLES,
    show_default=True,
    help="How many samples to show; they are spread evenly over the run.",
)
@click.option(
    "--beside",
    metavar="OUT2",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A run with the same label maps, whose photos are shown as well: of another generator or "
    "photo mode, say. May be repeated.",
)
@click.option(
    "--audit",
    metavar="N",
    type=click.IntRange(min=1),
    help="Show N single edits instead, enlarged, and ask of each whether it is believable. "
    "hdsynth audit show prints what comes of it.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="With --audit: let the page save marks as DIR/marks.json at once, until Ctrl-C.",
)
def preview(
    *,
    out: Path,
    to: Path,
    samples: int,
    beside: tuple[Path, ...],
    audit: int | None,
    serve: bool,
) -> None:
    """Make a page of pictures of the run in OUT: source labels, edited labels, photos.

    The page opens from disk in any browser.
    """
    from pipeline.inspection.preview import write_preview

    if audit is not None:
        if samples != DEFAULT_SAMPLES or beside:
            raise click.UsageError(
                f"give either {'--beside' if beside else '--samples'} or --audit"
            )
        _audit(out, to, edits=audit, serve=serve)
    elif serve:
        raise click.UsageError("--serve is for --audit N")
    else:
        click.echo(write_preview(out, to, samples=samples, beside=beside).absolute())


def _audit(out: Path, to: Path, *, edits: int, serve: bool) -> None:
    from pipeline.inspection.audit import write_audit
    from pipeline.inspection.audit_server import serve_audit

    made = write_audit(out, to, edits=edits)
    if made.edits < edits:
        click.echo(f"{made.edits} edits instead of {edits}: no more of them can be seen", err=True)
    if made.kept_marks:
        click.echo(f"{made.kept_marks} marks of before are kept", err=True)
    click.echo(made.page.absolute())
    if serve:
        serve_audit(to, lambda address: click.echo(f"{address} (Ctrl-C ends it)"))


def status_to_plain(status: "RunStatus") -> dict[str, Any]:
    """The status as JSON-compatible data."""
    from dataclasses import asdict

    return asdict(status) | {
        "out": str(status.out),
        "quotas": [report.to_plain() for report in status.quotas],
        "complete": status.complete,
        "samples_committed": status.samples_committed,
        "photos_per_worker_second": status.photos_per_worker_second,
        "seconds_left": status.seconds_left,
        "advice": status.advice,
    }


def verify_to_plain(report: "VerifyReport") -> dict[str, Any]:
    """The report as JSON-compatible data."""
    from dataclasses import asdict

    problems = [
        asdict(problem) | {"path": str(problem.path), "damage": problem.is_damage}
        for problem in report.problems
    ]
    return asdict(report) | {
        "out": str(report.out),
        "damaged": report.damaged,
        "complete": report.complete,
        "damaged_shards": list(report.damaged_shards),
        "problems": problems,
        "advice": report.advice,
    }


def replay_to_plain(report: "ReplayReport") -> dict[str, Any]:
    """The report as JSON-compatible data."""
    from dataclasses import asdict

    return asdict(report) | {"to": str(report.to)}


def show_status(status: "RunStatus") -> None:
    """Print a status for people."""
    from pipeline.planning.quotas import quota_lines

    failed = sum(status.samples_failed.values())
    _title(str(status.out))
    rows = [
        ("shards", f"{status.shards_committed:,} of {status.shards_planned:,} committed"),
        ("samples", f"{status.samples_ok:,} good of {status.samples_planned:,} planned"),
    ]
    if failed:
        kinds = ", ".join(f"{count:,} at {kind}" for kind, count in status.samples_failed.items())
        rows.append(("failed", f"{failed:,} ({kinds})"))
    if status.running:
        process = f", process {status.process}" if status.process else ""
        rows.append(("job", f"running at this moment{process}"))
        if status.seconds_left is not None:
            rows.append(("time left", f"about {_duration(status.seconds_left)}"))
    if status.recent_photos_per_second is not None:
        rows.append(("lately", f"{status.recent_photos_per_second:.2f} samples/s"))
    total = sum(status.phase_seconds.values())
    if total:
        shares = ", ".join(f"{k} {v / total:.0%}" for k, v in status.phase_seconds.items())
        rate = f"{status.photos_per_worker_second:.2f} photos per second"
        rows.append(("a worker", f"{rate} of work ({shares})"))
    rows += [
        (
            operation.operation.replace("_", " "),
            f"{operation.done:,} done"
            + (f", {operation.skipped:,} left out" if operation.skipped else ""),
        )
        for operation in status.operations
    ]
    if status.pixels:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in status.pixels.items())
        rows.append(("pixels", shares))
    for kind, words in (
        ("hidden", "objects covered completely by edits"),
        ("removed_small", "objects taken out, too little of them was left to see"),
        ("kept_small", "objects left in though too small, nothing could fill the hole"),
    ):
        if status.events.get(kind):
            rows.append((kind.replace("_", " "), f"{status.events[kind]:,} {words}"))
    if status.pasted:
        classes = ", ".join(f"{name} {count:,}" for name, count in status.pasted.items())
        rows.append(("pasted", classes))
    for place, line in enumerate(quota_lines(status.quotas)):
        rows.append(("quotas" if place == 0 else "", line))
    _rows(rows)
    if status.errors:
        click.echo(f"\nfirst errors of {failed:,}:")
        for error in status.errors:
            click.echo(f"  sample {error.index}, {error.kind}, {error.scene}: {error.error}")
    for message in status.unreadable_manifests:
        click.echo(f"  {message}")
    click.echo(f"\n{status.advice}")


def show_verify(report: "VerifyReport") -> None:
    """Print a report for people, problems as a table."""
    _title(str(report.out))
    _rows(
        [
            ("shards", f"{report.shards_checked:,} of {report.shards_planned:,} read again"),
            ("samples", f"{report.samples_checked:,} of {report.samples_planned:,} read again"),
            ("failed", f"{report.samples_failed:,} in the run"),
            ("problems", f"{len(report.problems):,}"),
        ]
    )
    if report.problems:
        _show_problems(report)
    click.echo()
    for line in report.advice or ["Everything that was written is there and unchanged."]:
        click.echo(line)


def _show_problems(report: "VerifyReport") -> None:
    from hdsynth.console import stdout

    # Damage first; what has only not been made yet can fill pages.
    problems = sorted(report.problems, key=lambda problem: not problem.is_damage)
    shown = problems[:PROBLEMS_SHOWN]
    cells = [
        (
            "" if p.shard is None else str(p.shard),
            "" if p.sample is None else str(p.sample),
            p.array or "",
            p.kind,
            f"{_relative(p.path, report.out)}: {p.detail}",
        )
        for p in shown
    ]
    head = ("shard", "sample", "array", "problem", "file")
    widths = [max(len(row[column]) for row in (head, *cells)) for column in range(4)]
    stdout.print()
    for row in (head, *cells):
        columns = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False))
        stdout.print(f"  {columns}  {row[4]}", markup=False, soft_wrap=True)
    if len(problems) > len(shown):
        stdout.print(f"  and {len(problems) - len(shown):,} more; --json lists all", markup=False)


def show_replay(report: "ReplayReport") -> None:
    """Print what came of a replay for people."""
    _title(f"sample {report.index}, from scene {report.scene}")
    rows = []
    if report.recorded_error:
        rows.append(("recorded", f"failed: {report.recorded_error}"))
    if report.error:
        rows.append(("now", f"fails: {report.error}"))
    elif report.was_failed:
        rows.append(("now", "works; the same hdsynth render command with --retry-failed makes it"))
    if report.maps:
        text = {
            "identical": "label and instance are bit by bit the recorded ones",
            "stored ones damaged": "as recorded, but the stored ones are damaged, "
            "see hdsynth verify",
            "not recorded": "made; the run recorded none to compare with",
        }[report.maps]
        rows.append(("maps", text))
    if report.photo:
        rows.append(("photo", _photo_words(report)))
    rows.append(("written", f"{report.to}: {', '.join(report.files)}"))
    _rows(rows)


def _photo_words(report: "ReplayReport") -> str:
    photo = report.photo
    assert photo is not None
    made = "of real pixels alone"
    if photo.device is not None:
        made = f"rendered on {photo.device} in {photo.dtype}"
    if photo.identical:
        return f"identical ({made})"
    if photo.max_abs_difference is None:
        return "differs from the record, and the stored one cannot be read, see hdsynth verify"
    text = (
        f"differs by at most {photo.max_abs_difference} of 255, "
        f"{photo.mean_abs_difference:.3f} on average ({made}"
    )
    text += (
        ")" if photo.same_generator in (True, None) else ", with another generator than the run's)"
    )
    return text


def _title(text: str) -> None:
    click.echo(click.style(text, bold=True))


def _rows(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"  {name:{width}}  {text}")


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
