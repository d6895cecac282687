"""A chart as a widget: for JupyterLab and Voila, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from perfkit.report.bundles import bundle
from perfkit.report.theme import DARK_CONFIG

__all__ = ["ChartWidget"]


class ChartWidget(anywidget.AnyWidget):
    """Draws a Vega-Lite specification, and draws again when its `spec` is set; dark where the page is.

    Its element counts in ``data-drawn`` how often it has drawn.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    spec = traitlets.Dict().tag(sync=True)
    dark_config = traitlets.Dict(DARK_CONFIG).tag(sync=True)

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec=spec, _esm=bundle(_SOURCE.read_text(encoding="utf-8")), layout={"width": "100%"})


_SOURCE = Path(__file__).with_suffix(".js")
