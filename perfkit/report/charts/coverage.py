"""How often the intervals of a cost model held, by slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl
from scipy import stats

from perfkit.report.charts.frame import finished, nothing_to_draw
from perfkit.tables import plural

if TYPE_CHECKING:
    from perfkit.learn.models.report import ModelReport, SliceCoverage

__all__ = ["coverage_chart"]

_ROW = 36
_MOST = 24
_POINT = "#0072B2"
_QUIET = "#8C8C8C"


def coverage_chart(report: ModelReport | None, target: str = "latency_ns") -> alt.LayerChart:
    """The share of held-out transfers within their interval, per slice, with its own interval, against the level.

    Args:
        report: of a cost model; None without one.
        target: one of its targets.

    Returns:
        The chart; one with a sentence where the model has no such target.
    """
    parts = [] if report is None else [part for one in report.targets if one.target == target for part in one.coverage]
    parts = [one for one in parts if one.n > 0]
    if report is None or not parts:
        return nothing_to_draw("No intervals were judged.")
    drawn = parts[:_MOST]
    bounds = [_interval(one.coverage, one.n) for one in drawn]
    frame = pl.DataFrame(
        {
            "slice": [_name(one) for one in drawn],
            "coverage": [one.coverage for one in drawn],
            "low": [low for low, _ in bounds],
            "high": [high for _, high in bounds],
            "held": [f"{one.coverage:.1%}" for one in drawn],
            "said": [f"{one.coverage:.1%} of {one.n:,}" for one in drawn],
            "promised": report.level,
            "n": [one.n for one in drawn],
        }
    )
    least = max(0.0, min(*frame["low"], report.level) - 0.03)
    scale = alt.Scale(domain=[least, 1.0], nice=False, zero=False)
    shared: dict[str, Any] = {
        "title": "share of transfers within their interval",
        "axis": alt.Axis(format="%", tickCount=6),
        "scale": scale,
    }
    x = alt.X("coverage:Q", **shared)
    y = alt.Y("slice:N", sort=None, title=None, axis=None)
    tooltip = [alt.Tooltip("slice:N"), alt.Tooltip("held:N"), alt.Tooltip("n:Q", title="n (transfers)")]
    base = alt.Chart(frame).encode(y=y, tooltip=tooltip)
    layers = [
        base.mark_tick(color=_QUIET, size=16, thickness=2).encode(x=alt.X("promised:Q", **shared)),
        base.mark_bar(height=8, opacity=0.35, cornerRadius=4, color=_POINT).encode(
            x=alt.X("low:Q", **shared), x2="high:Q"
        ),
        base.mark_point(filled=True, size=50, opacity=1, color=_POINT).encode(x=x),
        # Above each bar, as beside it long names would be cut or leave no room for the bar on a telephone.
        base.mark_text(align="left", dy=-13, fontSize=11).encode(x=alt.value(0), text="slice:N"),
        base.mark_text(align="right", dy=-13, fontSize=11).encode(x=alt.value("width"), text="said:N"),
    ]
    hidden = f" {plural(len(parts) - len(drawn), 'slice')} are not drawn." if len(parts) > len(drawn) else ""
    description = (
        f"Each mark is the share of a slice's held-out transfers within their {report.level:.0%} interval, its bar the "
        f"95 % interval of that share (transfers taken as independent); the upright tick is what was promised.{hidden}"
    )
    return finished(layers, _ROW * len(drawn) + 20, description)


def _name(one: SliceCoverage) -> str:
    columns, values = one.slice.split(" and "), one.name.split(" ")
    if len(columns) > 1 and len(columns) == len(values):
        return ", ".join(f"{column} {value}" for column, value in zip(columns, values, strict=True))
    return one.name if one.slice == "all" else f"{one.slice}: {one.name}"


def _interval(share: float, n: int) -> tuple[float, float]:
    held = round(share * n)
    found = stats.binomtest(held, n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)
