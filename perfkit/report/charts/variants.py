"""How the variants of an experiment are drawn: a colour and a shape each, and an axis of relative change."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from math import isfinite

import altair as alt

from perfkit.report.charts.scales import LinearAxis, labels_apart
from perfkit.report.theme import MethodStyle

__all__ = ["apart_on_changes", "change_axis", "change_domain", "change_text", "variant_colour", "variant_shape"]

_STYLES = (
    MethodStyle("#0072B2", "circle"),
    MethodStyle("#D55E00", "square"),
    MethodStyle("#009E73", "triangle-up"),
    MethodStyle("#CC79A7", "diamond"),
    MethodStyle("#E69F00", "triangle-down"),
)
_STEPS = tuple(step * 10.0**power for power in range(-4, 3) for step in (1, 2, 5))
_MOST_TICKS = 8
_WHOLE_PERCENTS_FROM = 0.0995


def variant_colour(variants: Sequence[str]) -> alt.Color:
    """The colours of the variants, without a legend: charts name their variants directly."""
    colours = list(itertools.islice((style.colour for style in itertools.cycle(_STYLES)), len(variants)))
    return alt.Color("variant:N", scale=alt.Scale(domain=list(variants), range=colours), legend=None)


def variant_shape(variants: Sequence[str]) -> alt.Shape:
    """The shapes of the variants."""
    shapes = list(itertools.islice((style.shape for style in itertools.cycle(_STYLES)), len(variants)))
    return alt.Shape("variant:N", scale=alt.Scale(domain=list(variants), range=shapes), legend=None)


def change_domain(changes: Iterable[float]) -> tuple[float, float]:
    """From the lowest to the highest that an axis of changes must show, 0 among them, with some room.

    Args:
        changes: relative changes that must be seen; what is not finite is left out.

    >>> change_domain([0.1, 0.2])
    (-0.02, 0.22)
    """
    shown = [one for one in (0.0, *changes) if isfinite(one)]
    room = 0.1 * (max(shown) - min(shown)) or 0.1
    return round(min(shown) - room, 6), round(max(shown) + room, 6)


def change_axis(domain: tuple[float, float], title: str) -> LinearAxis:
    """A linear axis of relative changes in percent, with a tick where nothing changes.

    >>> change_axis((-0.1, 0.25), "change").axis.to_dict()["values"]
    [-0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.25]
    """
    low, high = domain
    step = next((one for one in _STEPS if (high - low) / one <= _MOST_TICKS), _STEPS[-1])
    ticks = [round(count * step, 6) for count in range(-1000, 1001) if low - 1e-9 <= count * step <= high + 1e-9]
    digits = 0 if step >= 0.01 else 1 if step >= 0.001 else 2
    label = f"(datum.value > 0 ? '+' : '') + format(datum.value, '.{digits}%')"
    axis = alt.Axis(title=title, values=ticks, labelExpr=label, titleAnchor="end", labelOverlap=True)
    return LinearAxis(domain, axis)


def apart_on_changes(changes: list[float], gap: float) -> list[float]:
    """Positions for labels on an axis of changes: near their values, yet at least `gap` apart.

    >>> [round(one, 2) for one in apart_on_changes([0.1, 0.1], 0.02)]
    [0.09, 0.11]
    """
    return [math.log10(one) for one in labels_apart([10.0**change for change in changes], gap)]


def change_text(value: float) -> str:
    """A relative change, short.

    >>> change_text(0.0312), change_text(-0.24)
    ('+3.1%', '-24%')
    """
    return f"{value:+.{0 if abs(value) >= _WHOLE_PERCENTS_FROM else 1}%}"
