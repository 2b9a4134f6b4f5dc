from pathlib import Path

import pytest

from eval.errors import EvalError
from eval.reports.compare import class_table, read_systems, score_table, to_latex, to_markdown
from tests.eval_reports import make


def save(folder: Path, **changes: object) -> str:
    folder.mkdir()
    make(**changes).save(folder)  # type: ignore[arg-type]
    return str(folder)


def test_rows_are_metrics_and_columns_systems_with_the_oracle_last(tmp_path: Path) -> None:
    paths = [save(tmp_path / "pix2pix", mean_iou=0.3948), save(tmp_path / "b", mean_iou=0.6389)]
    systems = read_systems([paths[0], f"ours={paths[1]}/report.json"])
    table = score_table(systems)
    assert table[0] == ["", "pix2pix", "ours", "oracle"]
    assert ["Mean IoU", "0.3948", "0.6389", "0.8000"] in table
    assert ["Pixel acc. (%)", "90.00", "90.00", "90.00"] in table
    assert ["Mean IoU / oracle", "0.4935", "0.7986", "1.0000"] in table
    assert class_table(systems)[1:] == [
        ["road", "0.7000", "0.7000", "0.9000"],
        ["car", "0.5000", "0.5000", "0.7000"],
    ]


def test_markdown_and_latex_show_the_same_cells() -> None:
    table = [
        ["", "a_b", "c", "oracle"],
        ["Acc. (%)", "1.50", "-", "3.00"],
        ["IoU", "1.5", "2", "9"],
    ]
    assert to_markdown(table).splitlines() == [
        "|          |  a_b |   c | oracle |",
        "| -------- | ---: | --: | -----: |",
        "| Acc. (%) | 1.50 |   - |   3.00 |",
        "| IoU      |  1.5 |   2 |      9 |",
    ]
    lines = to_latex(table, caption="100 %").splitlines()
    assert lines[2:9] == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r" & a\_b & c & oracle \\",
        r"\midrule",
        r"Acc. (\%) & \textbf{1.50} & -- & 3.00 \\",
        r"IoU & 1.5 & \textbf{2} & 9 \\",
        r"\bottomrule",
    ]
    assert r"\caption{100 \%}" in lines


def test_other_protocols_and_equal_names_are_refused(tmp_path: Path) -> None:
    one = save(tmp_path / "one")
    other = save(tmp_path / "other", protocol={"real": 9}, protocol_id="f" * 12)
    with pytest.raises(EvalError, match=r"one and other .*these differ:\n  real: 3 and 9"):
        read_systems([one, other])
    with pytest.raises(EvalError, match="a second system 'one'"):
        read_systems([one, f"{one}/report.json"])
    with pytest.raises(EvalError, match="no such report"):
        read_systems([str(tmp_path / "none")])


def test_systems_with_other_oracles_are_refused(tmp_path: Path) -> None:
    one = save(tmp_path / "one", oracle=0.8)
    other = save(tmp_path / "other", oracle=0.7)
    with pytest.raises(
        EvalError,
        match=r"one and other have different oracles .*: mean IoU of real photos is 0\.8000 and "
        r"0\.7000 \(/data/world, /data/world\)",
    ):
        read_systems([one, other])
    lacking = save(tmp_path / "lacking", oracle_iou={"road": 0.9, "car": None})
    with pytest.raises(EvalError, match=r"IoU of car of real photos is 0\.7000 and -"):
        read_systems([one, lacking])
    near = save(tmp_path / "near", oracle=0.80004)
    assert [name for name, _ in read_systems([one, near])] == ["one", "near"]
