"""Axes that several layers share: logarithmic ones of bytes and of nanoseconds, labelled the way people read them."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Callable, Iterable
from typing import Any

import altair as alt

from perfkit.units import format_bytes, format_duration

__all__ = [
    "LinearAxis",
    "LogAxis",
    "bytes_axis",
    "duration_axis",
    "labels_apart",
    "log_domain",
    "time_axis",
    "times_axis",
]

_FAR, _VERY_FAR = 4.0, 1000.0
_SEVERAL_DAYS, _ONE_NIGHT = 2.0, 0.5
_STEPS = (0.05, 0.1, 0.2, 0.5)


@dataclasses.dataclass(frozen=True)
class LogAxis:
    """A logarithmic axis that several layers share."""

    domain: tuple[float, float]
    axis: alt.Axis
    base: int

    def x(self, field: str) -> alt.X:
        """A field along this axis, from left to right."""
        return alt.X(field, axis=self.axis, scale=self._scale())

    def y(self, field: str) -> alt.Y:
        """A field along this axis, from bottom to top."""
        return alt.Y(field, axis=self.axis, scale=self._scale())

    def _scale(self) -> alt.Scale:
        return alt.Scale(type="log", base=self.base, domain=list(self.domain), nice=False)


@dataclasses.dataclass(frozen=True)
class LinearAxis:
    """A linear axis that several layers share."""

    domain: tuple[float, float]
    axis: alt.Axis

    def x(self, field: str) -> alt.X:
        """A field along this axis, from left to right."""
        return alt.X(field, axis=self.axis, scale=self._scale())

    def y(self, field: str) -> alt.Y:
        """A field along this axis, from bottom to top."""
        return alt.Y(field, axis=self.axis, scale=self._scale())

    def _scale(self) -> alt.Scale:
        return alt.Scale(domain=list(self.domain), nice=False, zero=False)


def bytes_axis(domain: tuple[float, float]) -> LogAxis:
    """An axis for sizes, with a tick at every second power of two, or every fourth over a wide domain."""
    first, last = math.ceil(math.log2(max(domain[0], 1)) - 1e-9), math.floor(math.log2(domain[1]) + 1e-9)
    step = 2 if last - first <= 14 else 4
    values = [2**power for power in range(first + (-first % 2), last + 1, step)]
    axis = _labelled(values, format_bytes, title="payload (log scale)", labelOverlap="parity", labelSeparation=6)
    return LogAxis(domain, axis, 2)


def duration_axis(domain: tuple[float, float]) -> LogAxis:
    """An axis for durations, with a tick at every power of ten, and two between over less than two decades."""
    powers = range(math.floor(math.log10(domain[0])), math.ceil(math.log10(domain[1])) + 1)
    steps = (1, 2, 5) if domain[1] / domain[0] < 100 else (1,)
    values = [step * 10**power for power in powers for step in steps]
    return LogAxis(domain, _labelled(values, format_duration, title="latency (log scale)", titleAnchor="end"), 10)


def times_axis(domain: tuple[float, float], title: str) -> LogAxis:
    """An axis for ratios, with ticks at round numbers, 1 among them.

    >>> times_axis((0.8, 15), "times").axis.to_dict()["values"]
    [1, 2, 5, 10]
    """
    low, high = domain
    if high / low > _FAR:
        values: list[float] = [step * 10.0**power for power in range(-6, 7) for step in (1, 2, 5)]
    else:
        step = next(one for one in _STEPS if high - low <= 8 * one or one == _STEPS[-1])
        values = [round(count * step, 2) for count in range(1, int(high / step) + 1)]
    shown = [int(value) if value >= 1 and value == int(value) else value for value in values if low <= value <= high]
    if high / low > _VERY_FAR:
        shown = [value for value in shown if math.log10(value).is_integer()]
    axis = alt.Axis(title=title, values=shown, format="~g", labelOverlap="parity", labelSeparation=4)
    return LogAxis(domain, axis, 10)


def time_axis(times: Iterable[datetime.datetime]) -> alt.Axis:
    """An axis of moments, with days where they span several.

    >>> day = datetime.datetime(2026, 11, 1)
    >>> time_axis([day, day + datetime.timedelta(days=7)]).to_dict()["format"]
    '%d %b'
    """
    moments = list(times)
    days = (max(moments) - min(moments)) / datetime.timedelta(days=1)
    if days < _SEVERAL_DAYS:
        return alt.Axis(format="%d %b %H:%M" if days > _ONE_NIGHT else "%H:%M", labelOverlap=True, tickCount=6)
    step = alt.TimeIntervalStep(interval="day", step=math.ceil(days / 8))
    return alt.Axis(format="%d %b", labelOverlap=True, tickCount=step)


def _labelled(values: list[int], label: Callable[[float], str], **properties: Any) -> alt.Axis:
    labels = json.dumps({str(value): label(value) for value in values})
    return alt.Axis(values=values, labelExpr=f"({labels})[datum.value]", **properties)


def level_axis(domain: tuple[float, float], unit: str) -> LinearAxis:
    """A linear axis of what was measured, labelled as durations where it is nanoseconds.

    >>> level_axis((95.0, 126.0), "").axis.to_dict()["values"]
    [95.0, 100.0, 105.0, 110.0, 115.0, 120.0, 125.0]
    """
    low, high = domain
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(times for times in (1, 2, 5, 10) if (high - low) / (step * times) <= 8)
    values = [float(f"{count * step:.12g}") for count in range(math.ceil(low / step), math.floor(high / step) + 1)]
    label = format_duration if unit == "ns" else "{:.6g}".format
    labels = json.dumps({str(index): label(value) for index, value in enumerate(values)})
    place = f"round((datum.value - {values[0]}) / {step})"
    title = "latency" if unit == "ns" else "measured"
    return LinearAxis(domain, alt.Axis(values=values, labelExpr=f"({labels})[{place}]", title=title, titleAnchor="end"))


def log_domain(values: Iterable[float], *, below: float = 1.0, above: float = 1.0) -> tuple[float, float]:
    """From the smallest to the largest value, widened by factors; around a single value, from half of it to its double.

    What is below 1 counts as 1: a logarithmic axis has no 0.

    >>> log_domain([10, 1000], below=2), log_domain([16])
    ((5.0, 1000.0), (8.0, 32.0))
    """
    numbers = [max(value, 1.0) for value in values]
    low, high = min(numbers) / below, max(numbers) * above
    return (low, high) if low < high else (low / 2, high * 2)


def labels_apart(values: list[float], gap: float) -> list[float]:
    """Positions for labels on a logarithmic axis: near their values, yet at least `gap` decades apart.

    >>> labels_apart([100.0, 100.0, 10_000.0], 1.0)
    [31.62, 316.2, 10000.0]
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    groups: list[tuple[float, list[int]]] = []  # centre in decades, members
    for index in order:
        groups.append((math.log10(values[index]), [index]))
        while len(groups) > 1:
            (low, below), (high, above) = groups[-2], groups[-1]
            if high - low >= gap * (len(below) + len(above)) / 2 - 1e-9:
                break
            members = below + above
            centre = (low * len(below) + high * len(above)) / len(members)
            groups[-2:] = [(centre, members)]
    positions = [0.0] * len(values)
    for centre, members in groups:
        for rank, index in enumerate(members):
            positions[index] = float(f"{10 ** (centre + (rank - (len(members) - 1) / 2) * gap):.4g}")
    return positions
