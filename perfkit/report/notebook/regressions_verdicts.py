"""What a search for regressions shows, as one computed sentence per question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfkit.report.charts.series import chosen_series, shown_index
from perfkit.report.charts.variants import change_text
from perfkit.report.notebook.verdicts import Verdict
from perfkit.tables import plural
from perfkit.units import format_duration

if TYPE_CHECKING:
    from perfkit.workflows.regressions.result import Regressions

__all__ = ["causes_verdict", "changes_verdict", "deviations_verdict", "regressions_verdict", "series_verdict"]

_MOST_NAMED = 4
_LEAST_RATE = 0.001


def regressions_verdict(found: Regressions) -> Verdict:
    """How many series became worse and better, and which one most.

    Args:
        found: what `perfkit.regressions` returned.
    """
    listed = (found.regressions, found.improvements)
    worse, better = (plural(len(one), noun) for one, noun in zip(listed, ("regression", "improvement"), strict=True))
    sentences = [
        f"{worse} and {better} of {found.minimum_change:.0%} or more in {plural(found.n, 'series', ['series'])}."
    ]
    for one in found.regressions[:1]:
        name = one.series or "the series"
        sentences.append(f"The largest: {name} {change_text(one.relative)} after {shown_index(one.index)}.")
    return Verdict(" ".join(sentences))


def changes_verdict(found: Regressions) -> Verdict:
    """Which series became worse, which better.

    Args:
        found: what `perfkit.regressions` returned.
    """
    parts = []
    for word, changes in (("Worse", found.regressions), ("Better", found.improvements)):
        named = [f"{one.series or 'the series'} {change_text(one.relative)}" for one in changes[:_MOST_NAMED]]
        more = f" and {len(changes) - _MOST_NAMED} more" if len(changes) > _MOST_NAMED else ""
        if named:
            parts.append(f"{word}: {', '.join(named)}{more}.")
    return Verdict(" ".join(parts) or "No series changed its level for good.")


def series_verdict(found: Regressions, name: str = "") -> Verdict:
    """What one series did.

    Args:
        found: what `perfkit.regressions` returned.
        name: of a series; empty takes the one that `series_chart` draws.
    """
    series = chosen_series(found, name)
    if series is None:
        return Verdict(f"There is no series {name!r}." if name else "There is no series.")
    changes = [one for one in (*found.regressions, *found.improvements) if one.series == series.name]
    summary = next(one for one in found.series if one.name == series.name)
    of = series.name or "The series"
    by_row = sorted(changes, key=lambda one: one.row)
    said = ", ".join(
        f"{change_text(one.relative)} after {shown_index(one.index)} (p = {one.p_value:.1g})" for one in by_row
    )
    happened = f"{of} changed its level: {said}." if changes else f"{of} did not change its level."
    alarms = (
        f"A series like it without any change shows one in {_rate(summary.false_alarm_rate)} of cases."
        if summary.points > 1
        else ""
    )
    if summary.expected is None:
        return Verdict(f"{happened} {alarms}".strip())
    low, high = (_written(one, found.unit) for one in (summary.expected.low, summary.expected.high))
    return Verdict(f"{happened} The next point lies between {low} and {high} (95 %). {alarms}".strip())


def causes_verdict(found: Regressions) -> Verdict:
    """What changed together, what happened at the same time, and what to do next.

    Args:
        found: what `perfkit.regressions` returned.
    """
    sentences = [one.sentence for one in found.patterns]
    for one in found.regressions[:1]:
        told = [*one.causes.events, *one.causes.host, *one.causes.commits]
        if told:
            sentences.append(f"At the largest regression: {'; '.join(told)}.")
        if one.causes.stage:
            sentences.append(f"Most of it lies in the stage {one.causes.stage}.")
    sentences += [f"Next: {step}" for step in found.steps]
    if not sentences and not found.regressions:
        return Verdict("Nothing to explain.")
    return Verdict(" ".join(sentences) or "What changed has nothing in common, and no event is known.")


def deviations_verdict(found: Regressions) -> Verdict:
    """Whether the newest points are where they were expected.

    Args:
        found: what `perfkit.regressions` returned.
    """
    known = sum(one.expected is not None for one in found.series)
    if not known:
        return Verdict("No series has points enough to expect anything.")
    parts = []
    for word, is_worse in (("worse", True), ("better", False)):
        off = [one for one in found.deviations if one.is_worse == is_worse]
        named = ", ".join(f"{one.series or 'the series'} {change_text(one.relative)}" for one in off[:_MOST_NAMED])
        if off:
            parts.append(f"{len(off)} {word} than was to be expected by over {found.tolerance:.0%} ({named})")
    judged = plural(known, "series", ["series"])
    return Verdict(
        f"Of {judged}, {' and '.join(parts)}." if parts else f"In {judged}, the newest points are as expected."
    )


def _written(value: float, unit: str) -> str:
    return format_duration(value) if unit == "ns" else f"{value:.4g}"


def _rate(rate: float) -> str:
    """A small chance, for people.

    >>> _rate(0.012), _rate(0.0002)
    ('1.2%', 'fewer than 0.1%')
    """
    return f"{rate:.1%}" if rate >= _LEAST_RATE else f"fewer than {_LEAST_RATE:.1%}"
