"""Look at an experiment while it runs: as often as one likes, without finding what is not there."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.lake import DEFAULT_LAKE_PATH
from perfkit.stats.experiments import MetricEffect
from perfkit.stats.experiments.power import Design, pilot_of_effect, units_needed
from perfkit.stats.experiments.sequential import Stopping, stopping
from perfkit.stats.experiments.showing import write_value
from perfkit.tables import ResultTable
from perfkit.workflows.experiment.following import Followed, follow
from perfkit.workflows.experiment.report import ExperimentReport
from perfkit.workflows.experiment.sizing import days_text

__all__ = ["ADVICE", "Watched", "may_stop", "watch", "watched"]

_WIDTH = 78

ADVICE = {
    "stop": "STOP",
    "conclude": "ready to conclude",
    "wait": "go on",
}
"""What a look may come to, and how people read it."""


@dataclasses.dataclass(frozen=True)
class Watched:
    """The present state of an experiment.

    Args:
        name: of the experiment.
        state: ``running``, ``stopped``, ``concluded`` or ``promoted``.
        report: what it has shown; intervals and p-values are always-valid, whatever the plan says.
        observations: rows of each variant.
        minimum: rows of each variant without which there is no conclusion.
        planned_units: sessions of all variants after which it ends: as planned, or as many as find a change as large
            as the margin with a probability of 80 %.
        days: how long it has run.
        days_left: how long it takes at the average rate of new sessions so far; NaN where that is not known.
        problems: why it should be stopped now; empty where nothing speaks for that.
    """

    name: str
    state: str
    report: ExperimentReport
    observations: Mapping[str, int]
    minimum: int
    planned_units: int
    days: float
    days_left: float
    problems: tuple[str, ...]

    @property
    def n(self) -> int:
        """Units of all variants."""
        return self.report.n

    @property
    def method(self) -> str:
        """How the primary effect was judged, for people."""
        return self.report.method

    @property
    def verdict(self) -> str:
        """As that of the report."""
        return self.report.verdict

    @property
    def advice(self) -> str:
        """``stop``, ``conclude`` or ``wait``: one of `ADVICE`."""
        if self.problems:
            return "stop"
        is_large = min(self.observations.values()) >= self.minimum and self.n >= self.planned_units
        return "conclude" if is_large or self.stopping.may_stop else "wait"

    @property
    def stopping(self) -> Stopping:
        """Whether the primary effect allows to stop, for success, for harm or for futility."""
        return may_stop(self.report.result.primary)

    @property
    def sentence(self) -> str:
        """What to do."""
        if self.problems:
            return f"STOP: {'; '.join(self.problems)}. `perfkit ab rollback {self.name}` says how."
        if self.advice == "conclude":
            return f"Ready: `perfkit ab conclude {self.name}` writes the verdict down."
        left = f", about {days_text(self.days_left)}" if math.isfinite(self.days_left) else ""
        missing = max(0, self.planned_units - self.n)
        fewest = min(self.observations.values())
        lacking = [f"{missing} sessions"] if missing else []
        lacking += [f"{self.minimum - fewest} transfers per variant"] if fewest < self.minimum else []
        return f"Go on: {' and '.join(lacking)} are still missing{left}."

    def to_table(self) -> ResultTable:
        """What to do, then the effects."""
        table = self.report.to_table()
        rows = ", ".join(f"{name} {count}" for name, count in self.observations.items())
        so_far = f"{self.n} of {self.planned_units} sessions; transfers: {rows}"
        seen = f"{self.state.capitalize()}; {days_text(self.days)} of data; {so_far}."
        valid = "Intervals and p-values hold at all looks together: look as often as you like."
        notes = tuple(line for note in (self.sentence, seen, valid) for line in textwrap.wrap(note, _WIDTH))
        title = f"Experiment {self.name}: {ADVICE[self.advice]}"
        return dataclasses.replace(table, title=title, notes=(*notes, *table.notes))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        names = ("name", "state", "advice", "sentence", "verdict", "minimum", "planned_units", "days", "days_left", "n")
        plain = {name: getattr(self, name) for name in names}
        return {
            **plain,
            "observations": dict(self.observations),
            "problems": list(self.problems),
            "report": self.report.to_plain(),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def watch(name: str, *, lake: str | Path = DEFAULT_LAKE_PATH, settings: str | Path = "perfkit.toml") -> Watched:
    """Look at an experiment. Looking changes nothing: every interval is valid however often somebody looks.

    Args:
        name: of the experiment.
        lake: where services record.
        settings: the `perfkit.toml`; the plan lies in `experiments/` beside it.

    Raises:
        UnknownNameError: there is no such experiment.
        InputError: nothing was recorded of it yet.
        LakeError: the lake cannot be read.
    """
    return watched(follow(name, lake=lake, settings=settings, inference="sequential"))


def watched(followed: Followed) -> Watched:
    """What a look at an experiment comes to."""
    planned, report = followed.planned, followed.report
    effect, days = report.result.primary, followed.recorded.days
    units = planned.plan.planned_units
    if units is None:
        units = _units_for_margin(effect, planned.plan.inference)
    rate = report.n / days if days > 0 else math.nan
    fewest = min(followed.observations.values())
    of_rows = report.n * planned.plan.minimum / fewest
    left = max(0.0, max(units, of_rows) - report.n) / rate if rate > 0 else math.nan
    return Watched(
        name=planned.name,
        state=planned.state,
        report=report,
        observations=followed.observations,
        minimum=planned.plan.minimum,
        planned_units=units,
        days=days,
        days_left=left,
        problems=tuple(_problems(report)),
    )


def may_stop(effect: MetricEffect) -> Stopping:
    """Whether an effect that is judged sequentially allows to stop."""
    low, high = effect.interval
    known = (low, high) if low <= high else (-1.0, math.inf)
    return stopping(known, effect.margin, effect.direction)


def _units_for_margin(effect: MetricEffect, inference: str) -> int:
    """Units that find a change as large as the margin; 0 where nothing is known of the noise yet."""
    if not effect.is_known or not 0 < effect.standard_error < math.inf:
        return 0
    design = Design(effect.units_variant / effect.n_units, effect.alpha, inference)
    return units_needed(pilot_of_effect(effect), effect.margin, design=design)


def _problems(report: ExperimentReport) -> list[str]:
    found = []
    if report.is_off:
        of = "assigned" if report.exposure is not None and report.exposure.is_off else "measured"
        ratio = report.exposure if of == "assigned" and report.exposure else report.result.sample_ratio
        counts = ", ".join(f"{name} {count}" for name, count in ratio.units.items())
        found.append(f"the sessions that were {of} ({counts}) are not split as planned (p = {ratio.p_value:.1g})")
    for guardrail in report.result.failed_guardrails:
        one = guardrail.effect
        change = " to ".join(write_value(one.metric, value) for value in (one.control_value, one.variant_value))
        found.append(f"{one.variant} breaks the guardrail {one.metric} {one.statistic} ({change})")
    return found
