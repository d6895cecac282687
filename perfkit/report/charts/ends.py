"""Names of methods at the end of their lines, instead of a legend."""

from __future__ import annotations

import math

import altair as alt
import polars as pl

from perfkit.report.charts.frame import method_colour, method_shape
from perfkit.report.charts.scales import LogAxis, labels_apart

__all__ = ["end_labels"]

_PIXELS = 15


def end_labels(
    lines: pl.DataFrame, x: alt.X, y: LogAxis, along: str, up: str, last: float, height: int
) -> list[alt.Chart]:
    """A marker and a name for every method, to the right of the plot, as high as its line ends and none over another.

    Args:
        lines: columns method, `along` and `up`.
        x: encoding of `along`.
        y: axis of `up`.
        along: column along the horizontal axis.
        up: column along the vertical axis.
        last: where the horizontal axis ends.
        height: height of the plot in pixels.
    """
    ends = lines.sort(along).group_by("method", maintain_order=True).last()
    gap = _PIXELS * math.log10(y.domain[1] / y.domain[0]) / height
    positions = pl.Series(up, labels_apart(ends[up].to_list(), gap))
    base = alt.Chart(ends.with_columns(positions, pl.lit(last).alias(along))).encode(x=x, y=y.y(f"{up}:Q"))
    methods = ends["method"].to_list()
    return [
        base.mark_point(filled=True, size=36, opacity=1, xOffset=12).encode(
            color=method_colour(methods), shape=method_shape(methods)
        ),
        base.mark_text(align="left", dx=20, fontWeight=600).encode(text="method:N"),
    ]
