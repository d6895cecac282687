"""What the gate found: whether a candidate may be released, by which checks, and how sure that is."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from typing import Any

from perfkit.stats.release import BLOCK, INCONCLUSIVE, PASS, Slowdown
from perfkit.tables import ResultTable
from perfkit.workflows.comparison import Comparison

__all__ = ["GateCheck", "GateResult", "percent"]

_ORDER = (BLOCK, INCONCLUSIVE, PASS)
_WIDTH = 78
_WHOLE_PERCENTS_FROM = 0.2
_LARGEST = 10.0


def percent(share: float, *, signed: bool = True) -> str:
    """A relative change for people; what is not finite is unknown.

    >>> percent(0.1), percent(-0.0312), percent(float("inf")), percent(0.05, signed=False), percent(23_000)
    ('+10.0%', '-3.1%', 'unknown', '5.0%', 'over +1000%')
    """
    if not math.isfinite(share):
        return "unknown"
    if share > _LARGEST:
        return f"over {percent(_LARGEST, signed=signed)}"
    digits = 0 if abs(share) >= _WHOLE_PERCENTS_FROM else 1
    return f"{share:+.{digits}%}" if signed else f"{share:.{digits}%}"


@dataclasses.dataclass(frozen=True, slots=True)
class GateCheck:
    """One check.

    Args:
        name: what is checked, such as ``overall``, ``method grpc`` or ``slo checkout latency``.
        kind: ``overall``, ``method``, ``failures`` or ``slo``.
        verdict: ``block``, ``pass`` or ``inconclusive``.
        found: what was found, for people.
        interval: how sure that is, for people; empty where that is no question.
        allowed: what would not block, for people.
        sentence: all of it, with the next step where there is one.
    """

    name: str
    kind: str
    verdict: str
    found: str
    interval: str
    allowed: str
    sentence: str


@dataclasses.dataclass(frozen=True)
class GateResult:
    """Whether a candidate may be released.

    Args:
        candidate: name of the run that is judged.
        baseline: name of the run, or the runs, that it is judged by.
        tolerance: largest slow-down that never blocks.
        false_block_rate: accepted share of unchanged candidates that are blocked.
        overall: the slow-down over all methods, each counting once; relative to the controls where these moved.
        methods: the slow-down of each method; empty where there is one.
        against_controls: whether the controls moved between the runs, so that changes are relative to them.
        checks: every check, in the order in which they were made.
        comparison: scenario by scenario, for information: no single one blocks.
        warnings: what makes the decision less sure.
    """

    candidate: str
    baseline: str
    tolerance: float
    false_block_rate: float
    overall: Slowdown
    methods: tuple[Slowdown, ...]
    against_controls: bool
    checks: tuple[GateCheck, ...]
    comparison: Comparison
    warnings: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """``block`` where any check blocks; ``pass`` where all pass, but for methods that are not settled; else
        ``inconclusive``, which does not block."""
        found = {check.verdict for check in self.checks if check.kind != "method" or check.verdict == BLOCK}
        return next(verdict for verdict in _ORDER if verdict in found)

    @property
    def blocked(self) -> bool:
        """Whether the release is to be stopped."""
        return self.verdict == BLOCK

    @property
    def value(self) -> float:
        """The overall slow-down: candidate / baseline - 1."""
        return self.overall.value

    @property
    def interval(self) -> tuple[float, float]:
        """90 % interval of `value`; each bound by itself holds in 95 of 100 cases."""
        return self.overall.low, self.overall.high

    @property
    def n(self) -> int:
        """Launches of both sides together."""
        return sum(self.overall.launches)

    @property
    def method(self) -> str:
        """How the decision came about and how often it is wrong, for people."""
        before, after = self.overall.launches
        most, rate = (percent(share, signed=False) for share in (self.tolerance, self.false_block_rate))
        return (
            f"Launches are the units ({before} of the baseline, {after} of the candidate). Blocked is a slow-down of "
            f"more than {most} that is significant: an unchanged candidate is blocked in at most {rate} of cases where "
            "launches differ method by method, in up to 3.5 times as many where all methods of a launch are slow "
            "together. Methods by themselves are adjusted for their number (Holm)."
        )

    @property
    def power(self) -> str:
        """What the decision would have seen, for people."""
        worst = max((one.detectable for one in self.methods), default=self.overall.detectable)
        said = f"A slow-down of {percent(self.overall.detectable)} over all would be blocked nine times in ten"
        if self.methods:
            said += f", of {percent(worst)} in any single method"
        return f"{said}."

    @property
    def sentence(self) -> str:
        """The decision as a sentence."""
        head = {BLOCK: "Blocked", PASS: "Passed", INCONCLUSIVE: "Not blocked, but not settled either"}[self.verdict]
        reasons = [
            check.sentence
            for check in self.checks
            if (check.kind == "overall" if self.verdict == PASS else check.verdict == self.verdict)
            and (check.kind != "method" or self.blocked)
        ]
        return f"{head}: {' '.join(reasons)}"

    def to_table(self) -> ResultTable:
        """One row per check; the decision, its error rates and what to mind as notes."""
        rows = tuple((one.name, one.found, one.interval, one.allowed, one.verdict) for one in self.checks)
        said = (self.sentence, self.method, self.power, *(f"! {warning}" for warning in self.warnings))
        notes = tuple(line for note in said for line in textwrap.wrap(note, _WIDTH))
        title = f"Gate: {self.candidate} against {self.baseline}: {self.verdict}"
        return ResultTable(title, ("check", "found", "90% interval", "allowed", "verdict"), rows, notes, (1, 2, 3))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        comparison = self.comparison.to_plain()
        return {
            "candidate": self.candidate,
            "baseline": self.baseline,
            "verdict": self.verdict,
            "blocked": self.blocked,
            "value": self.value,
            "interval": list(self.interval),
            "n": self.n,
            "tolerance": self.tolerance,
            "false_block_rate": self.false_block_rate,
            "overall": dataclasses.asdict(self.overall),
            "methods": [dataclasses.asdict(one) for one in self.methods],
            "against_controls": self.against_controls,
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "scenarios": comparison["scenarios"],
            "controls": comparison["controls"],
            "method": self.method,
            "power": self.power,
            "sentence": self.sentence,
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()
