"""What all charts share: the colour of a method, the outer frame, and the answer to nothing to draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import altair as alt
import polars as pl

from perfkit.report.theme import method_styles

__all__ = ["finished", "method_colour", "method_shape", "nothing_to_draw"]


def method_colour(methods: Iterable[str]) -> alt.Color:
    """The colours of the methods, without a legend: charts name their methods directly."""
    styles = method_styles(methods)
    scale = alt.Scale(domain=list(styles), range=[style.colour for style in styles.values()])
    return alt.Color("method:N", scale=scale, legend=None)


def method_shape(methods: Iterable[str]) -> alt.Shape:
    """The shapes of the methods."""
    styles = method_styles(methods)
    scale = alt.Scale(domain=list(styles), range=[style.shape for style in styles.values()])
    return alt.Shape("method:N", scale=scale, legend=None)


def finished(layers: Sequence[alt.Chart], height: int, description: str, *, room_right: int = 12) -> alt.LayerChart:
    """The layers as one chart, as wide as its container, with room for labels on the right.

    Args:
        layers: from back to front.
        height: height of the plot in pixels.
        description: how to read it; printed below the chart and read out by screen readers.
        room_right: pixels kept free right of the plot.
    """
    return alt.LayerChart(
        layer=list(layers),
        width="container",
        height=height,
        description=description,
        padding={"left": 2, "top": 10, "right": room_right, "bottom": 2},
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
    )


def nothing_to_draw(message: str) -> alt.LayerChart:
    """A chart that says why it is empty."""
    sentence = alt.Chart(pl.DataFrame({"message": [message]})).mark_text(fontSize=13).encode(text="message:N")
    return finished([sentence], 60, "")
