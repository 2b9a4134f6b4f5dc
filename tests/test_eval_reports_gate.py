from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from eval.reports.gate import Gate, check_gate
from eval.reports.junit import write_junit
from eval.reports.report import Report, RuleRow
from hdmodel.errors import ConfigError
from tests.eval_reports import make


def messages(report: Report, *, baseline: Report | None = None, **rules: Any) -> dict[str, str]:
    """The violated rules by name."""
    gate = Gate.parse(rules, origin="test")
    return {r.rule: r.message for r in check_gate(report, gate, baseline) if not r.passed}


def test_floors_hold_at_their_limit_and_fail_below() -> None:
    report = make(mean_iou=0.5, oracle=0.625)
    assert messages(report, mean_iou=0.5, oracle_ratio=0.8, acc_valid=0.9) == {}
    assert messages(report, mean_iou=0.51, oracle_ratio=0.81) == {
        "mean IoU": "mean IoU: 0.5000 < 0.51",
        "mean IoU / oracle": "mean IoU / oracle: 0.8000 < 0.81",
    }


def test_classes_have_floors_of_their_own() -> None:
    report = make(iou={"road": 0.9, "car": 0.4}, oracle_iou={"road": 0.9, "car": 0.8})
    assert messages(report, classes={"road": 0.9, "car": 0.5}) == {
        "IoU of car": "IoU of car: 0.4000 < 0.5"
    }
    assert messages(report, class_ratios={"road": 1.0, "car": 0.6}) == {
        "IoU of car / oracle": "IoU of car / oracle: 0.5000 < 0.6"
    }


def test_a_floor_for_something_absent_fails() -> None:
    report = make(iou={"road": 0.9, "car": None})
    expected = "IoU of car: nothing to score, expected at least 0.1"
    assert messages(report, classes={"car": 0.1}) == {"IoU of car": expected}
    assert "recall of pasted objects" in messages(report, pasted_recall=0.1)


def test_a_poor_oracle_fails_whatever_is_asked() -> None:
    report = make(mean_iou=0.29, oracle=0.29)
    (message,) = messages(report, mean_iou=0.1).values()
    assert message.startswith("oracle mean IoU: 0.2900 < 0.3; the scorer reads real photos too poo")
    assert messages(report, mean_iou=0.1, oracle_mean_iou=0.2) == {}


@pytest.mark.parametrize(
    ("now", "fails"), [(0.5, False), (0.4501, False), (0.4499, True), (0.9, False)]
)
def test_worse_than_the_baseline_is_what_noise_does_not_explain(now: float, fails: bool) -> None:
    # Half widths 0.03 and 0.04: together 0.05.
    before = make(mean_iou=0.5, half_width=0.03)
    report = make(mean_iou=now, half_width=0.04)
    rule = "mean iou against the baseline"
    found = messages(report, baseline=before)
    assert (rule in found) == fails
    if fails:
        assert found[rule].endswith("0.4499, was 0.5000 +- 0.0500: worse beyond noise")


NO_CAR: dict[str, float | None] = {"road": 0.7, "car": None}


def test_a_class_that_the_baseline_had_must_still_be_there() -> None:
    # Without cars, which are hard, the mean over what is present rises from 0.6 to 0.7.
    report = make(mean_iou=0.7, iou=NO_CAR)
    found = messages(report, baseline=make(mean_iou=0.6))
    assert found == {
        "classes against the baseline": "classes against the baseline: no rendered label has car, "
        "which the baseline has"
    }
    assert messages(make(), baseline=make()) == {}


def test_means_are_compared_over_the_classes_that_both_have() -> None:
    # Roads fell from 0.9 to 0.7; that cars are gone or new must not hide it.
    before = make(mean_iou=0.6, iou={"road": 0.9, "car": 0.3})
    found = messages(make(mean_iou=0.7, iou=NO_CAR), baseline=before)
    noise = 2**0.5 * 0.01
    assert found["mean iou against the baseline"].endswith(
        f"0.7000, was 0.9000 +- {noise:.4f}: worse beyond noise"
    )
    # Over roads alone: 0.7 / 0.9 of the oracle's, and 0.9 / 0.9.
    assert "0.7778, was 1.0000" in found["oracle ratio against the baseline"]
    before = make(mean_iou=0.9, iou={"road": 0.9, "car": None})
    after = make(mean_iou=0.9, iou={"road": 0.85, "car": 0.95})
    assert "0.8500, was 0.9000" in messages(after, baseline=before)["mean iou against the baseline"]


def test_a_new_class_is_no_fall() -> None:
    before = make(mean_iou=0.7, iou=NO_CAR)
    assert messages(make(mean_iou=0.6), baseline=before) == {}


def test_the_ratio_leaves_out_classes_that_an_oracle_lacks() -> None:
    # Over both classes 0.6 / 0.8 before; over roads alone, which are left now, 0.7 / 0.9 twice.
    before = make(mean_iou=0.6, oracle=0.8)
    report = make(mean_iou=0.6, oracle=0.9, oracle_iou={"road": 0.9, "car": None})
    rows = {row.rule: row.message for row in check_gate(report, Gate(), before)}
    name = "oracle ratio against the baseline"
    assert rows[name].startswith(f"{name}: 0.7778, was 0.7778 +- ")


def test_rules_are_checked_as_configurations_are(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text("mean_iuo: 0.5\n")
    with pytest.raises(ConfigError, match=r"gate\.yaml: unknown key 'mean_iuo', did you mean"):
        Gate.load(file)
    file.write_text("classes: {car: 1.5}\n")
    with pytest.raises(ConfigError, match=r"classes\.car: .*less than or equal to 1, got 1\.5"):
        Gate.load(file)


def test_junit_holds_a_case_per_rule(tmp_path: Path) -> None:
    rules = [
        RuleRow(rule="a", limit=0.5, value=0.6, passed=True, message="a: fine"),
        RuleRow(rule="b", limit=0.5, value=0.4, passed=False, message="b: 0.4 < 0.5 & more"),
    ]
    write_junit(tmp_path / "junit.xml", rules, seconds=1.5)
    top = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (top.tag, top.get("tests"), top.get("failures")) == ("testsuites", "2", "1")
    (suite,) = top
    assert [case.get("name") for case in suite] == ["a", "b"]
    failure = suite[1].find("failure")
    assert failure is not None
    assert failure.get("message") == "b: 0.4 < 0.5 & more"
