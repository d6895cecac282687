"""End an experiment: one verdict, a recommendation, and both kept beside the plan."""

from __future__ import annotations

import dataclasses
import datetime
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.lake import DEFAULT_LAKE_PATH
from perfkit.stats.experiments import MetricEffect
from perfkit.stats.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE
from perfkit.tables import ResultTable
from perfkit.workflows.events import record_event
from perfkit.workflows.experiment.following import Followed, follow
from perfkit.workflows.experiment.planned import write_outcome
from perfkit.workflows.experiment.report import ExperimentReport
from perfkit.workflows.experiment.watching import Watched, may_stop, watched

__all__ = ["Concluded", "conclude", "promotion_problems"]

_WIDTH = 78


@dataclasses.dataclass(frozen=True)
class Concluded:
    """The end of an experiment, or why it cannot end yet.

    Args:
        name: of the experiment.
        report: what it has shown, judged by the plan.
        recommended: variant that should be the default: the control, where no other is shown to be better.
        recommendation: that as a sentence, with the reason.
        refusals: why there is no conclusion yet; empty when it was concluded.
        forced: whether somebody concluded in spite of them.
        path: file that keeps the conclusion.
        concluded_at: when.
        warnings: what could not be done besides.
    """

    name: str
    report: ExperimentReport
    recommended: str
    recommendation: str
    refusals: tuple[str, ...]
    forced: bool
    path: Path
    concluded_at: datetime.datetime
    warnings: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether there is no conclusion."""
        return bool(self.refusals) and not self.forced

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
        """``better``, ``worse``, ``equivalent`` or ``inconclusive``."""
        return INCONCLUSIVE if self.refused else self.report.verdict

    def to_table(self) -> ResultTable:
        """The verdict and what to do, then the effects."""
        table = self.report.to_table()
        if self.refused:
            said = [f"Not concluded: {'; '.join(self.refusals)}. --force concludes all the same."]
            title = f"Experiment {self.name}: too early to conclude"
        else:
            said = [self.recommendation]
            said += [f"! forced: {'; '.join(self.refusals)}"] if self.refusals else []
            title = f"Experiment {self.name}: {self.verdict}"
        said += [f"! {warning}" for warning in self.warnings]
        notes = tuple(line for note in said for line in textwrap.wrap(note, _WIDTH))
        return dataclasses.replace(table, title=title, notes=(*notes, *table.notes))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            "name": self.name,
            "concluded": not self.refused,
            "verdict": self.verdict,
            "recommended": self.recommended,
            "recommendation": self.recommendation,
            "refusals": list(self.refusals),
            "forced": self.forced,
            "promotion_problems": {
                one.variant: promotion_problems(self.report, one.variant) for one in _primaries(self.report)
            },
            "path": str(self.path),
            "concluded_at": self.concluded_at.isoformat(),
            "n": self.n,
            "report": self.report.to_plain(),
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def conclude(
    name: str,
    *,
    force: bool = False,
    lake: str | Path = DEFAULT_LAKE_PATH,
    settings: str | Path = "perfkit.toml",
) -> Concluded:
    """Judge an experiment by its plan, and keep verdict and report beside the plan.

    Refused before every variant has its minimum of observations and before the planned number of sessions is there -
    unless an always-valid interval has decided already, the sessions are not split as planned, or a guardrail broke:
    then there is nothing to wait for. A conclusion before the planned end is judged sequentially, whatever the plan
    says: a fixed test that ends when it looks good finds what is not there.

    Args:
        name: of the experiment.
        force: conclude in spite of the refusals.
        lake: where services record, and where the conclusion becomes an event.
        settings: the `perfkit.toml`; the plan lies in `experiments/` beside it.

    Returns:
        The verdict and the recommendation; or `refused`, with the reasons, and nothing was written.

    Raises:
        UnknownNameError: there is no such experiment.
        InputError: nothing was recorded of it yet.
        FileError: the conclusion cannot be written.
        LakeError: the lake cannot be read.
    """
    followed = follow(name, lake=lake, settings=settings, inference="sequential")
    looked = watched(followed)
    lacking = _lacking(followed, looked)
    if followed.planned.plan.inference == "fixed" and not lacking:
        followed = follow(name, lake=lake, settings=settings, inference="fixed")
    refusals = () if looked.problems or _is_decided(looked.report) else tuple(lacking)
    report = followed.report
    control, variant = report.result.control, _best(report)
    recommended = variant.variant if variant and not promotion_problems(report, variant.variant) else control
    now = datetime.datetime.now(datetime.UTC)
    concluded = Concluded(
        name=name,
        report=report,
        recommended=recommended,
        recommendation=_recommendation(report, recommended, name),
        refusals=refusals,
        forced=force and bool(refusals),
        path=followed.planned.outcome_path,
        concluded_at=now,
    )
    return concluded if concluded.refused else _keep(concluded, followed, lake)


def promotion_problems(report: ExperimentReport, variant: str) -> list[str]:
    """What forbids making a variant the default: it has to be shown to be not worse, and to break nothing.

    Args:
        report: what the experiment has shown.
        variant: the one to promote.
    """
    found = []
    if report.is_off:
        found.append("the sessions are not split as planned, so that no effect can be believed")
    broken = (one.effect for one in report.result.failed_guardrails if one.effect.variant == variant)
    found += [f"it breaks the guardrail {effect.metric} {effect.statistic}" for effect in broken]
    effect = next(one for one in report.result.effects if one.variant == variant)
    if not effect.is_not_inferior:
        known = f" (p = {effect.p_not_inferior:.2g})" if effect.is_known else ""
        what = f"{effect.metric} {effect.statistic}"
        found.append(f"it is not shown that {what} is not worse by {effect.margin:.0%} or more{known}")
    return found


def _lacking(followed: Followed, looked: Watched) -> list[str]:
    found = []
    few = {name: count for name, count in looked.observations.items() if count < looked.minimum}
    if few:
        have = ", ".join(f"{name} has {count}" for name, count in few.items())
        found.append(f"{have} of the {looked.minimum} transfers that a conclusion takes")
    planned = followed.planned.plan.planned_units
    if planned is not None and looked.n < planned:
        found.append(f"{looked.n} of {planned} planned sessions are there")
    return found


def _is_decided(report: ExperimentReport) -> bool:
    """Whether an always-valid test has decided about any variant."""
    return any(may_stop(one).may_stop for one in _primaries(report))


def _primaries(report: ExperimentReport) -> list[MetricEffect]:
    first = report.result.primary
    return [one for one in report.result.effects if (one.metric, one.statistic) == (first.metric, first.statistic)]


def _best(report: ExperimentReport) -> MetricEffect | None:
    """Of the variants that are shown to be better, the one that is most."""
    better = [one for one in _primaries(report) if one.verdict == BETTER]
    return max(better, key=lambda one: abs(one.relative), default=None)


def _recommendation(report: ExperimentReport, recommended: str, name: str) -> str:
    control = report.result.control
    if recommended != control:
        how = f"`perfkit ab promote {name}` says how"
        return f"Make {recommended} the default: it is better and breaks no guardrail. {how}."
    if report.is_off:
        return f"Keep {control}, and find where sessions get lost: no effect of this experiment can be believed."
    broken = [one.effect.metric for one in report.result.failed_guardrails]
    if broken:
        return f"Keep {control}: {', '.join(broken)} got worse. `perfkit ab rollback {name}` says how to stop."
    reasons: Mapping[str, str] = {
        WORSE: "the other is worse",
        EQUIVALENT: "the other is equivalent; promote it only where something else speaks for it, such as memory",
        BETTER: "the other is better, but does not meet what a promotion asks for",
        INCONCLUSIVE: "no change was shown, and none as large as the margin was ruled out",
    }
    return f"Keep {control}: {reasons[report.verdict]}."


def _keep(concluded: Concluded, followed: Followed, lake: str | Path) -> Concluded:
    plain = concluded.to_plain()
    planned = followed.planned
    write_outcome(
        planned,
        name=planned.name,
        pools=list(planned.pools),
        pool_tables=planned.pool_tables,
        variants=planned.variants,
        conclusion=plain,
    )
    details = {
        **{key: plain[key] for key in ("verdict", "recommended", "forced", "refusals", "n")},
        "primary": followed.report.result.primary.to_plain(),
    }
    message = f"Experiment {concluded.name}: {concluded.verdict}. {concluded.recommendation}"
    severity = "warning" if concluded.forced else "info"
    warnings = record_event(
        lake, "experiment concluded", subject=concluded.name, message=message, details=details, severity=severity
    )
    return dataclasses.replace(concluded, warnings=warnings)
