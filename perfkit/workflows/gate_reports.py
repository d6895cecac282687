"""The gate's decision where a pipeline shows it: JUnit XML, a comment for a pull request, annotations of GitHub."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from perfkit.stats.release import BLOCK, INCONCLUSIVE
from perfkit.workflows.gate_result import GateCheck, GateResult

__all__ = ["to_annotations", "to_junit", "to_markdown"]

_MARKS = {"block": "❌", "pass": "✅", "inconclusive": "❔"}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SHOWN_SCENARIOS = 10


def to_junit(result: GateResult) -> str:
    """The checks as JUnit XML: what blocks is a failure, what is not settled is skipped.

    Source: the format that Jenkins and GitLab read (https://github.com/testmoapp/junitxml).
    """
    counts = {
        "tests": str(len(result.checks)),
        "failures": str(sum(check.verdict == BLOCK for check in result.checks)),
        "errors": "0",
        "skipped": str(sum(check.verdict == INCONCLUSIVE for check in result.checks)),
    }
    root = ET.Element("testsuites", {"name": "perfkit gate", **counts, "time": "0"})
    suite = ET.SubElement(root, "testsuite", {"name": _xml(f"gate of {result.candidate}"), **counts, "time": "0"})
    properties = ET.SubElement(suite, "properties")
    for name, value in (("baseline", result.baseline), ("verdict", result.verdict), ("method", result.method)):
        ET.SubElement(properties, "property", {"name": name, "value": _xml(value)})
    for check in result.checks:
        case = ET.SubElement(
            suite, "testcase", {"classname": f"perfkit.gate.{check.kind}", "name": _xml(check.name), "time": "0"}
        )
        if check.verdict == BLOCK:
            failure = ET.SubElement(case, "failure", {"message": _xml(check.sentence), "type": check.kind})
            failure.text = _xml(_details(check))
        elif check.verdict == INCONCLUSIVE:
            ET.SubElement(case, "skipped", {"message": _xml(check.sentence)})
    output = ET.SubElement(suite, "system-out")
    output.text = _xml(str(result))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def to_markdown(result: GateResult) -> str:
    """The decision as a comment for a pull request: the sentence, every check, and what to mind."""
    lines = [
        f"## {_MARKS[result.verdict]} Performance gate: {result.verdict}",
        "",
        _markdown(result.sentence),
        "",
        f"Candidate {_code(result.candidate)} against {_code(result.baseline)}.",
        "",
        "| check | found | interval | allowed | verdict |",
        "|---|---:|---:|---:|---|",
    ]
    for check in result.checks:
        cells = (check.name, check.found, check.interval, check.allowed, f"{_MARKS[check.verdict]} {check.verdict}")
        lines.append(f"| {' | '.join(map(_markdown, cells))} |")
    if result.warnings:
        lines += ["", *(f"- ⚠️ {_markdown(warning)}" for warning in result.warnings)]
    shown, _ = result.comparison.notable()
    lines += ["", "<details><summary>Scenarios (for information)</summary>", "", "| scenario | change | verdict |"]
    lines.append("|---|---:|---|")
    lines += [
        f"| {_markdown(one.scenario)} | {_markdown(str(one.change))} | {one.change.verdict} |"
        for one in shown[:_SHOWN_SCENARIOS]
    ]
    lines += ["", "</details>", "", f"<sub>{_markdown(result.method)} {_markdown(result.power)}</sub>"]
    return "\n".join(lines) + "\n"


def to_annotations(result: GateResult) -> list[str]:
    """Workflow commands for GitHub: an error for what blocks, a warning for what is not settled, a notice for a pass.

    Source: GitHub, *Workflow commands for GitHub Actions*.
    """
    lines = [
        _annotation("error" if check.verdict == BLOCK else "warning", f"perfkit gate: {check.name}", check.sentence)
        for check in result.checks
        if check.verdict == BLOCK or (check.verdict == INCONCLUSIVE and check.kind != "method")
    ]
    return lines or [_annotation("notice", "perfkit gate", result.sentence)]


def _annotation(level: str, title: str, message: str) -> str:
    escaped = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    name = title.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={name}::{escaped}"


def _details(check: GateCheck) -> str:
    interval = f", interval {check.interval}" if check.interval else ""
    return f"{check.name}: found {check.found}{interval}, allowed {check.allowed}"


def _xml(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return _NOT_XML.sub("?", text)


def _markdown(text: str) -> str:
    """Text that no table and no list takes for markup."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|*_`\[\]])", r"\\\1", " ".join(escaped.split()))


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"
