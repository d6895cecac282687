"""What changed between two runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from perfkit.report.charts.forest import FOREST_ROW_PIXELS, change_record, forest_layers
from perfkit.report.charts.frame import finished, nothing_to_draw

if TYPE_CHECKING:
    from perfkit.workflows.comparison import Comparison

__all__ = ["comparison_chart"]


def comparison_chart(comparison: Comparison) -> alt.LayerChart:
    """One row per scenario: a stroke where run A is, a mark where run B is relative to it, and its interval as a bar.

    Args:
        comparison: what `perfkit.compare` returned. Scenarios that are worse or better are all drawn, of the others
            those with the largest changes; the overall change stands first, the controls last.

    Returns:
        The chart, with names above the marks so that it stays readable on a narrow screen.
    """
    shown, left_out = comparison.notable()
    if not shown:
        return nothing_to_draw("The two runs share no scenario.")
    changes = {"all scenarios": comparison.overall}
    changes |= {one.scenario: one.change for one in (*shown, *comparison.controls)}
    records = [
        change_record(name, one.value, (one.low, one.high), one.verdict, one.n, comparison.margin)
        for name, one in changes.items()
    ]
    rest = f" {len(left_out)} scenarios with smaller changes are not drawn." if left_out else ""
    return finished(
        forest_layers(records, "B / A", "n (launches)"),
        FOREST_ROW_PIXELS * len(records),
        f"Each mark is run B relative to run A (the upright stroke), its bar the {1 - comparison.alpha:.0%} interval "
        f"over launches, the shaded band ±{comparison.margin:.0%}. Triangles to the right are worse, to the left "
        f"better; circles are equivalent, squares inconclusive.{rest}",
    )
