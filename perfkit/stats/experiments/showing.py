"""Experiments as tables and sentences for people."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from perfkit.stats.verdicts import BETTER, EQUIVALENT, WORSE
from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes, format_duration

if TYPE_CHECKING:
    from perfkit.stats.experiments.result import ABResult, MetricEffect

__all__ = ["effects_table", "result_sentence", "result_table", "write_p_value", "write_value"]

_WIDTH = 78
_WHOLE_PERCENTS_FROM = 0.2


def write_value(metric: str, value: float) -> str:
    """A figure in the unit that the metric's name ends with.

    >>> write_value("latency_ns", 1_234_567), write_value("resident_bytes", 2048), write_value("ok", 0.98765)
    ('1.23ms', '2KiB', '0.9877')
    """
    if not math.isfinite(value):
        return "-"
    if metric.endswith("_ns"):
        return format_duration(value)
    return format_bytes(value) if metric.endswith("_bytes") else f"{value:.4g}"


def write_p_value(p_value: float) -> str:
    """A p-value, short.

    >>> write_p_value(0.0312), write_p_value(1e-9), write_p_value(0.5), write_p_value(1.0), write_p_value(float("nan"))
    ('.031', '<.001', '.50', '1', '-')
    """
    if not math.isfinite(p_value):
        return "-"
    if p_value < 0.001:
        return "<.001"
    if p_value >= 0.995:
        return "1"
    return (f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}")[1:]


def write_change(effect: MetricEffect) -> tuple[str, str]:
    """The relative change and its interval."""
    low, high = effect.interval
    if not math.isfinite(effect.relative):
        return "-", "undefined" if math.isfinite(effect.difference) else "not enough data"
    if not math.isfinite(high):  # the first looks of a sequence
        return f"{effect.relative:+.1%}", "no bounds yet"
    is_wide, is_near_zero = max(abs(low), abs(high)) >= _WHOLE_PERCENTS_FROM, min(abs(low), abs(high)) < 0.005
    digits = 0 if is_wide and not is_near_zero else 1
    return f"{effect.relative:+.{digits}%}", f"{100 * low:+.{digits}f} to {100 * high:+.{digits}f}%"


def write_effect(effect: MetricEffect) -> str:
    """The change with its interval, for a sentence."""
    change, interval = write_change(effect)
    return f"{effect.metric} {effect.statistic} {change} ({interval})"


def effects_table(
    title: str, effects: Sequence[MetricEffect], alpha: float, *, notes: Sequence[str] = ()
) -> ResultTable:
    """Effects as rows: a metric's name above its statistics, so that every row is short."""
    several = len({one.variant for one in effects}) > 1
    rows: list[tuple[str, ...]] = []
    heading = ""
    for one in effects:
        name = f"{one.variant}: {one.metric}" if several else one.metric
        if name != heading:
            rows.append((name, "", "", "", "", ""))
            heading = name
        rows.append(
            (
                f"  {one.statistic}",
                write_value(one.metric, one.control_value),
                *write_change(one),
                write_p_value(one.p_adjusted),
                one.verdict,
            )
        )
    columns = ("metric", "control", "change", f"{100 * (1 - alpha):.4g}% interval", "p", "verdict")
    wrapped = tuple(line for note in notes for line in textwrap.wrap(note, _WIDTH))
    return ResultTable(title, columns, tuple(rows), wrapped, align_right=(1, 2, 3, 4))


def result_sentence(result: ABResult) -> str:
    """What an experiment means, in one or two sentences."""
    effect = result.primary
    if result.sample_ratio.is_off:
        return f"Inconclusive: {result.sample_ratio.sentence[0].lower()}{result.sample_ratio.sentence[1:]}"
    failed = result.failed_guardrails
    if failed:
        broken = ", ".join(write_effect(one.effect) for one in failed)
        return f"Worse: {effect.variant} breaks {plural(len(failed), 'guardrail')}: {broken}."
    of = f"{effect.metric} {effect.statistic}"
    if not effect.is_known:
        return f"Inconclusive: not enough data for {of} of {effect.variant}."
    change, interval = write_change(effect)
    by = f"{change} ({interval}; {plural(effect.n_units, result.unit)})"
    said = {
        BETTER: f"Better: {effect.variant} changes {of} by {by}.",
        WORSE: f"Worse: {effect.variant} changes {of} by {by}.",
        EQUIVALENT: f"Equivalent: {effect.variant} changes {of} by less than ±{effect.margin:.0%}: {by}.",
    }
    return said.get(
        effect.verdict,
        f"Inconclusive: {of} of {effect.variant} changed by {by}; neither a change nor its absence within "
        f"±{effect.margin:.0%} is shown.",
    )


def result_table(result: ABResult) -> ResultTable:
    """Every effect, the guardrails, and what speaks against believing them."""
    notes = [result.sentence]
    if not result.sample_ratio.is_off:
        notes.append(result.sample_ratio.sentence)
    notes += [f"Guardrail {one.status}: {write_effect(one.effect)}." for one in result.guardrails]
    for segment in result.segments:
        primary = segment.effects[0]
        notes.append(f"Where {segment.name}: {write_effect(primary)}, {primary.verdict}.")
    notes += [f"! {warning}" for warning in result.warnings if warning != result.sample_ratio.sentence]
    title = f"{', '.join(result.variants[1:])} against {result.control} (control), by {result.unit}"
    return effects_table(title, result.effects, result.alpha, notes=notes)
