"""Which method is taken for which size, in every setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import altair as alt
import polars as pl

from perfkit.config.curves import CurveSet
from perfkit.engine.costs import Context
from perfkit.engine.ranges import compile_ranges
from perfkit.report.charts.frame import finished, method_colour, nothing_to_draw
from perfkit.report.charts.scales import bytes_axis, log_domain
from perfkit.report.charts.strip import strip_layers, strip_records
from perfkit.report.theme import method_styles
from perfkit.schema import ZERO_COPY_FAMILY

__all__ = ["measured_contexts", "ranges_chart"]

_ROW_PIXELS = 40
_STRIP_PIXELS = 22


def measured_contexts(curves: CurveSet) -> dict[str, Context]:
    """The settings that curves know something about, each with a short name: bytes in every load, then the codecs.

    >>> list(measured_contexts(CurveSet({})))
    ['bytes']
    """
    transports = [key for key in curves.curves if key.stage == "transport"]
    methods = tuple(method_styles(key.method for key in transports))
    bytes_alone = Context(available=methods)
    contexts = {"bytes": bytes_alone}
    if any(key.signalling == "grpc" for key in transports):
        contexts["bytes, announced over gRPC"] = dataclasses.replace(bytes_alone, signalling="grpc")
    without = tuple(name for name in methods if name not in ZERO_COPY_FAMILY)
    if without != methods:
        contexts["bytes, no shared memory left"] = dataclasses.replace(bytes_alone, available=without)
    for in_flight in sorted({key.in_flight for key in transports} - {1}):
        contexts[f"bytes, {in_flight} in flight"] = dataclasses.replace(bytes_alone, in_flight=in_flight)
    for codec in curves.codecs:
        if codec.compression == "none" and (codec.kind, codec.format) != ("binary", "raw"):
            named = dataclasses.replace(bytes_alone, kind=codec.kind, format=codec.format)
            contexts[f"{codec.kind} as {codec.format}"] = named
    return contexts


def ranges_chart(
    curves: CurveSet, contexts: Mapping[str, Context] | None = None, goal: str = "latency"
) -> alt.LayerChart:
    """One strip per setting: the method that is taken over the axis of sizes.

    Args:
        curves: what was fitted.
        contexts: a short name for each setting, in the order of the rows; by default `measured_contexts`.
        goal: what the methods are chosen for.

    Returns:
        The chart, with names above the strips so that it stays readable on a narrow screen.
    """
    transports = [curve for key, curve in curves.curves.items() if key.stage == "transport"]
    if not transports:
        return nothing_to_draw("No method was measured, so none can be chosen.")
    sizes = log_domain([*(c.min_bytes for c in transports), *(c.max_bytes for c in transports)])
    records = [
        record
        for name, context in (contexts or measured_contexts(curves)).items()
        for record in strip_records(compile_ranges(curves, context, goal), sizes, name)
    ]
    if not records:
        return nothing_to_draw("No method was measured in these settings.")
    rows = list(dict.fromkeys(str(record["setting"]) for record in records))
    x = bytes_axis(sizes)
    # Names stand above their strips: a column of names would leave no room for the strips on a narrow screen.
    y = alt.Y("setting:N", axis=None, sort=rows, scale=alt.Scale(paddingInner=0, paddingOuter=0))
    names = (
        alt.Chart(pl.DataFrame({"setting": rows, "first": [sizes[0]] * len(rows)}))
        .mark_text(align="left", dy=-_STRIP_PIXELS / 2 - 7, fontSize=11)
        .encode(x=x.x("first:Q"), y=y, text="setting:N")
    )
    return finished(
        [*strip_layers(records, x, y, _STRIP_PIXELS, method_colour(str(r["method"]) for r in records)), names],
        _ROW_PIXELS * len(rows),
        "Each strip shows the method that is taken for a payload of that size; the dark line at its foot is where the "
        "true edge may lie (95 %).",
    )
