"""The history of one measurement: its levels, where they changed, what happened then, and what was to be expected."""

from __future__ import annotations

import bisect
import datetime
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import polars as pl

from perfkit.report.charts.frame import finished, nothing_to_draw
from perfkit.report.charts.scales import LinearAxis, level_axis
from perfkit.report.charts.variants import change_text
from perfkit.tables import plural
from perfkit.units import format_duration

if TYPE_CHECKING:
    from perfkit.workflows.regressions.result import Change, Regressions
    from perfkit.workflows.regressions.series import Index, Series

__all__ = ["chosen_series", "series_chart", "shown_index"]

_HEIGHT = 280
_POINT, _WORSE, _BETTER, _EXPECTED = "#0072B2", "#D55E00", "#009E73", "#56B4E9"
_MOST_VALUES = 1500
_ROOM_ABOVE = 34
_MOST_EVENTS = 6
_EVENT_ROWS, _EVENT_PIXELS = 3, 14
_SPIKES = 0.02  # share of the values at each end that may lie beyond the axis
_MOST_LETTERS = 22


def series_chart(found: Regressions, name: str = "") -> alt.LayerChart:
    """One series as points, its levels as lines, changes and events as strokes, and where the next point is expected.

    Args:
        found: what `perfkit.regressions` returned.
        name: of a series; empty takes the one with the largest regression, else the first that has anything to tell.

    Returns:
        The chart; one with a sentence where there is no such series.
    """
    series = chosen_series(found, name)
    if series is None:
        return nothing_to_draw(f"There is no series {name!r}." if name else "There is no series to draw.")
    points = _points(series, found.unit)
    changes = sorted(
        (one for one in (*found.regressions, *found.improvements) if one.series == series.name), key=lambda one: one.row
    )
    levels = _levels(series, points, changes, found)
    expected = _expected(found, series.name, levels)
    events = _event_records(found, series, points)
    others = [*levels["level"], *expected.get("low", []), *expected.get("high", [])]
    y = _value_axis(points, others, found.unit, _EVENT_PIXELS * min(len(events), _EVENT_ROWS))
    x = _place_axis(points, series)
    layers = [
        *_expected_layers(expected, x, y),
        *_event_layers(events, x),
        *_point_layers(points, levels, x, y),
        *_change_layers(_change_records(changes, points, found), x),
    ]
    return finished(layers, _HEIGHT, _description(found, series, points, expected))


def chosen_series(found: Regressions, name: str = "") -> Series | None:
    """The series of that name; without one, that with the largest regression, else the first with anything to tell."""
    by_name = {one.name: one for one in found.histories}
    listed = (found.regressions, found.deviations, found.improvements)
    told = [one.series for few in listed for one in few]
    wanted = name or next(iter([*told, *by_name]), "")
    return by_name.get(wanted)


def _points(series: Series, unit: str) -> pl.DataFrame:
    """A row per value, at the place of its point; of a long series the newest."""
    names = np.asarray(series.index)
    starts = np.concatenate(([True], names[1:] != names[:-1])) if names.size else np.zeros(0, bool)
    frame = pl.DataFrame(
        {
            "place": np.cumsum(starts),
            "value": series.values,
            "row": np.arange(series.values.size),
            "source_row": series.rows,
            "point": [shown_index(one) for one in series.index],
            "measured": [format_duration(one) if unit == "ns" else f"{one:.4g}" for one in series.values],
        }
    )
    return frame.with_columns(n=pl.len().over("place")).tail(_MOST_VALUES)


def _levels(series: Series, points: pl.DataFrame, changes: Sequence[Change], found: Regressions) -> pl.DataFrame:
    """Each level from its first to its last point."""
    row_of = {int(row): index for index, row in enumerate(series.rows)}
    edges = [0, *(row_of[one.row] + 1 for one in changes), series.values.size]
    heights = [changes[0].before, *(one.after for one in changes)] if changes else [float(np.median(series.values))]
    places = dict(zip(points["row"], points["place"], strict=True))
    first_row = int(points["row"][0])
    records = [
        {"start": places[max(low, first_row)] - 0.5, "end": places[high - 1] + 0.5, "level": height}
        for low, high, height in zip(edges, edges[1:], heights, strict=False)
        if high > first_row
    ]
    return pl.DataFrame(records)


def _expected(found: Regressions, name: str, levels: pl.DataFrame) -> dict[str, list[Any]]:
    """The range of the next point, drawn over the newest level."""
    summary = next(one for one in found.series if one.name == name)
    if summary.expected is None:
        return {}
    one, newest = summary.expected, levels.row(-1, named=True)
    return {
        "low": [one.low],
        "high": [one.high],
        "start": [newest["start"]],
        "end": [newest["end"] + 0.5],
        "n": [one.n],
        "interval": [f"{_written(one.low, found.unit)} to {_written(one.high, found.unit)}"],
    }


def _change_records(changes: Sequence[Change], points: pl.DataFrame, found: Regressions) -> list[dict[str, Any]]:
    places = dict(zip(points["source_row"], points["place"], strict=True))
    return [
        {
            "place": places[one.row] + 0.5,
            "label": change_text(one.relative),
            "is_worse": (one.relative > 0) == (found.better == "lower"),
            "levels": f"{_written(one.before, found.unit)} to {_written(one.after, found.unit)}",
            "after": shown_index(one.index),
            "p": f"{one.p_value:.1g}",
            "cause": one.causes.events[0] if one.causes.events else "",
        }
        for one in changes
        if one.row in places
    ]


def _event_records(found: Regressions, series: Series, points: pl.DataFrame) -> list[dict[str, Any]]:
    """Events between the first and the last point, at the place where they fall among the points."""
    if series.times is None or not found.events:
        return []
    times = [float(series.times[row]) for row in points["row"]]
    records = []
    for event in found.events:
        at = bisect.bisect_left(times, event.occurred_at.timestamp())
        if 0 < at < len(times):
            told = " ".join(part for part in (event.name, event.subject) if part)
            records.append({"place": points["place"][at] - 0.5, "event": str(event), "label": told[:_MOST_LETTERS]})
    return records[-_MOST_EVENTS:]


def _value_axis(points: pl.DataFrame, others: Sequence[float], unit: str, pixels_below: int) -> LinearAxis:
    """Wide enough for all but single spikes, and for every level."""
    values = np.sort(points["value"].to_numpy())
    cut = math.ceil(_SPIKES * values.size)
    kept = values[cut : values.size - cut] if values.size > 4 * cut else values
    low, high = min(float(kept.min()), *others), max(float(kept.max()), *others)
    room = 0.08 * (high - low) or 0.1 * high or 1.0
    # Labels of changes stand above the values, those of events below.
    pixel = (high - low + 2 * room) / (_HEIGHT - _ROOM_ABOVE - pixels_below)
    return level_axis((low - room - pixel * pixels_below, high + room + pixel * _ROOM_ABOVE), unit)


def _place_axis(points: pl.DataFrame, series: Series) -> LinearAxis:
    """Points at equal distances, named by what they are."""
    named = dict(zip(points["place"], points["point"], strict=True))
    first, last = min(named), max(named)
    step = max(1, math.ceil((last - first) / 6))
    labels = {str(place): named[place] for place in range(first, last + 1, step)}
    axis = alt.Axis(
        values=[int(place) for place in labels],
        labelExpr=f"({labels})[datum.value]",
        title="points in their order",
        labelOverlap="parity",
        labelSeparation=8,
    )
    return LinearAxis((first - 0.7, last + 1.2), axis)


def _expected_layers(expected: dict[str, list[Any]], x: LinearAxis, y: LinearAxis) -> list[alt.Chart]:
    if not expected:
        return []
    tooltip = [alt.Tooltip("interval:N", title="next point (95 %)"), alt.Tooltip("n:Q", title="n (points)")]
    base = alt.Chart(pl.DataFrame(expected)).encode(x=x.x("start:Q"), x2="end:Q", tooltip=tooltip)
    return [base.mark_rect(color=_EXPECTED, opacity=0.25).encode(y=y.y("low:Q"), y2="high:Q")]


def _point_layers(points: pl.DataFrame, levels: pl.DataFrame, x: LinearAxis, y: LinearAxis) -> list[alt.Chart]:
    tooltip = [alt.Tooltip("point:N"), alt.Tooltip("measured:N"), alt.Tooltip("n:Q", title="n (of this point)")]
    dots = alt.Chart(points).mark_point(filled=True, size=22, opacity=0.7, color=_POINT, clip=True)
    lines = alt.Chart(levels).mark_rule(strokeWidth=2.5)
    return [
        dots.encode(x=x.x("place:Q"), y=y.y("value:Q"), tooltip=tooltip),
        lines.encode(x=x.x("start:Q"), x2="end:Q", y=y.y("level:Q")),
    ]


def _change_layers(records: list[dict[str, Any]], x: LinearAxis) -> list[alt.Chart]:
    if not records:
        return []
    base = alt.Chart(pl.DataFrame(records)).encode(x=x.x("place:Q"))
    colour = alt.Color("is_worse:N", scale=alt.Scale(domain=[True, False], range=[_WORSE, _BETTER]), legend=None)
    shape = alt.Shape(
        "is_worse:N", scale=alt.Scale(domain=[True, False], range=["triangle-up", "triangle-down"]), legend=None
    )
    names = {"label": "change", "levels": "level", "after": "last point before", "p": "p", "cause": "at the same time"}
    tooltip = [alt.Tooltip(f"{field}:N", title=title) for field, title in names.items()]
    return [
        base.mark_rule(strokeWidth=1.5).encode(color=colour, tooltip=tooltip),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            y=alt.value(24), color=colour, shape=shape, tooltip=tooltip
        ),
        base.mark_text(baseline="bottom", fontWeight=600, fontSize=12).encode(y=alt.value(16), text="label:N"),
    ]


def _event_layers(records: list[dict[str, Any]], x: LinearAxis) -> list[alt.Chart]:
    """Strokes, with their names at the foot, to the side where there is room, and none over its neighbour."""
    if not records:
        return []
    base = alt.Chart(pl.DataFrame(records)).encode(x=x.x("place:Q"))
    layers = [base.mark_rule(strokeDash=[3, 3], opacity=0.8).encode(tooltip=[alt.Tooltip("event:N")])]
    middle = sum(x.domain) / 2
    for number, record in enumerate(records):
        is_left = record["place"] < middle
        text = alt.Chart(pl.DataFrame([record])).mark_text(
            align="left" if is_left else "right", baseline="bottom", dx=4 if is_left else -4, fontSize=11
        )
        height = _HEIGHT - 4 - _EVENT_PIXELS * (number % _EVENT_ROWS)
        layers.append(text.encode(x=x.x("place:Q"), y=alt.value(height), text="label:N"))
    return layers


def _description(found: Regressions, series: Series, points: pl.DataFrame, expected: dict[str, list[Any]]) -> str:
    hidden = series.values.size - points.height
    older = f" {plural(hidden, 'older value')} are not drawn." if hidden else ""
    band = (
        f" The band is where the next point lies with 95 % ({found.baselines} baseline)."
        if expected
        else " There are too few points for an interval of the next one."
    )
    return (
        f"{series.name or 'The series'}: each point is one measurement, the line its level; a coloured stroke is a "
        f"change of level (a triangle that points up is a change for the worse), a dashed one an event.{band} Single "
        f"spikes may lie beyond the edge.{older}"
    )


def _written(value: float, unit: str) -> str:
    return format_duration(value) if unit == "ns" else f"{value:.4g}"


def shown_index(index: Index) -> str:
    """What people call a point: a moment by its day and hour, anything else by its beginning.

    >>> shown_index("2026-11-01T14:00:00+00:00"), shown_index("2026-11-01"), shown_index(510230)
    ('01 Nov 14:00', '01 Nov 2026', '510230')
    """
    text = str(index)
    if not isinstance(index, str) or not text[:4].isdigit() or "-" not in text:
        return text[:_MOST_LETTERS]
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text[:15]
    return f"{at:%d %b %H:%M}" if at.hour or at.minute else f"{at:%d %b %Y}"
