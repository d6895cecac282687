"""How likely an experiment is to find a change of each size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import polars as pl

from perfkit.report.charts.frame import finished, nothing_to_draw
from perfkit.report.charts.scales import LinearAxis
from perfkit.report.charts.variants import change_axis, change_text
from perfkit.report.detectable import WANTED_POWER, detectable_changes

if TYPE_CHECKING:
    from perfkit.workflows.experiment.report import ExperimentReport

__all__ = ["power_chart"]

_HEIGHT = 240
_COLOUR, _QUIET = "#0072B2", "#8C8C8C"
_TICKS = (0, 0.2, 0.4, 0.6, 0.8, 1)


def power_chart(experiment: ExperimentReport) -> alt.LayerChart:
    """The probability that a change is found, over its size, with the units that there are.

    Args:
        experiment: what `perfkit.experiment_report` returned.

    Returns:
        The chart, the smallest changes that are found four times in five marked; one with a sentence where the noise
        is not known.
    """
    points, found = experiment.power_by_change, detectable_changes(experiment)
    if not points or found is None:
        return nothing_to_draw("There is too little data for any change to be found.")
    primary = experiment.result.primary
    domain = (min(one.relative for one in points), max(one.relative for one in points))
    x = change_axis(domain, f"true change of {primary.metric} {primary.statistic}")
    curve = pl.DataFrame(
        {
            "relative": [one.relative for one in points],
            "power": [one.power for one in points],
            "change": [change_text(one.relative) for one in points],
            "n": [one.units for one in points],
        }
    )
    ends = [one for one in found if domain[0] < one < domain[1]]
    missed = {"low": [max(found[0], domain[0])], "high": [min(found[1], domain[1])], "wanted": [WANTED_POWER]}
    marks = {"relative": ends, "power": [WANTED_POWER] * len(ends), "label": [change_text(one) for one in ends]}
    description = (
        f"The curve is the probability that a true change is found (tested at {primary.alpha:.0%}), with the "
        f"{points[0].units:,} {experiment.result.unit}s that there are and the noise that they have. A change in the "
        f"grey interval is missed more often than {1 - WANTED_POWER:.0%} of the time; its ends are the minimum "
        "detectable changes."
    )
    y = LinearAxis((0.0, 1.06), alt.Axis(title="chance of finding it", format="~%", titleAnchor="end", values=_TICKS))
    layers = [*_layers(curve, pl.DataFrame(missed), x, y), *_marks(pl.DataFrame(marks), x, y)]
    return finished(layers, _HEIGHT, description)


def _layers(curve: pl.DataFrame, missed: pl.DataFrame, x: LinearAxis, y: LinearAxis) -> list[alt.Chart]:
    tooltip = [
        alt.Tooltip("change:N", title="true change"),
        alt.Tooltip("power:Q", title="found", format=".0%"),
        alt.Tooltip("n:Q", title="n (units)"),
    ]
    base, zone = alt.Chart(curve).encode(x=x.x("relative:Q")), alt.Chart(missed)
    return [
        zone.mark_rect(color=_QUIET, opacity=0.15).encode(x=x.x("low:Q"), x2="high:Q"),
        zone.mark_rule(strokeDash=[4, 3]).encode(y=y.y("wanted:Q")),
        base.mark_line(strokeWidth=2, color=_COLOUR).encode(y=y.y("power:Q")),
        base.mark_point(filled=True, size=18, color=_COLOUR, opacity=1).encode(y=y.y("power:Q"), tooltip=tooltip),
    ]


def _marks(marks: pl.DataFrame, x: LinearAxis, y: LinearAxis) -> list[alt.Chart]:
    """The minimum detectable changes, named beside the curve and outside of the grey interval."""
    if marks.is_empty():
        return []
    base = alt.Chart(marks).encode(x=x.x("relative:Q"), y=y.y("power:Q"))
    text = base.encode(text="label:N")
    return [
        base.mark_point(filled=True, size=90, color=_COLOUR, opacity=1, shape="diamond"),
        text.transform_filter("datum.relative < 0").mark_text(align="right", dx=-9, dy=12, fontWeight=600),
        text.transform_filter("datum.relative > 0").mark_text(align="left", dx=9, dy=12, fontWeight=600),
    ]
