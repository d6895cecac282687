"""Where the time of a transfer goes: encoding, decoding, the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from perfkit.report.charts.frame import finished, nothing_to_draw
from perfkit.units import format_bytes, format_duration
from perfkit.workflows.analyse_costs import StageShares

__all__ = ["stages_chart"]

_ROW_PIXELS = 42
_BAR_PIXELS = 18
_LETTER_SHARE = 0.019  # share of a bar that a letter needs on a narrow screen
_STAGES = {"encode": "#CC79A7", "decode": "#E8B7D0", "transport": "#A6A6A6"}
_DARK = "#10151a"


def stages_chart(shares: Sequence[StageShares]) -> alt.LayerChart:
    """One bar per codec: what encoding, decoding and the way take of the time, by the cheapest method.

    Args:
        shares: of payloads of one size, as `Analysis.stages_at` gives them.

    Returns:
        The chart, with names above the bars so that it stays readable on a narrow screen.
    """
    cheapest: dict[str, StageShares] = {}
    for one in shares:
        if one.codec not in cheapest or one.total_ns < cheapest[one.codec].total_ns:
            cheapest[one.codec] = one
    if not cheapest:
        return nothing_to_draw("No stages are known: they are measured by `perfkit bench`.")
    rows = [_row(one) for one in cheapest.values()]
    order = [row["name"] for row in rows]
    bars = pl.DataFrame([bar for row, one in zip(rows, cheapest.values(), strict=True) for bar in _bars(row, one)])
    y = alt.Y("name:N", axis=None, sort=order, scale=alt.Scale(paddingInner=0, paddingOuter=0))
    x = alt.X(
        "start:Q",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", title="share of the time", values=[0, 0.25, 0.5, 0.75, 1]),
    )
    colour = alt.Color(
        "stage:N",
        scale=alt.Scale(domain=list(_STAGES), range=list(_STAGES.values())),
        sort=list(_STAGES),
        legend=None,
    )
    tooltip = [alt.Tooltip(f"{name}:N") for name in ("stage", "time", "share", "total", "n")]
    base = alt.Chart(pl.DataFrame(rows))
    layers = [
        alt.Chart(bars)
        .mark_bar(height=_BAR_PIXELS, yOffset=6)
        .encode(x=x, x2="end:Q", y=y, color=colour, tooltip=tooltip),
        base.mark_rule(strokeWidth=3, yOffset=6 + _BAR_PIXELS / 2 - 2, color=_DARK, opacity=0.7).encode(
            x=alt.X("codec_low:Q"), x2="codec_high:Q", y=y
        ),
        alt.Chart(bars)
        .mark_text(yOffset=5, fontSize=10, color=_DARK)
        .encode(x=alt.X("middle:Q"), y=y, text="label:N", tooltip=tooltip),
        base.mark_text(align="left", dy=-11, fontSize=11).encode(x=alt.X("first:Q"), y=y, text="name:N"),
    ]
    size = format_bytes(next(iter(cheapest.values())).payload_bytes)
    description = (
        f"Payloads of {size}, each codec by its cheapest method, composed of what was measured apart: from the left "
        "encoding, decoding and the way (transport). The dark line at the foot is the 95 % interval of the share that "
        "encoding and decoding take together; ± is half of that of the time."
    )
    return finished(layers, _ROW_PIXELS * len(rows), description)


def _row(one: StageShares) -> dict[str, Any]:
    half_width = max(one.high_ns / one.total_ns - 1, 1 - one.low_ns / one.total_ns)
    estimate = "" if one.measured else " (?)"
    return {
        "name": f"{one.codec}, by {one.method}: {format_duration(one.total_ns)}{estimate} ±{half_width:.0%}",
        "codec_low": one.codec_low,
        "codec_high": one.codec_high,
        "first": 0.0,
    }


def _bars(row: dict[str, Any], one: StageShares) -> list[dict[str, Any]]:
    bars, start = [], 0.0
    for stage, duration_ns in (("encode", one.encode_ns), ("decode", one.decode_ns), ("transport", one.transport_ns)):
        share = duration_ns / one.total_ns
        bars.append(
            {
                "name": row["name"],
                "stage": stage,
                "start": start,
                "end": start + share,
                "middle": start + share / 2,
                "label": stage if share >= _LETTER_SHARE * len(stage) else "",
                "time": format_duration(duration_ns),
                "share": f"{share:.0%}",
                "total": format_duration(one.total_ns),
                "n": one.n,
            }
        )
        start += share
    return bars
