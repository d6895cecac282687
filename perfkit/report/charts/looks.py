"""How the effect of an experiment narrowed while its data came in."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from perfkit.report.charts.frame import finished, nothing_to_draw
from perfkit.report.charts.scales import LinearAxis, time_axis
from perfkit.report.charts.variants import (
    apart_on_changes,
    change_axis,
    change_domain,
    change_text,
    variant_colour,
    variant_shape,
)

if TYPE_CHECKING:
    from perfkit.workflows.experiment.report import EffectOverTime, ExperimentReport, Look

__all__ = ["looks_chart"]

_HEIGHT = 280
_ROOM_RIGHT = 4
_QUIET = "#8C8C8C"
_BEYOND = 2.0  # half-widths of the last interval that are shown beyond it; the first intervals reach much further


def looks_chart(experiment: ExperimentReport) -> alt.LayerChart:
    """The primary effect after every look: a line with its always-valid interval per variant, and what does not matter.

    Args:
        experiment: what `perfkit.experiment_report` returned.

    Returns:
        The chart, over time where the rows have one, else over the units that had come in; one with a sentence where
        no look had data enough for an effect.
    """
    effects = [one for one in experiment.over_time if any(isfinite(look.relative) for look in one.looks)]
    if not effects:
        return nothing_to_draw("No look had data enough for an effect.")
    points = pl.DataFrame([_record(one, look) for one in effects for look in one.looks if isfinite(look.relative)])
    margin = experiment.result.primary.margin
    y = change_axis(_domain(points, margin), f"change of {effects[0].metric} {effects[0].statistic}")
    x = _along(points, experiment.result.unit)
    names = [one.variant for one in effects]
    layers = [
        *_margin_band(margin, y),
        *_lines(points, names, x, y),
        *_ends(points, x, y),
        *_decisions(effects, x),
    ]
    description = (
        f"Each point is the change against {experiment.result.control} in all that had been recorded by then, the band "
        f"its always-valid interval: with probability {1 - effects[0].alpha:.0%} the truth lies within it at every "
        f"look, so that looking often costs nothing. The grey band is the margin of ±{margin:.0%} within which a "
        "change does not matter; a dashed stroke stands where 0 was first excluded."
    )
    return finished(layers, _HEIGHT, description, room_right=_ROOM_RIGHT)


def _record(effect: EffectOverTime, look: Look) -> dict[str, Any]:
    is_known = isfinite(look.low) and isfinite(look.high)
    return {
        "variant": effect.variant,
        "at": look.at,
        "units": look.units,
        "relative": look.relative,
        "low": look.low if is_known else None,
        "high": look.high if is_known else None,
        "change": change_text(look.relative),
        "interval": f"{change_text(look.low)} to {change_text(look.high)}" if is_known else "unknown",
        "observations": look.observations,
        "n": look.units,
    }


def _domain(points: pl.DataFrame, margin: float) -> tuple[float, float]:
    shown = [-margin, margin]
    for last in points.group_by("variant", maintain_order=True).last().iter_rows(named=True):
        shown.append(last["relative"])
        if last["low"] is not None:
            half = (last["high"] - last["low"]) / 2
            shown += [last["low"] - _BEYOND * half, last["high"] + _BEYOND * half]
    return change_domain(shown)


def _along(points: pl.DataFrame, unit: str) -> alt.X:
    if points["at"].null_count():
        return alt.X("units:Q", title=f"{unit}s that had come in", scale=alt.Scale(zero=False, nice=False))
    return alt.X("at:T", title="time (UTC)", scale=alt.Scale(type="utc", nice=False), axis=time_axis(points["at"]))


def _margin_band(margin: float, y: LinearAxis) -> list[alt.Chart]:
    base = alt.Chart(pl.DataFrame({"least": [-margin], "most": [margin], "zero": [0.0]}))
    band = base.mark_rect(color=_QUIET, opacity=0.15).encode(y=y.y("least:Q"), y2="most:Q")
    zero = base.mark_rule(strokeWidth=1.5).encode(y=y.y("zero:Q"))
    if margin < 0.06 * (y.domain[1] - y.domain[0]):  # too flat for a line of text
        return [band, zero]
    text = base.mark_text(align="left", baseline="top", dy=3, fontSize=11).encode(
        x=alt.value(4), y=y.y("most:Q"), text=alt.value(f"±{margin:.0%} does not matter")
    )
    return [band, zero, text]


def _lines(points: pl.DataFrame, variants: list[str], x: alt.X, y: LinearAxis) -> list[alt.Chart]:
    base = alt.Chart(points).encode(x=x, color=variant_colour(variants))
    tooltip = [alt.Tooltip(f"{name}:N") for name in ("variant", "change", "interval", "observations")]
    return [
        base.mark_area(opacity=0.2, clip=True).encode(y=y.y("low:Q"), y2="high:Q"),
        base.mark_line(strokeWidth=2, clip=True).encode(y=y.y("relative:Q")),
        base.mark_point(filled=True, size=40, opacity=1, clip=True).encode(
            y=y.y("relative:Q"),
            shape=variant_shape(variants),
            tooltip=[*tooltip, alt.Tooltip("n:Q", title="n (units)")],
        ),
    ]


def _ends(points: pl.DataFrame, x: alt.X, y: LinearAxis) -> list[alt.Chart]:
    """The name of every variant at the end of its line, with where it stands."""
    last = points.group_by("variant", maintain_order=True).last()
    gap = 15 * (y.domain[1] - y.domain[0]) / _HEIGHT
    heights = pl.Series("relative", apart_on_changes(last["relative"].to_list(), gap))
    names = last.with_columns(heights, label=pl.concat_str("variant", "change", separator=" "))
    base = alt.Chart(names).encode(x=x, y=y.y("relative:Q"))
    return [base.mark_text(align="left", dx=9, fontWeight=600).encode(text="label:N")]


def _decisions(effects: list[EffectOverTime], x: alt.X) -> list[alt.Chart]:
    """Where the interval first excluded that nothing changed."""
    decided = [(one, one.decided) for one in effects if one.decided is not None]
    if not decided:
        return []
    rows = [
        {
            "variant": effect.variant,
            "at": look.at,
            "units": look.units,
            "label": "stop allowed" if len(effects) == 1 else f"{effect.variant}: stop allowed",
            "row": 14.0 * index,
        }
        for index, (effect, look) in enumerate(decided)
    ]
    base = alt.Chart(pl.DataFrame(rows)).encode(x=x)
    rules = base.mark_rule(strokeDash=[4, 3], strokeWidth=1.5)
    texts = [
        alt.Chart(pl.DataFrame([row]))
        .mark_text(align="left", baseline="top", dx=4, fontSize=11)
        .encode(x=x, y=alt.value(row["row"]), text="label:N")
        for row in rows
    ]
    return [rules, *texts]
