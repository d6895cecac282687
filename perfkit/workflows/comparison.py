"""What comparing two runs shows: every scenario with its change and verdict, and what the controls did meanwhile."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import Any

from perfkit.stats.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE
from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes, format_duration

__all__ = ["QUANTITIES", "Comparison", "Difference", "ScenarioChange"]

QUANTITIES: Mapping[str, str] = {"latency": "latency", "cpu": "processor time", "resident": "resident memory"}
"""What can be compared, and what people call it. Less is better."""

_ORDER = (WORSE, BETTER, INCONCLUSIVE, EQUIVALENT)
_WIDTH = 78
_SHOWN = 10
"""Scenarios that a table shows of each verdict that calls for nothing; a preset has hundreds."""
_WHOLE_PERCENTS_FROM = 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """A relative change from run A to run B.

    Args:
        value: B / A - 1.
        low: lower bound of its interval; -1 where a run has a single launch.
        high: upper bound of its interval; infinite where a run has a single launch.
        p_different: probability of a difference this large if nothing changed, adjusted for the number of scenarios;
            None where a run has a single launch.
        p_equivalent: probability of a difference this small if the true change were at the margin, likewise adjusted.
        n: launches of A and of B together.
        verdict: ``better``, ``worse``, ``equivalent`` or ``inconclusive``.
    """

    value: float
    low: float
    high: float
    p_different: float | None
    p_equivalent: float | None
    n: int
    verdict: str

    def cells(self) -> tuple[str, str, str]:
        """Change, interval and verdict, as cells of a table.

        >>> Difference(0.5, 0.2, 12.0, 0.01, 0.9, 6, "worse").cells()
        ('+50%', '+20 to +1200%', 'worse')
        """
        digits = 0 if max(abs(self.low), abs(self.high)) >= _WHOLE_PERCENTS_FROM else 1
        known = f"{100 * self.low:+.{digits}f} to {100 * self.high:+.{digits}f}%"
        return f"{self.value:+.{digits}%}", "unknown" if math.isinf(self.high) else known, self.verdict

    def __str__(self) -> str:
        """The change with its interval, for a sentence.

        >>> str(Difference(0.031, -0.012, 0.076, 0.2, 0.1, 6, "inconclusive"))
        '+3.1% (-1.2 to +7.6%)'
        """
        value, interval, _ = self.cells()
        return f"{value} ({interval})" if math.isfinite(self.high) else f"{value} (interval unknown)"


@dataclasses.dataclass(frozen=True, slots=True)
class ScenarioChange:
    """One scenario in both runs.

    Args:
        scenario: its name.
        before: what run A measured: geometric mean of the launches' medians; nanoseconds or bytes.
        after: what run B measured.
        launches: launches of A and of B that measured it.
        change: from A to B.
    """

    scenario: str
    before: float
    after: float
    launches: tuple[int, int]
    change: Difference


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Run B against run A.

    Args:
        run_a: name of the run that is compared against.
        run_b: name of the run that is judged.
        quantity: one of `QUANTITIES`.
        margin: largest relative change that does not matter.
        alpha: accepted share of comparisons with any wrong ``better`` or ``worse``; 1 - alpha is the confidence of the
            intervals.
        scenarios: those that both runs measured, without the controls.
        controls: what both runs measured of the machine itself, no method involved.
        overall: geometric mean over the scenarios, each counting once.
        overall_of_controls: likewise over the controls; None without them.
        against_controls: `overall`, each launch relative to its controls; None without them.
        only_in_a: scenarios that B lacks.
        only_in_b: scenarios that A lacks.
        warnings: what makes the two runs hard to compare.
    """

    run_a: str
    run_b: str
    quantity: str
    margin: float
    alpha: float
    scenarios: tuple[ScenarioChange, ...]
    controls: tuple[ScenarioChange, ...]
    overall: Difference
    overall_of_controls: Difference | None
    against_controls: Difference | None
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Scenarios that were compared."""
        return len(self.scenarios)

    @property
    def method(self) -> str:
        """How the verdicts came about, for people."""
        return (
            f"Welch's test on the logarithms of launch medians, adjusted after Holm over {plural(self.n, 'scenario')}; "
            f"equivalent: two one-sided tests within ±{self.margin:.0%}"
        )

    @property
    def moved_controls(self) -> tuple[ScenarioChange, ...]:
        """Controls that changed: where there are any, the machine is not what it was."""
        return tuple(one for one in self.controls if one.change.verdict in (BETTER, WORSE))

    @property
    def judged(self) -> Difference:
        """What the verdict rests on: the overall change; relative to the controls where these moved."""
        return self.against_controls if self.moved_controls and self.against_controls else self.overall

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``equivalent`` or ``inconclusive``, over all scenarios."""
        return self.judged.verdict

    @property
    def counts(self) -> dict[str, int]:
        """How many scenarios have each verdict."""
        found = Counter(one.change.verdict for one in self.scenarios)
        return {verdict: found[verdict] for verdict in _ORDER}

    @property
    def sentence(self) -> str:
        """What it means."""
        what = QUANTITIES[self.quantity]
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.counts.items() if count)
        said = f"Overall {self.verdict}: {what} {self.overall} over {plural(self.n, 'scenario')} ({counts})."
        if not self.moved_controls:
            return said
        moved = ", ".join(f"{one.scenario} {one.change.value:+.0%}" for one in self.moved_controls)
        return (
            f"{said} The machine changed, not only what was measured: {moved}. The verdict is on the change relative "
            f"to the controls, {self.against_controls}; single scenarios are shown as they were measured."
        )

    def to_table(self) -> ResultTable:
        """Every scenario that is worse or better, the largest changes of the rest, and the controls."""
        write = format_bytes if self.quantity == "resident" else format_duration
        shown, left_out = self.notable()
        rows = tuple(
            (one.scenario, write(one.before), write(one.after), *one.change.cells()) for one in (*shown, *self.controls)
        )
        notes = [self.sentence, f"{self.method}."]
        if left_out:
            rest = ", ".join(f"{count} {verdict}" for verdict, count in Counter(left_out).items())
            notes.append(f"Not shown: {rest} with smaller changes; --json (in Python `scenarios`) has every one.")
        notes += [*self._missing(), *(f"! {warning}" for warning in self.warnings)]
        columns = ("scenario", "A", "B", "change", f"{1 - self.alpha:.0%} interval", "verdict")
        title = f"{QUANTITIES[self.quantity].capitalize()} of run {self.run_b} (B) against {self.run_a} (A)"
        wrapped = tuple(line for note in notes for line in textwrap.wrap(note, _WIDTH))
        return ResultTable(title, columns, rows, wrapped, align_right=(1, 2, 3, 4))

    def notable(self) -> tuple[list[ScenarioChange], list[str]]:
        """The scenarios that tables and charts show, worst first, and the verdicts of those that they leave out."""
        ordered = sorted(self.scenarios, key=lambda one: (_ORDER.index(one.change.verdict), -abs(one.change.value)))
        seen: Counter[str] = Counter()
        shown, left_out = [], []
        for one in ordered:
            verdict = one.change.verdict
            seen[verdict] += 1
            if verdict in (BETTER, WORSE) or seen[verdict] <= _SHOWN:
                shown.append(one)
            else:
                left_out.append(verdict)
        return shown, left_out

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            **dataclasses.asdict(self),
            "n": self.n,
            "method": self.method,
            "verdict": self.verdict,
            "counts": self.counts,
            "sentence": self.sentence,
        }

    def _missing(self) -> tuple[str, ...]:
        lacking = (("A", self.only_in_a), ("B", self.only_in_b))
        return tuple(f"! only in {run}: {_some(names)}" for run, names in lacking if names)

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _some(names: tuple[str, ...], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
