"""What an experiment shows, as one computed sentence per question."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from perfkit.report.charts.variants import change_text
from perfkit.report.detectable import WANTED_POWER, detectable_changes, units_for_the_margin
from perfkit.report.notebook.verdicts import Verdict
from perfkit.stats.verdicts import BETTER, WORSE
from perfkit.tables import plural

if TYPE_CHECKING:
    from perfkit.stats.experiments.self_check import SelfCheck
    from perfkit.workflows.experiment.report import EffectOverTime, ExperimentReport, QuantileShift

__all__ = [
    "ab_verdict",
    "effects_verdict",
    "looks_verdict",
    "power_verdict",
    "sample_ratio_verdict",
    "self_check_verdict",
    "shifts_verdict",
]


def ab_verdict(experiment: ExperimentReport) -> Verdict:
    """Whether the variant is better, worse, equivalent, or whether that is open; and how much there is to mind.

    Args:
        experiment: what `perfkit.experiment_report` returned.
    """
    warnings = len(experiment.warnings) + len(experiment.result.warnings)
    minded = f" Mind {plural(warnings, 'warning')} on the data." if warnings else ""
    return Verdict(f"{experiment.sentence}{minded}")


def sample_ratio_verdict(experiment: ExperimentReport) -> Verdict:
    """Whether the units are split as planned; where not, no other figure of the experiment is to be believed.

    Args:
        experiment: what `perfkit.experiment_report` returned.
    """
    sentences = [experiment.result.sample_ratio.sentence]
    if experiment.exposure is not None:
        sentences.insert(0, f"Of those that were assigned: {experiment.exposure.sentence}")
    excluded = experiment.result.excluded.units_in_several_variants
    if excluded:
        sentences.append(f"Left out, as they were in several variants: {plural(excluded, experiment.result.unit)}.")
    return Verdict(" ".join(sentences))


def looks_verdict(experiment: ExperimentReport) -> Verdict:
    """When the primary effect was clear, and how far the estimate has come.

    Args:
        experiment: what `perfkit.experiment_report` returned.
    """
    sentences = [_look_sentence(one, experiment) for one in experiment.over_time if one.looks]
    return Verdict(" ".join(sentences) or "No look had data enough for an effect.")


def shifts_verdict(experiment: ExperimentReport) -> Verdict:
    """Whether everything moved alike, or the tail by itself.

    Args:
        experiment: what `perfkit.experiment_report` returned.
    """
    sentences = []
    for variant in dict.fromkeys(one.variant for one in experiment.quantile_shift):
        known = [one for one in experiment.quantile_shift if one.variant == variant and isfinite(one.high)]
        if known:
            sentences.append(_shift_sentence(variant, known))
    return Verdict(" ".join(sentences) or "No quantile has data enough for a change.")


def power_verdict(experiment: ExperimentReport) -> Verdict:
    """What this experiment could have found, and what finding the margin takes.

    Args:
        experiment: what `perfkit.experiment_report` returned.
    """
    found, needed = detectable_changes(experiment), units_for_the_margin(experiment)
    effect = experiment.result.primary
    of = f"{effect.metric} {effect.statistic}"
    takes = f"A change of {effect.margin:.0%} takes {plural(needed, experiment.result.unit)}." if needed else ""
    if found is None:
        return Verdict(f"There is too little data for any change of {of} to be found. {takes}".strip())
    return Verdict(
        f"With {plural(effect.n_units, experiment.result.unit)}, a change of {of} by {change_text(found[0])} or "
        f"{change_text(found[1])} is found {WANTED_POWER:.0%} of the time; smaller ones are likely missed. {takes}"
    )


def effects_verdict(experiment: ExperimentReport) -> Verdict:
    """Which statistics, guardrails and segments changed for certain.

    Args:
        experiment: what `perfkit.experiment_report` returned.
    """
    result = experiment.result
    if experiment.is_off:
        return Verdict("None of these is to be believed: sessions get lost.")
    said = []
    for verdict in (BETTER, WORSE):
        names = [f"{one.metric} {one.statistic}" for one in result.effects if one.verdict == verdict]
        if names:
            said.append(f"{verdict} in {', '.join(dict.fromkeys(names))}")
    failed, held = len(result.failed_guardrails), sum(one.status == "held" for one in result.guardrails)
    guarded = (
        f" Of {plural(len(result.guardrails), 'guardrail')} {held} held, {failed} failed." if result.guardrails else ""
    )
    segments = [
        f"{segment.name} ({one.verdict}, {change_text(one.relative)})"
        for segment in result.segments
        for one in segment.effects[:1]
        if one.verdict in (BETTER, WORSE)
    ]
    split = f" Clear in segments: {', '.join(segments)}." if segments else ""
    found = f"Surely {'; '.join(said)}." if said else "No statistic surely changed."
    return Verdict(f"{found}{guarded}{split}")


def self_check_verdict(check: SelfCheck) -> Verdict:
    """Whether the test keeps its promise where nothing can differ.

    Args:
        check: what `perfkit.ab_self_check` returned.
    """
    return Verdict(check.sentence)


def _look_sentence(effect: EffectOverTime, experiment: ExperimentReport) -> str:
    of, last = f"{effect.variant}: {effect.metric} {effect.statistic}", effect.looks[-1]
    decided = effect.decided
    if decided is None:
        return (
            f"{of}: after {plural(len(effect.looks), 'look')} its interval still holds 0 "
            f"({change_text(last.low)} to {change_text(last.high)})."
            if isfinite(last.low) and isfinite(last.high)
            else f"{of}: after {plural(len(effect.looks), 'look')} there is too little data for an interval."
        )
    at = f" on {decided.at:%d %B %H:%M}" if decided.at else ""
    return (
        f"{of} was clear at look {decided.number} of {len(effect.looks)}{at}, after "
        f"{plural(decided.units, experiment.result.unit)}: stopping there was allowed. It now stands at "
        f"{change_text(last.relative)} ({change_text(last.low)} to {change_text(last.high)})."
    )


def _shift_sentence(variant: str, shifts: list[QuantileShift]) -> str:
    from perfkit.stats.quantiles import quantile_name

    low, high = max(one.low for one in shifts), min(one.high for one in shifts)
    ends = (shifts[0], shifts[-1])
    reach = " to ".join(f"{change_text(one.relative)} at {quantile_name(one.quantile)}" for one in ends)
    if low <= high:
        alike = f"the whole distribution may have moved alike, by {change_text(low)} to {change_text(high)}"
        return f"{variant} changes from {reach}: {alike}."
    most = max(shifts, key=lambda one: abs(one.relative))
    return (
        f"{variant} changes from {reach}: not all alike, most at {quantile_name(most.quantile)} "
        f"({change_text(most.low)} to {change_text(most.high)})."
    )
