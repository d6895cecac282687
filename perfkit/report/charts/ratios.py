"""Ratios against their limits."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import altair as alt
import polars as pl

from perfkit.report.charts.frame import finished, nothing_to_draw
from perfkit.report.charts.scales import times_axis
from perfkit.stats.hierarchical import Estimate

__all__ = ["ratios_chart"]

_ROW_PIXELS = 40
_COLOUR = "#0072B2"


def ratios_chart(ratios: Mapping[str, Estimate]) -> alt.LayerChart:
    """One row per ratio: its value as a dot, its interval as a bar, on a logarithmic axis; a stroke marks equality.

    Args:
        ratios: name to estimate, in the order of the rows.

    Returns:
        The chart, with names above the dots so that it stays readable on a narrow screen.
    """
    if not ratios:
        return nothing_to_draw("This preset measures no ratios; the preset limits does.")
    # An interval that nobody knows is drawn as its value alone: a logarithmic axis has neither 0 nor infinity.
    known = {name: ratio if isfinite(ratio.high) and ratio.low > 0 else None for name, ratio in ratios.items()}
    records: list[dict[str, Any]] = [
        {
            "name": f"{name.replace('_', ' ')}: {ratio.value:.3g}",
            "value": ratio.value,
            "low": ratio.low if known[name] else ratio.value,
            "high": ratio.high if known[name] else ratio.value,
            "interval": f"{ratio.low:.3g} to {ratio.high:.3g}" if known[name] else "unknown",
            "n": ratio.n,
        }
        for name, ratio in ratios.items()
    ]
    low = min(1.0, *(record["low"] for record in records)) / 1.15
    high = max(1.0, *(record["high"] for record in records)) * 1.15
    x = times_axis((low, high), "times (log scale)")
    y = alt.Y("name:N", axis=None, sort=[str(record["name"]) for record in records])
    tooltip = [
        alt.Tooltip("name:N", title="ratio"),
        alt.Tooltip("interval:N", title="95 % interval"),
        alt.Tooltip("n:Q", title="n"),
    ]
    base = alt.Chart(pl.DataFrame(records).with_columns(first=pl.lit(low), equal=pl.lit(1.0)))
    layers = [
        base.mark_tick(size=12, thickness=2).encode(x=x.x("equal:Q"), y=y),
        base.mark_bar(height=8, color=_COLOUR, opacity=0.35, cornerRadius=4).encode(
            x=x.x("low:Q"), x2="high:Q", y=y, tooltip=tooltip
        ),
        base.mark_point(filled=True, size=60, color=_COLOUR, opacity=1).encode(x=x.x("value:Q"), y=y, tooltip=tooltip),
        base.mark_text(align="left", dy=-13, fontSize=11).encode(x=x.x("first:Q"), y=y, text="name:N"),
    ]
    return finished(
        layers,
        _ROW_PIXELS * len(records),
        "Each dot is a ratio of two medians, its bar the 95 % interval; the upright stroke marks equality.",
    )
