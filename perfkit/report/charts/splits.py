"""Whether the units of an experiment are split as planned."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from perfkit.report.charts.frame import finished, nothing_to_draw
from perfkit.report.charts.scales import LinearAxis

if TYPE_CHECKING:
    from perfkit.stats.experiments.result import SampleRatio
    from perfkit.workflows.experiment.report import ExperimentReport

__all__ = ["sample_ratio_chart"]

_ROW_PIXELS = 44
_AS_PLANNED, _OFF = "#0072B2", "#D55E00"
_NORMAL_95 = 1.96
_ROOM = 1.25


def sample_ratio_chart(experiment: ExperimentReport) -> alt.LayerChart:
    """The share of the units that each variant has, against its planned share and what chance explains.

    Args:
        experiment: what `perfkit.experiment_report` returned. Where assignments are known, those rows stand first: they
            tell apart what was assigned wrongly from what was lost afterwards.

    Returns:
        The chart; one with a sentence where there is no unit.
    """
    result = experiment.result
    parts = {"assigned": experiment.exposure, "measured": result.sample_ratio}
    records = [
        record
        for name, ratio in parts.items()
        if ratio is not None and ratio.n
        for record in _records(ratio, f", {name}" if experiment.exposure else "")
    ]
    if not records:
        return nothing_to_draw(f"No {result.unit} was seen.")
    x = _share_axis(records, result.unit)
    y = alt.Y("name:N", axis=None, sort=[str(record["name"]) for record in records])
    description = (
        f"Each mark is the share of the {result.unit}s that a variant has, the stroke its planned share, the bar where "
        "chance leaves it in 95 % of experiments. A mark far from its bar says that some are lost, or assigned "
        f"wrongly; verdicts are withheld from p < {result.sample_ratio.threshold:g} on."
    )
    return finished(_layers(pl.DataFrame(records), x, y), _ROW_PIXELS * len(records), description)


def _records(ratio: SampleRatio, of: str) -> list[dict[str, Any]]:
    records = []
    for variant, units in ratio.units.items():
        planned = ratio.shares[variant] / sum(ratio.shares.values())
        chance = _NORMAL_95 * sqrt(planned * (1 - planned) / ratio.n)
        share = units / ratio.n
        records.append(
            {
                "name": f"{variant}{of}: {share:.2%} of {ratio.n:,}, planned {100 * planned:.4g}%",
                "share": share,
                "planned": planned,
                "low": max(planned - chance, 0.0),
                "high": min(planned + chance, 1.0),
                "interval": f"{planned - chance:.2%} to {planned + chance:.2%}",
                "p": f"{ratio.p_value:.2g}",
                "colour": _OFF if ratio.is_off else _AS_PLANNED,
                "shape": "diamond" if ratio.is_off else "circle",
                "n": units,
            }
        )
    return records


def _share_axis(records: list[dict[str, Any]], unit: str) -> LinearAxis:
    """Around the planned shares: as far as chance reaches, and as the units are."""
    low = min(record[name] for record in records for name in ("low", "share"))
    high = max(record[name] for record in records for name in ("high", "share"))
    middle, half = (low + high) / 2, _ROOM * (high - low) / 2
    axis = alt.Axis(title=f"share of the {unit}s", format="~%", tickCount=5, labelOverlap=True)
    return LinearAxis((max(middle - half, 0.0), min(middle + half, 1.0)), axis)


def _layers(frame: pl.DataFrame, x: LinearAxis, y: alt.Y) -> list[alt.Chart]:
    base = alt.Chart(frame).encode(y=y)
    tooltip = [
        alt.Tooltip("name:N", title="variant"),
        alt.Tooltip("interval:N", title="chance alone (95 %)"),
        alt.Tooltip("p:N", title="p of the split"),
        alt.Tooltip("n:Q", title="n (units)"),
    ]
    colour = alt.Color("colour:N", scale=None, legend=None)
    return [
        base.mark_bar(height=10, opacity=0.25, cornerRadius=5, color="#8C8C8C").encode(
            x=x.x("low:Q"), x2="high:Q", tooltip=tooltip
        ),
        base.mark_tick(size=18, thickness=2).encode(x=x.x("planned:Q")),
        base.mark_point(filled=True, size=80, opacity=1).encode(
            x=x.x("share:Q"), color=colour, shape=alt.Shape("shape:N", scale=None, legend=None), tooltip=tooltip
        ),
        base.mark_text(align="left", dy=-16, fontSize=11).encode(x=alt.value(0), text="name:N"),
    ]
