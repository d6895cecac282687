"""Latency against size as percentiles: what is usual, and what the slow transfers take."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from perfkit.report.charts.ends import end_labels
from perfkit.report.charts.frame import finished, method_colour, method_shape, nothing_to_draw
from perfkit.report.charts.scales import LogAxis, bytes_axis, duration_axis, log_domain
from perfkit.units import format_bytes, format_duration
from perfkit.workflows.analyse_percentiles import Profile

__all__ = ["profile_chart"]

_HEIGHT = 360
_ROOM_RIGHT = 4


def profile_chart(profile: Profile) -> alt.LayerChart:
    """Median with its band and p95 with its interval against size, per method.

    Args:
        profile: the profile ``size`` of an analysis.

    Returns:
        The chart; one with a sentence where nothing has rows enough, or the profile is another.
    """
    if profile.name != "size":
        return nothing_to_draw("The profile by size is drawn; the others are tables.")
    records = [record for cell in profile.cells for record in _records(cell.group, cell.latency_ns)]
    if not records:
        return nothing_to_draw("No method and size has rows enough for a percentile.")
    cells = pl.DataFrame(records)
    medians, slow = cells.filter(pl.col("percentile") == "p50"), cells.filter(pl.col("percentile") == "p95")
    methods = cells["method"].unique().to_list()
    x = bytes_axis(log_domain(cells["payload_bytes"], above=1.1))
    y = duration_axis(log_domain([*cells["value"], *medians["low"], *medians["high"]], below=1.3, above=1.3))
    labels = end_labels(medians, x.x("payload_bytes:Q"), y, "payload_bytes", "value", x.domain[1], _HEIGHT)
    layers = [*_medians(medians, x, y, methods), *_slow(slow, x, y, methods), *labels]
    description = (
        "Lines join the medians, bands are their 95 % intervals over launches. Open points are p95, where there are "
        "rows enough, with their intervals as bars. A payload stands at the lower end of its class of sizes."
    )
    return finished(layers, _HEIGHT, description, room_right=_ROOM_RIGHT)


def _records(group: Any, quantiles: Any) -> list[dict[str, Any]]:
    payload_bytes = 2.0 ** group["size_class"]
    return [
        {
            "method": group["method"],
            "payload_bytes": payload_bytes,
            "payload": format_bytes(payload_bytes),
            "percentile": one.name,
            "value": one.value,
            "low": one.low,
            "high": one.high,
            "latency": f"{format_duration(one.value)} ({format_duration(one.low)} to {format_duration(one.high)})",
            "n": one.n,
        }
        for one in quantiles
        if one.enough and one.name in ("p50", "p95")
    ]


def _medians(cells: pl.DataFrame, x: LogAxis, y: LogAxis, methods: list[str]) -> list[alt.Chart]:
    base = alt.Chart(cells).encode(x=x.x("payload_bytes:Q"), color=method_colour(methods))
    return [
        base.mark_area(opacity=0.18, clip=True).encode(y=y.y("low:Q"), y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(y=y.y("value:Q")),
        base.mark_point(filled=True, size=26).encode(y=y.y("value:Q"), shape=method_shape(methods), tooltip=_tooltip()),
    ]


def _slow(cells: pl.DataFrame, x: LogAxis, y: LogAxis, methods: list[str]) -> list[alt.Chart]:
    base = alt.Chart(cells).encode(x=x.x("payload_bytes:Q"), color=method_colour(methods))
    return [
        base.mark_rule(opacity=0.45, clip=True).encode(y=y.y("low:Q"), y2="high:Q"),
        base.mark_point(filled=False, size=40, opacity=1).encode(
            y=y.y("value:Q"), shape=method_shape(methods), tooltip=_tooltip()
        ),
    ]


def _tooltip() -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{name}:N") for name in ("method", "payload", "percentile", "latency", "n")]
