"""What demand was and is expected to be, against the limit."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from perfkit.report.charts.frame import finished, nothing_to_draw
from perfkit.report.charts.scales import time_axis
from perfkit.stats.capacity.demand_result import figure

if TYPE_CHECKING:
    from perfkit.stats.capacity.demand_result import DemandForecast
    from perfkit.stats.capacity.limits import LimitDate

__all__ = ["demand_chart"]

_HEIGHT = 280
_PAST, _COMING, _LIMIT = "#8C8C8C", "#0072B2", "#D55E00"
_MOST_PAST = 600


def demand_chart(
    demand: DemandForecast | None,
    limit: LimitDate | None = None,
    history: tuple[Sequence[str | int], Sequence[float]] = ((), ()),
) -> alt.LayerChart:
    """History, forecast with its band, the limit, and when it is reached.

    Args:
        demand: what `perfkit.forecast` expects; None without a series.
        limit: when the limit is reached; None without a limit.
        history: ISO times, or numbers of an index, and values; the newest are drawn.

    Returns:
        The chart; one with a sentence without a forecast.
    """
    if demand is None or not demand.points:
        return nothing_to_draw("There is no demand to forecast.")
    coming = _frame([one.time for one in demand.points], [one.value for one in demand.points]).with_columns(
        low=pl.Series([one.low for one in demand.points]),
        high=pl.Series([one.high for one in demand.points]),
        n=pl.lit(demand.n),
    )
    times, values = list(history[0])[-_MOST_PAST:], list(history[1])[-_MOST_PAST:]
    known = [(time, float(value)) for time, value in zip(times, values, strict=True) if math.isfinite(value)]
    past = _frame([one for one, _ in known], [value for _, value in known]).with_columns(n=pl.lit(demand.n))
    is_index = isinstance(demand.points[0].time, int)
    if is_index:
        x = alt.X("time:Q", title="step", scale=alt.Scale(zero=False))
    else:
        x = alt.X("time:T", title="time (UTC)", axis=time_axis([*past["time"], *coming["time"]]))
    shared: dict[str, Any] = {"title": "demand", "axis": alt.Axis(titleAnchor="end"), "scale": alt.Scale(zero=True)}
    y = alt.Y("value:Q", **shared)
    tooltip = [
        alt.Tooltip("time:Q", title="step") if is_index else alt.Tooltip("time:T", format="%d %b %Y %H:%M"),
        alt.Tooltip("value:Q", format=",.4~r"),
        alt.Tooltip("n:Q", title="n (values)"),
    ]
    base = alt.Chart(coming).encode(x=x, tooltip=tooltip)
    layers = [
        base.mark_area(opacity=0.25, color=_COMING).encode(y=alt.Y("low:Q", **shared), y2="high:Q"),
        base.mark_line(color=_COMING, strokeWidth=2).encode(y=y),
        *([alt.Chart(past).mark_line(color=_PAST, strokeWidth=1.2).encode(x=x, y=y)] if past.height else []),
        *(_limit_layers(limit, past, coming, x, y) if limit is not None else []),
    ]
    description = (
        f"The grey line is what was, the blue one what is expected, its band the {demand.level:.0%} interval of single "
        f"values (n = {demand.n}; in the backtest such bands held {_share(demand.coverage_backtest)} of values)."
        + (" The dashed line is the limit, the upright one when half of the futures have reached it." if limit else "")
    )
    return finished(layers, _HEIGHT, description, room_right=24)


def _frame(times: Sequence[str | int], values: list[float]) -> pl.DataFrame:
    if all(isinstance(one, int) for one in times):  # an index
        return pl.DataFrame({"time": times, "value": values}, schema={"time": pl.Int64, "value": pl.Float64})
    texts = [str(one).replace("Z", "+00:00") for one in times]
    moments = [datetime.datetime.fromisoformat(one).replace(tzinfo=None) for one in texts]
    return pl.DataFrame({"time": moments, "value": values}, schema={"time": pl.Datetime("us"), "value": pl.Float64})


def _limit_layers(limit: LimitDate, past: pl.DataFrame, coming: pl.DataFrame, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    first = past["time"][0] if past.height else coming["time"][0]
    label = f"limit {figure(limit.limit)}"
    line = alt.Chart(pl.DataFrame({"time": [first], "value": [limit.limit], "label": [label]}))
    layers = [
        line.mark_rule(color=_LIMIT, strokeDash=[5, 3], strokeWidth=1.5).encode(y=y),
        line.mark_text(align="left", baseline="bottom", dx=3, dy=-3, fontSize=11).encode(x=x, y=y, text="label:N"),
    ]
    if limit.median is not None:
        reached = _frame([limit.median], [limit.limit])
        layers.append(alt.Chart(reached).mark_rule(color=_LIMIT, strokeWidth=1.5).encode(x=x))
    return layers


def _share(value: float) -> str:
    return "an unknown share" if math.isnan(value) else f"{value:.0%}"
