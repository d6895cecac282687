"""Relative changes below each other, each with its interval and its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import altair as alt
import polars as pl

from perfkit.report.charts.scales import LogAxis, times_axis
from perfkit.report.theme import MethodStyle
from perfkit.stats.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE

__all__ = ["FOREST_ROW_PIXELS", "change_record", "forest_layers"]

FOREST_ROW_PIXELS = 36
_ROOM, _MOST_ROOM = 0.1, 1.15  # beyond the outermost bar: a share of the axis, but no more than this factor
_LEAST = 0.1  # a margin beyond it is drawn until here
_VERDICT_STYLES: Mapping[str, MethodStyle] = {
    WORSE: MethodStyle("#D55E00", "triangle-right"),
    BETTER: MethodStyle("#009E73", "triangle-left"),
    EQUIVALENT: MethodStyle("#0072B2", "circle"),
    INCONCLUSIVE: MethodStyle("#8C8C8C", "square"),
}


def change_record(
    name: str, value: float, interval: tuple[float, float], verdict: str, n: int, margin: float
) -> dict[str, Any]:
    """One row of a forest.

    Args:
        name: what stands above its mark; the change is written behind it.
        value: relative change, finite and above -1.
        interval: its bounds.
        verdict: one of `perfkit.stats.verdicts`.
        n: on how much it rests.
        margin: relative change that does not matter.
    """
    low, high = interval
    # An interval that nobody knows is drawn as its value alone: a logarithmic axis has neither 0 nor infinity.
    is_known = isfinite(high) and low > -1
    return {
        "name": f"{name}: {value:+.1%}",
        "value": 1 + value,
        "low": 1 + (low if is_known else value),
        "high": 1 + (high if is_known else value),
        "interval": f"{low:+.1%} to {high:+.1%}" if is_known else "unknown",
        "verdict": verdict,
        "n": n,
        "least": max(1 - margin, _LEAST),
        "most": 1 + margin,
    }


def forest_layers(records: Sequence[Mapping[str, Any]], title: str, n_title: str) -> list[alt.Chart]:
    """The layers of a forest: a stroke where nothing changes, the margin as a band, a mark with its bar per row.

    Args:
        records: of `change_record`, from the top down.
        title: of the axis, without its scale.
        n_title: what n counts, for the tooltip.
    """
    lowest = min(record[name] for record in records for name in ("least", "low"))
    highest = max(record[name] for record in records for name in ("most", "high"))
    beyond = min((highest / lowest) ** _ROOM, _MOST_ROOM)
    low, high = lowest / beyond, highest * beyond
    x = times_axis((low, high), f"{title} (log scale)")
    frame = pl.DataFrame(list(records)).with_row_index("row").with_columns(first=pl.lit(low), equal=pl.lit(1.0))
    return _layers(alt.Chart(frame), x, n_title)


def _layers(base: alt.Chart, x: LogAxis, n_title: str) -> list[alt.Chart]:
    y = alt.Y("row:O", axis=None, sort=None)
    domain = list(_VERDICT_STYLES)
    colours = alt.Scale(domain=domain, range=[style.colour for style in _VERDICT_STYLES.values()])
    shapes = alt.Scale(domain=domain, range=[style.shape for style in _VERDICT_STYLES.values()])
    colour = alt.Color("verdict:N", scale=colours, legend=None)
    tooltip = [
        alt.Tooltip("name:N", title="change"),
        alt.Tooltip("interval:N", title="interval"),
        alt.Tooltip("verdict:N", title="verdict"),
        alt.Tooltip("n:Q", title=n_title),
    ]
    return [
        base.mark_bar(height=FOREST_ROW_PIXELS, color=_VERDICT_STYLES[INCONCLUSIVE].colour, opacity=0.12).encode(
            x=x.x("least:Q"), x2="most:Q", y=y
        ),
        base.mark_bar(height=8, opacity=0.35, cornerRadius=4).encode(
            x=x.x("low:Q"), x2="high:Q", y=y, color=colour, tooltip=tooltip
        ),
        base.mark_rule(strokeWidth=2).encode(x=x.x("equal:Q"), x2="value:Q", y=y, color=colour),
        base.mark_tick(size=12, thickness=2).encode(x=x.x("equal:Q"), y=y),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=x.x("value:Q"),
            y=y,
            color=colour,
            shape=alt.Shape("verdict:N", scale=shapes, legend=None),
            tooltip=tooltip,
        ),
        base.mark_text(align="left", dy=-12, fontSize=11).encode(x=x.x("first:Q"), y=y, text="name:N"),
    ]
