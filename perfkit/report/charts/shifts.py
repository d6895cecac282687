"""Where in its distribution a metric moved."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from perfkit.report.charts.frame import finished, nothing_to_draw
from perfkit.report.charts.scales import LinearAxis
from perfkit.report.charts.variants import change_axis, change_domain, change_text, variant_colour, variant_shape
from perfkit.stats.experiments.showing import write_value
from perfkit.stats.quantiles import quantile_name

if TYPE_CHECKING:
    from perfkit.workflows.experiment.report import ExperimentReport, QuantileShift

__all__ = ["shifts_chart"]

_HEIGHT = 260
_QUIET = "#8C8C8C"


def shifts_chart(experiment: ExperimentReport) -> alt.LayerChart:
    """How much each quantile of the primary metric changed, with its interval.

    Args:
        experiment: what `perfkit.experiment_report` returned.

    Returns:
        The chart; one with a sentence where no quantile had data enough.
    """
    shifts = [one for one in experiment.quantile_shift if isfinite(one.low) and isfinite(one.high)]
    if not shifts:
        return nothing_to_draw("No quantile has data enough for a change.")
    primary = experiment.result.primary
    variants = list(dict.fromkeys(one.variant for one in shifts))
    points = pl.DataFrame([_record(one, primary.metric, experiment.n) for one in shifts])
    bounds = [bound for one in shifts for bound in (one.low, one.high)]
    y = change_axis(
        change_domain((*bounds, -primary.margin, primary.margin)),
        f"change of {primary.metric} against {experiment.result.control}",
    )
    names = list(dict.fromkeys(points.sort("quantile")["percentile"]))
    x = alt.X("percentile:N", sort=names, title="percentile", axis=alt.Axis(labelAngle=0))
    description = (
        f"Each mark is what a percentile of {primary.metric} changes by, its bar the {1 - primary.alpha:.0%} interval "
        f"(clustered by {experiment.result.unit}, each percentile by itself); the grey band is ±{primary.margin:.0%}. "
        "Level marks say that everything moved alike, a slope that fast and slow ones moved apart. A percentile with "
        f"too little data is not drawn."
    )
    return finished(_layers(points, variants, primary.margin, x, y), _HEIGHT, description)


def _record(shift: QuantileShift, metric: str, units: int) -> dict[str, Any]:
    return {
        "variant": shift.variant,
        "quantile": shift.quantile,
        "percentile": quantile_name(shift.quantile),
        "relative": shift.relative,
        "low": shift.low,
        "high": shift.high,
        "change": change_text(shift.relative),
        "interval": f"{change_text(shift.low)} to {change_text(shift.high)}",
        "levels": f"{write_value(metric, shift.control_value)} to {write_value(metric, shift.variant_value)}",
        "n": units,
    }


def _layers(points: pl.DataFrame, variants: list[str], margin: float, x: alt.X, y: LinearAxis) -> list[alt.Chart]:
    colour, side = variant_colour(variants), alt.XOffset("variant:N", sort=variants)
    tooltip = [alt.Tooltip(f"{name}:N") for name in ("variant", "percentile", "levels", "change", "interval")]
    tooltip.append(alt.Tooltip("n:Q", title="n (units)"))
    constant = alt.Chart(pl.DataFrame({"least": [-margin], "most": [margin], "zero": [0.0]}))
    base = alt.Chart(points).encode(x=x, xOffset=side)
    layers = [
        constant.mark_rect(color=_QUIET, opacity=0.15).encode(y=y.y("least:Q"), y2="most:Q"),
        constant.mark_rule(strokeWidth=1.5).encode(y=y.y("zero:Q")),
        base.mark_bar(width=8, opacity=0.35, cornerRadius=4).encode(
            y=y.y("low:Q"), y2="high:Q", color=colour, tooltip=tooltip
        ),
        base.mark_point(filled=True, size=60, opacity=1).encode(
            y=y.y("relative:Q"), color=colour, shape=variant_shape(variants), tooltip=tooltip
        ),
    ]
    text = base.mark_text(baseline="bottom", dy=-4, fontSize=11).encode(y=y.y("high:Q"))
    if len(variants) == 1:
        return [*layers, text.encode(text="change:N")]
    # Several leave no room for what each changes by: the first of each says which variant it is.
    named = text.transform_filter(f"datum.percentile == '{points['percentile'][0]}'")
    return [*layers, named.encode(text="variant:N")]
