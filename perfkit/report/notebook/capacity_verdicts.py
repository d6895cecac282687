"""What a capacity forecast says, as one computed sentence per question."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from perfkit.report.notebook.verdicts import Verdict
from perfkit.stats.capacity.demand_result import figure
from perfkit.tables import ResultTable

if TYPE_CHECKING:
    from perfkit.learn.models.report import SliceCoverage
    from perfkit.report.notebook.capacity import OpenedCapacity

__all__ = [
    "capacity_verdict",
    "coverage_targets",
    "demand_verdict",
    "law_verdict",
    "little_verdict",
    "model_verdict",
    "utilisation_verdict",
]

_OVERALL, _WORST = 0.015, 0.05
"""How far from their level intervals may hold: overall on both sides, in a slice below."""
_NAMES = {"latency_ns": "latency", "cpu_ns": "processor time", "resident_bytes": "resident memory"}


def capacity_verdict(opened: OpenedCapacity) -> Verdict:
    """When the host is full, and what gives way first."""
    found = opened.found
    parts = [one.sentence for one in (found.bottleneck,) if one is not None]
    return Verdict(_capitalised(" ".join(parts) or found.sentence))


def law_verdict(opened: OpenedCapacity) -> Verdict:
    """How far concurrency carries."""
    law = opened.found.usl
    if law is None:
        return Verdict("No ladder was measured; `perfkit bench --ladder` does.")
    beyond = f"beyond {law.largest_allowed:.3g} nothing is said."
    warned = " ".join(("", *(f"{_capitalised(one)}." for one in law.warnings)))
    peak = law.peak_concurrency
    if not math.isfinite(peak.value):
        return Verdict(f"Throughput grows with concurrency as far as was measured; {beyond}{warned}")
    bounds = f"{peak.low:.3g} to {peak.high:.3g}" if math.isfinite(peak.high) else f"{peak.low:.3g} or more"
    return Verdict(
        f"Throughput peaks at {figure(law.peak_throughput.value)} per second with {peak.value:.3g} under way "
        f"({law.level:.0%} interval {bounds}); {beyond}{warned}"
    )


def little_verdict(opened: OpenedCapacity) -> Verdict:
    """Whether concurrency, throughput and latency fit together."""
    if opened.little is None:
        return Verdict("The ladder has no latencies, so Little's law cannot check it.")
    return Verdict(opened.little.sentence)


def demand_verdict(opened: OpenedCapacity) -> Verdict:
    """What demand will be, and when it reaches the limit."""
    found = opened.found
    parts = [one.sentence for one in (found.demand, found.limit) if one is not None]
    return Verdict(" ".join(parts) or "There is no demand to forecast.")


def utilisation_verdict(opened: OpenedCapacity) -> Verdict:
    """What gives way first under what is supposed."""
    found = opened.found.what_if or opened.found.bottleneck
    return Verdict("Nothing is known of any resource." if found is None else _capitalised(found.sentence))


def model_verdict(opened: OpenedCapacity) -> Verdict:
    """What the cost model in force is worth."""
    if opened.model is None or not opened.model.targets:
        return Verdict("No cost model is in force, so the published curves apply; `perfkit learn` makes one.")
    one = opened.model.targets[0]
    simulated = "Of simulated traffic: the" if "cost model" in opened.simulated else "The"
    overall = f"{one.coverage[0].coverage:.1%}" if one.coverage else "an unknown share"
    worst = f", in the worst slice ({one.worst.name}) {one.worst.coverage:.1%}" if one.worst else ""
    return Verdict(
        f"{simulated} {one.champion} predict{'s' if one.champion == 'model' else ''} latency: {opened.model.level:.0%} "
        f"intervals held {overall} of held-out transfers{worst}; n = {one.n:,}."
    )


def coverage_targets(opened: OpenedCapacity) -> ResultTable:
    """Whether intervals hold as often as they should, overall and in the slice where they hold least often."""
    report = opened.model
    if report is None or not report.targets:
        return ResultTable("No intervals were judged", (), ())
    low, high = report.level - _OVERALL, report.level + _OVERALL
    rows: list[tuple[str, ...]] = []
    for one in report.targets:
        name = _NAMES.get(one.target, one.target)
        if one.coverage:
            rows.append((name, "all", *_judged(one.coverage[0], f"{low:.1%} to {high:.1%}", low, high)))
        if one.worst is not None:
            least = report.level - _WORST
            rows.append((name, one.worst.name, *_judged(one.worst, f">= {least:.1%}", least, 1.0)))
    columns = ("of", "slice", "held", "target", "met", "n")
    notes = ("The other slice is the one of 500 transfers or more in which intervals hold least often.",)
    return ResultTable(f"Intervals that are to hold {report.level:.0%}", columns, tuple(rows), notes, (2, 3, 5))


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _judged(part: SliceCoverage, target: str, low: float, high: float) -> tuple[str, ...]:
    """A target is missed only where the 95 % interval of the share lies outside; transfers count as independent."""
    from scipy.stats import binomtest

    chance = binomtest(round(part.coverage * part.n), part.n).proportion_ci(0.95, method="wilson")
    is_possible = chance.low <= high and chance.high >= low
    met = "yes" if low <= part.coverage <= high else "undecided" if is_possible else "no"
    return f"{part.coverage:.1%}", target, met, f"{part.n:,}"
