"""The chosen ranges as coloured strips over the axis of sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import polars as pl

from perfkit.engine.ranges import Range
from perfkit.report.charts.scales import LogAxis
from perfkit.report.theme import method_styles
from perfkit.units import format_bytes, format_duration

__all__ = ["strip_layers", "strip_records"]

_LETTER_SHARE = 0.025  # share of the axis that a letter of a method's name needs on a narrow screen
_EDGE_PIXELS = 4
_DARK_TEXT, _LIGHT_TEXT = "#10151a", "#ffffff"
_DARK_COLOURS = ("#0072B2",)  # too dark for dark text


def strip_records(ranges: Sequence[Range], sizes: tuple[float, float], setting: str = "") -> list[dict[str, object]]:
    """One record per range that is visible between two sizes.

    Args:
        ranges: ranges of one context.
        sizes: smallest and largest size of the axis, in bytes.
        setting: what the ranges are for; the row of the strip.
    """
    span = math.log(sizes[1] / sizes[0])
    records = []
    for one in ranges:
        start, end = max(one.start_bytes, sizes[0]), min(one.end_bytes, sizes[1])
        if start >= end:
            continue
        low, high = one.crossover or (math.nan, math.nan)
        records.append(
            {
                "setting": setting,
                "method": one.method,
                "start": start,
                "end": end,
                "middle": math.sqrt(start * end),
                "label": one.method if math.log(end / start) / span >= _LETTER_SHARE * len(one.method) else "",
                "ink": _ink(one.method),
                "edge_low": max(low, sizes[0]) if low < sizes[1] else None,
                "edge_high": min(high, sizes[1]) if high > sizes[0] else None,
                "from_to": f"{format_bytes(one.start_bytes)} to {format_bytes(one.end_bytes)}",
                "edge": _edge_text(one),
                "expected": f"{_cost(one)} at {format_bytes(one.middle_bytes)}",
                "n": one.n,
            }
        )
    return records


def _cost(one: Range) -> str:
    expected = one.expected
    estimate = "" if one.measured else " (?)"
    return (
        f"{format_duration(expected.value)}{estimate} "
        f"({format_duration(expected.low)} to {format_duration(expected.high)})"
    )


def _edge_text(one: Range) -> str:
    if one.crossover is None:
        return "none"
    low, high = one.crossover
    return f"{format_bytes(low)} to {format_bytes(high)}"


def strip_layers(
    records: list[dict[str, object]], sizes: LogAxis, y: alt.Y | alt.YValue, pixels: int, colour: alt.Color
) -> list[alt.Chart]:
    """The layers of strips: a bar per range, dark at its foot where the true edge may lie, and names that fit."""
    base = alt.Chart(pl.DataFrame(records, infer_schema_length=None))
    tooltip = [
        alt.Tooltip("method:N", title="taken"),
        alt.Tooltip("from_to:N", title="payload"),
        alt.Tooltip("expected:N", title="expected"),
        alt.Tooltip("edge:N", title="true upper edge (95 %)"),
        alt.Tooltip("n:Q", title="n"),
    ]
    bars = base.mark_bar(height=pixels, cornerRadius=2).encode(
        x=sizes.x("start:Q"), x2="end:Q", y=y, color=colour, tooltip=tooltip
    )
    edges = (
        base.transform_filter("isValid(datum.edge_low) && isValid(datum.edge_high)")
        .mark_bar(height=_EDGE_PIXELS, yOffset=(pixels - _EDGE_PIXELS) / 2, color=_DARK_TEXT, opacity=0.6)
        .encode(x=sizes.x("edge_low:Q"), x2="edge_high:Q", y=y, tooltip=tooltip)
    )
    names = base.mark_text(fontSize=11, fontWeight="bold").encode(
        x=sizes.x("middle:Q"), y=y, text="label:N", color=alt.Color("ink:N", scale=None)
    )
    return [bars, edges, names]


def _ink(method: str) -> str:
    return _LIGHT_TEXT if method_styles([method])[method].colour in _DARK_COLOURS else _DARK_TEXT
