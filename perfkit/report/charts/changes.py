"""What changed between two runs."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from perfkit.report.charts.frame import finished, nothing_to_draw
from perfkit.report.charts.scales import LogAxis, times_axis
from perfkit.report.theme import MethodStyle
from perfkit.stats.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE

if TYPE_CHECKING:
    from perfkit.workflows.comparison import Comparison, Difference, ScenarioChange

__all__ = ["comparison_chart"]

_ROW_PIXELS = 36
_VERDICT_STYLES: Mapping[str, MethodStyle] = {
    WORSE: MethodStyle("#D55E00", "triangle-right"),
    BETTER: MethodStyle("#009E73", "triangle-left"),
    EQUIVALENT: MethodStyle("#0072B2", "circle"),
    INCONCLUSIVE: MethodStyle("#8C8C8C", "square"),
}


def comparison_chart(comparison: Comparison) -> alt.LayerChart:
    """One row per scenario: a stroke where run A is, a mark where run B is relative to it, and its interval as a bar.

    Args:
        comparison: what `perfkit.compare` returned. Scenarios that are worse or better are all drawn, of the others
            those with the largest changes; the overall change stands first, the controls last.

    Returns:
        The chart, with names above the marks so that it stays readable on a narrow screen.
    """
    shown, left_out = comparison.notable()
    if not shown:
        return nothing_to_draw("The two runs share no scenario.")
    overall = comparison.overall
    records = [_record("all scenarios", overall)]
    records += [_scenario_record(one) for one in (*shown, *comparison.controls)]
    low = min(1.0, *(record["low"] for record in records)) / 1.15
    high = max(1.0, *(record["high"] for record in records)) * 1.15
    x = times_axis((low, high), "B / A (log scale)")
    y = alt.Y("row:O", axis=None, sort=None)
    margin = {"first": low, "equal": 1.0, "least": 1 - comparison.margin, "most": 1 + comparison.margin}
    frame = (
        pl.DataFrame(records).with_row_index("row").with_columns(pl.lit(value).alias(k) for k, value in margin.items())
    )
    rest = f" {len(left_out)} scenarios with smaller changes are not drawn." if left_out else ""
    return finished(
        _layers(alt.Chart(frame), x, y),
        _ROW_PIXELS * len(records),
        f"Each mark is run B relative to run A (the upright stroke), its bar the {1 - comparison.alpha:.0%} interval "
        f"over launches, the shaded band ±{comparison.margin:.0%}. Triangles to the right are worse, to the left "
        f"better; circles are equivalent, squares inconclusive.{rest}",
    )


def _scenario_record(one: ScenarioChange) -> dict[str, Any]:
    return _record(one.scenario, one.change)


def _record(name: str, change: Difference) -> dict[str, Any]:
    value, low, high = change.value, change.low, change.high
    # An interval that nobody knows is drawn as its value alone: a logarithmic axis has neither 0 nor infinity.
    is_known = isfinite(high) and low > -1
    return {
        "name": f"{name}: {value:+.1%}",
        "value": 1 + value,
        "low": 1 + (low if is_known else value),
        "high": 1 + (high if is_known else value),
        "interval": f"{low:+.1%} to {high:+.1%}" if is_known else "unknown",
        "verdict": change.verdict,
        "n": change.n,
    }


def _layers(base: alt.Chart, x: LogAxis, y: alt.Y) -> list[alt.Chart]:
    domain = list(_VERDICT_STYLES)
    colours = alt.Scale(domain=domain, range=[style.colour for style in _VERDICT_STYLES.values()])
    shapes = alt.Scale(domain=domain, range=[style.shape for style in _VERDICT_STYLES.values()])
    colour = alt.Color("verdict:N", scale=colours, legend=None)
    tooltip = [
        alt.Tooltip("name:N", title="scenario"),
        alt.Tooltip("interval:N", title="interval"),
        alt.Tooltip("verdict:N", title="verdict"),
        alt.Tooltip("n:Q", title="n (launches)"),
    ]
    return [
        base.mark_bar(height=_ROW_PIXELS, color=_VERDICT_STYLES[INCONCLUSIVE].colour, opacity=0.12).encode(
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
