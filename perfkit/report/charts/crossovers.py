"""One edge between two methods, from near: the single sends behind it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import altair as alt
import polars as pl
import pyarrow as pa

from perfkit.config.curves import CurveSet
from perfkit.engine.costs import Context
from perfkit.engine.ranges import Range
from perfkit.learn import Crossover
from perfkit.report.charts.cells import launch_cells, single_sends
from perfkit.report.charts.ends import end_labels
from perfkit.report.charts.frame import finished, method_colour, method_shape, nothing_to_draw
from perfkit.report.charts.latency import curve_points
from perfkit.report.charts.scales import LogAxis, bytes_axis, duration_axis, log_domain
from perfkit.units import format_bytes, format_duration

__all__ = ["crossover_chart", "crossovers"]

_HEIGHT = 380
_LABEL_ROOM = 4
_MOST_SENDS = 3000
_HALF_DECADE = 10**0.5
_SPREAD = 0.03  # decades over which the sends of one size are spread, so that they do not hide each other
_MANY, _DOT = 300, 14
_BAND_COLOUR = "#8C8C8C"


def crossovers(ranges: Sequence[Range]) -> tuple[Crossover, ...]:
    """The edges between ranges.

    Args:
        ranges: ranges of one context, in order of size.
    """
    return tuple(
        Crossover(before.end_bytes, *before.crossover, before.method, after.method)
        for before, after in itertools.pairwise(ranges)
        if before.crossover is not None
    )


def crossover_chart(
    observations: pa.Table, curves: CurveSet, crossover: Crossover, context: Context | None = None
) -> alt.LayerChart:
    """The two methods of an edge in the decade around it: single sends, fitted costs, and where the edge may truly lie.

    Args:
        observations: columns of `perfkit.schema.TRANSFER_COLUMNS`; of many sends of a size, some are drawn.
        curves: what was fitted to them.
        crossover: the edge, as `crossovers` gives it.
        context: signalling and load to show.

    Returns:
        The chart; one with a sentence instead of data where nothing was measured near the edge.
    """
    methods = (crossover.before, crossover.after)
    context = dataclasses.replace(context or Context(), available=methods)
    measured = launch_cells(observations, context, methods=methods)
    window = _window(crossover.payload_bytes, measured["payload_bytes"].unique().to_list())
    cells = measured.filter(pl.col("payload_bytes").is_between(*window))
    if cells.is_empty():
        return nothing_to_draw("No transfer of these two methods was measured near this edge.")
    lines = curve_points(curves, context, cells)
    sends = single_sends(observations, context, methods, window, _MOST_SENDS)
    x = bytes_axis(log_domain(window, below=1.2, above=1.2))
    y = duration_axis(log_domain([*sends["latency_ns"], *lines["latency_ns"]], below=1.15, above=1.4))
    layers = [
        *_band(crossover, x),
        _points(sends, x, y),
        *_lines(lines, x, y),
        *end_labels(lines, x.x("payload_bytes:Q"), y, "payload_bytes", "latency_ns", x.domain[1], _HEIGHT),
    ]
    drawn, all_sends = sends.height, int(cells["n"].sum())
    return finished(layers, _HEIGHT, _description(drawn, all_sends), room_right=_LABEL_ROOM)


def _window(edge: float, sizes: list[float]) -> tuple[float, float]:
    """The decade around an edge, widened to the two nearest measured sizes on each of its sides."""
    below = sorted(size for size in sizes if size <= edge)[-2:]
    above = sorted(size for size in sizes if size > edge)[:2]
    return min([edge / _HALF_DECADE, *below[:1]]), max([edge * _HALF_DECADE, *above[-1:]])


def _band(crossover: Crossover, x: LogAxis) -> list[alt.Chart]:
    low, high = (min(max(bound, x.domain[0]), x.domain[1]) for bound in (crossover.low, crossover.high))
    edge = format_bytes(crossover.payload_bytes)
    row = {
        "low": low,
        "high": high,
        "edge": crossover.payload_bytes,
        "label": f"edge {edge}",
        "interval": f"{format_bytes(crossover.low)} to {format_bytes(crossover.high)}",
    }
    base = alt.Chart(pl.DataFrame([row]))
    tooltip = [alt.Tooltip("label:N", title="edge"), alt.Tooltip("interval:N", title="true edge (95 %)")]
    top, foot = alt.YValue(0), alt.YValue(_HEIGHT)  # type: ignore[no-untyped-call]
    return [
        base.mark_rect(color=_BAND_COLOUR, opacity=0.18).encode(
            x=x.x("low:Q"), x2="high:Q", y=top, y2=foot, tooltip=tooltip
        ),
        base.mark_rule(strokeDash=[4, 3]).encode(x=x.x("edge:Q"), y=top, y2=foot, tooltip=tooltip),
        base.mark_text(align="left", baseline="top", dx=5, dy=3, fontSize=11).encode(
            x=x.x("edge:Q"), y=top, text="label:N"
        ),
    ]


def _points(sends: pl.DataFrame, x: LogAxis, y: LogAxis) -> alt.Chart:
    # Spread by their order, not by chance: the same sends give the same picture.
    turn = pl.int_range(pl.len()).over("method", "payload_bytes")
    place = turn / pl.max_horizontal(pl.len().over("method", "payload_bytes") - 1, 1) - 0.5
    side = pl.when(pl.col("method") == sends["method"][0]).then(-0.6).otherwise(0.6)
    spread = sends.with_columns(
        (pl.col("payload_bytes") * (10.0 ** (_SPREAD * (place + side)))).alias("beside"),
        pl.col("payload_bytes").map_elements(format_bytes, pl.String).alias("payload"),
        pl.col("latency_ns").map_elements(format_duration, pl.String).alias("latency"),
    ).drop("payload_bytes")
    methods = sends["method"].unique().to_list()
    names = ("method", "payload", "latency", "launch", "round", "n")
    points: alt.Chart = alt.Chart(spread).mark_point(
        filled=True, size=_DOT if sends.height > _MANY else 2 * _DOT, opacity=0.4
    )
    return points.encode(
        x=x.x("beside:Q"),
        y=y.y("latency_ns:Q"),
        color=method_colour(methods),
        shape=method_shape(methods),
        tooltip=[alt.Tooltip(f"{name}:N") for name in names],
    )


def _lines(lines: pl.DataFrame, x: LogAxis, y: LogAxis) -> list[alt.Chart]:
    methods = lines["method"].unique().to_list()
    base = alt.Chart(lines).encode(x=x.x("payload_bytes:Q"), color=method_colour(methods))
    return [
        base.mark_area(opacity=0.2, clip=True).encode(y=y.y("low_ns:Q"), y2="high_ns:Q"),
        base.mark_line(strokeWidth=2).encode(y=y.y("latency_ns:Q")),
    ]


def _description(drawn: int, all_sends: int) -> str:
    extent = (
        f"each of the {drawn:,} points" if drawn == all_sends else f"each of the {drawn:,} points, of {all_sends:,},"
    )
    return (
        f"From near: {extent} is a single send; the sends of a size stand beside each other in their order. Lines are "
        "the fitted costs with their 95 % intervals; the dashed line is the edge, and within the grey band it may "
        "truly lie (95 %)."
    )
