"""How throughput grows with concurrency: the law, what was measured, the peak, and where the law ends."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import polars as pl

from perfkit.report.charts.frame import finished, nothing_to_draw
from perfkit.stats.capacity.demand_result import figure

if TYPE_CHECKING:
    from perfkit.stats.capacity.scalability import Scalability

__all__ = ["scalability_chart"]

_HEIGHT = 280
_LAW, _MEASURED, _END = "#0072B2", "#D55E00", "#8C8C8C"
_STEPS = 60


def scalability_chart(law: Scalability | None) -> alt.LayerChart:
    """The law as a line with its band, the measured levels as points, the peak, and the line beyond which it refuses.

    Args:
        law: what `perfkit.scalability` returned; None where no ladder was measured.

    Returns:
        The chart; one with a sentence without a law.
    """
    if law is None:
        return nothing_to_draw("No ladder was measured; perfkit bench --ladder does.")
    asked = np.linspace(law.measured[0], law.largest_allowed * (1 - 1e-9), _STEPS)
    bounds = [law.at(float(one)) for one in asked]
    curve = pl.DataFrame(
        {
            "concurrency": asked,
            "value": [one.value for one in bounds],
            "low": [max(one.low, 0.0) for one in bounds],
            "high": [one.high for one in bounds],
            "n": law.n,
        }
    )
    points = pl.DataFrame({"concurrency": law.measured, "value": law.throughput, "n": law.n})
    x = alt.X("concurrency:Q", title="concurrency", scale=alt.Scale(domainMin=0, nice=False))
    shared: dict[str, Any] = {
        "title": "throughput per second",
        "axis": alt.Axis(titleAnchor="end"),
        "scale": alt.Scale(zero=True),
    }
    y = alt.Y("value:Q", **shared)
    tooltip = [
        alt.Tooltip("concurrency:Q", format=".3~g"),
        alt.Tooltip("value:Q", title="throughput per second", format=",.4~r"),
        alt.Tooltip("n:Q", title="n (measurements)"),
    ]
    base = alt.Chart(curve).encode(x=x, tooltip=tooltip)
    measured = alt.Chart(points).encode(x=x, y=y, tooltip=tooltip)
    layers = [
        base.mark_area(opacity=0.25, color=_LAW).encode(y=alt.Y("low:Q", **shared), y2="high:Q"),
        base.mark_line(color=_LAW, strokeWidth=2).encode(y=y),
        measured.mark_point(filled=True, size=55, opacity=1, color=_MEASURED),
        *_marks(law, x),
    ]
    description = (
        f"Points are measured throughputs (mean of each level), the line is the Universal Scalability Law, its band "
        f"the {law.level:.0%} interval of the law; n = {law.n}. The dashed line is the peak. At the grey line, "
        f"{law.largest_allowed:.3g}, the law ends: beyond 1.3 times what was measured nothing is said."
    )
    return finished(layers, _HEIGHT, description, room_right=24)


def _marks(law: Scalability, x: alt.X) -> list[alt.Chart]:
    """The peak, where it was found within the range, and the end of the law."""
    end = alt.Chart(pl.DataFrame({"concurrency": [law.largest_allowed]}))
    layers = [end.mark_rule(color=_END, strokeWidth=2).encode(x=x)]
    peak = law.peak_concurrency.value
    if isfinite(peak) and law.measured[0] <= peak <= law.largest_allowed:
        label = f"peak {figure(law.peak_throughput.value)} at {peak:.3g}"
        at = alt.Chart(pl.DataFrame({"concurrency": [peak], "label": [label]})).encode(x=x)
        is_left = peak < (law.measured[0] + law.largest_allowed) / 2
        text = at.mark_text(
            align="left" if is_left else "right", dx=5 if is_left else -5, baseline="bottom", fontSize=11
        )
        layers += [
            at.mark_rule(strokeDash=[4, 3]),
            text.encode(y=alt.value(_HEIGHT - 6), text="label:N"),
        ]
    return layers
