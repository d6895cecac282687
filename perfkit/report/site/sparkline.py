"""How a figure went over its report's runs, as a drawing of a few hundred bytes."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

from perfkit.report.notebook.records import Record

__all__ = ["drawable", "sparkline"]

_WIDTH, _HEIGHT, _EDGE = 160, 36, 4


def sparkline(records: Sequence[Record]) -> str:
    """A line through the values with their intervals as a band, and a dot at the newest.

    Args:
        records: one figure over time, oldest first.

    Returns:
        An SVG with a text alternative; empty where fewer than two of them are finite numbers.
    """
    kept = drawable(records)
    if len(kept) < 2:
        return ""
    values = [float(one.value) for one in kept]
    bounds = [one.low for one in kept if one.low is not None] + [one.high for one in kept if one.high is not None]
    least, most = min([*values, *bounds]), max([*values, *bounds])
    step = (_WIDTH - 2 * _EDGE) / (len(kept) - 1)

    def point(index: int, value: float) -> str:
        share = (value - least) / (most - least) if most > least else 0.5
        return f"{_EDGE + index * step:.0f},{_HEIGHT - _EDGE - share * (_HEIGHT - 2 * _EDGE):.0f}"

    low = [point(index, float(one.value if one.low is None else one.low)) for index, one in enumerate(kept)]
    high = [point(index, float(one.value if one.high is None else one.high)) for index, one in enumerate(kept)]
    line = " ".join(point(index, value) for index, value in enumerate(values))
    end_x, end_y = point(len(kept) - 1, values[-1]).split(",")
    band = f'<polygon points="{" ".join((*low, *reversed(high)))}"/>' if bounds else ""
    return (
        f'<svg class="spark" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(_told(kept))}">'
        f'{band}<polyline points="{line}"/><circle cx="{end_x}" cy="{end_y}" r="3"/></svg>'
    )


def drawable(records: Iterable[Record]) -> list[Record]:
    """Those whose value is a finite number."""
    return [one for one in records if not isinstance(one.value, str) and math.isfinite(one.value)]


def _told(kept: Sequence[Record]) -> str:
    """What the drawing shows, for those who do not see it."""
    ordered = sorted(kept, key=lambda one: float(one.value))
    return (
        f"{kept[0].name} over {len(kept)} runs: first {kept[0].value_text}, last {kept[-1].value_text}, "
        f"between {ordered[0].value_text} and {ordered[-1].value_text}"
    )
