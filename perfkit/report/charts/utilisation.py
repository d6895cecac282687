"""How much of each resource is used: now, at the forecast's peak, and under what is supposed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from perfkit.report.charts.frame import finished, nothing_to_draw

if TYPE_CHECKING:
    from perfkit.workflows.forecast.bottleneck import Bottleneck

__all__ = ["utilisation_chart"]

_ROW = 74
_COLOURS = {"now": "#8C8C8C", "at the peak": "#0072B2", "what if": "#D55E00"}
_SHAPES = {"now": "circle", "at the peak": "square", "what if": "diamond"}
_FULL = "#CC3311"


def utilisation_chart(found: Bottleneck | None, what_if: Bottleneck | None = None) -> alt.LayerChart:
    """Demand as a share of what each resource carries, the tightest first.

    Args:
        found: resources of the host as it is; None where nothing is known.
        what_if: the same under the changes that were asked for.

    Returns:
        The chart; one with a sentence where no resource is known.
    """
    if found is None:
        return nothing_to_draw("Nothing is known of any resource.")
    records = [record for one in found.resources for record in _records(one, found, "now", "at the peak")]
    if what_if is not None:
        records += [record for one in what_if.resources for record in _records(one, what_if, "", "what if")]
    records = [one for one in records if math.isfinite(one["used"])]
    points = pl.DataFrame(records)
    names = list(dict.fromkeys(one["resource"] for one in records))
    cases = [name for name in _COLOURS if name in {one["case"] for one in records}]
    most = max(1.0, *(one["high"] for one in records)) * 1.08
    shared: dict[str, Any] = {
        "title": "share of the limit",
        "axis": alt.Axis(format="%", tickCount=6),
        "scale": alt.Scale(domain=[0, most], nice=False),
    }
    x = alt.X("used:Q", **shared)
    y = alt.Y("resource:N", sort=names, title=None)
    side = alt.YOffset("case:N", sort=cases)
    colour = alt.Color("case:N", legend=None, scale=alt.Scale(domain=cases, range=[_COLOURS[one] for one in cases]))
    shape = alt.Shape("case:N", legend=None, scale=alt.Scale(domain=cases, range=[_SHAPES[one] for one in cases]))
    tooltip = [alt.Tooltip(f"{one}:N") for one in ("resource", "case", "share", "capacity")]
    tooltip.append(alt.Tooltip("n:Q", title="n (futures)"))
    base = alt.Chart(points).encode(y=y, yOffset=side, tooltip=tooltip)
    limit = alt.Chart(pl.DataFrame({"used": [1.0]}))
    layers = [
        limit.mark_rule(color=_FULL, strokeDash=[5, 3], strokeWidth=1.5).encode(x=x),
        base.mark_bar(height=6, opacity=0.35, cornerRadius=3).encode(
            x=alt.X("low:Q", **shared), x2="high:Q", color=colour
        ),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=x, color=colour, shape=shape),
        # Right of the plot, where no label meets the line at which a resource is full.
        base.mark_text(align="left", dx=8, fontSize=11).encode(x=alt.value("width"), text="label:N"),
    ]
    supposed = f" (diamond: with {what_if.change})" if what_if is not None and what_if.change else ""
    description = (
        "Demand as a share of what each resource carries: now (circle) and at the peak of the forecast (square), bars "
        f"up to the upper bound of its interval{supposed}. At the dashed line a resource is full; tightest first."
    )
    return finished(layers, _ROW * len(names), description)


def _records(one: Any, found: Bottleneck, now: str, peak: str) -> list[dict[str, Any]]:
    n = one.reached.n if one.reached is not None else 0
    shared = {"resource": one.name, "capacity": f"{one.capacity_per_s:.4g}", "n": n}
    cases = [(now, one.used_now, one.used_now)] if now else []
    cases.append((peak, one.used_at_peak, max(one.used_at_most, one.used_at_peak)))
    return [
        {
            **shared,
            "case": case,
            "used": used,
            "low": used,
            "high": most,
            "share": f"{used:.0%}",
            "label": f"{case} {used:.0%}",
        }
        for case, used, most in cases
    ]
