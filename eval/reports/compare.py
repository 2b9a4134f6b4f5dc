"""Comparing systems: tables as in the paper, rows metrics, columns systems, the oracle last."""

from collections.abc import Sequence
from pathlib import Path

from eval.errors import EvalError
from eval.reports.report import Report, check_comparable, read_report
from eval.scores import HEADLINE

Table = list[list[str]]
"""Cells; the first row and the first column are heads."""
ORACLE = "oracle"
SAME = 1e-4
"""Scores of real photos that differ by less are equal: devices round differently."""
NONE = "-"


def read_systems(arguments: Sequence[str]) -> list[tuple[str, Report]]:
    """Read reports to be compared.

    Args:
        arguments: Folders of reports or their files, each with `NAME=` before it or not; else a
            system is called by the folder.

    Raises:
        EvalError: A report cannot be read, two have one name, or their protocols or oracles
                differ.
    """
    systems: list[tuple[str, Report]] = []
    for argument in arguments:
        name, separator, path = argument.partition("=")
        if not separator:
            name, path = "", argument
        report = read_report(Path(path))
        if not name:
            place = Path(path).absolute()
            name = place.name if place.is_dir() else place.parent.name
        if name in dict(systems):
            raise EvalError(f"{argument}: a second system {name!r}; name them, as in mine={path}")
        systems.append((name, report))
    for name, report in systems[1:]:
        check_comparable(systems[0][1], report, names=(systems[0][0], name))
        _check_oracle(systems[0][1], report, names=(systems[0][0], name))
    return systems


def _check_oracle(one: Report, other: Report, *, names: tuple[str, str]) -> None:
    """Refuse systems that were held against different real photos: a table has one oracle.

    Raises:
        EvalError: Scores of real photos differ by more than another device explains.
    """
    pairs = [
        (words, one.oracle.scores[key].value, other.oracle.scores[key].value)
        for key, words in HEADLINE.items()
    ]
    pairs += [
        (f"IoU of {row.name}", one.oracle.iou[row.name].value, other.oracle.iou[row.name].value)
        for row in one.classes
    ]
    for words, first, second in pairs:
        if _differ(first, second):
            raise EvalError(
                f"{names[0]} and {names[1]} have different oracles and cannot be compared: "
                f"{words} of real photos is {_shown(first, 1, 4)} and {_shown(second, 1, 4)} "
                f"({one.real.root}, {other.real.root}); score both against the same real photos"
            )


def _differ(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is not other
    return abs(one - other) > SAME


def score_table(systems: Sequence[tuple[str, Report]]) -> Table:
    """The paper's table: pixel accuracy and mean IoU of each system, then of real photos.

    Accuracies are in percent, as in the paper's Table 1; both ways to count void are given, since
    its numbers count void as wrong.

    Args:
        systems: Names and reports.
    """
    sides = [(name, report.rendered) for name, report in systems]
    sides.append((ORACLE, systems[0][1].oracle))
    table = [["", *(name for name, _ in sides)]]
    for words, key, scale, digits in (
        ("Pixel acc. (%)", "acc_void_as_error", 100, 2),
        ("Pixel acc., void ignored (%)", "acc_valid", 100, 2),
        ("Mean class acc. (%)", "mean_class_accuracy", 100, 2),
        ("Mean IoU", "mean_iou", 1, 4),
        ("Frequency-weighted IoU", "frequency_weighted_iou", 1, 4),
    ):
        values = [side.scores[key].value for _, side in sides]
        table.append([words, *(_shown(value, scale, digits) for value in values)])
    ratios = [report.ratio["mean_iou"].value for _, report in systems]
    table.append(["Mean IoU / oracle", *(_shown(r, 1, 4) for r in ratios), _shown(1.0, 1, 4)])
    return table


def class_table(systems: Sequence[tuple[str, Report]]) -> Table:
    """IoU per class of each system, then of real photos.

    Args:
        systems: Names and reports.
    """
    first = systems[0][1]
    table = [["IoU", *(name for name, _ in systems), ORACLE]]
    for row in first.classes:
        values = [report.rendered.iou[row.name].value for _, report in systems]
        values.append(first.oracle.iou[row.name].value)
        table.append([row.name, *(_shown(value, 1, 4) for value in values)])
    return table


def to_markdown(table: Table) -> str:
    """A table as Markdown, its columns aligned."""
    widths = [max(3, *(len(row[k]) for row in table)) for k in range(len(table[0]))]
    lines = ["| " + " | ".join(_padded(row, widths)) + " |" for row in table]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]]) + "\n"


def to_latex(table: Table, *, caption: str) -> str:
    """A table as LaTeX, for the booktabs package; the best system of each row is bold.

    Args:
        table: The table; its last column is the oracle, which does not compete.
        caption: What stands below it.
    """
    lines = [" & ".join(_escaped(cell) for cell in table[0]) + r" \\", r"\midrule"]
    lines += [" & ".join(_with_best(row)) + r" \\" for row in table[1:]]
    columns = "l" + "r" * (len(table[0]) - 1)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{_escaped(caption)}}}",
            r"\end{table}",
            "",
        ]
    )


def caption(systems: Sequence[tuple[str, Report]]) -> str:
    """What a reader must know of a comparison."""
    first = systems[0][1]
    height, width = first.protocol["score_size"]
    return (
        f"{first.protocol['rendered']} rendered and {first.protocol['real']} real photos, compared "
        f"at {height}x{width} (H x W), {len(first.classes)} classes, protocol {first.protocol_id}."
    )


def _with_best(row: Sequence[str]) -> list[str]:
    cells = [_escaped(cell) for cell in row]
    systems = row[1:-1]
    known = [float(cell) for cell in systems if cell != NONE]
    if len(systems) > 1 and known:
        for place, cell in enumerate(systems, start=1):
            if cell != NONE and float(cell) == max(known):
                cells[place] = rf"\textbf{{{cells[place]}}}"
    return cells


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = row
    return [
        first.ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)),
    ]


_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{sign: "\\" + sign for sign in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


def _escaped(text: str) -> str:
    return "--" if text == NONE else text.translate(_ESCAPES)


def _shown(value: float | None, scale: float, digits: int) -> str:
    return NONE if value is None else f"{scale * value:.{digits}f}"
