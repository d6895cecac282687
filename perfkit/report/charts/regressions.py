"""Every series that changed, below each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt

from perfkit.report.charts.forest import FOREST_ROW_PIXELS, change_record, forest_layers
from perfkit.report.charts.frame import finished, nothing_to_draw
from perfkit.report.charts.series import shown_index
from perfkit.stats.verdicts import BETTER, WORSE
from perfkit.tables import plural

if TYPE_CHECKING:
    from perfkit.workflows.regressions.result import Change, Regressions

__all__ = ["regressions_chart"]

_MOST_ROWS = 20


def regressions_chart(found: Regressions) -> alt.LayerChart:
    """One row per change of level: a stroke where the level was, a mark where it went, a bar where the next points lie.

    Args:
        found: what `perfkit.regressions` returned.

    Returns:
        The chart, the worst first; one with a sentence where nothing changed.
    """
    changes = [(one, WORSE) for one in found.regressions] + [(one, BETTER) for one in found.improvements]
    if not changes:
        return nothing_to_draw(f"No series changed its level by {found.minimum_change:.0%} or more.")
    shown = changes[:_MOST_ROWS]
    records = [_record(found, change, verdict) for change, verdict in shown]
    hidden = (
        f" {plural(len(changes) - len(shown), 'smaller change')} in the table only." if changes[_MOST_ROWS:] else ""
    )
    return finished(
        forest_layers(records, "after / before", "n (points)"),
        FOREST_ROW_PIXELS * len(records),
        "Each mark is a level relative to the one before it (the upright stroke); triangles pointing to the right are "
        "worse, to the left better. The bar is the interval in which the next point of the series lies (95 %); where "
        f"it does not hold the mark, the level changed again. The shaded band is ±{found.minimum_change:.0%}.{hidden}",
    )


def _record(found: Regressions, change: Change, verdict: str) -> dict[str, Any]:
    series = next(one for one in found.series if one.name == change.series)
    expected = series.expected
    bounds = (expected.low, expected.high) if expected else (change.after, change.after)
    interval = (bounds[0] / change.before - 1, bounds[1] / change.before - 1)
    name = f"{change.series or 'the series'}, after {shown_index(change.index)}"
    return change_record(name, change.relative, interval, verdict, series.points, found.minimum_change)
