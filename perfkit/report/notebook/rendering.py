"""How charts leave a notebook: as data for the report's page, or as a widget for JupyterLab.

A chart in a report is a figure that carries its specification as JSON. The page holds the drawing library once, draws
all figures and redraws them when the reader's colour scheme changes; nothing is loaded from a network.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
from typing import TYPE_CHECKING, Any

from perfkit.report.theme import LIGHT_CONFIG

if TYPE_CHECKING:
    from altair.theme import ThemeConfig

__all__ = ["REPORT_VARIABLE", "chart_figure", "use_charts"]

REPORT_VARIABLE = "PERFKIT_REPORT"
"""Environment variable that the runner sets for the notebooks that it executes."""


def use_charts() -> None:
    """Draw charts the way this notebook is run: for a report under `perfkit run`, otherwise as offline widgets.

    >>> import altair
    >>> use_charts()
    >>> altair.renderers.active
    'jupyter'
    """
    import altair as alt

    alt.theme.register("perfkit", enable=True)(_theme)
    alt.renderers.register("perfkit", _render)
    if os.environ.get(REPORT_VARIABLE):
        alt.renderers.enable("perfkit")
    else:
        alt.renderers.enable("jupyter", offline=True)


def _theme() -> ThemeConfig:
    return {"config": {**LIGHT_CONFIG, "background": "white"}}  # type: ignore[typeddict-item]


def _render(spec: dict[str, Any], **_: Any) -> dict[str, str]:
    return {"text/html": chart_figure(spec), "text/plain": "A chart: open the report's page to see it."}


def chart_figure(spec: dict[str, Any]) -> str:
    """A figure that the report's page draws.

    Args:
        spec: a Vega-Lite specification. Its configuration is left to the page, which knows the reader's colour scheme.

    Returns:
        HTML: the specification as JSON, and its description as the caption. The id depends on the specification alone,
        so that the same results give the same page.

    >>> 'class="perfkit-chart"' in chart_figure({"mark": "bar", "description": "Bars."})
    True
    """
    lean = {name: value for name, value in spec.items() if name not in ("$schema", "config")}
    text = json.dumps(lean, sort_keys=True, separators=(",", ":"))
    name = "chart-" + hashlib.sha256(text.encode()).hexdigest()[:12]
    safe = text.replace("<", "\\u003c")  # "</script>" within the data must not end the script
    caption = html.escape(str(spec.get("description", "")))
    return (
        f'<figure class="perfkit-chart" id="{name}"><div class="perfkit-drawing" role="img" aria-label="{caption}">'
        "The chart is drawn by the report's page.</div>"
        f'<figcaption>{caption}</figcaption><script type="application/json">{safe}</script></figure>'
    )
