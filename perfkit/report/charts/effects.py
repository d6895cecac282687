"""Every effect of an experiment, its guardrails and its segments, below each other."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import altair as alt

from perfkit.report.charts.forest import FOREST_ROW_PIXELS, change_record, forest_layers
from perfkit.report.charts.frame import finished, nothing_to_draw

if TYPE_CHECKING:
    from perfkit.stats.experiments.result import ABResult, MetricEffect

__all__ = ["effects_chart"]

_MOST_ROWS = 24


def effects_chart(result: ABResult) -> alt.LayerChart:
    """One row per metric and statistic: a stroke where the control is, a mark where the variant is, its interval a bar.

    Args:
        result: what `perfkit.ab` returned. Guardrails follow the metrics; in segments the primary statistic is drawn.

    Returns:
        The chart; one with a sentence where there is no effect with an interval.
    """
    found = _named_effects(result)
    records = [_record(name, effect) for name, effect in found if _can_be_drawn(effect)]
    if not records:
        return nothing_to_draw("There is too little data for any effect.")
    shown = records[:_MOST_ROWS]
    description = (
        f"Each mark is a variant relative to {result.control} (the upright stroke), its bar the {1 - result.alpha:.0%} "
        f"interval{'' if result.inference == 'fixed' else ' that holds at every look'}, the shaded band the margin "
        "that does not matter. Triangles pointing to the right are worse, to the left better; circles are equivalent, "
        f"squares inconclusive.{_left_out(len(found) - len(shown))}"
    )
    others = result.variants[1:]
    title = f"{others[0] if len(others) == 1 else 'variant'} / {result.control}"
    return finished(forest_layers(shown, title, "n (units)"), FOREST_ROW_PIXELS * len(shown), description)


def _named_effects(result: ABResult) -> list[tuple[str, MetricEffect]]:
    several = len(result.variants) > 2
    primary = result.primary

    def name(effect: MetricEffect) -> str:
        return f"{effect.variant + ': ' if several else ''}{effect.metric} {effect.statistic}"

    found = [(name(one), one) for one in result.effects]
    found += [(f"guardrail {name(one.effect)}", one.effect) for one in result.guardrails]
    return found + [
        (f"{segment.name}{f', {one.variant}' if several else ''}", one)
        for segment in result.segments
        for one in segment.effects
        if (one.metric, one.statistic) == (primary.metric, primary.statistic)
    ]


def _record(name: str, effect: MetricEffect) -> dict[str, Any]:
    return change_record(name, effect.relative, effect.interval, effect.verdict, effect.n_units, effect.margin)


def _can_be_drawn(effect: MetricEffect) -> bool:
    """A difference of chances is no ratio, and a logarithmic axis has no 0."""
    return effect.statistic != "rank" and isfinite(effect.relative) and effect.relative > -1


def _left_out(count: int) -> str:
    return f" {count} more {'is' if count == 1 else 'are'} in the table." if count else ""
