"""JUnit XML: the gate's rules as test cases, which every CI system can show."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from eval.reports.report import RuleRow
from hdmodel.atomic import write_atomically

SUITE = "hdsynth eval"


def write_junit(path: Path, rules: Sequence[RuleRow], *, seconds: float) -> None:
    """Write one test case per rule; a violated rule is a failure with its message.

    Args:
        path: The file.
        rules: The rules and what came of them.
        seconds: How long the evaluation took.
    """
    failures = str(sum(not rule.passed for rule in rules))
    counts = {"tests": str(len(rules)), "failures": failures, "errors": "0"}
    time = {"time": f"{seconds:.3f}"}
    top = ElementTree.Element("testsuites", counts | time)
    suite = ElementTree.SubElement(top, "testsuite", {"name": SUITE} | counts | time)
    for rule in rules:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": SUITE, "name": rule.rule, "time": "0"}
        )
        if rule.passed:
            ElementTree.SubElement(case, "system-out").text = rule.message
        else:
            failure = ElementTree.SubElement(case, "failure", {"message": rule.message})
            failure.text = rule.message
    ElementTree.indent(top)
    write_atomically(path, ElementTree.tostring(top, encoding="utf-8", xml_declaration=True))
