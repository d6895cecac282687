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

from perfkit.errors import InputError
from perfkit.report.theme import LIGHT_CONFIG

if TYPE_CHECKING:
    from altair.theme import ThemeConfig

__all__ = ["NOTEBOOKS_VARIABLE", "REPORT_VARIABLE", "chart_figure", "in_report", "prepare_notebook"]

NOTEBOOKS_VARIABLE = "PERFKIT_NOTEBOOKS"
"""Environment variable that names the project's notebooks folder, for notebooks that a scheduler copies elsewhere."""

REPORT_VARIABLE = "PERFKIT_REPORT"
"""Environment variable that the runner sets for the notebooks that it executes."""

_OPENED_VARIABLE = "JPY_SESSION_NAME"  # set by Jupyter's server for kernels of notebooks that somebody opened


def prepare_notebook() -> None:
    """Make a notebook ready: its charts, and the folder that its relative paths start from.

    Charts become figures of the report under `perfkit run`, otherwise offline widgets. A scheduler such as
    jupyter-scheduler runs a copy of the notebook in a folder of its own; there the kernel goes to the folder that
    `PERFKIT_NOTEBOOKS` names, so that `../data/lake` is the project's. A notebook that somebody has opened stays where
    it is.

    Raises:
        InputError: `PERFKIT_NOTEBOOKS` names no folder.

    >>> import altair
    >>> prepare_notebook()
    >>> altair.renderers.active
    'jupyter'
    """
    import altair as alt

    alt.theme.register("perfkit", enable=True)(_theme)
    alt.renderers.register("perfkit", _render)
    if in_report():
        alt.renderers.enable("perfkit")
    else:
        alt.renderers.enable("jupyter", offline=True)
        _return_to_project()


def in_report() -> bool:
    """Whether `perfkit run` executes this notebook for a report: there is no front end that could run a widget."""
    return bool(os.environ.get(REPORT_VARIABLE))


def _return_to_project() -> None:
    named = os.environ.get(NOTEBOOKS_VARIABLE)
    if not named or _OPENED_VARIABLE in os.environ:
        return
    try:
        os.chdir(named)
    except OSError as error:
        raise InputError(
            f"{NOTEBOOKS_VARIABLE} == {named!r}, must be the project's notebooks folder ({error.strerror}): "
            "set it to that, or remove it from the environment"
        ) from error


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
