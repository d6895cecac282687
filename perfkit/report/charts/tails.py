"""How much worse than usual the slow transfers of each method are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from perfkit.report.charts.ends import end_labels
from perfkit.report.charts.frame import finished, method_colour, method_shape, nothing_to_draw
from perfkit.report.charts.scales import LogAxis
from perfkit.stats.quantiles import LEVELS, Quantile, quantile_name
from perfkit.workflows.analyse_percentiles import Percentiles

__all__ = ["tails_chart"]

_HEIGHT = 300
_ROOM_RIGHT = 4
_SHIFT = 0.03  # of a decade of rarity: intervals of several methods stand beside each other
_ROOM_ABOVE = 2.5  # times the largest multiple; an interval of two launches may reach a hundred times further
_TICKS = (1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


def tails_chart(percentiles: Sequence[Percentiles]) -> alt.LayerChart:
    """Percentiles as multiples of the median of the same payload and setting: a line per method, with intervals.

    Args:
        percentiles: of an analysis that is grouped by method alone.

    Returns:
        The chart; one with a sentence where the groups are others, or nothing has rows enough.
    """
    if any(set(one.group) != {"method"} for one in percentiles):
        return nothing_to_draw("The tails are drawn for percentiles that are grouped by method alone.")
    records = [
        record
        for index, one in enumerate(percentiles)
        for record in _records(one, _SHIFT * (index - (len(percentiles) - 1) / 2))
    ]
    if not any(tail.enough for one in percentiles for tail in one.tail):
        return nothing_to_draw("No method has rows enough for a percentile above the median.")
    points = pl.DataFrame(records)
    methods = points["method"].unique().to_list()
    last = max(points["rarity"]) + _SHIFT
    x = alt.X("rarity:Q", scale=alt.Scale(domain=[0.25, last], nice=False), axis=_percentile_axis())
    y = _times_axis(max(points["value"]) * _ROOM_ABOVE)
    base = alt.Chart(points).encode(x=x, color=method_colour(methods))
    layers = [
        base.mark_line(strokeWidth=2).encode(y=y.y("value:Q")),
        base.mark_rule(strokeWidth=2, opacity=0.5, clip=True).encode(y=y.y("low:Q"), y2="high:Q"),
        base.mark_point(filled=True, size=45, opacity=1).encode(
            y=y.y("value:Q"),
            shape=method_shape(methods),
            tooltip=[alt.Tooltip(f"{name}:N") for name in ("method", "percentile", "multiple", "n")],
        ),
        *end_labels(points, x, y, "rarity", "value", last, _HEIGHT),
    ]
    description = (
        "Each point is a percentile as a multiple of the median of the same payload in the same setting, so that sizes "
        "do not mix; bars are 95 % intervals over launches, cut off at the chart's edge. A percentile without rows "
        "enough is not drawn."
    )
    return finished(layers, _HEIGHT, description, room_right=_ROOM_RIGHT)


def _records(one: Percentiles, shift: float) -> list[dict[str, Any]]:
    median = {
        "percentile": "p50",
        "rarity": _rarity(0.5),
        "value": 1.0,
        "low": 1.0,
        "high": 1.0,
        "multiple": "1",
        "n": one.n,
    }
    known = [median, *(_record(tail, shift) for tail in one.tail if tail.enough)]
    return [{"method": one.group["method"], **record} for record in known]


def _record(tail: Quantile, shift: float) -> dict[str, Any]:
    return {
        "percentile": tail.name,
        "rarity": _rarity(tail.q) + shift,
        "value": tail.value,
        "low": max(tail.low, 1e-3),
        "high": tail.high,
        "multiple": f"{tail.value:.3g} ({tail.low:.3g} to {tail.high:.3g})",
        "n": tail.n,
    }


def _rarity(q: float) -> float:
    """Decades of rarity: one transfer in 10^rarity is slower."""
    return -math.log10(1 - q)


def _percentile_axis() -> alt.Axis:
    labels = {f"{_rarity(level):.3f}": quantile_name(level) for level in LEVELS}
    expression = f"({labels})[format(datum.value, '.3f')]"
    return alt.Axis(values=[_rarity(level) for level in LEVELS], labelExpr=expression, title="percentile")


def _times_axis(highest: float) -> LogAxis:
    values = [tick for tick in _TICKS if tick <= highest]
    axis = alt.Axis(
        values=values, format="~g", title="times the median (log scale)", titleAnchor="end", labelOverlap=True
    )
    return LogAxis((0.8, highest), axis, 10)
