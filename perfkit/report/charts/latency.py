"""Latency against size, per method: what was measured, what was fitted, what is taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import altair as alt
import polars as pl
import pyarrow as pa

from perfkit.config.curves import CurveSet
from perfkit.engine.costs import Context, method_cost
from perfkit.engine.ranges import Range, compile_ranges
from perfkit.report.charts.cells import launch_cells, size_cells
from perfkit.report.charts.ends import end_labels
from perfkit.report.charts.frame import finished, method_colour, method_shape, nothing_to_draw
from perfkit.report.charts.scales import LogAxis, bytes_axis, duration_axis, log_domain
from perfkit.report.charts.strip import strip_layers, strip_records
from perfkit.tables import plural
from perfkit.units import format_bytes, format_duration

__all__ = ["curve_points", "latency_chart"]

_HEIGHT = 400
_STRIP_PIXELS = 14
_STRIP_ROOM = 2.4  # factor by which the latency axis reaches below the data, for the strip
_LABEL_ROOM = 4
_CURVE_POINTS = 60


def latency_chart(
    observations: pa.Table,
    curves: CurveSet | None = None,
    context: Context | None = None,
    *,
    ranges: Sequence[Range] | None = None,
    methods: Sequence[str] | None = None,
    sizes: tuple[float, float] | None = None,
) -> alt.LayerChart:
    """Latency against size: a point per launch, a line with its band per method, the chosen ranges underneath.

    Args:
        observations: columns of `perfkit.schema.TRANSFER_COLUMNS`; single sends, aggregated here.
        curves: what was fitted. Without them the lines join the medians, and the bands reach from the fastest to the
            slowest launch.
        context: signalling and load to show; by default over a Unix socket's signalling, one send at a time.
        ranges: what is taken, for the strip; None takes what costs the least latency.
        methods: methods to draw, and to choose from; None for all.
        sizes: smallest and largest payload to draw, in bytes; None for all.

    Returns:
        The chart; one with a sentence instead of data where nothing was measured in this context.
    """
    context = context or Context()
    if methods is not None:
        context = dataclasses.replace(context, available=tuple(methods))
    cells = launch_cells(observations, context, methods=methods, sizes=sizes)
    if cells.is_empty():
        return nothing_to_draw("No transfer was measured in this setting.")
    lines = size_cells(cells) if curves is None else curve_points(curves, context, cells)
    drawn = log_domain(cells["payload_bytes"])
    if ranges is None:
        ranges = () if curves is None else compile_ranges(curves, context)
    records = strip_records(ranges, drawn)
    room = _STRIP_ROOM if records else 1.3
    latencies = log_domain([*cells["latency_ns"], *lines["latency_ns"]], below=room, above=1.3)
    x, y = bytes_axis(drawn), duration_axis(latencies)
    names = lines["method"].unique().to_list()
    labels = end_labels(lines, x.x("payload_bytes:Q"), y, "payload_bytes", "latency_ns", x.domain[1], _HEIGHT)
    layers = [*_lines(lines, x, y, names), _points(cells, x, y, names), *labels]
    if records:
        foot = alt.YValue(_HEIGHT - _STRIP_PIXELS / 2 - 3)  # type: ignore[no-untyped-call]
        layers += strip_layers(records, x, foot, _STRIP_PIXELS, method_colour(names))
    return finished(layers, _HEIGHT, _description(cells, records != []), room_right=_LABEL_ROOM)


def curve_points(curves: CurveSet, context: Context, cells: pl.DataFrame) -> pl.DataFrame:
    """The fitted costs of every method in `cells`, between the smallest and the largest size that it has there.

    Returns:
        Columns method, payload_bytes, latency_ns, low_ns, high_ns, n.
    """
    records = []
    for (method,), measured in cells.group_by("method", maintain_order=True):
        low, high = log_domain(measured["payload_bytes"])
        for index in range(_CURVE_POINTS + 1):
            payload_bytes = low * (high / low) ** (index / _CURVE_POINTS)
            cost = method_cost(curves, str(method), context, payload_bytes)
            if cost is not None:
                records.append((method, payload_bytes, cost.value, cost.low, cost.high, cost.n))
    columns = {"method": pl.String} | dict.fromkeys(("payload_bytes", "latency_ns", "low_ns", "high_ns"), pl.Float64)
    return pl.DataFrame(records, schema=columns | {"n": pl.Int64}, orient="row")


def _lines(lines: pl.DataFrame, x: LogAxis, y: LogAxis, methods: list[str]) -> list[alt.Chart]:
    base = alt.Chart(lines).encode(x=x.x("payload_bytes:Q"), color=method_colour(methods))
    return [
        base.mark_area(opacity=0.18, clip=True).encode(y=y.y("low_ns:Q"), y2="high_ns:Q"),
        base.mark_line(strokeWidth=2).encode(y=y.y("latency_ns:Q")),
    ]


def _points(cells: pl.DataFrame, x: LogAxis, y: LogAxis, methods: list[str]) -> alt.Chart:
    texts = cells.with_columns(
        pl.col("payload_bytes").map_elements(format_bytes, pl.String).alias("payload"),
        pl.col("latency_ns").map_elements(format_duration, pl.String).alias("median"),
    )
    tooltip = [alt.Tooltip(f"{name}:N", title=name) for name in ("method", "payload", "median", "launch", "n")]
    points: alt.Chart = alt.Chart(texts).mark_point(filled=True, size=26, opacity=0.75)
    return points.encode(
        x=x.x("payload_bytes:Q"),
        y=y.y("latency_ns:Q"),
        color=method_colour(methods),
        shape=method_shape(methods),
        tooltip=tooltip,
    )


def _description(cells: pl.DataFrame, has_ranges: bool) -> str:
    launches = plural(cells.select("run_id", "launch").n_unique(), "launch", ["launches"])
    points = f"Each point is the median of one launch ({launches}, {cells['n'].sum():,} sends)."
    if not has_ranges:
        return f"{points} Lines join the medians of the launches; bands reach from the fastest to the slowest launch."
    return (
        f"{points} Lines are the fitted costs with their 95 % intervals. The strip at the foot shows which method is "
        "taken; the dark line at its foot is where the true edge may lie (95 %)."
    )
